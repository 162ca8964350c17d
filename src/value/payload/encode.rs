//! From a value to its object bytes, in pieces.
//!
//! Invariants
//! - What is packed is written as it lies in memory, but for sorted sets, which lack back lengths there; what is large
//!   goes out element by element, never joined.
//! - The version decides the forms: in version 10, which stock 7.0 loads, a set has none as listpack and goes out member
//!   by member, and a consumer of a stream has no time of its last success.

use std::io::{self, Write};

use super::lzf::Lzf;
use super::object;
use crate::ds::{Rope, parse_canonical_i64};
use crate::value::list::Node;
use crate::value::{HashRef, ListRef, Set, StrRef, ValueRef, ZsetRef};

/// The version that stock 7.0 loads, and so does everything newer.
pub const VERSION: u16 = 10;
/// From this version on sets may be listpacks.
const VERSION_WITH_SET_LISTPACK: u16 = 11;
/// From this version on consumers of streams have two times.
const VERSION_WITH_ACTIVE_TIME: u16 = 11;

/// Shorter strings are not worth compressing, as in the stock server.
const COMPRESSED_MIN: usize = 21;
/// Longer texts are no numbers of 32 bits.
const NUMBER_TEXT_MAX: usize = 11;

/// Writes values, strings and lengths.
pub struct Encoder {
    version: u16,
    /// Compresses long strings (`rdbcompression`).
    lzf: Option<Lzf>,
}

impl Encoder {
    pub fn new(version: u16, compression: bool) -> Self {
        Self { version, lzf: compression.then(Lzf::new) }
    }

    /// The form byte that goes with a value's object bytes.
    pub fn form(&self, value: ValueRef<'_>) -> u8 {
        match value {
            ValueRef::Str(_) => object::STRING,
            ValueRef::List(_) => object::LIST_QUICKLIST_2,
            ValueRef::Set(set) if set.intset().is_some() => object::SET_INTSET,
            ValueRef::Set(set) if set.listpack().is_some() && self.version >= VERSION_WITH_SET_LISTPACK => {
                object::SET_LISTPACK
            }
            ValueRef::Set(_) => object::SET,
            ValueRef::Hash(hash) if hash.packed().is_some() => object::HASH_LISTPACK,
            ValueRef::Hash(_) => object::HASH,
            ValueRef::Zset(zset) if zset.is_packed() => object::ZSET_LISTPACK,
            ValueRef::Zset(_) => object::ZSET_2,
            ValueRef::Stream(_) if self.version >= VERSION_WITH_ACTIVE_TIME => object::STREAM_LISTPACKS_3,
            ValueRef::Stream(_) => object::STREAM_LISTPACKS_2,
        }
    }

    /// A value's object bytes, in the form that [`Self::form`] tells.
    ///
    /// # Errors
    /// The sink's.
    pub fn value(&mut self, value: ValueRef<'_>, sink: &mut dyn Write) -> io::Result<()> {
        match value {
            ValueRef::Str(StrRef::Int(number)) => self.number(number, sink),
            ValueRef::Str(StrRef::Embedded(bytes) | StrRef::Raw(bytes)) => self.string(bytes, sink),
            ValueRef::Str(StrRef::Chunked(rope)) => self.long_string(rope, sink),
            ValueRef::List(list) => self.list(list, sink),
            ValueRef::Set(set) => self.set(set, sink),
            ValueRef::Hash(hash) => self.hash(hash, sink),
            ValueRef::Zset(zset) => self.zset(zset, sink),
            ValueRef::Stream(stream) => self.stream(stream, self.form(value), sink),
        }
    }

    /// A string in the shortest way there is: as a number, compressed, or as it is.
    ///
    /// # Errors
    /// The sink's.
    pub fn string(&mut self, bytes: &[u8], sink: &mut dyn Write) -> io::Result<()> {
        if bytes.len() <= NUMBER_TEXT_MAX
            && let Some(number) = parse_canonical_i64(bytes).and_then(|number| i32::try_from(number).ok())
        {
            return write_number(number, sink);
        }
        if bytes.len() >= COMPRESSED_MIN
            && let Some(packed) = self.lzf.as_mut().and_then(|lzf| lzf.pack(bytes))
        {
            sink.write_all(&[0xc3])?;
            write_length(packed.len() as u64, sink)?;
            write_length(bytes.len() as u64, sink)?;
            return sink.write_all(packed);
        }
        write_length(bytes.len() as u64, sink)?;
        sink.write_all(bytes)
    }

    /// As [`Self::string`]; joined only where it is compressed as a whole.
    fn long_string(&mut self, rope: &Rope, sink: &mut dyn Write) -> io::Result<()> {
        if self.lzf.is_some() {
            return self.string(&rope.to_vec(), sink);
        }
        write_length(rope.len() as u64, sink)?;
        rope.pieces(0..rope.len()).slices().try_for_each(|slice| sink.write_all(slice))
    }

    fn number(&mut self, number: i64, sink: &mut dyn Write) -> io::Result<()> {
        match i32::try_from(number) {
            Ok(small) => write_number(small, sink),
            Err(_) => self.string(itoa::Buffer::new().format(number).as_bytes(), sink),
        }
    }

    fn list(&mut self, list: ListRef<'_>, sink: &mut dyn Write) -> io::Result<()> {
        write_length(list.node_count() as u64, sink)?;
        for node in list.nodes() {
            let (kind, bytes) = match &node {
                Node::Plain(bytes) => (object::NODE_PLAIN, *bytes),
                Node::Packed(listpack) => (object::NODE_PACKED, listpack.as_bytes()),
            };
            write_length(kind, sink)?;
            self.string(bytes, sink)?;
        }
        Ok(())
    }

    fn set(&mut self, set: &Set, sink: &mut dyn Write) -> io::Result<()> {
        if let Some(intset) = set.intset() {
            return self.string(intset.as_bytes(), sink);
        }
        if let (Some(listpack), object::SET_LISTPACK) = (set.listpack(), self.form(ValueRef::Set(set))) {
            return self.string(listpack.as_bytes(), sink);
        }
        write_length(set.len() as u64, sink)?;
        let mut text = itoa::Buffer::new();
        set.iter().try_for_each(|member| self.string(member.as_bytes(&mut text), sink))
    }

    fn hash(&mut self, hash: HashRef<'_>, sink: &mut dyn Write) -> io::Result<()> {
        if let Some(listpack) = hash.packed() {
            return self.string(listpack.as_bytes(), sink);
        }
        write_length(hash.len() as u64, sink)?;
        let mut text = itoa::Buffer::new();
        hash.iter().try_for_each(|(field, value)| {
            self.string(field.as_bytes(&mut text), sink)?;
            self.string(value.as_bytes(&mut text), sink)
        })
    }

    /// The highest score first, as stock does: who inserts at the front of a skiplist searches least.
    fn zset(&mut self, zset: ZsetRef<'_>, sink: &mut dyn Write) -> io::Result<()> {
        if let Some(listpack) = zset.to_listpack() {
            return self.string(listpack.as_bytes(), sink);
        }
        write_length(zset.len() as u64, sink)?;
        let mut text = itoa::Buffer::new();
        zset.iter_range_back(0..zset.len()).try_for_each(|(member, score)| {
            self.string(member.as_bytes(&mut text), sink)?;
            sink.write_all(&score.to_le_bytes())
        })
    }
}

/// A length or another unsigned number.
///
/// # Errors
/// The sink's.
pub fn write_length(length: u64, sink: &mut dyn Write) -> io::Result<()> {
    match length {
        0..=0x3f => sink.write_all(&[length as u8]),
        0x40..=0x3fff => sink.write_all(&[0x40 | (length >> 8) as u8, length as u8]),
        0x4000..=0xffff_ffff => {
            let mut bytes = [0x80; 5];
            bytes[1..].copy_from_slice(&(length as u32).to_be_bytes());
            sink.write_all(&bytes)
        }
        _ => {
            let mut bytes = [0x81; 9];
            bytes[1..].copy_from_slice(&length.to_be_bytes());
            sink.write_all(&bytes)
        }
    }
}

fn write_number(number: i32, sink: &mut dyn Write) -> io::Result<()> {
    let bytes = number.to_le_bytes();
    match number {
        -0x80..=0x7f => sink.write_all(&[0xc0, bytes[0]]),
        -0x8000..=0x7fff => sink.write_all(&[0xc1, bytes[0], bytes[1]]),
        _ => sink.write_all(&[0xc2, bytes[0], bytes[1], bytes[2], bytes[3]]),
    }
}
