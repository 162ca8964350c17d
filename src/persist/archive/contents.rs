//! The manifest of the archive: which files are in it, in the order in which they were archived.
//!
//! Invariants
//! - Numbers of files strictly increase and are never given twice: `next` lies above all that were ever named.
//! - A file is named after it and its directory entry are durable, and removed after the manifest without it is.
//!
//! Layout: format-spec/archive.md.

use crate::env::disk::{parent, read_file, replace_file};
use crate::env::{Disk, UnixMillis};
use crate::persist::manifest::quoted;
use crate::persist::{Lsn, ManifestError, Timeline};
use std::fmt::Write;
use std::io;
use std::path::Path;

pub const MANIFEST_NAME: &str = "archive.contents";
const FIRST_LINE: &str = "graven-archive 1 next ";
const CHECKSUM: &str = "crc ";

/// What a file was in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchivedKind {
    Base,
    Incremental,
}

/// What a file of the archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub number: u64,
    pub kind: ArchivedKind,
    /// Its name in the log.
    pub original: String,
    /// When it was found to be superseded.
    pub superseded: UnixMillis,
}

/// What of the log's stream is in a file; for a base both positions are where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub timeline: Timeline,
    pub first: Lsn,
    pub end: Lsn,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    pub label: Label,
    /// Size and CRC-32 of what is in it, and its own size.
    pub raw: u64,
    pub crc: u32,
    pub packed: u64,
    /// None of what stock servers wrote.
    pub span: Option<Span>,
    /// Times of the first and the last frame, ms since the epoch.
    pub times: Option<(i64, i64)>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The number that the next file gets.
    pub next: u64,
    pub files: Vec<Archived>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { next: 1, files: Vec::new() }
    }
}

impl Label {
    /// The name of the file.
    pub fn file_name(&self) -> String {
        format!("{}.{}.zst", self.number, self.original)
    }

    fn fields(&self) -> String {
        let kind = match self.kind {
            ArchivedKind::Base => 'b',
            ArchivedKind::Incremental => 'i',
        };
        let Self { number, original, superseded, .. } = self;
        format!("number {number} type {kind} superseded {} original {}", superseded.0, quoted(original))
    }

    /// One line, with its checksum.
    pub fn encode(&self) -> String {
        let text = format!("graven-archived 1 {}", self.fields());
        format!("{text} crc {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    /// From exactly what `encode` writes.
    pub fn decode(text: &str) -> Option<Self> {
        let (said, _) = text.rsplit_once(" crc ")?;
        let label = Pairs::read(said.strip_prefix("graven-archived 1 ")?)?.label()?;
        (label.encode() == text).then_some(label)
    }
}

/// Words two by two.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn read(text: &str) -> Option<Self> {
        let words = crate::resp::split_args(text.as_bytes())?;
        let word = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        words
            .len()
            .is_multiple_of(2)
            .then(|| Self(words.chunks(2).map(|pair| (word(&pair[0]), word(&pair[1]))).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    fn label(&self) -> Option<Label> {
        let kind = match self.get("type")? {
            "b" => ArchivedKind::Base,
            "i" => ArchivedKind::Incremental,
            _ => return None,
        };
        let original = self.get("original")?.to_owned();
        let right = !original.is_empty() && !original.contains('/');
        let superseded = UnixMillis(self.number("superseded")?);
        let number = self.number("number").filter(|number| *number > 0)?;
        right.then_some(Label { number, kind, original, superseded })
    }

    fn archived(&self) -> Option<Archived> {
        let span = match self.get("timeline") {
            None => None,
            Some(digits) => Some(Span {
                timeline: Timeline::parse(digits.as_bytes())?,
                first: Lsn(self.number("first")?),
                end: Lsn(self.number("end")?),
            }),
        };
        let times = match self.get("from") {
            None => None,
            Some(_) => Some((self.number("from")?, self.number("to")?)),
        };
        let crc = u32::from_str_radix(self.get("crc")?, 16).ok()?;
        let (raw, packed) = (self.number("raw")?, self.number("packed")?);
        Some(Archived { label: self.label()?, raw, crc, packed, span, times })
    }
}

impl Archived {
    fn encode(&self) -> String {
        let Self { label, raw, crc, packed, span, times } = self;
        let mut line = format!("file {} raw {raw} crc {crc:08x} packed {packed}", label.fields());
        // Writing to a string cannot fail.
        if let Some(Span { timeline, first, end }) = span {
            let _ = write!(line, " timeline {timeline} first {first} end {end}");
        }
        if let Some((from, to)) = times {
            let _ = write!(line, " from {from} to {to}");
        }
        line.push('\n');
        line
    }

    fn decode(line: &str) -> Option<Self> {
        let file = Pairs::read(line.strip_prefix("file ")?)?.archived()?;
        (file.encode().trim_end_matches('\n') == line).then_some(file)
    }

    pub fn file_name(&self) -> String {
        self.label.file_name()
    }
}

impl Contents {
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}{}\n", self.next);
        self.files.iter().for_each(|file| text.push_str(&file.encode()));
        let crc = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{crc:08x}\n"));
        text.into_bytes()
    }

    /// # Errors
    /// For the first line that is wrong.
    pub fn decode(content: &[u8]) -> Result<Self, ManifestError> {
        let fail = |line, reason| Err(ManifestError { line, reason });
        let lines = content.iter().filter(|byte| **byte == b'\n').count();
        let Ok(text) = std::str::from_utf8(content) else { return fail(1, "is not text") };
        let Some(body) = text.strip_suffix('\n') else { return fail(lines + 1, "ends inside a line") };
        let Some((said, checksum)) = body.rsplit_once('\n') else { return fail(1, "is alone") };
        let crc = crc32fast::hash(&content[..said.len() + 1]);
        if checksum != format!("{CHECKSUM}{crc:08x}") {
            return fail(lines, "has the wrong checksum");
        }
        let mut contents = Self::default();
        for (at, line) in said.split('\n').enumerate() {
            if at == 0 {
                match line.strip_prefix(FIRST_LINE).and_then(|number| number.parse().ok()) {
                    Some(next) => contents.next = next,
                    None => return fail(1, "is not the first of an archive's manifest"),
                }
                continue;
            }
            let Some(file) = Archived::decode(line) else { return fail(at + 1, "is no entry") };
            let last = contents.files.last().map_or(0, |last: &Archived| last.label.number);
            if file.label.number <= last || file.label.number >= contents.next {
                return fail(at + 1, "has a number that does not increase, or was not given yet");
            }
            contents.files.push(file);
        }
        // Numbers can be written in several ways; this is written in one.
        if contents.encode() == content { Ok(contents) } else { fail(1, "is not written as its like are") }
    }

    /// Reads the manifest of an archive; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read; or, inside, the line that is wrong.
    pub fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Option<Result<Self, ManifestError>>> {
        match read_file(disk, &directory.join(MANIFEST_NAME)) {
            Ok(content) => Ok(Some(Self::decode(&content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it on disk; durable when this returns.
    ///
    /// # Errors
    /// Then either may be there.
    pub fn store(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        replace_file(disk, &directory.join(MANIFEST_NAME), &self.encode())
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.packed).sum()
    }

    /// How many files stand in front of the second base: they go together, for without their base they are of no use.
    pub fn oldest_run(&self) -> usize {
        let behind = self.files.iter().skip(1).position(|file| file.label.kind == ArchivedKind::Base);
        behind.map_or(self.files.len(), |at| at + 1)
    }
}

/// The directory of the archive that belongs to the log in a directory.
pub fn beside(log: &Path) -> std::path::PathBuf {
    parent(log).join(super::DIRECTORY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededEntropy;

    pub fn sample() -> Contents {
        let timeline = Timeline::draw(&mut SeededEntropy::new(1));
        let label = |number, kind, original: &str| Label {
            number,
            kind,
            original: original.into(),
            superseded: UnixMillis(1_700_000_000_000),
        };
        let base = Archived {
            label: label(4, ArchivedKind::Base, "appendonly.aof.2.base.rdb"),
            raw: 100,
            crc: 7,
            packed: 60,
            span: Some(Span { timeline, first: Lsn(50), end: Lsn(50) }),
            times: None,
        };
        let segment = Archived {
            label: label(5, ArchivedKind::Incremental, "a \"b\n.3.incr.aof"),
            span: Some(Span { timeline, first: Lsn(50), end: Lsn(90) }),
            times: Some((-5, 1_700_000_000_000)),
            ..base.clone()
        };
        let stock = Archived { label: label(9, ArchivedKind::Base, "x"), span: None, ..base.clone() };
        Contents { next: 11, files: vec![base, segment, stock] }
    }

    #[test]
    fn the_contents_of_an_archive_read_back() {
        for contents in [sample(), Contents::default()] {
            assert_eq!(Contents::decode(&contents.encode()), Ok(contents));
        }
        assert_eq!((sample().oldest_run(), sample().bytes(), Contents::default().oldest_run()), (2, 180, 0));
        for file in sample().files {
            assert_eq!(Label::decode(&file.label.encode()), Some(file.label));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_an_archives_manifest_is_noticed() {
        let content = sample().encode();
        for at in 0..content.len() {
            assert!(Contents::decode(&content[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = content.clone();
                damaged[at] ^= 1 << bit;
                assert!(Contents::decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
