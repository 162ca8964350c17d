//! The Redis types: values that clone in O(1), their encodings, and their bytes in RDB files.
//!
//! Methods speak of members, fields, scores and indexes; they know neither command arguments nor replies, neither keys
//! nor time. Small collections are packed, large ones stand on the persistent table and tree; which of the two follows
//! the stock server's rules (7.2), so `encoding()` answers what it would.
//!
//! Invariants
//! - A clone is a snapshot: writing to one holder copies what it touches and nothing that another holder sees.
//! - Encodings change where members are added; what was converted stays converted, except lists, which shrink back.
//! - No collection that a key holds is empty: who removes the last element removes the key. A stream is none: it stays.

mod any;
mod hash;
pub mod index;
mod limits;
mod list;
mod packed;
pub mod payload;
mod relocate;
mod sample;
mod set;
mod stream;
mod string;
mod zset;

pub use crate::ds::Item;
pub use any::{Type, Value, ValueRef};
pub use hash::{Fields, Hash, HashRef};
pub use limits::Limits;
pub use list::{Elements, End, List, ListBuilder, ListRef, Node};
pub use packed::{Packed, PackedKind};
pub use relocate::Stretch;
pub use set::{Members, Set};
pub use stream::{
    Consumer, ENTRY_BYTES_MAX, Entries, EntriesBack, EntryFields, Exactness, Group, Pending, Stream, StreamDamage,
    StreamEntry, StreamId, StreamNode, Trim,
};
pub use string::{Str, StrRef};
pub use zset::{LexBound, Ranked, Zset, ZsetRef};
