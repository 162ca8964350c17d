//! The journal of a repair in place: what it makes and what that replaces, durable before the first file has its name.
//!
//! A repair counts from the moment when the manifest in place is the one that it stored: one rename. A repair that was cut off
//! before is undone by whoever comes next, one that was cut off behind it is finished.
//!
//! Invariants
//! - Files of a repair that does not count are passed over by a start (their names are no segment's) and by a plan.
//! - Finishing and undoing may be cut off anywhere and begun again: each step looks at what is there.

use crate::env::disk::{parent, read_file, replace_file};
use crate::env::{Disk, OpenMode};
use crate::persist::Manifest;
use crate::persist::log::WriterOptions;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

const TITLE: &str = "A repair is under way: graven-repair 1";
/// What a new dump is called until it has its place.
const NEW_DUMP: &str = "new-dump";

/// See the module's header. Names are of files in the log's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The directory beside the log's in which replaced files are kept.
    pub aside: String,
    /// CRC-32 of the manifest with which the repair counts.
    pub manifest: u32,
    /// Files that are new.
    pub made: Vec<String>,
    /// Files that the log no longer consists of.
    pub replaced: Vec<String>,
    /// The name of a dump that takes its new form last.
    pub dump: Option<String>,
}

/// What became of a repair that had been cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Finished,
    Undone,
}

impl fmt::Display for Settled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Finished => "finished now",
            Self::Undone => "undone, nothing of it had counted",
        })
    }
}

/// The name of a segment or base that a repair makes: no start takes it for one unless the manifest names it.
pub fn made_name(writer: &WriterOptions, sequence: u64, kind: &str) -> String {
    format!("{}.{sequence}.repaired.{kind}", writer.prefix)
}

/// The sequence in such a name; of a base or an incremental file.
pub fn made_sequence(name: &str, writer: &WriterOptions) -> Option<u64> {
    let middle = name.strip_prefix(&writer.prefix)?.strip_prefix('.')?;
    let (digits, kind) = middle.split_once(".repaired.")?;
    let known = ["incr.aof", "base.rdb", "base.aof"].contains(&kind);
    (known && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What the journal of a log is called.
pub fn journal_name(writer: &WriterOptions) -> String {
    format!("{}.repair", writer.prefix)
}

fn journal_path(writer: &WriterOptions) -> PathBuf {
    writer.directory.join(journal_name(writer))
}

/// Where a new dump waits.
pub fn new_dump(aside: &Path) -> PathBuf {
    aside.join(NEW_DUMP)
}

/// Ends a repair of this log that was cut off.
///
/// # Errors
/// Something could not be read or changed; what was there is there, and may be settled again.
pub fn settle(disk: &dyn Disk, writer: &WriterOptions) -> io::Result<Option<Settled>> {
    let Some(journal) = Journal::read(disk, writer)? else { return Ok(None) };
    Ok(Some(if journal.counts(disk, writer)? {
        journal.finish(disk, writer)?;
        Settled::Finished
    } else {
        journal.undo(disk, writer)?;
        Settled::Undone
    }))
}

/// Files of the log's directory that are no part of it because of a repair that was cut off.
///
/// # Errors
/// When the journal or the manifest cannot be read.
pub fn hidden(disk: &dyn Disk, writer: &WriterOptions) -> io::Result<HashSet<String>> {
    let Some(journal) = Journal::read(disk, writer)? else { return Ok(HashSet::new()) };
    let named = named(disk, writer)?;
    let gone = if journal.counts(disk, writer)? { journal.replaced } else { journal.made };
    Ok(gone.into_iter().filter(|name| !named.contains(name)).collect())
}

/// Names in the manifest, if there is one to be read.
fn named(disk: &dyn Disk, writer: &WriterOptions) -> io::Result<HashSet<String>> {
    let path = writer.manifest_path();
    if !disk.exists(&path)? {
        return Ok(HashSet::new());
    }
    let manifest = Manifest::decode(&read_file(disk, &path)?).unwrap_or_default();
    Ok(manifest.files.into_iter().map(|file| file.name).collect())
}

impl Journal {
    /// Makes the journal durable: from here on a start behind the repair may find its files.
    pub fn store(&self, disk: &dyn Disk, writer: &WriterOptions) -> io::Result<()> {
        replace_file(disk, &journal_path(writer), &self.encode()?)
    }

    fn read(disk: &dyn Disk, writer: &WriterOptions) -> io::Result<Option<Self>> {
        let path = journal_path(writer);
        if !disk.exists(&path)? {
            return Ok(None);
        }
        Ok(Self::decode(&read_file(disk, &path)?))
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut text = format!("{TITLE}\n");
        let mut put = |what: &str, name: &str| -> io::Result<()> {
            if name.contains('\n') {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name with a line break"));
            }
            writeln!(text, "{what} {name}").map_err(io::Error::other)
        };
        put("aside", &self.aside)?;
        put("manifest", &format!("{:08x}", self.manifest))?;
        self.made.iter().try_for_each(|name| put("made", name))?;
        self.replaced.iter().try_for_each(|name| put("replaced", name))?;
        self.dump.iter().try_for_each(|name| put("dump", name))?;
        let crc = crc32fast::hash(text.as_bytes());
        Ok(format!("{text}crc {crc:08x}\n").into_bytes())
    }

    /// From exactly what `encode` writes.
    fn decode(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let (text, crc) = text.split_at_checked(text.rfind("crc ")?)?;
        if crc != format!("crc {:08x}\n", crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let mut journal = Self::default();
        for line in text.strip_prefix(TITLE)?.lines().skip(1) {
            let (what, name) = line.split_once(' ')?;
            match what {
                "aside" => journal.aside = name.to_owned(),
                "manifest" => journal.manifest = u32::from_str_radix(name, 16).ok()?,
                "made" => journal.made.push(name.to_owned()),
                "replaced" => journal.replaced.push(name.to_owned()),
                "dump" => journal.dump = Some(name.to_owned()),
                _ => return None,
            }
        }
        Some(journal)
    }

    /// Whether the manifest in place is the repair's, or one that a server has made of it.
    fn counts(&self, disk: &dyn Disk, writer: &WriterOptions) -> io::Result<bool> {
        let path = writer.manifest_path();
        if !disk.exists(&path)? {
            return Ok(false);
        }
        if crc32fast::hash(&read_file(disk, &path)?) == self.manifest {
            return Ok(true);
        }
        let named = named(disk, writer)?;
        Ok(self.made.iter().any(|name| named.contains(name)))
    }

    /// The repair counts: what it has replaced goes to the kept files, and the new dump to its place.
    pub fn finish(&self, disk: &dyn Disk, writer: &WriterOptions) -> io::Result<()> {
        let log = &writer.directory;
        let aside = parent(log).join(&self.aside);
        // Seen, the manifest may still not be durable.
        disk.sync_dir(log)?;
        let named = named(disk, writer)?;
        for name in self.replaced.iter().filter(|name| !named.contains(*name)) {
            if disk.exists(&log.join(name))? {
                disk.rename(&log.join(name), &aside.join(name))?;
            }
        }
        disk.sync_dir(&aside)?;
        let new = new_dump(&aside);
        if let Some(name) = &self.dump
            && disk.exists(&new)?
        {
            replace_dump(disk, &parent(log).join(name), &aside)?;
        }
        self.end(disk, writer)
    }

    /// The repair does not count: what it has made goes, and so do its copies of what is in place.
    fn undo(&self, disk: &dyn Disk, writer: &WriterOptions) -> io::Result<()> {
        let log = &writer.directory;
        let named = named(disk, writer)?;
        for name in self.made.iter().filter(|name| !named.contains(*name)) {
            remove_if_there(disk, &log.join(name))?;
        }
        let aside = parent(log).join(&self.aside);
        if disk.exists(&aside)? {
            remove_if_there(disk, &new_dump(&aside))?;
            for name in self.replaced.iter().filter(|name| disk.exists(&log.join(name)).unwrap_or(false)) {
                remove_if_there(disk, &aside.join(name))?;
            }
            disk.sync_dir(&aside)?;
        }
        self.end(disk, writer)
    }

    fn end(&self, disk: &dyn Disk, writer: &WriterOptions) -> io::Result<()> {
        let path = journal_path(writer);
        disk.sync_dir(&writer.directory)?;
        remove_if_there(disk, &path)?;
        disk.sync_dir(&writer.directory)
    }
}

/// Puts the new dump in the place of the old one, of which a durable copy is kept first.
pub fn replace_dump(disk: &dyn Disk, dump: &Path, aside: &Path) -> io::Result<PathBuf> {
    let kept = aside.join(dump.file_name().unwrap_or_default());
    crate::persist::dumps::copy(disk, dump, &kept)?;
    disk.rename(&new_dump(aside), dump)?;
    disk.sync_dir(parent(dump))?;
    disk.sync_dir(aside)?;
    Ok(kept)
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file durable that stays as it is: what was read of it may be in the page cache only.
pub fn sync(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.open(path, OpenMode::ReadWrite)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_back_and_a_torn_one_is_none() {
        let journal = Journal {
            aside: "before repair-1".into(),
            manifest: 0xab12,
            made: vec!["a.4.repaired.incr.aof".into()],
            replaced: vec!["a.3.incr.aof".into(), "a.1.base.rdb".into()],
            dump: Some("dump.rdb".into()),
        };
        let encoded = journal.encode().expect("no line breaks");
        assert_eq!(Journal::decode(&encoded), Some(journal));
        for end in 0..encoded.len() {
            assert_eq!(Journal::decode(&encoded[..end]), None, "{end}");
        }
    }

    #[test]
    fn names_of_a_repair_are_no_segments() {
        let writer = WriterOptions { directory: "/".into(), prefix: "appendonly.aof".into(), segment_bytes_max: 1 };
        let name = made_name(&writer, 7, "incr.aof");
        assert_eq!(name, "appendonly.aof.7.repaired.incr.aof");
        assert_eq!(made_sequence(&name, &writer), Some(7));
        assert_eq!(crate::persist::strays::sequence_of(&name, &writer), None);
        for other in ["appendonly.aof.7.incr.aof", "appendonly.aof.x.repaired.incr.aof", "appendonly.aof.7.repaired.x"]
        {
            assert_eq!(made_sequence(other, &writer), None);
        }
    }
}
