//! Where the records of an RDB file end, found without decoding them: what lets several threads do that.
//!
//! Invariant: what is walked over here is only counted, never believed. A record that does not fit the format, in
//! whatever way, is left to the reader, which says what is wrong with it.

use super::format::opcode;
use super::index::BLOCK_NAME;
use crate::value::payload::object;

/// What stands at some place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A key with its value.
    Key { end: usize },
    /// Something about the key that follows, or about the file.
    Field { end: usize },
    /// The keys that follow are this database's.
    SelectDb { end: usize, db: u32 },
    /// The end mark, behind which this is.
    End { end: usize },
    /// The bytes end inside it.
    Short,
    /// Something else.
    Unknown,
}

/// The record that begins at `at`.
pub(super) fn record(bytes: &[u8], at: usize) -> Record {
    let mut walk = Walk { bytes, at };
    match walk.record() {
        Ok(record) => record,
        Err(Stop::Short) => Record::Short,
        Err(Stop::Unknown) => Record::Unknown,
    }
}

enum Stop {
    Short,
    Unknown,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn record(&mut self) -> Result<Record, Stop> {
        match self.byte()? {
            opcode::EOF => Ok(Record::End { end: self.at }),
            opcode::SELECT_DB => {
                let db = self.length()?;
                let db = i32::try_from(db).ok().and_then(|db| u32::try_from(db).ok()).ok_or(Stop::Unknown)?;
                Ok(Record::SelectDb { end: self.at, db })
            }
            opcode::RESIZE_DB => self.field(|walk| walk.lengths(2)),
            opcode::SLOT_INFO => self.field(|walk| walk.lengths(3)),
            opcode::AUX => {
                let name = self.at;
                let record = self.field(|walk| walk.strings(2))?;
                // Blocks of ours without an index to believe are looked at by whoever reads from front to end.
                let is_block = self.bytes[name + 1..].starts_with(BLOCK_NAME);
                if is_block { Err(Stop::Unknown) } else { Ok(record) }
            }
            opcode::EXPIRE_TIME => self.field(|walk| walk.skip(4)),
            opcode::EXPIRE_TIME_MS => self.field(|walk| walk.skip(8)),
            opcode::IDLE => self.field(|walk| walk.lengths(1)),
            opcode::FREQ => self.field(|walk| walk.skip(1)),
            opcode::FUNCTION_2 => self.field(|walk| walk.strings(1)),
            form if form > object::STREAM_LISTPACKS_3 => Err(Stop::Unknown),
            form => {
                self.string()?;
                self.value(form)?;
                Ok(Record::Key { end: self.at })
            }
        }
    }

    fn field(&mut self, walk: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<Record, Stop> {
        walk(self)?;
        Ok(Record::Field { end: self.at })
    }

    fn value(&mut self, form: u8) -> Result<(), Stop> {
        match form {
            object::STRING
            | object::HASH_ZIPMAP
            | object::LIST_ZIPLIST
            | object::SET_INTSET
            | object::ZSET_ZIPLIST
            | object::HASH_ZIPLIST
            | object::HASH_LISTPACK
            | object::ZSET_LISTPACK
            | object::SET_LISTPACK => self.string(),
            object::LIST | object::SET | object::LIST_QUICKLIST => self.each(Self::string),
            object::HASH => self.each(|walk| walk.strings(2)),
            object::ZSET => self.each(|walk| {
                walk.string()?;
                match walk.byte()? {
                    // The scores without text.
                    253..=255 => Ok(()),
                    len => walk.skip(len.into()),
                }
            }),
            object::ZSET_2 => self.each(|walk| {
                walk.string()?;
                walk.skip(8)
            }),
            object::LIST_QUICKLIST_2 => self.each(|walk| {
                walk.length()?;
                walk.string()
            }),
            object::STREAM_LISTPACKS | object::STREAM_LISTPACKS_2 | object::STREAM_LISTPACKS_3 => self.stream(form),
            _ => Err(Stop::Unknown),
        }
    }

    fn stream(&mut self, form: u8) -> Result<(), Stop> {
        self.each(|walk| walk.strings(2))?;
        let first = form == object::STREAM_LISTPACKS;
        // Length and last ID; then first ID, highest deleted ID, entries added.
        self.lengths(if first { 3 } else { 8 })?;
        self.each(|group| {
            group.string()?;
            group.lengths(if first { 2 } else { 3 })?;
            group.each(|pending| {
                pending.skip(16 + 8)?;
                pending.lengths(1)
            })?;
            group.each(|consumer| {
                consumer.string()?;
                consumer.skip(if form == object::STREAM_LISTPACKS_3 { 16 } else { 8 })?;
                consumer.each(|pending| pending.skip(16))
            })
        })
    }

    fn each(&mut self, mut walk: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let count = self.length()?;
        (0..count).try_for_each(|_| walk(self))
    }

    fn strings(&mut self, count: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.string())
    }

    fn string(&mut self) -> Result<(), Stop> {
        match self.byte()? {
            special @ 0xc0..=0xff => match special & 0x3f {
                kind @ 0..=2 => self.skip(1 << kind),
                3 => {
                    let packed = self.length()?;
                    self.length()?;
                    self.skip(packed)
                }
                _ => Err(Stop::Unknown),
            },
            first => {
                let len = self.length_from(first)?;
                self.skip(len)
            }
        }
    }

    fn lengths(&mut self, count: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.length().map(|_| ()))
    }

    fn length(&mut self) -> Result<u64, Stop> {
        let first = self.byte()?;
        self.length_from(first)
    }

    fn length_from(&mut self, first: u8) -> Result<u64, Stop> {
        Ok(match first {
            0..=0x3f => first.into(),
            0x40..=0x7f => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            0x80 => u32::from_be_bytes(self.array()?).into(),
            0x81 => u64::from_be_bytes(self.array()?),
            _ => return Err(Stop::Unknown),
        })
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(Stop::Short)?;
        self.at += N;
        Ok(*found)
    }

    fn skip(&mut self, len: u64) -> Result<(), Stop> {
        let left = (self.bytes.len() - self.at) as u64;
        if len > left {
            return Err(Stop::Short);
        }
        self.at += len as usize;
        Ok(())
    }
}
