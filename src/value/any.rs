//! A value of any type.

use crate::ds::Table;
use std::collections::BTreeMap;

use super::{Hash, HashRef, List, ListRef, Set, Str, StrRef, Stream, Zset, ZsetRef};

/// The types of the data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

impl Type {
    /// As TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }

    /// The type that TYPE calls so, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::String, Self::List, Self::Set, Self::Zset, Self::Hash, Self::Stream]
            .into_iter()
            .find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A value. Clone is O(1).
#[derive(Clone, Debug)]
pub enum Value {
    Str(Str),
    List(List),
    Set(Set),
    Hash(Hash),
    Zset(Zset),
    Stream(Stream),
}

/// Keys hold values inline, so their size is paid by every key.
const _: () = assert!(size_of::<Value>() <= 32);

/// A value as it is read.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Str(StrRef<'a>),
    List(ListRef<'a>),
    Set(&'a Set),
    Hash(HashRef<'a>),
    Zset(ZsetRef<'a>),
    Stream(&'a Stream),
}

impl Value {
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Str(string) => ValueRef::Str(string.as_ref()),
            Self::List(list) => ValueRef::List(list.as_ref()),
            Self::Set(set) => ValueRef::Set(set),
            Self::Hash(hash) => ValueRef::Hash(hash.as_ref()),
            Self::Zset(zset) => ValueRef::Zset(zset.as_ref()),
            Self::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    pub fn kind(&self) -> Type {
        self.as_ref().kind()
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        self.as_ref().encoding()
    }

    /// Elements of a collection, bytes of a string.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// Bytes allocated beside the value itself; see the types for what is exact and what is estimated.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Str(string) => string.heap_bytes(),
            Self::List(list) => list.heap_bytes(),
            Self::Set(set) => set.heap_bytes(),
            Self::Hash(hash) => hash.heap_bytes(),
            Self::Zset(zset) => zset.heap_bytes(),
            Self::Stream(stream) => stream.heap_bytes(),
        }
    }
}

impl ValueRef<'_> {
    /// How many buckets of its hash table hold how many elements; `None` where there is no table.
    pub fn bucket_lengths(self) -> Option<BTreeMap<usize, usize>> {
        match self {
            Self::Set(set) => set.table().map(Table::bucket_lengths),
            Self::Hash(hash) => hash.table().map(Table::bucket_lengths),
            Self::Zset(zset) => zset.table().map(Table::bucket_lengths),
            Self::Str(_) | Self::List(_) | Self::Stream(_) => None,
        }
    }

    /// The hash of a field or member, for the steps of a lookup ahead of time; see [`crate::ds::Table::hash_ahead`].
    pub fn hash_ahead(self, element: &[u8]) -> Option<u64> {
        match self {
            Self::Set(set) => set.table()?.hash_ahead(element),
            Self::Hash(hash) => hash.table()?.hash_ahead(element),
            Self::Zset(zset) => zset.table()?.hash_ahead(element),
            Self::Str(_) | Self::List(_) | Self::Stream(_) => None,
        }
    }

    /// See [`crate::ds::Table::approach`].
    pub fn approach(self, hash: u64) {
        match self {
            Self::Set(set) => set.table().into_iter().for_each(|table| table.approach(hash)),
            Self::Hash(fields) => fields.table().into_iter().for_each(|table| table.approach(hash)),
            Self::Zset(zset) => zset.table().into_iter().for_each(|table| table.approach(hash)),
            Self::Str(_) | Self::List(_) | Self::Stream(_) => {}
        }
    }

    /// See [`crate::ds::Table::arrive`]; whether there is something that could be it.
    pub fn arrive(self, hash: u64) -> bool {
        match self {
            Self::Set(set) => set.table().is_some_and(|table| table.arrive(hash).is_some()),
            Self::Hash(fields) => fields.table().is_some_and(|table| table.arrive(hash).is_some()),
            Self::Zset(zset) => zset.table().is_some_and(|table| table.arrive(hash).is_some()),
            Self::Str(_) | Self::List(_) | Self::Stream(_) => false,
        }
    }

    pub fn kind(self) -> Type {
        match self {
            Self::Str(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::Hash(_) => Type::Hash,
            Self::Zset(_) => Type::Zset,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Str(string) => string.encoding(),
            Self::List(list) => list.encoding(),
            Self::Set(set) => set.encoding(),
            Self::Hash(hash) => hash.encoding(),
            Self::Zset(zset) => zset.encoding(),
            Self::Stream(_) => "stream",
        }
    }

    /// Elements of a collection, bytes of a string.
    pub fn len(self) -> usize {
        match self {
            Self::Str(string) => string.len(),
            Self::List(list) => list.len(),
            Self::Set(set) => set.len(),
            Self::Hash(hash) => hash.len(),
            Self::Zset(zset) => zset.len(),
            Self::Stream(stream) => stream.len(),
        }
    }

    /// Whether no key may hold it; a stream without entries is a value.
    pub fn is_empty(self) -> bool {
        self.len() == 0 && self.kind() != Type::Stream
    }

    /// An owned value; O(1) but for strings and small collections, whose bytes are copied.
    pub fn to_value(self) -> Value {
        match self {
            Self::Str(string) => Value::Str(string.into()),
            Self::List(list) => Value::List(list.to_list()),
            Self::Set(set) => Value::Set(set.clone()),
            Self::Hash(hash) => Value::Hash(hash.to_hash()),
            Self::Zset(zset) => Value::Zset(zset.to_zset()),
            Self::Stream(stream) => Value::Stream(stream.clone()),
        }
    }
}

macro_rules! conversions {
    ($($type:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$type(value)
            }
        }

        impl TryFrom<Value> for $type {
            /// The value of another type, unchanged.
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    Value::$type(value) => Ok(value),
                    other => Err(other),
                }
            }
        }
    )*};
}

conversions!(Str, List, Set, Hash, Zset, Stream);
