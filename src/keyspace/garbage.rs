//! What is too big to be freed by whoever holds the engine.
//!
//! Invariants
//! - Only memory is at stake: what lies here is no longer reachable from the keyspace.
//! - Dropping it is slow (a microsecond per few keys or elements) and may happen on any thread.

use super::database::Keys;
use super::entry::Entry;
use super::expire::ExpiryIndex;
use crate::ds::leave;
use crate::value::{Value, ValueRef};

/// Strings from this length on, in bytes, are freed elsewhere where they lie in chunks,
const CHUNKED_MIN: usize = 64 * 1024;
/// and where they lie in one piece: so much goes back to the system at once, page by page.
const WHOLE_MIN: usize = 8 << 20;
/// Collections from this length on, in elements, are freed elsewhere.
const COLLECTION_MIN: usize = 64;

/// Dropped values and whole databases, to be sent to a thread that has time.
#[must_use = "dropping it here frees it here"]
#[derive(Default)]
pub struct Garbage {
    pieces: Vec<Piece>,
    bytes: usize,
}

enum Piece {
    Entry(Entry),
    Value(Value),
    Database { keys: Keys, _expiry: ExpiryIndex },
}

impl Piece {
    fn bytes(&self) -> usize {
        /// Buckets, spread over the table, whose keys' sizes stand for all of a database: some 700 keys.
        const SAMPLES: usize = 64;
        match self {
            Self::Entry(entry) => entry.memory_bytes(),
            Self::Value(value) => value.heap_bytes(),
            Self::Database { keys, .. } => {
                let buckets = keys.buckets();
                let entries = (0..buckets).step_by(buckets.div_ceil(SAMPLES)).flat_map(|bucket| keys.bucket(bucket));
                let (count, bytes) = entries.fold((0, 0), |(n, sum), entry| (n + 1, sum + entry.memory_bytes()));
                bytes.saturating_mul(keys.len()).checked_div(count).unwrap_or(0)
            }
        }
    }
}

impl Garbage {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Number of values and databases.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes that dropping it frees, estimated: what a snapshot shares is freed later.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its pieces, to be dropped one by one.
    pub fn pieces(self) -> impl Iterator<Item = Self> {
        self.pieces.into_iter().map(|piece| Self { bytes: piece.bytes(), pieces: vec![piece] })
    }

    pub fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        if self.pieces.is_empty() {
            self.pieces = other.pieces;
        } else {
            self.pieces.append(&mut other.pieces);
        }
    }

    fn push(&mut self, piece: Piece) {
        self.bytes += piece.bytes();
        self.pieces.push(piece);
    }

    /// Keeps the entry if freeing it takes long, frees it at once otherwise.
    pub(super) fn dispose(&mut self, entry: Entry) {
        entry.leave();
        if is_big(entry.value()) {
            self.push(Piece::Entry(entry));
        }
    }

    /// Takes all of a database. `viewed`: a snapshot keeps what it holds of it.
    pub(super) fn push_database(&mut self, keys: Keys, expiry: ExpiryIndex, viewed: bool) {
        if keys.is_empty() {
            return;
        }
        let before = self.bytes;
        self.push(Piece::Database { keys, _expiry: expiry });
        if viewed {
            leave(self.bytes - before);
        }
    }
}

impl From<Value> for Garbage {
    fn from(value: Value) -> Self {
        let mut garbage = Self::default();
        if is_big(value.as_ref()) {
            garbage.push(Piece::Value(value));
        }
        garbage
    }
}

fn is_big(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Str(string) => string.chunked_bytes() >= CHUNKED_MIN || string.len() >= WHOLE_MIN,
        ValueRef::Stream(stream) => stream.len() + stream.pending_len() >= COLLECTION_MIN,
        value => value.len() >= COLLECTION_MIN,
    }
}
