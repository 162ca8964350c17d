//! Beginning a log while its server runs (`CONFIG SET appendonly yes`, BGREWRITEAOF without a log): in place of whatever log
//! the directory holds, or in an empty directory.
//!
//! The writer begins at once, on a segment of its own that no manifest names; a compaction writes the base that stands in
//! front of it, and only the order that names the base has the manifest name the segments, too. Until then the log does not
//! count: the manifest in place stays, and whatever the writer would store is kept in memory.
//!
//! Invariants
//! - Before the first file of the new log has its name, a mark is durable that says from which sequences on files are the new
//!   log's. It is void as soon as the manifest names one of them.
//! - Files that a mark speaks of and no manifest names never counted: a start passes them over, then removes them, then
//!   the mark.
//! - A log that the data does not descend from is not replaced: its directory is set aside.

use super::generations::superseded;
use super::log::{Cut, Done, LogBuffer, LogWriter, Promise, Segment, SegmentPlace, WriterOptions};
use super::manifest::{CloseState, Manifest, SavedDump};
use super::{Position, strays};
use crate::env::disk::{read_file, replace_file};
use crate::env::{Clock, Disk, Entropy};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What a new log begins with.
pub struct Founding {
    pub options: WriterOptions,
    /// Where the snapshot stands that becomes its base.
    pub position: Position,
    /// The data descends from the end of the log in place, which the new one supersedes.
    pub descends: bool,
    /// The dump in place, where the data descends from it.
    pub saved_dump: Option<SavedDump>,
}

/// From which sequences on files are a new log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    segments: u64,
    bases: u64,
}

impl Mark {
    fn path(options: &WriterOptions) -> PathBuf {
        options.directory.join(mark_name(options))
    }

    fn encode(self) -> Vec<u8> {
        format!("A log is being begun: segments from {} and bases from {}\n", self.segments, self.bases).into_bytes()
    }

    /// From exactly what `encode` writes.
    fn decode(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let (segments, bases) = text
            .strip_prefix("A log is being begun: segments from ")?
            .strip_suffix('\n')?
            .split_once(" and bases from ")?;
        let mark = Self { segments: segments.parse().ok()?, bases: bases.parse().ok()? };
        (mark.encode() == content).then_some(mark)
    }
}

/// What the mark of a log that is being begun is called.
pub fn mark_name(options: &WriterOptions) -> String {
    format!("{}.founding", options.prefix)
}

/// Begins the log: its first segment is durable under its name when this returns. The writer, and the cut at which a
/// compaction puts the base that stands in front of it.
///
/// # Errors
/// The directory cannot be written, or what it holds cannot be read. Nothing counts that was written.
pub fn found(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    mut entropy: Box<dyn Entropy>,
    buffer: Arc<LogBuffer>,
    founding: Founding,
) -> io::Result<(LogWriter, Cut)> {
    let Founding { options, position, descends, saved_dump } = founding;
    if !descends {
        set_aside(&*disk, &options, &*clock)?;
    }
    super::recovery::create_durable_directory(&*disk, &options.directory)?;
    let mut manifest = stored_manifest(&*disk, &options)?.unwrap_or_default();
    clear(&*disk, &options, &manifest)?;
    strays::remove_drafts(&*disk, &options)?;
    strays::take_in(&*disk, &options, &mut manifest).map_err(io::Error::other)?;
    let names = disk.list(&options.directory)?;
    let last = |sequence_of: fn(&str, &WriterOptions) -> Option<u64>| {
        names.iter().filter_map(|name| sequence_of(name, &options)).max().unwrap_or(0)
    };
    let sequence = manifest.next_sequence().max(last(strays::sequence_of) + 1);
    let mark = Mark { segments: sequence, bases: last(strays::base_sequence_of) + 1 };
    replace_file(&*disk, &Mark::path(&options), &mark.encode())?;
    let place = SegmentPlace {
        lineage: position.lineage,
        number: 1,
        first: position.lsn,
        db: 0,
        previous_end: position.lsn,
        previous_chain: 0,
    };
    let name = options.segment_name(sequence);
    let mut segment = Segment::draft(&*disk, &options.directory, name.clone(), sequence, place, entropy.next_u64())?;
    segment.publish(&*disk, &options.directory)?;
    manifest.add_incremental(name, sequence);
    (manifest.state, manifest.saved_dump) = (CloseState::Open, saved_dump);
    let cut = Cut { lsn: position.lsn, rolled: Arc::new(Promise::kept(Done::Rolled { sequence })) };
    let time = clock.unix_millis().0;
    let writer = LogWriter::new(disk, clock, entropy, buffer, options, manifest, segment, time);
    Ok((writer.unfounded(), cut))
}

/// Removes the mark of a log that the manifest names by now: it says nothing any more.
///
/// # Errors
/// It stays, which harms nobody.
pub fn remove_mark(disk: &dyn Disk, options: &WriterOptions) -> io::Result<()> {
    disk.remove(&Mark::path(options))?;
    disk.sync_dir(&options.directory)
}

/// Removes what is left of a log that was never named.
///
/// # Errors
/// Something cannot be removed; it still does not count.
pub fn clear_unnamed(disk: &dyn Disk, options: &WriterOptions) -> io::Result<()> {
    let manifest = stored_manifest(disk, options)?.unwrap_or_default();
    clear(disk, options, &manifest)
}

/// The same, where the manifest is known.
pub(super) fn clear(disk: &dyn Disk, options: &WriterOptions, manifest: &Manifest) -> io::Result<()> {
    let mark = Mark::path(options);
    if !disk.exists(&mark)? {
        return Ok(());
    }
    let left = leftovers(disk, options, Some(manifest))?;
    for name in left.iter().filter(|name| **name != mark_name(options)) {
        disk.remove(&options.directory.join(name))?;
    }
    disk.sync_dir(&options.directory)?;
    remove_mark(disk, options)
}

/// Names of files that do not count, because the log that they are of was never named; the mark among them.
pub(super) fn leftovers(
    disk: &dyn Disk,
    options: &WriterOptions,
    manifest: Option<&Manifest>,
) -> io::Result<Vec<String>> {
    let path = Mark::path(options);
    if !disk.exists(&path)? {
        return Ok(Vec::new());
    }
    let mut left = vec![mark_name(options)];
    let Some(mark) = Mark::decode(&read_file(disk, &path)?) else { return Ok(left) };
    let is_named = |name: &str| manifest.is_some_and(|manifest| manifest.files.iter().any(|file| file.name == name));
    let named = manifest.into_iter().flat_map(Manifest::incremental).any(|file| file.sequence >= mark.segments);
    if named {
        return Ok(left);
    }
    left.extend(disk.list(&options.directory)?.into_iter().filter(|name| {
        let segment = strays::sequence_of(name, options).is_some_and(|sequence| sequence >= mark.segments);
        let base = strays::base_sequence_of(name, options).is_some_and(|sequence| sequence >= mark.bases);
        (segment || base) && !is_named(name)
    }));
    Ok(left)
}

fn stored_manifest(disk: &dyn Disk, options: &WriterOptions) -> io::Result<Option<Manifest>> {
    let path = options.manifest_path();
    if !disk.exists(&path)? {
        return Ok(None);
    }
    let manifest = Manifest::decode(&read_file(disk, &path)?);
    manifest
        .map(Some)
        .map_err(|error| io::Error::other(format!("{} line {} {}", path.display(), error.line, error.reason)))
}

/// Renames the directory of a log that the data does not descend from.
fn set_aside(disk: &dyn Disk, options: &WriterOptions, clock: &dyn Clock) -> io::Result<()> {
    let directory = &options.directory;
    if !disk.exists(directory)? {
        return Ok(());
    }
    let left = leftovers(disk, options, None)?;
    let is_remains = |name: &String| left.contains(name) || name.ends_with(".tmp");
    if disk.list(directory)?.iter().all(is_remains) {
        return Ok(());
    }
    let to = superseded(disk, directory, clock.unix_millis())?;
    disk.rename(directory, &to)?;
    disk.sync_dir(directory.parent().unwrap_or(std::path::Path::new(".")))?;
    tracing::warn!(
        "The log in {} is of another history than the data: it is now {}",
        directory.display(),
        to.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_nothing_else_does() {
        let mark = Mark { segments: 12, bases: 3 };
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        for wrong in ["", "segments from 1", "A log is being begun: segments from 1 and bases from 2"] {
            assert_eq!(Mark::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
