//! Lookups ahead of time: the buckets and entries of several keys are fetched into the processor's caches together,
//! where one lookup after the other would wait for memory each time.
//!
//! Steps, each taken for all keys before the next one is: what a step loads for one key is independent of the other
//! keys, and nothing branches on what is not there yet, so the processor waits for all of them at once. What comes out
//! decides nothing.

use std::hint::black_box;

use super::{Entry, Leaf, Stamp, Table, fingerprint};

/// Tables of fewer buckets are in the caches by themselves.
const BUCKETS_MIN: usize = 256;

impl<E: Entry, S: Stamp> Table<E, S> {
    /// The hash of a key, for the other steps; `None` where they are not worth it.
    pub fn hash_ahead(&self, key: &[u8]) -> Option<u64> {
        (self.directory.len() >= BUCKETS_MIN).then(|| self.seed.hash(key))
    }

    /// Begins to fetch the bucket of a hash.
    pub fn approach(&self, hash: u64) {
        if self.directory.len() > 0 {
            black_box(self.directory.leaf(self.bucket_of(hash)).len());
        }
    }

    /// Begins to fetch the entry that a key of this hash most likely has: the first one in its bucket that could be it.
    pub fn arrive(&self, hash: u64) -> Option<&E> {
        if self.directory.len() == 0 {
            return None;
        }
        let leaf: &Leaf<E, S> = self.directory.leaf(self.bucket_of(hash));
        let entry = &leaf.entries()[leaf.find(fingerprint(hash), |_| true)?];
        black_box(entry.key().len());
        Some(entry)
    }
}
