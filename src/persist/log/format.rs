//! The bytes of a segment: see format-spec/log.md.
//!
//! Invariants
//! - Every line of ours begins with `#`, ends with CRLF, is shorter than stock's limit of 1,024 bytes and stands between
//!   commands only, so stock servers skip it.
//! - A line verifies in one place only: its CRC is seeded with the segment's salt and the line's file offset.

use crate::persist::hex::hex;
use crate::persist::{Lineage, Lsn, Timeline};

/// Bytes of a frame header or mark, CRLF included.
pub const FRAME_HEADER_BYTES: usize = 99;
/// Bytes of a segment header, CRLF included.
pub const SEGMENT_HEADER_BYTES: usize = 213;
/// Bytes of an end annotation, CRLF included.
pub const END_BYTES: usize = 50;

/// A frame is closed when it has this many bytes of payload, unless one unit alone is larger.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

const FRAME_MAGIC: &[u8] = b"#F1 ";
const SEGMENT_MAGIC: &[u8] = b"#GRAVEN-SEGMENT 1 ";
const END_MAGIC: &[u8] = b"#GRAVEN-END 1 ";

/// Head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub lineage: Lineage,
    pub number: u64,
    pub first: Lsn,
    /// Database selected by the preamble.
    pub db: u32,
    pub salt: u64,
    /// End of what counts of the previous segment, and its chain value there.
    pub previous_end: Lsn,
    pub previous_chain: u32,
}

/// Head of a frame; a frame without payload is a mark, and no link of the chain: nothing refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub lsn: Lsn,
    /// Bytes of payload.
    pub len: u64,
    /// Database selected before the payload.
    pub db: u32,
    /// Milliseconds since the epoch, never less than in the frame before.
    pub time: i64,
    /// Chain value of the last frame with payload before, or of the segment header.
    pub previous: u32,
    pub payload_crc: u32,
    /// End of what was durable when this was written.
    pub durable: Lsn,
}

impl FrameHeader {
    pub fn end(&self) -> Lsn {
        self.lsn.plus(self.len)
    }
}

/// Last line of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMark {
    pub end: Lsn,
    pub previous: u32,
}

/// A value and its chain value: the CRC at the end of its line.
pub type Chained<T> = (T, u32);

fn seeded(salt: u64, offset: u64) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc
}

fn finish(line: &mut Vec<u8>, start: usize, salt: u64, offset: u64) -> u32 {
    let mut crc = seeded(salt, offset);
    crc.update(&line[start..]);
    let crc = crc.finalize();
    line.extend_from_slice(format!("{crc:08x}\r\n").as_bytes());
    crc
}

/// The CRC at the end of a line of known width, if it is right for this place.
fn verified(line: &[u8], salt: u64, offset: u64) -> Option<u32> {
    let (body, tail) = line.split_at(line.len().checked_sub(10)?);
    if &tail[8..] != b"\r\n" {
        return None;
    }
    let mut crc = seeded(salt, offset);
    crc.update(body);
    let crc = crc.finalize();
    (hex(&tail[..8])? == u64::from(crc)).then_some(crc)
}

/// Reads fields of fixed width, one separator behind each.
struct Fields<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Fields<'l> {
    fn raw(&mut self, width: usize) -> Option<&'l [u8]> {
        let field = self.line.get(self.at..self.at + width)?;
        self.at += width + 1;
        Some(field)
    }

    fn hex(&mut self, width: usize) -> Option<u64> {
        hex(self.raw(width)?)
    }
}

impl FrameHeader {
    /// Writes the header into `line`, which must have [`FRAME_HEADER_BYTES`]; returns the chain value.
    pub fn encode(&self, salt: u64, offset: u64, line: &mut [u8]) -> u32 {
        let mut text = Vec::with_capacity(FRAME_HEADER_BYTES);
        text.extend_from_slice(FRAME_MAGIC);
        let Self { lsn, len, db, time, previous, payload_crc, durable } = self;
        let body = format!(
            "{:016x} {len:010x} {db:08x} {time:012x} {previous:08x} {payload_crc:08x} {:016x} ",
            lsn.0, durable.0
        );
        text.extend_from_slice(body.as_bytes());
        let crc = finish(&mut text, 0, salt, offset);
        line.copy_from_slice(&text);
        crc
    }

    /// Reads a header that stands at `offset`; `None` unless it verifies there.
    pub fn decode(line: &[u8], salt: u64, offset: u64) -> Option<Chained<Self>> {
        let line = line.get(..FRAME_HEADER_BYTES)?;
        if !line.starts_with(FRAME_MAGIC) {
            return None;
        }
        let crc = verified(line, salt, offset)?;
        let mut fields = Fields { line, at: FRAME_MAGIC.len() };
        let header = Self {
            lsn: Lsn(fields.hex(16)?),
            len: fields.hex(10)?,
            db: u32::try_from(fields.hex(8)?).ok()?,
            time: fields.hex(12)? as i64,
            previous: fields.hex(8)? as u32,
            payload_crc: fields.hex(8)? as u32,
            durable: Lsn(fields.hex(16)?),
        };
        header.lsn.0.checked_add(header.len)?;
        Some((header, crc))
    }
}

impl SegmentHeader {
    /// The header line and the uncounted preamble; and the chain value that the first frame refers to.
    pub fn encode(&self) -> Chained<Vec<u8>> {
        let mut line = SEGMENT_MAGIC.to_vec();
        let body = format!(
            "{} {} {:016x} {:016x} {:016x} {:08x} {:016x} {:016x} {:08x} ",
            self.lineage.timeline,
            self.lineage.parent,
            self.lineage.fork.0,
            self.number,
            self.first.0,
            self.db,
            self.salt,
            self.previous_end.0,
            self.previous_chain
        );
        line.extend_from_slice(body.as_bytes());
        let crc = finish(&mut line, 0, 0, 0);
        line.extend_from_slice(&select(self.db));
        (line, crc)
    }

    /// Reads the header at the beginning of a file; the preamble behind it must be whole.
    pub fn decode(file: &[u8]) -> Option<Chained<Self>> {
        let line = file.get(..SEGMENT_HEADER_BYTES)?;
        if !line.starts_with(SEGMENT_MAGIC) {
            return None;
        }
        let crc = verified(line, 0, 0)?;
        let mut fields = Fields { line, at: SEGMENT_MAGIC.len() };
        let header = Self {
            lineage: Lineage {
                timeline: Timeline::parse(fields.raw(40)?)?,
                parent: Timeline::parse(fields.raw(40)?)?,
                fork: Lsn(fields.hex(16)?),
            },
            number: fields.hex(16)?,
            first: Lsn(fields.hex(16)?),
            db: u32::try_from(fields.hex(8)?).ok()?,
            salt: fields.hex(16)?,
            previous_end: Lsn(fields.hex(16)?),
            previous_chain: fields.hex(8)? as u32,
        };
        file[SEGMENT_HEADER_BYTES..].starts_with(&select(header.db)).then_some((header, crc))
    }

    /// The salt in a header that may not verify.
    pub fn salt_of(file: &[u8]) -> Option<u64> {
        const SALT: std::ops::Range<usize> = 160..176;
        hex(file.get(SALT)?)
    }

    /// Whether a file begins as only a segment of ours does, whole or not.
    pub fn is_ours(file: &[u8]) -> bool {
        let shown = file.len().min(SEGMENT_MAGIC.len());
        shown > 0 && file[..shown] == SEGMENT_MAGIC[..shown]
    }

    /// File offset of the first frame.
    pub fn bytes(&self) -> u64 {
        (SEGMENT_HEADER_BYTES + select(self.db).len()) as u64
    }
}

impl EndMark {
    pub fn encode(&self, salt: u64, offset: u64) -> Chained<Vec<u8>> {
        let mut line = END_MAGIC.to_vec();
        line.extend_from_slice(format!("{:016x} {:08x} ", self.end.0, self.previous).as_bytes());
        let crc = finish(&mut line, 0, salt, offset);
        (line, crc)
    }

    pub fn decode(line: &[u8], salt: u64, offset: u64) -> Option<Chained<Self>> {
        let line = line.get(..END_BYTES)?;
        if !line.starts_with(END_MAGIC) {
            return None;
        }
        let crc = verified(line, salt, offset)?;
        let mut fields = Fields { line, at: END_MAGIC.len() };
        Some((Self { end: Lsn(fields.hex(16)?), previous: fields.hex(8)? as u32 }, crc))
    }
}

/// The line of stock's that says in which second what follows was written. `time`: milliseconds since the epoch.
pub fn timestamp(time: i64) -> Vec<u8> {
    format!("#TS:{}\r\n", time.div_euclid(1000)).into_bytes()
}

/// `select n` in lower case: stock servers write it in upper case, which tells their visit from our own bytes.
pub fn select(db: u32) -> Vec<u8> {
    let number = db.to_string();
    format!("*2\r\n$6\r\nselect\r\n${}\r\n{number}\r\n", number.len()).into_bytes()
}

/// How a frame header begins; where one may stand is found by this.
pub fn frame_magic() -> &'static [u8] {
    FRAME_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        let timeline = Timeline::parse(&[b'a'; 40]).expect("40 digits");
        SegmentHeader {
            lineage: Lineage { timeline, parent: Timeline::NONE, fork: Lsn(1) },
            number: 7,
            first: Lsn(42),
            db: 3,
            salt: 0x0123_4567_89ab_cdef,
            previous_end: Lsn(42),
            previous_chain: 9,
        }
    }

    #[test]
    fn lines_have_their_width_and_read_back() {
        let (bytes, crc) = header().encode();
        assert_eq!(bytes.len() as u64, header().bytes());
        assert_eq!(&bytes[SEGMENT_HEADER_BYTES - 2..SEGMENT_HEADER_BYTES], b"\r\n");
        assert_eq!(SegmentHeader::decode(&bytes), Some((header(), crc)));
        let frame = FrameHeader {
            lsn: Lsn(42),
            len: 31,
            db: 3,
            time: 1_700_000_000_000,
            previous: crc,
            payload_crc: 5,
            durable: Lsn(42),
        };
        let mut line = [0; FRAME_HEADER_BYTES];
        let chain = frame.encode(header().salt, 1000, &mut line);
        assert_eq!(&line[FRAME_HEADER_BYTES - 2..], b"\r\n");
        assert_eq!(FrameHeader::decode(&line, header().salt, 1000), Some((frame, chain)));
        let end = EndMark { end: Lsn(73), previous: chain };
        let (line, crc) = end.encode(header().salt, 2000);
        assert_eq!(line.len(), END_BYTES);
        assert_eq!(EndMark::decode(&line, header().salt, 2000), Some((end, crc)));
    }

    #[test]
    fn a_line_verifies_in_its_own_place_only() {
        let frame = FrameHeader { lsn: Lsn(1), len: 0, db: 0, time: 0, previous: 0, payload_crc: 0, durable: Lsn(1) };
        let mut line = [0; FRAME_HEADER_BYTES];
        frame.encode(7, 100, &mut line);
        assert!(FrameHeader::decode(&line, 7, 101).is_none(), "moved");
        assert!(FrameHeader::decode(&line, 8, 100).is_none(), "in another segment");
        for at in 0..line.len() {
            for bit in 0..8 {
                line[at] ^= 1 << bit;
                assert!(FrameHeader::decode(&line, 7, 100).is_none(), "byte {at} bit {bit}");
                line[at] ^= 1 << bit;
            }
        }
    }
}
