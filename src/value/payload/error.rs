//! What can be wrong with stored values.

use crate::ds::{IntsetDamage, ListpackDamage};
use crate::value::StreamDamage;

/// Where reading stopped and why.
#[derive(Debug, thiserror::Error)]
#[error("at offset {offset}, reading {reading}: {problem}")]
pub struct DecodeError {
    /// Offset in the input: of what was being read, or behind it when its content is wrong.
    pub offset: u64,
    /// What was being read.
    pub reading: &'static str,
    #[source]
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the input ends after {left} of {wanted} bytes")]
    Ended { wanted: u64, left: u64 },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the byte {byte:#04x} starts no length")]
    BadLength { byte: u8 },
    #[error("{0} does not fit into memory")]
    TooLong(u64),
    #[error("compressed bytes are damaged")]
    Compressed,
    #[error("{0}")]
    Listpack(#[from] ListpackDamage),
    #[error("{0}")]
    Intset(#[from] IntsetDamage),
    #[error("{0}")]
    Stream(#[from] StreamDamage),
    #[error("ziplist is damaged at its byte {at}")]
    Ziplist { at: usize },
    #[error("zipmap is damaged at its byte {at}")]
    Zipmap { at: usize },
    #[error("an element without a partner")]
    Odd,
    #[error("an element occurs twice")]
    Duplicate,
    #[error("a score is not a number")]
    Score,
    #[error("unknown kind of list node: {0}")]
    NodeKind(u64),
    #[error("the collection is empty")]
    Empty,
    #[error("{bytes} bytes follow")]
    Trailing { bytes: u64 },
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("unknown form of value: {0}")]
    UnknownForm(u8),
}
