//! Files in the log's directory that the manifest does not name: remains of a crash, or signs of a manifest that is not
//! the right one.
//!
//! Invariants
//! - Nothing that holds writes is overwritten, removed or passed over unless the named segments hold the same writes.
//! - A file under a segment's name is whole: drafts are synced before they get it. So what does not verify here was
//!   not left by a crash.

use super::log::{Item, OpenedSegment, SegmentReader, WriterOptions};
use super::manifest::{BaseIdentity, Manifest};
use super::{Lsn, OpenError, Position, founding};
use crate::env::{Disk, OpenMode};
use std::io;
use std::path::Path;

/// Bytes at each end of a base that its identity covers.
const EDGE_BYTES: u64 = 4096;

/// What tells this base from another one or an older one.
pub fn base_identity(disk: &dyn Disk, path: &Path) -> io::Result<BaseIdentity> {
    let file = disk.open(path, OpenMode::Read)?;
    let size = file.len()?;
    let mut edge = vec![0; size.min(EDGE_BYTES) as usize];
    let mut crc = crc32fast::Hasher::new();
    for offset in [0, size - edge.len() as u64] {
        file.read_exact_at(&mut edge, offset)?;
        crc.update(&edge);
    }
    Ok(BaseIdentity { size, edges: crc.finalize() })
}

/// Removes drafts of segments and manifests that a crash left: they never counted.
pub fn remove_drafts(disk: &dyn Disk, options: &WriterOptions) -> io::Result<()> {
    for name in disk.list(&options.directory)? {
        if name.starts_with(&options.prefix) && name.ends_with(".tmp") {
            disk.remove(&options.directory.join(name))?;
        }
    }
    Ok(())
}

/// Whether a directory without manifest holds anything but the remains of a first start, which may have begun to copy a
/// dump.
pub fn hold_data(disk: &dyn Disk, options: &WriterOptions, dump: &Path) -> Result<bool, OpenError> {
    let is_copy = |path: &Path| -> Result<bool, OpenError> {
        let there = disk.exists(dump).map_err(OpenError::io(dump))?;
        let same = || Ok(base_identity(disk, path)? == base_identity(disk, dump)?);
        Ok(there && same().map_err(OpenError::io(path))?)
    };
    for name in list(disk, options, None)? {
        if !name.starts_with(&options.prefix) || name.ends_with(".tmp") {
            continue;
        }
        let path = options.directory.join(&name);
        let remains = match sequence_of(&name, options) {
            Some(_) => matches!(walk(disk, &path, None)?, Walked::Segment(found) if found.end.is_none()),
            None => name == options.first_base_name() && is_copy(&path)?,
        };
        if !remains {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds to the manifest, as read, the segments that continue the log behind what it names: a crash came between making
/// them durable and naming them.
///
/// # Errors
/// [`OpenError::Stray`] for a file that holds writes and whose place in the log cannot be told.
pub fn take_in(disk: &dyn Disk, options: &WriterOptions, manifest: &mut Manifest) -> Result<(), OpenError> {
    let named = manifest.incremental().map(|file| file.sequence).max().unwrap_or(0);
    let mut found: Vec<(u64, String)> = list(disk, options, Some(manifest))?
        .into_iter()
        .filter_map(|name| Some((sequence_of(&name, options)?, name)))
        .filter(|(sequence, _)| *sequence > named)
        .collect();
    found.sort();
    for (sequence, name) in found {
        let path = options.directory.join(&name);
        let stray = match walk(disk, &path, None)? {
            Walked::Empty => continue,
            Walked::Segment(stray) => stray,
            Walked::Foreign => return Err(OpenError::Stray { path }),
        };
        let Some(end) = stray.end else { continue };
        let place = (stray.previous_end, stray.previous_chain);
        let last = manifest.incremental().last().map(|file| options.directory.join(&file.name));
        let last = match last {
            Some(last) => walk(disk, &last, Some(place))?,
            None => Walked::Empty,
        };
        match last {
            // What the named segment holds behind that place, this one holds too.
            Walked::Segment(last) if last.has_place && end >= last.end.unwrap_or(last.first) => {
                manifest.add_incremental(name, sequence);
            }
            // The named segment holds everything that this one holds.
            Walked::Segment(last) if last.has_place => {}
            _ => return Err(OpenError::Stray { path }),
        }
    }
    Ok(())
}

/// Without what never counted.
fn list(disk: &dyn Disk, options: &WriterOptions, manifest: Option<&Manifest>) -> Result<Vec<String>, OpenError> {
    let listed = disk.list(&options.directory).and_then(|mut names| {
        let left = founding::leftovers(disk, options, manifest)?;
        names.retain(|name| !left.contains(name));
        Ok(names)
    });
    listed.map_err(OpenError::io(&options.directory))
}

/// The sequence in a segment's name.
pub fn sequence_of(name: &str, options: &WriterOptions) -> Option<u64> {
    let digits = name.strip_prefix(&options.prefix)?.strip_prefix('.')?.strip_suffix(".incr.aof")?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Where the whole frames of a segment of ours end; nothing where the file is none.
pub fn segment_end(disk: &dyn Disk, path: &Path) -> io::Result<Option<Position>> {
    let file = disk.open(path, OpenMode::Read)?;
    let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*file)? else { return Ok(None) };
    while let Item::Frame { .. } = reader.next()? {}
    Ok(Some(Position { lineage: reader.header().lineage, lsn: reader.lsn() }))
}

/// The sequence in the name of a base, of either form.
pub fn base_sequence_of(name: &str, options: &WriterOptions) -> Option<u64> {
    let middle = name.strip_prefix(&options.prefix)?.strip_prefix('.')?;
    let digits = middle.strip_suffix(".base.rdb").or_else(|| middle.strip_suffix(".base.aof"))?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether one of a segment's frames ends at this place.
pub fn has_place(disk: &dyn Disk, path: &Path, place: (Lsn, u32)) -> Result<bool, OpenError> {
    Ok(matches!(walk(disk, path, Some(place))?, Walked::Segment(extent) if extent.has_place))
}

enum Walked {
    Empty,
    /// Not a segment of ours that verifies.
    Foreign,
    Segment(Extent),
}

/// What a segment covers.
struct Extent {
    first: Lsn,
    previous_end: Lsn,
    previous_chain: u32,
    /// End of its whole frames; none where it has no payload.
    end: Option<Lsn>,
    /// The place that was asked for is one of its frame boundaries.
    has_place: bool,
}

fn walk(disk: &dyn Disk, path: &Path, place: Option<(Lsn, u32)>) -> Result<Walked, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::MissingFile { path: path.to_owned() },
        _ => OpenError::io(path)(error),
    })?;
    let mut reader = match SegmentReader::open(&*file).map_err(OpenError::io(path))? {
        OpenedSegment::Empty => return Ok(Walked::Empty),
        OpenedSegment::BadHeader | OpenedSegment::Foreign => return Ok(Walked::Foreign),
        OpenedSegment::Segment(reader) => reader,
    };
    let header = *reader.header();
    let mut has_place = place == Some((reader.lsn(), reader.chain()));
    while let Item::Frame { .. } = reader.next().map_err(OpenError::io(path))? {
        has_place |= place == Some((reader.lsn(), reader.chain()));
    }
    Ok(Walked::Segment(Extent {
        first: header.first,
        previous_end: header.previous_end,
        previous_chain: header.previous_chain,
        end: (reader.frames() > 0).then(|| reader.lsn()),
        has_place,
    }))
}
