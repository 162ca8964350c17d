//! Where a stock server wrote on behind our bytes, told from damage.
//!
//! Invariant: nothing is taken for a visit that has no upper-case SELECT at a command's place, which we never write.

use crate::persist::OpenError;
use crate::persist::loader::stock_seam;
use crate::persist::log::SegmentReader;
use crate::persist::log::format::{FRAME_HEADER_BYTES, SegmentHeader};
use std::path::Path;

/// How stock begins what it appends.
const STOCK_SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n";
/// Stock's first command stands at most this far behind our last whole line: a line of ours without its end lies between.
const GLUED_WITHIN: usize = FRAME_HEADER_BYTES + STOCK_SELECT.len();

/// Where stock went on behind our bytes.
pub struct Visit {
    /// Where the beginning of a line of ours begins that stock's first command is glued to; else as `start`.
    pub whole: u64,
    pub start: u64,
}

/// Where stock went on behind what we wrote, if it did.
pub fn visit(
    reader: &mut SegmentReader<'_>,
    next: Option<&SegmentHeader>,
    path: &Path,
) -> Result<Option<Visit>, OpenError> {
    if next.is_some_and(|next| next.first == next.previous_end) {
        return Ok(None);
    }
    let io_error = |error| OpenError::Io { path: path.to_owned(), source: error };
    let (offset, len) = (reader.offset(), reader.file_len());
    if offset >= len {
        return Ok(None);
    }
    let inside = reader.bad_frame_payload().map_err(io_error)?;
    let behind_end = reader.end_mark_bytes().map_err(io_error)?;
    let visit = match inside {
        Some(payload) => Visit { whole: payload, start: payload },
        None => {
            let start = reader.behind_lines(offset + behind_end).map_err(io_error)?;
            let at_once = Visit { whole: start, start };
            let head = reader.raw(start, GLUED_WITHIN).map_err(io_error)?;
            match head.first() {
                Some(b'*') => at_once,
                // Stock keeps a comment line that a crash left without its end, and writes on behind it.
                Some(b'#') => match memchr::memmem::find(head, STOCK_SELECT) {
                    Some(at) if !head[..at].contains(&b'\n') => Visit { start: start + at as u64, ..at_once },
                    _ if head.starts_with(b"#TS:") || head.starts_with(b"#HDR:") => at_once,
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
    };
    let rest = usize::try_from(len - visit.start).unwrap_or(usize::MAX);
    let rest = reader.raw(visit.start, rest).map_err(io_error)?;
    Ok(stock_seam(rest).then_some(visit))
}
