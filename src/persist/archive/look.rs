//! What a file of the archive holds, read out of it; and files that the archive's manifest does not name.

use super::contents::{Archived, ArchivedKind, Contents, Span};
use super::packed::{PackedError, Unpacked};
use super::{DIRECTORY, ENDING};
use crate::env::{Disk, OpenMode};
use crate::persist::log::{Item, OpenedSegment, SegmentReader};
use crate::persist::position::position_in;
use crate::persist::{Lsn, OpenError};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file of the archive cannot be described.
#[derive(Debug, Error)]
pub enum LookError {
    #[error("{0}")]
    Packed(#[from] PackedError),
    #[error("{0}")]
    Inside(#[from] OpenError),
}

/// Reads a file of the archive, all of it.
///
/// # Errors
/// It cannot be read, or not every block of it verifies. Damage in what was archived is none of the archive's.
pub fn look(disk: &dyn Disk, path: &Path) -> Result<Archived, LookError> {
    let unpacked = Unpacked::open(disk.open(path, OpenMode::Read).map_err(PackedError::Io)?)?;
    unpacked.verify()?;
    let (mut span, mut times) = (None, None);
    match unpacked.label.kind {
        ArchivedKind::Base => {
            let position = position_in(&unpacked, path)?;
            span = position.map(|at| Span { timeline: at.lineage.timeline, first: at.lsn, end: at.lsn });
        }
        ArchivedKind::Incremental => {
            if let OpenedSegment::Segment(reader) = SegmentReader::open(&unpacked).map_err(PackedError::Io)? {
                let (timeline, first) = (reader.header().lineage.timeline, reader.header().first);
                let (end, found) = look_inside(reader).map_err(PackedError::Io)?;
                (span, times) = (Some(Span { timeline, first, end }), found);
            }
        }
    }
    let Unpacked { label, packed, .. } = unpacked;
    Ok(Archived { label, raw: packed.raw, crc: packed.crc, packed: packed.bytes, span, times })
}

/// Where the whole frames of a segment end, and when the first and the last one that holds anything were logged.
pub fn look_inside(mut reader: SegmentReader<'_>) -> io::Result<(Lsn, Option<(i64, i64)>)> {
    let mut times = None;
    while let Item::Frame { header, .. } = reader.next()? {
        if header.len > 0 {
            times = Some((times.map_or(header.time, |(first, _)| first), header.time));
        }
    }
    Ok((reader.lsn(), times))
}

/// A file in the archive's directory that its manifest does not name.
pub struct Unlisted {
    pub path: PathBuf,
    pub number: u64,
    /// What it holds, or why it is not believed.
    pub found: Result<Archived, LookError>,
}

/// The number in the name of a file of the archive.
pub fn number_of(name: &str) -> Option<u64> {
    let (number, _) = name.strip_suffix(ENDING)?.split_once('.')?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse().ok())?
}

/// The files of an archive that are not named by its manifest, by their numbers.
///
/// # Errors
/// The directory cannot be listed.
pub fn unlisted(disk: &dyn Disk, directory: &Path, contents: &Contents) -> io::Result<Vec<Unlisted>> {
    debug_assert!(directory.ends_with(DIRECTORY));
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut found = Vec::new();
    for name in names {
        let Some(number) = number_of(&name) else { continue };
        if contents.files.iter().any(|file| file.file_name() == name) {
            continue;
        }
        let path = directory.join(&name);
        let looked = look(disk, &path).and_then(|file| match file.file_name() == name {
            true => Ok(file),
            false => Err(PackedError::Damaged { offset: 0, reason: "its label names another file" }.into()),
        });
        found.push(Unlisted { path, number, found: looked });
    }
    found.sort_by_key(|file| file.number);
    Ok(found)
}
