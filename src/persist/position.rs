//! Where in the history of a log a snapshot stands, as its file says: an RDB file at its end, a file of commands in its
//! first line. Stock servers skip both.
//!
//! Invariant: what is said here is believed only of a file that then loads whole, checksum included.

use super::rdb::{self, Index};
use super::{OpenError, Position};
use crate::env::{Disk, DiskFile, OpenMode};
use std::path::Path;

const LINE: &[u8] = b"#GRAVEN-BASE ";
/// Behind it. A file of the first version has no checksum lines.
const VERSIONS: [&[u8]; 2] = [b"1 ", b"2 "];
/// Where the first line of a file of commands ends at the latest.
const LINE_BYTES_MAX: usize = 256;

/// The first line of a file of commands that holds the state at a position.
pub fn position_line(position: &Position) -> Vec<u8> {
    let mut line = [LINE, VERSIONS[1], position.encode().as_bytes()].concat();
    let crc = crc32fast::hash(&line);
    line.extend_from_slice(format!(" {crc:08x}\r\n").as_bytes());
    line
}

/// Whether a file of commands, by its first line, has checksum lines.
pub fn is_summed(head: &[u8]) -> bool {
    head.strip_prefix(LINE).is_some_and(|line| line.starts_with(VERSIONS[1]))
}

/// Whether a file of commands begins as one that says where it stands.
pub fn is_position_line(head: &[u8]) -> bool {
    head.starts_with(LINE)
}

/// Where a snapshot stands; nothing where it does not say so, because another server wrote it.
///
/// # Errors
/// The file cannot be read, or its first line is damaged.
pub fn position_of(disk: &dyn Disk, path: &Path) -> Result<Option<Position>, OpenError> {
    position_in(&*disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?, path)
}

/// As [`position_of`], of an open file.
pub fn position_in(file: &dyn DiskFile, path: &Path) -> Result<Option<Position>, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let mut head = vec![0; LINE_BYTES_MAX.min(usize::try_from(len).unwrap_or(LINE_BYTES_MAX))];
    file.read_exact_at(&mut head, 0).map_err(OpenError::io(path))?;
    if rdb::is_rdb(&head) {
        let index = Index::read(file).map_err(OpenError::io(path))?;
        return Ok(index.and_then(|index| index.position));
    }
    if !head.starts_with(LINE) {
        return Ok(None);
    }
    let line = memchr::memmem::find(&head, b"\r\n").map(|end| &head[..end]);
    let position = line.and_then(|line| {
        let (said, crc) = line.split_at_checked(line.len().checked_sub(9)?)?;
        let right = crc == format!(" {:08x}", crc32fast::hash(said)).as_bytes();
        let position = VERSIONS.iter().find_map(|version| said[LINE.len()..].strip_prefix(*version))?;
        right.then(|| Position::parse(position))?
    });
    match position {
        Some(position) => Ok(Some(position)),
        None => Err(OpenError::BadBase { path: path.to_owned(), reason: "its first line is damaged".into() }),
    }
}
