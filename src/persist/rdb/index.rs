//! The blocks of a file and the index that locates them: AUX fields, which stock servers skip.
//!
//! Layout: format-spec/snapshot.md. Whoever has read an index can load each block on its own, in any order and on any
//! thread, and knows of each whether it is what was written.
//!
//! Invariants
//! - An index is believed only when everything in it agrees: its checksum, the places of the blocks, which follow each
//!   other without a gap, and the file's own checksum. Otherwise there is none, and the file is read from front to end.

use std::io::{self, Write};
use std::ops::Range;

use super::checksum::{joined, sum};
use super::format::{HEADER_LEN, opcode};
use crate::env::DiskFile;
use crate::persist::hex::hex;
use crate::persist::{Lineage, Lsn, Position, Timeline};
use crate::value::payload::write_length;

pub(super) const BLOCK_NAME: &[u8] = b"graven-block";
const INDEX_NAME: &[u8] = b"graven-index";
const END_NAME: &[u8] = b"graven-end";

/// Bytes of the field that closes a block.
pub const BLOCK_FIELD_BYTES: u64 = 3 + BLOCK_NAME.len() as u64 + BLOCK_DIGITS as u64;
/// Number, checksum, keys, length.
pub(super) const BLOCK_DIGITS: usize = 8 + 16 + 16 + 16;
/// Offset, length, checksum, keys, database.
const ENTRY_DIGITS: usize = 16 + 16 + 16 + 16 + 8;
/// Version, offset of the index, number of its entries, its checksum, timeline, LSN, parent, fork, checksum of these.
const END_DIGITS: usize = 4 + 16 + 16 + 16 + 40 + 16 + 40 + 16 + 16;
/// Bytes of the field that locates the index; its length takes two.
const END_FIELD_BYTES: usize = 4 + END_NAME.len() + END_DIGITS;
/// What stands behind that field: the end mark and the file's checksum.
const BEHIND_BYTES: usize = 1 + 8;
const INDEX_VERSION: &[u8] = b"0001";

/// A stretch of a file that can be read without the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Counted from 1; 0 is what stands before the first key.
    pub number: u32,
    /// Of its first byte in the file.
    pub offset: u64,
    /// In bytes, without the field that closes it.
    pub len: u64,
    /// CRC-64 of its bytes; `None` where the file was written without checksums.
    pub crc: Option<u64>,
    /// Keys in it, those that are due included.
    pub keys: u64,
    /// The database that its keys belong to.
    pub db: u32,
}

/// What a file says about its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Header, fields and libraries of functions.
    pub head: IndexedBlock,
    /// The keys, in order; blocks of one database stand together.
    pub blocks: Vec<IndexedBlock>,
    /// `None` where there was no log.
    pub position: Option<Position>,
}

/// What the field behind a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockField {
    pub(super) number: u32,
    pub(super) crc: u64,
    pub(super) keys: u64,
    pub(super) len: u64,
}

impl IndexedBlock {
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// The field that closes the block, as it stands in the file.
    pub fn field(&self) -> Vec<u8> {
        let Self { number, len, keys, .. } = *self;
        field(BLOCK_NAME, format!("{number:08x}{:016x}{keys:016x}{len:016x}", self.crc.unwrap_or(0)).as_bytes())
    }
}

impl BlockField {
    /// From an AUX field; `None` when it is another one, or is not as we write it.
    pub(super) fn decode(name: &[u8], value: &[u8]) -> Option<Self> {
        if name != BLOCK_NAME || value.len() != BLOCK_DIGITS {
            return None;
        }
        let mut digits = Digits(value);
        let number = digits.number(8)? as u32;
        Some(Self { number, crc: digits.number(16)?, keys: digits.number(16)?, len: digits.number(16)? })
    }
}

impl Index {
    /// Number of keys in the file.
    pub fn keys(&self) -> u64 {
        self.blocks.iter().map(|block| block.keys).sum()
    }

    /// The index of a file that has one to believe.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(file: &dyn DiskFile) -> io::Result<Option<Self>> {
        let len = file.len()?;
        let behind = (END_FIELD_BYTES + BEHIND_BYTES) as u64;
        let Some(end_at) = len.checked_sub(behind).filter(|at| *at > HEADER_LEN as u64) else { return Ok(None) };
        let mut tail = [0; END_FIELD_BYTES + BEHIND_BYTES];
        file.read_exact_at(&mut tail, end_at)?;
        let (end, behind) = tail.split_at(END_FIELD_BYTES);
        let Some(end) = End::decode(end).filter(|end| behind[0] == opcode::EOF && end.index_at < end_at) else {
            return Ok(None);
        };
        let Ok(index_len) = usize::try_from(end_at - end.index_at) else { return Ok(None) };
        let mut field = vec![0; index_len];
        file.read_exact_at(&mut field, end.index_at)?;
        let declared = u64::from_le_bytes(tail[END_FIELD_BYTES + 1..].try_into().unwrap_or_default());
        let index = (sum(&field) == end.index_crc).then(|| Self::decode(&field, &end)).flatten();
        Ok(index.filter(|index| {
            let summed = index.head.crc.and_then(|_| index.checksum(&[&field[..], &tail[..=END_FIELD_BYTES]].concat()));
            summed.is_none_or(|summed| summed == declared)
        }))
    }

    fn decode(field: &[u8], end: &End) -> Option<Self> {
        let entries = end.entries as usize;
        let value = field.get(field.len().checked_sub(entries.checked_mul(ENTRY_DIGITS)?)?..)?;
        if self::field(INDEX_NAME, value) != field {
            return None;
        }
        let (mut digits, mut at, mut blocks) = (Digits(value), 0, Vec::with_capacity(entries));
        for number in 0..u32::try_from(entries).ok()? {
            let (offset, len) = (digits.number(16)?, digits.number(16)?);
            let crc = Some(digits.number(16)?).filter(|crc| *crc != 0);
            let block =
                IndexedBlock { number, offset, len, crc, keys: digits.number(16)?, db: digits.number(8)? as u32 };
            if block.offset != at {
                return None;
            }
            at = at.checked_add(len)?.checked_add(BLOCK_FIELD_BYTES)?;
            blocks.push(block);
        }
        if at != end.index_at || blocks.is_empty() {
            return None;
        }
        let head = blocks.remove(0);
        Some(Self { head, blocks, position: end.position })
    }

    /// The file's checksum as it follows from those of its parts; `None` where one has none.
    fn checksum(&self, tail: &[u8]) -> Option<u64> {
        let whole = std::iter::once(&self.head).chain(&self.blocks).try_fold(0, |before, block| {
            let with_block = joined(before, block.crc?, block.len);
            Some(joined(with_block, sum(&block.field()), BLOCK_FIELD_BYTES))
        });
        Some(joined(whole?, sum(tail), tail.len() as u64))
    }
}

/// Writes the index of these blocks, the head first, and the field that locates it.
///
/// # Errors
/// The sink's.
pub(super) fn write_index(
    blocks: &[IndexedBlock],
    index_at: u64,
    position: Option<Position>,
    sink: &mut dyn Write,
) -> io::Result<()> {
    let mut value = String::with_capacity(blocks.len() * ENTRY_DIGITS);
    for IndexedBlock { offset, len, crc, keys, db, .. } in blocks {
        value.push_str(&format!("{offset:016x}{len:016x}{:016x}{keys:016x}{db:08x}", crc.unwrap_or(0)));
    }
    let index = field(INDEX_NAME, value.as_bytes());
    sink.write_all(&index)?;
    let end = End { index_at, entries: blocks.len() as u64, index_crc: sum(&index), position };
    sink.write_all(&end.encode())
}

/// What locates the index.
struct End {
    index_at: u64,
    entries: u64,
    index_crc: u64,
    position: Option<Position>,
}

impl End {
    fn encode(&self) -> Vec<u8> {
        let none = Position { lineage: Lineage::root(Timeline::NONE), lsn: Lsn(0) };
        let Position { lineage: Lineage { timeline, parent, fork }, lsn } = self.position.unwrap_or(none);
        let mut value = INDEX_VERSION.to_vec();
        let fields = format!(
            "{:016x}{:016x}{:016x}{timeline}{:016x}{parent}{:016x}",
            self.index_at, self.entries, self.index_crc, lsn.0, fork.0
        );
        value.extend_from_slice(fields.as_bytes());
        value.extend_from_slice(format!("{:016x}", sum(&value)).as_bytes());
        field(END_NAME, &value)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value = &bytes[END_FIELD_BYTES - END_DIGITS..];
        let (fields, declared) = value.split_at(END_DIGITS - 16);
        if field(END_NAME, value) != bytes || hex(declared)? != sum(fields) {
            return None;
        }
        let mut digits = Digits(fields.strip_prefix(INDEX_VERSION)?);
        let (index_at, entries, index_crc) = (digits.number(16)?, digits.number(16)?, digits.number(16)?);
        let timeline = Timeline::parse(digits.take(40)?)?;
        let lsn = Lsn(digits.number(16)?);
        let parent = Timeline::parse(digits.take(40)?)?;
        let lineage = Lineage { timeline, parent, fork: Lsn(digits.number(16)?) };
        let position = (timeline != Timeline::NONE).then_some(Position { lineage, lsn });
        Some(Self { index_at, entries, index_crc, position })
    }
}

/// An AUX field whose text stands as it is, never as a number and never compressed.
pub(super) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![opcode::AUX];
    for text in [name, value] {
        write_length(text.len() as u64, &mut field).expect("memory takes what is written to it");
        field.extend_from_slice(text);
    }
    field
}

/// Digits that are read from front to end.
pub(super) struct Digits<'a>(pub(super) &'a [u8]);

impl<'a> Digits<'a> {
    fn take(&mut self, width: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(width)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self, width: usize) -> Option<u64> {
        hex(self.take(width)?)
    }
}
