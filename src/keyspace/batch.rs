//! Keys made ahead of their insertion into a database, by any thread: what a loader hands over.

use super::entry::Entry;
use crate::ds::HashSeed;
use crate::env::UnixMillis;

/// Keys of one database with their hashes, in order.
#[derive(Debug)]
pub struct Batch {
    seed: HashSeed,
    pub(super) entries: Vec<(u64, Entry)>,
    /// Deadlines of those that have one, each with its key's hash; in order once the batch was taken.
    pub(super) deadlines: Vec<(UnixMillis, u64)>,
}

impl Batch {
    /// No keys, for databases whose tables have this seed.
    pub fn new(seed: HashSeed) -> Self {
        Self { seed, entries: Vec::new(), deadlines: Vec::new() }
    }

    pub fn push(&mut self, entry: Entry) {
        let hash = self.seed.hash(entry.key());
        self.deadlines.extend(entry.expiry().map(|deadline| (deadline, hash)));
        self.entries.push((hash, entry));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter().map(|(_, entry)| entry)
    }

    /// Takes the keys out, ready to be loaded, and leaves a batch for the next ones.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let mut full = std::mem::replace(self, Self::new(self.seed));
        // Neighbours in the index of deadlines are put there one after the other.
        full.deadlines.sort_unstable();
        full
    }
}
