//! Space that is written ahead (`aof-preallocate`), and lines that end a write at a sector's border (`aof-align`).
//!
//! Overwriting what is already written spares a sync the file system's own commit, and needs no room on the disk. What stands
//! there is valid for stock after every frame: lines of `#`, each of which ends where a sector ends.
//!
//! Invariants
//! - A file is filled and durable before it becomes a segment: a disk that is full is met here, not inside of a frame.
//! - Where what stands behind the last frame would begin inside of a line's end, another short line has been put there first.

use super::progress::Progress;
use crate::env::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a line of the fill: the smallest sector.
pub const FILL_LINE_BYTES: u64 = 512;
/// The shortest filler line.
const SHORTEST: &[u8] = b"#\r\n";
/// Filler lines are not longer than this, CRLF included; stock takes a byte less than 1 KiB.
const LINE_BYTES_MAX: usize = 1023;
/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;
/// A batch that begins in a segment which is not full may be larger than what is left: so much more is filled,
const OVERHANG_MAX: u64 = 1 << 20;

/// Bytes of a segment that is filled ahead: some more than those with which it is full.
pub fn filled_bytes(segment_bytes_max: u64) -> u64 {
    (segment_bytes_max + (segment_bytes_max / 4).min(OVERHANG_MAX)).next_multiple_of(FILL_LINE_BYTES)
}

/// Bytes of the line of filler that stands at the front, CRLF included, if one does.
pub fn filler_line(head: &[u8]) -> Option<u64> {
    let shown = &head[..head.len().min(LINE_BYTES_MAX)];
    let end = memchr::memchr(b'\n', shown)?;
    let line = shown[..end].strip_suffix(b"\r")?;
    (!line.is_empty() && line.iter().all(|byte| *byte == b'#')).then_some(end as u64 + 1)
}

/// How much of a file has to be seen to tell a filler line.
pub const FILLER_BYTES_MAX: usize = LINE_BYTES_MAX;

/// What has to stand behind a frame that ends at `end` inside of the fill, where the fill's own bytes would be no line.
pub fn short_line_at(end: u64) -> Option<&'static [u8]> {
    (end % FILL_LINE_BYTES >= FILL_LINE_BYTES - 2).then_some(SHORTEST)
}

/// Bytes from an offset to the next border at which a line of filler can end.
pub fn bytes_to_border(offset: u64, align: u64) -> u64 {
    match offset.next_multiple_of(align) - offset {
        0 => 0,
        short if short < SHORTEST.len() as u64 => short + align,
        bytes => bytes,
    }
}

/// Lines of filler, so many bytes of them: three at least.
pub fn filler(mut bytes: usize) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes);
    while bytes > 0 {
        // What is left is a line, too.
        let line = if bytes > LINE_BYTES_MAX { bytes.min(LINE_BYTES_MAX - SHORTEST.len()) } else { bytes };
        lines.resize(lines.len() + line - 2, b'#');
        lines.extend_from_slice(b"\r\n");
        bytes -= line;
    }
    lines
}

/// A file of nothing but fill, durable but for its name.
pub struct Spare {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The making of a [`Spare`]: to be run away from the writer.
pub struct FillJob {
    disk: Arc<dyn Disk>,
    progress: Arc<Progress>,
    path: PathBuf,
    bytes: u64,
    file: Option<Arc<dyn DiskFile>>,
    at: u64,
}

/// What became of a [`FillJob`].
pub struct FillDone {
    pub path: PathBuf,
    pub result: io::Result<Spare>,
}

impl FillJob {
    pub(super) fn new(disk: Arc<dyn Disk>, progress: Arc<Progress>, path: PathBuf, bytes: u64) -> Self {
        Self { disk, progress, path, bytes, file: None, at: 0 }
    }

    /// Writes a piece of it, and makes that durable; the outcome when there is one.
    pub fn step(&mut self) -> Option<FillDone> {
        let made = self.piece();
        let whole = made.is_ok() && self.at == self.bytes;
        if made.is_ok() && !whole && !self.progress.is_closed() {
            return None;
        }
        let result = match (made, self.file.take()) {
            (Ok(()), Some(file)) if whole => Ok(Spare { file, path: self.path.clone(), bytes: self.bytes }),
            (Err(error), _) => Err(error),
            _ => Err(io::ErrorKind::Interrupted.into()),
        };
        if result.is_err() {
            // What it took is needed by others.
            let _ = self.disk.remove(&self.path);
        }
        Some(FillDone { path: self.path.clone(), result })
    }

    /// All of it.
    pub fn run(mut self) -> FillDone {
        loop {
            if let Some(done) = self.step() {
                return done;
            }
        }
    }

    fn piece(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(Arc::from(self.disk.open(&self.path, OpenMode::Truncate)?)),
        };
        let len = (self.bytes - self.at).min(PIECE_BYTES as u64);
        let line = filler(FILL_LINE_BYTES as usize);
        file.write_all_at(&line.repeat((len / FILL_LINE_BYTES) as usize), self.at)?;
        self.at += len;
        if self.at == self.bytes { file.sync_all() } else { file.sync_data() }
    }
}

/// Removes a spare that nobody needs.
pub fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("{} is not needed and cannot be removed: {error}; the next start does", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::resp_scan::{Scanned, scan};

    fn is_comments(bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match scan(bytes, at) {
                Scanned::Comment { end } => at = end,
                _ => return false,
            }
        }
        true
    }

    /// What stock sees: comments alone, wherever a frame ends in the fill, and whatever padding is put behind one.
    #[test]
    fn the_fill_is_lines_behind_every_frame() {
        let fill = filler(512).repeat(4);
        assert!(is_comments(&fill) && fill.len() == 2048);
        for end in 0..1536_usize {
            let mut file = fill.clone();
            if let Some(line) = short_line_at(end as u64) {
                file[end..end + line.len()].copy_from_slice(line);
                // Before the frame is there, too.
                assert!(is_comments(&file), "{end}");
            }
            assert!(is_comments(&file[end..]), "{end}");
            for align in [512, 4096] {
                let bytes = bytes_to_border(end as u64, align);
                let padding = filler(bytes as usize);
                assert_eq!(((end as u64 + bytes) % align, padding.len() as u64), (0, bytes));
                assert!(is_comments(&padding), "{end} {align}");
            }
        }
    }

    #[test]
    fn filler_is_nothing_but_number_signs() {
        assert_eq!((filler_line(b"#\r\n#"), filler_line(&filler(512))), (Some(3), Some(512)));
        assert_eq!(filler_line(&filler(1023)), Some(1023));
        for other in [&b"\r\n"[..], b"#", b"##\n", b"#TS:1\r\n", b"#F1 ", b"# \r\n", b"*1\r\n"] {
            assert_eq!(filler_line(other), None, "{other:?}");
        }
    }
}
