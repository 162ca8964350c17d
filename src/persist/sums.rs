//! The checksum lines of a base of commands: who reads it front to end knows of every byte, before its commands count, that it is
//! the one that was written.
//!
//! A line ends a *block*: whole keys, and what selects their database. It tells the checksum of all bytes before it, other such
//! lines included. Seeded with what the line before tells, a block verifies by itself, so damage is told by its block, and the
//! others can be saved. The last line says that it is the last one: a base whose end is gone is no whole base.
//!
//! Layout: format-spec/log.md. Stock servers skip the lines.

use super::position::is_summed;
use super::tape::{Next, Tape};
use super::{Damage, DamageKind, Lsn};
use crate::env::{Disk, DiskFile, OpenMode};
use std::io;
use std::ops::Range;
use std::path::Path;

const LINE: &[u8] = b"#GRAVEN-SUM 1 ";
/// Bytes of a line, CRLF included.
pub const SUM_LINE_BYTES: usize = LINE.len() + 41;
/// Bytes that are summed at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A line that ends a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumLine {
    /// Where it begins in the file.
    pub offset: u64,
    /// CRC-32 of all bytes before it.
    pub sum: u32,
    /// Nothing follows.
    pub last: bool,
}

impl SumLine {
    pub fn encode(&self) -> Vec<u8> {
        let mut line = LINE.to_vec();
        let kind = if self.last { "last" } else { "more" };
        line.extend_from_slice(format!("{:016x} {:08x} {kind} ", self.offset, self.sum).as_bytes());
        let crc = crc32fast::hash(&line);
        line.extend_from_slice(format!("{crc:08x}\r\n").as_bytes());
        line
    }

    /// Reads a line that stands at `offset`; `None` where it is none, or does not verify there.
    pub fn decode(line: &[u8], offset: u64) -> Option<Self> {
        Self::decode_anywhere(line).filter(|read| read.offset == offset)
    }

    /// The same, of a line that may have been moved by damage before it.
    fn decode_anywhere(line: &[u8]) -> Option<Self> {
        let line = line.get(..SUM_LINE_BYTES)?;
        let fields = std::str::from_utf8(line.strip_prefix(LINE)?).ok()?;
        let number = |range: Range<usize>| u64::from_str_radix(fields.get(range)?, 16).ok();
        let last = match fields.get(26..30)? {
            "last" => true,
            "more" => false,
            _ => return None,
        };
        let read = Self { offset: number(0..16)?, sum: u32::try_from(number(17..25)?).ok()?, last };
        (read.encode() == line).then_some(read)
    }
}

/// What a comment line of a file of commands means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Comment,
    /// Everything before it is what was written.
    Verified,
    /// What lies between the line before and this one is not.
    Wrong,
}

/// Verifies a file of commands while it is read from its beginning.
pub struct Sums {
    crc: crc32fast::Hasher,
    /// Bytes that are summed.
    upto: u64,
    /// Behind the last line that was right.
    verified: u64,
    /// It has, or says that it has, such lines.
    expected: bool,
    closed: bool,
}

impl Sums {
    pub fn begin() -> Self {
        Self { crc: crc32fast::Hasher::new(), upto: 0, verified: 0, expected: false, closed: false }
    }

    /// What was read since the last line is not to be believed yet.
    pub fn holds(&self) -> bool {
        self.expected && !self.closed
    }

    /// Offset behind the last line that was right.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// The last line was there, and right.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes in the bytes of the file up to an offset; `held` are those from `base` on.
    pub fn take(&mut self, held: &[u8], base: u64, to: u64) {
        if to > self.upto && !self.closed {
            self.crc.update(&held[(self.upto - base) as usize..(to - base) as usize]);
            self.upto = to;
        }
    }

    /// A comment line at `at` of what is held, up to `end`.
    pub fn comment(&mut self, held: &[u8], base: u64, at: usize, end: usize) -> Meaning {
        let (offset, line) = (base + at as u64, &held[at..end]);
        if self.closed {
            return Meaning::Comment;
        }
        if offset == 0 && is_summed(line) {
            self.expected = true;
        }
        let Some(read) = SumLine::decode(line, offset) else { return Meaning::Comment };
        self.expected = true;
        self.take(held, base, offset);
        if self.crc.clone().finalize() != read.sum {
            return Meaning::Wrong;
        }
        self.take(held, base, base + end as u64);
        (self.verified, self.closed) = (self.upto, read.last);
        Meaning::Verified
    }
}

/// A block of a base, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its bytes, without the line that ends it.
    pub range: Range<u64>,
    /// Why they are not what was written.
    pub damage: Option<DamageKind>,
}

/// The blocks of a base of commands, each judged by itself wherever damage before it has moved it, and where its last line ends; `None` of a file that has no checksum lines.
///
/// # Errors
/// It cannot be read.
pub fn blocks(file: &dyn DiskFile) -> io::Result<Option<(Vec<Block>, u64)>> {
    let len = file.len()?;
    let mut head = vec![0; len.min(CHUNK_BYTES as u64) as usize];
    file.read_exact_at(&mut head, 0)?;
    let expected = is_summed(&head);
    drop(head);
    let (mut blocks, mut begin, mut seed) = (Vec::new(), 0, 0);
    // The line before, which the checksum of the next one covers.
    let mut covered = 0;
    while let Some((at, line)) = next_line(file, begin)? {
        let holds = sum(file, covered..at, seed)? == line.sum;
        blocks.push(Block { range: begin..at, damage: (!holds).then_some(DamageKind::BadSum) });
        (begin, covered, seed) = (at + SUM_LINE_BYTES as u64, at, line.sum);
        if line.last {
            return Ok(Some((blocks, begin)));
        }
    }
    if blocks.is_empty() && !expected {
        return Ok(None);
    }
    blocks.push(Block { range: begin..len, damage: Some(DamageKind::NoLastSum) });
    Ok(Some((blocks, len)))
}

/// The first damage that the checksum lines of a base of commands tell of, if it has any.
///
/// # Errors
/// It cannot be read.
pub fn damage(disk: &dyn Disk, path: &Path) -> io::Result<Option<Damage>> {
    let found = blocks(&*disk.open(path, OpenMode::Read)?)?;
    let first = found.and_then(|(blocks, _)| blocks.into_iter().find(|block| block.damage.is_some()));
    Ok(first.and_then(|block| {
        Some(Damage { file: path.to_owned(), offset: block.range.start, lsn: Lsn(0), kind: block.damage? })
    }))
}

/// The next checksum line behind an offset: in a comment's place, or anywhere behind bytes that are no commands.
fn next_line(file: &dyn DiskFile, from: u64) -> io::Result<Option<(u64, SumLine)>> {
    let mut tape = Tape::new(file, from)?;
    loop {
        let offset = tape.offset();
        match tape.next()? {
            Next::Comment => {
                if let Some(line) = SumLine::decode_anywhere(tape.bytes_since(offset)) {
                    return Ok(Some((offset, line)));
                }
            }
            Next::Command | Next::Timestamp(_) => {}
            Next::End => return Ok(None),
            Next::Short | Next::Garbage(_) => return find_line(file, offset),
        }
    }
}

fn find_line(file: &dyn DiskFile, mut from: u64) -> io::Result<Option<(u64, SumLine)>> {
    let len = file.len()?;
    let mut chunk = Vec::new();
    while from < len {
        chunk.resize((len - from).min(CHUNK_BYTES as u64) as usize, 0);
        file.read_exact_at(&mut chunk, from)?;
        let mut lines = memchr::memmem::find_iter(&chunk, LINE);
        if let Some(found) = lines.find_map(|at| Some((from + at as u64, SumLine::decode_anywhere(&chunk[at..])?))) {
            return Ok(Some(found));
        }
        if from + chunk.len() as u64 == len {
            break;
        }
        // A line may lie across the border of two chunks.
        from += (chunk.len() - SUM_LINE_BYTES) as u64;
    }
    Ok(None)
}

fn sum(file: &dyn DiskFile, range: Range<u64>, seed: u32) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new_with_initial(seed);
    let (mut at, mut chunk) = (range.start, Vec::new());
    while at < range.end {
        chunk.resize((range.end - at).min(CHUNK_BYTES as u64) as usize, 0);
        file.read_exact_at(&mut chunk, at)?;
        crc.update(&chunk);
        at += chunk.len() as u64;
    }
    Ok(crc.finalize())
}

/// Takes bytes in order and ends blocks of them with checksum lines.
pub struct SummedWriter<'w> {
    out: &'w mut dyn io::Write,
    crc: crc32fast::Hasher,
    offset: u64,
}

impl<'w> SummedWriter<'w> {
    /// Over the beginning of a file.
    pub fn new(out: &'w mut dyn io::Write) -> Self {
        Self { out, crc: crc32fast::Hasher::new(), offset: 0 }
    }

    pub fn end_block(&mut self, last: bool) -> io::Result<()> {
        let line = SumLine { offset: self.offset, sum: self.crc.clone().finalize(), last }.encode();
        io::Write::write_all(self, &line)
    }
}

impl io::Write for SummedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.crc.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::sim::SimDisk;
    use crate::env::{Disk, OpenMode};
    use crate::persist::position::position_line;
    use crate::persist::{Lineage, Lsn, Position, Timeline};
    use std::io::Write;
    use std::path::Path;

    #[test]
    fn a_line_verifies_in_its_own_place_only() {
        let line = SumLine { offset: 0x1234, sum: 7, last: false };
        let bytes = line.encode();
        assert_eq!((bytes.len(), SumLine::decode(&bytes, 0x1234)), (SUM_LINE_BYTES, Some(line)));
        assert_eq!(SumLine::decode(&bytes, 0x1235), None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(SumLine::decode(&damaged, 0x1234), None, "byte {at} bit {bit}");
            }
        }
    }

    fn made() -> Vec<u8> {
        let lineage = Lineage::root(Timeline::parse(&[b'a'; 40]).expect("40 digits"));
        let mut bytes = Vec::new();
        let mut out = SummedWriter::new(&mut bytes);
        out.write_all(&position_line(&Position { lineage, lsn: Lsn(9) })).unwrap();
        for number in 0..4 {
            out.write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\n{number}\r\n$50\r\n{}\r\n", "v".repeat(50)).as_bytes())
                .unwrap();
            out.end_block(number == 3).unwrap();
        }
        bytes
    }

    fn found(bytes: &[u8]) -> Option<(Vec<Block>, u64)> {
        let file = SimDisk::new().open(Path::new("/base.aof"), OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        blocks(&*file).unwrap()
    }

    #[test]
    fn damage_is_told_by_its_block_and_the_others_verify() {
        let bytes = made();
        let (whole, end) = found(&bytes).expect("has lines");
        assert_eq!((whole.len(), end), (4, bytes.len() as u64));
        assert!(whole.iter().all(|block| block.damage.is_none()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let Some((blocks, _)) = found(&damaged) else { panic!("byte {at}: no lines") };
            let bad = blocks.iter().find(|block| block.damage.is_some());
            assert!(bad.is_some_and(|bad| bad.range.start <= at as u64), "byte {at}: {blocks:?}");
            let in_line = whole.iter().all(|block| !block.range.contains(&(at as u64)));
            let good = blocks.iter().filter(|block| block.damage.is_none()).count();
            assert!(good >= if in_line { 2 } else { 3 }, "byte {at}: {blocks:?}");
        }
        assert_eq!(found(&bytes[..bytes.len() - 1]).expect("has lines").0[3].damage, Some(DamageKind::NoLastSum));
        assert_eq!(found(b"*1\r\n$4\r\nPING\r\n"), None);
    }
}
