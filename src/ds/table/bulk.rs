//! Many entries at once: a load.

use super::{Entry, LOAD_GROW, Leaf, Stamp, Table, fingerprint};

/// Entries whose buckets are fetched into the cache together, one access waiting for memory beside the others.
const TOGETHER: usize = 64;

impl<E: Entry, S: Stamp> Table<E, S> {
    /// Makes the buckets for so many entries before they come, so that none is split while they do. Only an empty table
    /// does so, and a number that turns out to be too high leaves it with emptier buckets.
    pub fn reserve(&mut self, entries: usize) {
        if self.directory.len() > 0 || entries == 0 {
            return;
        }
        let buckets = entries.div_ceil(LOAD_GROW);
        // With a number that is no power of two, the buckets that were not split yet take twice as many as the others.
        let (all, half) = (buckets.next_power_of_two(), buckets.next_power_of_two() / 2);
        for bucket in 0..buckets {
            let whole = bucket >= buckets - half && bucket < half;
            let expected = if whole { 2 * entries / all } else { entries / all };
            self.directory.push(Leaf::with_capacity(expected, S::default()));
        }
    }

    /// Adds entries, each with the hash of its key ([`Table::hash_of`]), until one has the key of an entry that is there
    /// already: that one is given back, and neither it nor those behind it are added.
    ///
    /// # Errors
    /// The entry whose key is there already.
    pub fn insert_all(&mut self, entries: Vec<(u64, E)>, stamp: S) -> Result<(), E> {
        if self.directory.len() == 0 && !entries.is_empty() {
            self.directory.push(Leaf::with_capacity(1, S::default()));
        }
        let mut entries = entries.into_iter();
        while !entries.as_slice().is_empty() {
            let mut looked_at = 0;
            for (hash, _) in entries.as_slice().iter().take(TOGETHER) {
                looked_at += self.directory.leaf(self.bucket_of(*hash)).len();
            }
            std::hint::black_box(looked_at);
            for (hash, entry) in entries.by_ref().take(TOGETHER) {
                debug_assert_eq!(hash, self.seed.hash(entry.key()));
                let bucket = self.bucket_of(hash);
                let mut leaf = self.directory.leaf_mut(bucket).edit();
                if leaf.as_leaf().find(fingerprint(hash), |other| other.key() == entry.key()).is_some() {
                    return Err(entry);
                }
                leaf.raise(stamp);
                leaf.push(fingerprint(hash), entry);
                self.grown();
            }
        }
        Ok(())
    }
}
