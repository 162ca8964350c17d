//! The manifest: which files make up the log, in stock's multi-part format, with comment lines of ours.
//!
//! Invariants
//! - Replaced atomically; a file is named only after it and its directory entry are durable, and deleted only after
//!   the manifest without it is.
//! - Sequence numbers of incremental files strictly increase, as stock demands.
//!
//! Layout: format-spec/manifest.md. Stock drops comments, so their absence is no damage.

use super::{Lsn, Timeline};
use crate::env::{Disk, OpenMode};
use std::io;
use std::path::Path;

/// What a file in the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Base,
    History,
    Incremental,
}

/// A line of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    pub name: String,
    pub sequence: u64,
    pub kind: FileKind,
}

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseState {
    /// No comment of ours: stock wrote it, or nobody ever opened it.
    Unknown,
    Open,
    /// Sealed: its end, its chain value there, and the size of its last file.
    Closed {
        end: Lsn,
        chain: u32,
        size: u64,
    },
}

/// What a base looked like when it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseIdentity {
    /// Bytes of the file.
    pub size: u64,
    /// CRC-32 of its first and its last 4 KiB (an RDB file ends with a checksum of all of it).
    pub edges: u32,
}

/// The dump beside the log, as it was last written: where in the history it stands, and what tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedDump {
    pub timeline: Timeline,
    pub lsn: Lsn,
    pub identity: BaseIdentity,
}

/// The manifest's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub files: Vec<FileEntry>,
    pub state: CloseState,
    /// Incremental files from this sequence on are segments of ours and must verify as such.
    pub segments_from: Option<u64>,
    pub base_identity: Option<BaseIdentity>,
    pub saved_dump: Option<SavedDump>,
}

/// A manifest that was not stored.
#[derive(Debug)]
pub struct StoreError {
    /// The failure came so late that either manifest may be the one that the next start finds.
    pub in_doubt: bool,
    pub error: io::Error,
}

impl From<StoreError> for io::Error {
    fn from(failed: StoreError) -> Self {
        failed.error
    }
}

/// A manifest that cannot be used: the line, from 1, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    pub line: usize,
    pub reason: &'static str,
}

const STATE: &str = "#graven-state ";
const SEGMENTS: &str = "#graven-segments ";
const BASE: &str = "#graven-base ";
const DUMP: &str = "#graven-dump ";
const CHECKSUM: &str = "#graven-crc ";
/// Longest name as it is written: a line must stay below stock's limit.
const NAME_BYTES_MAX: usize = 900;
const OURS: &str = "#graven-";

impl Manifest {
    pub fn new() -> Self {
        Self {
            files: Vec::new(),
            state: CloseState::Unknown,
            segments_from: None,
            base_identity: None,
            saved_dump: None,
        }
    }

    pub fn base(&self) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.kind == FileKind::Base)
    }

    /// Incremental files in order.
    pub fn incremental(&self) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(|file| file.kind == FileKind::Incremental)
    }

    /// Sequence for the next incremental file.
    pub fn next_sequence(&self) -> u64 {
        self.incremental().map(|file| file.sequence).max().unwrap_or(0) + 1
    }

    pub fn add_incremental(&mut self, name: String, sequence: u64) {
        self.files.push(FileEntry { name, sequence, kind: FileKind::Incremental });
    }

    /// Files that are superseded and may be deleted.
    pub fn history(&self) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(|file| file.kind == FileKind::History)
    }

    /// Puts a new base in the place of the one before and of the incremental files before `kept_from`, which become
    /// history.
    pub fn rebase(&mut self, base: FileEntry, identity: BaseIdentity, kept_from: u64) {
        for file in &mut self.files {
            if file.kind == FileKind::Base || file.kind == FileKind::Incremental && file.sequence < kept_from {
                file.kind = FileKind::History;
            }
        }
        self.files.push(base);
        self.files.sort_by_key(|file| match file.kind {
            FileKind::Base => 0,
            FileKind::History => 1,
            FileKind::Incremental => 2,
        });
        self.base_identity = Some(identity);
        self.segments_from = Some(kept_from);
    }

    /// Superseded files of these names are gone.
    pub fn forget(&mut self, names: &[String]) {
        self.files.retain(|file| file.kind != FileKind::History || !names.contains(&file.name));
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        match self.state {
            CloseState::Unknown => {}
            CloseState::Open => text.push_str(&format!("{STATE}open\n")),
            CloseState::Closed { end, chain, size } => {
                text.push_str(&format!("{STATE}closed {:016x} {chain:08x} {size:016x}\n", end.0));
            }
        }
        if let Some(sequence) = self.segments_from {
            text.push_str(&format!("{SEGMENTS}{sequence:016x}\n"));
        }
        if let Some(BaseIdentity { size, edges }) = self.base_identity {
            text.push_str(&format!("{BASE}{size:016x} {edges:08x}\n"));
        }
        if let Some(SavedDump { timeline, lsn, identity: BaseIdentity { size, edges } }) = self.saved_dump {
            text.push_str(&format!("{DUMP}{timeline} {:016x} {size:016x} {edges:08x}\n", lsn.0));
        }
        for file in &self.files {
            let kind = match file.kind {
                FileKind::Base => 'b',
                FileKind::History => 'h',
                FileKind::Incremental => 'i',
            };
            text.push_str(&format!("file {} seq {} type {kind}\n", quoted(&file.name), file.sequence));
        }
        let crc = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{crc:08x}\n"));
        text.into_bytes()
    }

    /// # Errors
    /// For the first line that is wrong.
    pub fn decode(content: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::new();
        let (mut at, mut number) = (0, 0);
        let fail = |line, reason| Err(ManifestError { line, reason });
        if content.is_empty() {
            return fail(1, "is empty");
        }
        while at < content.len() {
            number += 1;
            let end = match content[at..].iter().position(|byte| *byte == b'\n') {
                Some(end) => at + end,
                None => return fail(number, "ends inside a line"),
            };
            let line = &content[at..end];
            let Ok(text) = std::str::from_utf8(line) else { return fail(number, "is not text") };
            if line.len() > 1022 {
                return fail(number, "is too long");
            }
            if let Some(crc) = text.strip_prefix(CHECKSUM) {
                // Digits can be written in two ways; ours are written in one.
                if crc != format!("{:08x}", crc32fast::hash(&content[..at])) {
                    return fail(number, "has the wrong checksum");
                }
                if end + 1 != content.len() {
                    // Stock rewrites manifests from their entries: nothing can follow ours but a line of somebody else.
                    return fail(number, "is followed by more lines");
                }
            } else if let Some(state) = text.strip_prefix(STATE) {
                match close_state(state) {
                    Some(state) => manifest.state = state,
                    None => return fail(number, "has an unknown state"),
                }
            } else if let Some(sequence) = text.strip_prefix(SEGMENTS) {
                match u64::from_str_radix(sequence, 16) {
                    Ok(sequence) => manifest.segments_from = Some(sequence),
                    Err(_) => return fail(number, "has no number of the first segment"),
                }
            } else if let Some(identity) = text.strip_prefix(BASE) {
                match base_identity(identity) {
                    Some(identity) => manifest.base_identity = Some(identity),
                    None => return fail(number, "has no identity of the base"),
                }
            } else if let Some(dump) = text.strip_prefix(DUMP) {
                match saved_dump(dump) {
                    Some(dump) => manifest.saved_dump = Some(dump),
                    None => return fail(number, "has no identity of the dump"),
                }
            } else if text.starts_with(OURS) {
                return fail(number, "was written by a version that this one does not know");
            } else if !text.starts_with('#') {
                match entry(text) {
                    Ok(file) => manifest.push(file).map_err(|reason| ManifestError { line: number, reason })?,
                    Err(reason) => return fail(number, reason),
                }
            }
            at = end + 1;
        }
        if manifest.state != CloseState::Unknown && !content.windows(CHECKSUM.len()).any(|w| w == CHECKSUM.as_bytes()) {
            return fail(number, "has lost its checksum");
        }
        if manifest.files.is_empty() {
            return fail(number, "names no file");
        }
        Ok(manifest)
    }

    fn push(&mut self, file: FileEntry) -> Result<(), &'static str> {
        match file.kind {
            FileKind::Base if self.base().is_some() => return Err("names a second base"),
            FileKind::Incremental if self.incremental().any(|known| known.sequence >= file.sequence) => {
                return Err("has a sequence that does not increase");
            }
            _ => {}
        }
        self.files.push(file);
        Ok(())
    }

    /// Replaces the manifest on disk; durable when this returns.
    pub fn store(&self, disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
        let draft = path.with_added_extension("tmp");
        let directory = path.parent().unwrap_or(Path::new("."));
        let write = || {
            let file = disk.open(&draft, OpenMode::Truncate)?;
            file.write_all_at(&self.encode(), 0)?;
            file.sync_all()
        };
        write().map_err(|error| StoreError { in_doubt: false, error })?;
        let place = || {
            disk.rename(&draft, path)?;
            disk.sync_dir(directory)
        };
        place().map_err(|error| StoreError { in_doubt: true, error })
    }
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new()
    }
}

fn close_state(text: &str) -> Option<CloseState> {
    if text == "open" {
        return Some(CloseState::Open);
    }
    let mut fields = text.strip_prefix("closed ")?.split(' ');
    let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
    let (end, chain, size) = (number()?, number()?, number()?);
    Some(CloseState::Closed { end: Lsn(end), chain: u32::try_from(chain).ok()?, size })
}

fn base_identity(text: &str) -> Option<BaseIdentity> {
    let (size, edges) = text.split_once(' ')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(BaseIdentity { size: number(size)?, edges: u32::try_from(number(edges)?).ok()? })
}

fn saved_dump(text: &str) -> Option<SavedDump> {
    let mut fields = text.splitn(3, ' ');
    let timeline = Timeline::parse(fields.next()?.as_bytes())?;
    let lsn = Lsn(u64::from_str_radix(fields.next()?, 16).ok()?);
    Some(SavedDump { timeline, lsn, identity: base_identity(fields.next()?)? })
}

/// `file <name> seq <n> type <b|h|i>`; pairs may stand in any order, unknown ones are refused.
fn entry(text: &str) -> Result<FileEntry, &'static str> {
    let Some(words) = crate::resp::split_args(text.as_bytes()) else { return Err("has unbalanced quotes") };
    let words: Vec<String> = words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
    if words.len() < 6 || !words.len().is_multiple_of(2) {
        return Err("is no entry");
    }
    let (mut name, mut sequence, mut kind) = (None, None, None);
    for pair in words.chunks(2) {
        match pair[0].to_lowercase().as_str() {
            "file" => name = Some(pair[1].clone()),
            "seq" => sequence = pair[1].parse().ok(),
            "type" => {
                kind = match pair[1].as_str() {
                    "b" => Some(FileKind::Base),
                    "h" => Some(FileKind::History),
                    "i" => Some(FileKind::Incremental),
                    _ => return Err("has an unknown file type"),
                }
            }
            _ => {}
        }
    }
    match (name, sequence, kind) {
        (Some(name), _, _) if name.is_empty() || name.contains('/') => Err("has a file name with a path"),
        (Some(name), _, _) if quoted(&name).len() > NAME_BYTES_MAX => Err("has a file name that is too long"),
        (Some(name), Some(sequence), Some(kind)) if sequence > 0 => Ok(FileEntry { name, sequence, kind }),
        _ => Err("is no entry"),
    }
}

/// A name as stock quotes it: bytes that are not printable ASCII become escapes.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '#'));
    if plain {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let mut manifest = Manifest::new();
        manifest.files.push(FileEntry { name: "a.1.base.rdb".into(), sequence: 1, kind: FileKind::Base });
        manifest.add_incremental("a b.1.incr.aof".into(), 1);
        manifest.add_incremental("a.2.incr.aof".into(), 2);
        manifest.state = CloseState::Closed { end: Lsn(77), chain: 5, size: 1234 };
        manifest.segments_from = Some(1);
        manifest.base_identity = Some(BaseIdentity { size: 99, edges: 7 });
        let identity = BaseIdentity { size: 98, edges: 8 };
        manifest.saved_dump = Some(SavedDump { timeline: Timeline::NONE, lsn: Lsn(5), identity });
        manifest
    }

    #[test]
    fn a_manifest_reads_back() {
        assert_eq!(Manifest::decode(&sample().encode()), Ok(sample()));
        assert_eq!(sample().next_sequence(), 3);
    }

    #[test]
    fn a_new_base_makes_history_of_what_it_holds() {
        let mut manifest = sample();
        let base = FileEntry { name: "a.2.base.rdb".into(), sequence: 2, kind: FileKind::Base };
        manifest.rebase(base, BaseIdentity { size: 5, edges: 5 }, 2);
        let lines = |manifest: &Manifest| {
            let text = String::from_utf8(manifest.encode()).unwrap();
            text.lines().filter_map(|line| Some(line.strip_prefix("file ")?.replace(" seq", ""))).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(&manifest),
            ["a.2.base.rdb 2 type b", "a.1.base.rdb 1 type h", "\"a b.1.incr.aof\" 1 type h", "a.2.incr.aof 2 type i"]
        );
        assert_eq!((manifest.segments_from, manifest.next_sequence()), (Some(2), 3));
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
        manifest.forget(&["a.1.base.rdb".into(), "a.2.incr.aof".into()]);
        assert_eq!(lines(&manifest).len(), 3, "only history is forgotten");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let content = sample().encode();
        for at in 0..content.len() {
            for bit in 0..8 {
                let mut damaged = content.clone();
                damaged[at] ^= 1 << bit;
                let decoded = Manifest::decode(&damaged);
                // A comment whose name is damaged is a stranger's comment; what it said is then not believed.
                let harmless = decoded.as_ref().is_ok_and(|m| m.files == sample().files && m.state != CloseState::Open);
                assert!(decoded.is_err() || harmless, "byte {at} bit {bit}: {decoded:?}");
            }
        }
    }

    /// Found by fuzzing: a line feed in a quoted name was written as it is, which ends the line.
    #[test]
    fn a_name_of_any_bytes_reads_back() {
        for name in ["a\nb", "a\"b\\c", "tab\tand\rreturn", "\u{e9}t\u{e9}", "#not a comment", "nul\0"] {
            let mut manifest = Manifest::new();
            manifest.add_incremental(name.into(), 1);
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest), "{name:?}");
        }
    }

    #[test]
    fn what_stock_writes_is_read_and_what_stock_refuses_is_refused() {
        let stock = b"file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
        let manifest = Manifest::decode(stock).expect("stock's own");
        assert_eq!((manifest.state, manifest.files.len()), (CloseState::Unknown, 2));
        for (text, reason) in [
            ("", "is empty"),
            ("file a seq 1 type b", "ends inside a line"),
            ("file a seq 1\n", "is no entry"),
            ("file ../a seq 1 type i\n", "has a file name with a path"),
            ("file a seq 1 type x\n", "has an unknown file type"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "has a sequence that does not increase"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "names a second base"),
            ("#only\n", "names no file"),
        ] {
            assert_eq!(Manifest::decode(text.as_bytes()).map_err(|error| error.reason), Err(reason), "{text:?}");
        }
    }
}
