//! Reading a segment: frames that verify, and where and how they stop. Finds damage; decides nothing about it.
//!
//! Invariant: a payload is handed out only if its header stands in its place, its CRC is right, and it follows the
//! frame before. Memory is bounded by the largest frame that the file can hold.

use super::fill::{FILLER_BYTES_MAX, filler_line};
use super::format::{EndMark, FRAME_HEADER_BYTES, FrameHeader, SegmentHeader, frame_magic};
use crate::env::DiskFile;
use crate::persist::{DamageKind, Lineage, Lsn, Timeline};
use std::io;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A file read through a window that moves forwards.
struct Window<'f> {
    file: &'f dyn DiskFile,
    len: u64,
    bytes: Vec<u8>,
    start: u64,
}

impl<'f> Window<'f> {
    fn new(file: &'f dyn DiskFile, len: u64) -> Self {
        Self { file, len, bytes: Vec::new(), start: 0 }
    }

    /// Bytes from `offset` on: `want` of them, fewer only at the end of the file.
    fn at(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let want = want.min(usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        let held = self.start..self.start + self.bytes.len() as u64;
        if offset < held.start || offset + want as u64 > held.end {
            let ahead = want.max(WINDOW_BYTES).min((self.len - offset.min(self.len)) as usize);
            self.bytes.resize(ahead, 0);
            self.start = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..from + want])
    }
}

/// What stands at the beginning of a file.
#[expect(clippy::large_enum_variant, reason = "one lives for each file that is being read")]
pub enum OpenedSegment<'f> {
    Segment(SegmentReader<'f>),
    /// Nothing at all.
    Empty,
    /// Begins as a segment of ours, but does not verify.
    BadHeader,
    /// Somebody else's file: stock commands, or an RDB preamble.
    Foreign,
}

/// What stands next in a segment.
#[derive(Debug)]
pub enum Item<'r> {
    Frame {
        header: FrameHeader,
        payload: &'r [u8],
    },
    /// The end annotation.
    Sealed,
    /// The file ends behind a whole frame, or nothing but filler follows it.
    EndOfFile,
    /// No whole frame follows.
    Bad(DamageKind),
}

/// Walks the frames of one segment.
pub struct SegmentReader<'f> {
    window: Window<'f>,
    header: SegmentHeader,
    offset: u64,
    lsn: Lsn,
    chain: u32,
    /// Highest position that a header read so far says is durable.
    mark: Lsn,
    time: i64,
    frames: u64,
    /// So much filler is looked through for what stands next; `None`: all of it.
    look_ahead: Option<u64>,
}

impl<'f> SegmentReader<'f> {
    /// Looks at the beginning of a file.
    pub fn open(file: &'f dyn DiskFile) -> io::Result<OpenedSegment<'f>> {
        let len = file.len()?;
        if len == 0 {
            return Ok(OpenedSegment::Empty);
        }
        let mut window = Window::new(file, len);
        let head = window.at(0, 512)?;
        let Some((header, chain)) = SegmentHeader::decode(head) else {
            return Ok(if SegmentHeader::is_ours(head) { OpenedSegment::BadHeader } else { OpenedSegment::Foreign });
        };
        Ok(OpenedSegment::Segment(Self {
            window,
            header,
            offset: header.bytes(),
            lsn: header.first,
            chain,
            mark: header.first,
            time: 0,
            frames: 0,
            look_ahead: None,
        }))
    }

    /// A segment whose header does not verify, for its frames: they are found by [`SegmentReader::resync`] where the salt, with which
    /// they verify, can still be read. Number, positions and timeline are not known.
    pub fn open_headless(file: &'f dyn DiskFile) -> io::Result<Option<Self>> {
        let len = file.len()?;
        let mut window = Window::new(file, len);
        let Some(salt) = SegmentHeader::salt_of(window.at(0, 512)?) else { return Ok(None) };
        let lineage = Lineage::root(Timeline::NONE);
        let header =
            SegmentHeader { lineage, number: 0, first: Lsn(0), db: 0, salt, previous_end: Lsn(0), previous_chain: 0 };
        let (lsn, mark) = (Lsn(0), Lsn(0));
        Ok(Some(Self { window, header, offset: 0, lsn, chain: 0, mark, time: 0, frames: 0, look_ahead: None }))
    }

    /// Goes to a place where a frame verifies by itself, or to the first behind it; whether there is one.
    pub fn go_to(&mut self, offset: u64) -> io::Result<bool> {
        self.offset = offset.saturating_sub(1);
        self.resync()
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// File offset behind the last frame read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Position behind the last frame read.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Chain value of the last frame read.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    pub fn mark(&self) -> Lsn {
        self.mark
    }

    pub fn time(&self) -> i64 {
        self.time
    }

    /// Frames with payload read so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn file_len(&self) -> u64 {
        self.window.len
    }

    /// Looks at the file anew, which may have grown: what was read ahead of the present place is forgotten.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.window.len = self.window.file.len()?;
        self.window.bytes.clear();
        Ok(())
    }

    /// From now on a frame is expected within so many bytes behind the one before: whoever follows a log that is filled ahead
    /// does not look through all of the fill each time.
    pub fn look_ahead(&mut self, bytes: u64) {
        self.look_ahead = Some(bytes);
    }

    /// What stands next; goes on behind it if it is whole, and up to it if it is damage. Lines that count nothing (filler, times) are
    /// passed over; at the end of the file it stays before them.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the reader, which no Iterator allows")]
    pub fn next(&mut self) -> io::Result<Item<'_>> {
        let (offset, salt) = (self.behind_lines(self.offset)?, self.header.salt);
        if offset >= self.window.len || self.look_ahead.is_some_and(|bytes| offset - self.offset > bytes) {
            return Ok(Item::EndOfFile);
        }
        self.offset = offset;
        let head = self.window.at(offset, FRAME_HEADER_BYTES)?;
        if let Some((header, chain)) = FrameHeader::decode(head, salt, offset) {
            return self.frame(header, chain);
        }
        if let Some((end, _)) = EndMark::decode(head, salt, offset) {
            if end.end != self.lsn || end.previous != self.chain {
                return Ok(Item::Bad(DamageKind::BrokenChain));
            }
            // Fill that was to be cut off may be left behind it.
            if self.behind_lines(offset + super::format::END_BYTES as u64)? < self.window.len {
                // Somebody went on behind the end: what follows is not ours.
                return Ok(Item::Bad(DamageKind::BytesBehindEnd));
            }
            return Ok(Item::Sealed);
        }
        let short = head.len() < FRAME_HEADER_BYTES;
        Ok(Item::Bad(if short { DamageKind::ShortHeader } else { DamageKind::BadHeader }))
    }

    /// The offset behind the lines at `at` that count nothing: filler, and stock's that say the time.
    pub fn behind_lines(&mut self, mut at: u64) -> io::Result<u64> {
        let from = at;
        while at < self.window.len && self.look_ahead.is_none_or(|bytes| at - from <= bytes) {
            let head = self.window.at(at, FILLER_BYTES_MAX)?;
            match filler_line(head).or_else(|| timestamp_line(head)) {
                Some(len) => at += len,
                None => break,
            }
        }
        Ok(at)
    }

    /// Goes on to the next frame, where one follows behind lines that count nothing; the offset there.
    pub fn to_next_frame(&mut self) -> io::Result<u64> {
        let (offset, salt) = (self.behind_lines(self.offset)?, self.header.salt);
        let head = self.window.at(offset, FRAME_HEADER_BYTES)?;
        if FrameHeader::decode(head, salt, offset).is_some() {
            self.offset = offset;
        }
        Ok(self.offset)
    }

    fn frame(&mut self, header: FrameHeader, chain: u32) -> io::Result<Item<'_>> {
        if header.previous != self.chain {
            return Ok(Item::Bad(DamageKind::BrokenChain));
        }
        if header.lsn != self.lsn {
            return Ok(Item::Bad(DamageKind::BrokenChain));
        }
        let start = self.offset + FRAME_HEADER_BYTES as u64;
        if header.len > self.window.len - start.min(self.window.len) {
            return Ok(Item::Bad(DamageKind::ShortPayload));
        }
        let payload = self.window.at(start, header.len as usize)?;
        if crc32fast::hash(payload) != header.payload_crc {
            return Ok(Item::Bad(DamageKind::BadPayload));
        }
        self.offset = start + header.len;
        self.lsn = header.end();
        self.chain = if header.len > 0 { chain } else { self.chain };
        self.mark = self.mark.max(header.durable);
        self.time = self.time.max(header.time);
        self.frames += u64::from(header.len > 0);
        Ok(Item::Frame { header, payload })
    }

    /// Goes on behind the marks that stand next.
    pub fn skip_marks(&mut self) -> io::Result<()> {
        loop {
            let (offset, salt) = (self.behind_lines(self.offset)?, self.header.salt);
            let head = self.window.at(offset, FRAME_HEADER_BYTES)?;
            match FrameHeader::decode(head, salt, offset) {
                Some((header, _)) if header.len == 0 && header.lsn == self.lsn && header.previous == self.chain => {
                    self.offset = offset + FRAME_HEADER_BYTES as u64;
                    self.mark = self.mark.max(header.durable);
                }
                _ => return Ok(()),
            }
        }
    }

    /// The highest position that any header behind the present offset says was durable: found by looking for lines that
    /// verify in their place, whatever lies between.
    pub fn later_mark(&mut self) -> io::Result<Lsn> {
        let (salt, magic) = (self.header.salt, frame_magic());
        let mut highest = self.mark;
        let mut offset = self.offset;
        while offset < self.window.len {
            let chunk = self.window.at(offset, WINDOW_BYTES)?;
            let candidates: Vec<usize> = memchr::memmem::find_iter(chunk, magic).collect();
            let read = chunk.len();
            for candidate in candidates {
                let at = offset + candidate as u64;
                let line = self.window.at(at, FRAME_HEADER_BYTES)?;
                if let Some((header, _)) = FrameHeader::decode(line, salt, at) {
                    highest = highest.max(header.durable);
                }
            }
            // A line may lie across the border of two windows.
            let step = if offset + read as u64 >= self.window.len { read } else { read - FRAME_HEADER_BYTES };
            offset += step as u64;
        }
        Ok(highest)
    }

    /// Goes on at the next frame behind the present place that verifies by itself (header in its place, payload), whatever
    /// lies between; whether there is one. The mark keeps the highest that any header told.
    pub fn resync(&mut self) -> io::Result<bool> {
        let (salt, magic) = (self.header.salt, frame_magic());
        let mut at = self.offset + 1;
        while at < self.window.len {
            let chunk = self.window.at(at, WINDOW_BYTES)?;
            let read = chunk.len();
            let Some(found) = memchr::memmem::find(chunk, magic) else {
                // The magic may lie across the border of two windows.
                at += (read + 1).saturating_sub(magic.len()).max(1) as u64;
                continue;
            };
            at += found as u64;
            let line = self.window.at(at, FRAME_HEADER_BYTES)?;
            if let Some((header, _)) = FrameHeader::decode(line, salt, at) {
                self.mark = self.mark.max(header.durable);
                let start = at + FRAME_HEADER_BYTES as u64;
                if header.len <= self.window.len - start {
                    let payload = self.window.at(start, header.len as usize)?;
                    if crc32fast::hash(payload) == header.payload_crc {
                        (self.offset, self.lsn, self.chain) = (at, header.lsn, header.previous);
                        return Ok(true);
                    }
                }
            }
            at += 1;
        }
        Ok(false)
    }

    /// Bytes of the file from an offset on, `want` at most.
    pub fn raw(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        self.window.at(offset, want)
    }

    /// Bytes from the present offset to behind the end annotation, lines before it included that count nothing; 0 when there is
    /// none.
    pub fn end_mark_bytes(&mut self) -> io::Result<u64> {
        let (offset, salt) = (self.behind_lines(self.offset)?, self.header.salt);
        let head = self.window.at(offset, super::format::END_BYTES)?;
        let behind = offset + super::format::END_BYTES as u64 - self.offset;
        Ok(if EndMark::decode(head, salt, offset).is_some() { behind } else { 0 })
    }

    /// The header that verifies at the present offset although its payload does not.
    pub fn bad_frame_payload(&mut self) -> io::Result<Option<u64>> {
        let (offset, salt) = (self.offset, self.header.salt);
        let head = self.window.at(offset, FRAME_HEADER_BYTES)?;
        Ok(FrameHeader::decode(head, salt, offset).map(|_| offset + FRAME_HEADER_BYTES as u64))
    }
}

/// Length of a `#TS:` line at the front, CRLF included.
fn timestamp_line(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"#TS:") {
        return None;
    }
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    head[4..end].iter().all(u8::is_ascii_digit).then_some(end as u64 + 2)
}
