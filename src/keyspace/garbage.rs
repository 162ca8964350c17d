//! What is too big to be freed by whoever holds the engine.
//!
//! Invariants
//! - Only memory is at stake: what lies here is no longer reachable from the keyspace.
//! - Dropping it is slow (a microsecond per few keys or elements) and may happen on any thread.

use super::database::Keys;
use super::entry::Entry;
use super::expire::ExpiryIndex;
use crate::value::{Value, ValueRef};

/// Strings from this length on, in bytes, are freed elsewhere.
const STRING_MIN: usize = 64 * 1024;
/// Collections from this length on, in elements, are freed elsewhere.
const COLLECTION_MIN: usize = 64;

/// Dropped values and whole databases, to be sent to a thread that has time.
#[must_use = "dropping it here frees it here"]
#[derive(Default)]
pub struct Garbage {
    pieces: Vec<Piece>,
}

enum Piece {
    Entry { _entry: Entry },
    Value { _value: Value },
    Database { _keys: Keys, _expiry: ExpiryIndex },
}

impl Garbage {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Number of values and databases.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn append(&mut self, mut other: Self) {
        if self.pieces.is_empty() {
            *self = other;
        } else {
            self.pieces.append(&mut other.pieces);
        }
    }

    /// Keeps the entry if freeing it takes long, frees it at once otherwise.
    pub(super) fn dispose(&mut self, entry: Entry) {
        if is_big(entry.value()) {
            self.pieces.push(Piece::Entry { _entry: entry });
        }
    }

    pub(super) fn push_database(&mut self, keys: Keys, expiry: ExpiryIndex) {
        self.pieces.push(Piece::Database { _keys: keys, _expiry: expiry });
    }
}

impl From<Value> for Garbage {
    fn from(value: Value) -> Self {
        if is_big(value.as_ref()) { Self { pieces: vec![Piece::Value { _value: value }] } } else { Self::default() }
    }
}

fn is_big(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Str(string) => string.len() >= STRING_MIN,
        ValueRef::Stream(stream) => stream.len() + stream.pending_len() >= COLLECTION_MIN,
        value => value.len() >= COLLECTION_MIN,
    }
}
