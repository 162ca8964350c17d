//! Small collections as runs of bytes, which a key may keep wherever it likes.

use super::{HashRef, ListRef, Value, ValueRef, ZsetRef};

/// The types whose small form is one run of bytes that a key can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedKind {
    List,
    Hash,
    Zset,
}

/// A small collection: bytes that [`Value::packed`] gave, kept elsewhere since. Others make readers panic.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    pub kind: PackedKind,
    pub bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    pub fn value(self) -> ValueRef<'a> {
        match self.kind {
            PackedKind::List => ValueRef::List(ListRef::from_packed(self.bytes)),
            PackedKind::Hash => ValueRef::Hash(HashRef::from_packed(self.bytes)),
            PackedKind::Zset => ValueRef::Zset(ZsetRef::from_packed(self.bytes)),
        }
    }
}

impl Value {
    /// The bytes of a collection that is one run of them.
    pub fn packed(&self) -> Option<Packed<'_>> {
        let (kind, bytes) = match self {
            Self::List(list) => (PackedKind::List, list.as_ref().packed()?.as_bytes()),
            Self::Hash(hash) => (PackedKind::Hash, hash.as_ref().packed()?.as_bytes()),
            Self::Zset(zset) => (PackedKind::Zset, zset.as_ref().packed()?),
            Self::Str(_) | Self::Set(_) | Self::Stream(_) => return None,
        };
        Some(Packed { kind, bytes })
    }
}
