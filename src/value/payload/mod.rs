//! Values as the object bytes of RDB files: what files, DUMP and RESTORE have in common.
//!
//! Writes version 10, which stock 7.0 loads, or 11. Reads every form that file versions 1 to 11 use, the retired ones
//! (ziplist, zipmap, linked list) included. The bytes are foreign: nothing panics on them, and no length is believed
//! before it is compared with what is left of the input, so that memory stays within a small multiple of its size.

mod decode;
mod dump;
mod encode;
mod error;
mod input;
mod libraries;
mod lzf;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod ziplist;
mod zipmap;

pub use decode::decode_object;
pub use dump::{RestoreError, dump, is_for_stock_7_0, is_packed, restore};
pub use encode::{Encoder, VERSION, write_length};
pub use error::{DecodeError, Problem};
pub use input::{Input, SliceSource, Source};
pub use libraries::{LIBRARY, LIBRARY_PRE_GA, LibrariesError, dump_libraries, restore_libraries};

use super::{Limits, Value};

/// The byte that says in which form a value is stored.
pub mod object {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const MODULE_PRE_GA: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// Hashes whose fields expire: this one and the next from release candidates of Redis 7.4, this one from Valkey 9 too.
    pub const HASH_METADATA_PRE_GA: u8 = 22;
    /// The last of Redis 7.4's two.
    pub const HASH_LISTPACK_EX: u8 = 25;

    /// The kinds of node in [`LIST_QUICKLIST_2`].
    pub const NODE_PLAIN: u64 = 1;
    pub const NODE_PACKED: u64 = 2;
}

/// A value from its form byte and object bytes, nothing behind them.
///
/// # Errors
/// What is wrong, and where.
pub fn decode(payload: &[u8], limits: &Limits) -> Result<Value, DecodeError> {
    let mut source = SliceSource::new(payload);
    let mut input = Input::new(&mut source);
    let form = input.byte("form of the value")?;
    let value = decode_object(&mut input, form, limits)?.ok_or_else(|| input.error("value", Problem::Empty))?;
    match input.remaining() {
        0 => Ok(value),
        left => Err(input.error("end of the value", Problem::Trailing { bytes: left })),
    }
}
