//! A persistent hash table: linear hashing over a radix directory of small fingerprinted buckets.
//!
//! `clone` is a freeze: it shares the root, costs nanoseconds and is a complete, immutable version from then on,
//! readable on other threads while the original goes on changing. The first change below a shared node copies that
//! node (64 pointers, or one bucket); a node that nobody shares is changed in place.
//!
//! Invariants
//! - An entry with hash `h` lies in bucket `h mod 2^(l+1)` when that bucket exists, else in bucket `h mod 2^l`, where
//!   `2^l <= buckets < 2^(l+1)`.
//! - Growing splits one bucket per insert and shrinking merges one per removal: no operation touches more than two
//!   buckets, so there is no rehash pause.
//! - A bucket's stamp is at least that of the last change to any entry that is or would be in it: changes raise it, a
//!   split copies it, a merge takes the maximum. Only dropping the whole table forgets stamps.
//!
//! The hash is SipHash-1-3 under a seed that the caller draws, so chosen keys cannot pile up in one bucket.

mod ahead;
mod bulk;
mod directory;
mod hash;
mod iter;
mod leaf;
mod relocate;
mod scan;
#[cfg(test)]
mod tests;

use directory::Directory;
pub use directory::Row;
pub use hash::HashSeed;
pub use iter::Iter;
use leaf::Leaf;

/// Average number of entries per bucket at which a bucket is split.
const LOAD_GROW: usize = 12;
/// Average below which two buckets are merged. Far enough from `LOAD_GROW` that a table does not do both in turn.
const LOAD_SHRINK: usize = 8;

/// What a table stores: small, cheap to clone (a counted pointer), and knows its own key.
pub trait Entry: Clone {
    /// The bytes that the entry is found by. They never change while it is in a table.
    fn key(&self) -> &[u8];
}

/// Says when a bucket last changed. `()` where nobody asks.
pub trait Stamp: Copy + Default {
    /// The later of both.
    #[must_use]
    fn merge(self, other: Self) -> Self;
}

impl Stamp for () {
    fn merge(self, (): Self) -> Self {}
}

impl Stamp for u64 {
    fn merge(self, other: Self) -> Self {
        self.max(other)
    }
}

/// A persistent hash table of entries `E` with a stamp `S` per bucket. See the module for its promises.
pub struct Table<E, S = ()> {
    directory: Directory<E, S>,
    len: usize,
    seed: HashSeed,
}

impl<E, S> Clone for Table<E, S> {
    /// Freezes: shares everything, O(1).
    fn clone(&self) -> Self {
        Self { directory: self.directory.clone(), len: self.len, seed: self.seed }
    }
}

impl<E: Entry> Table<E> {
    /// Adds an entry, or replaces the one with the same key and returns it.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        self.insert_stamped(entry, ())
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        self.remove_stamped(key, ())
    }

    /// The entry for change in place. Its key must stay the same.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut E> {
        self.get_mut_stamped(key, ())
    }
}

impl<E: Entry, S: Stamp> Table<E, S> {
    /// An empty table; allocates nothing.
    pub const fn with_seed(seed: HashSeed) -> Self {
        Self { directory: Directory::new(), len: 0, seed }
    }

    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash that places `key`; see [`Table::get_hashed`].
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    pub fn get(&self, key: &[u8]) -> Option<&E> {
        self.get_stamped(key).0
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// The entry, and the stamp of the bucket where it is or would be.
    pub fn get_stamped(&self, key: &[u8]) -> (Option<&E>, S) {
        if self.directory.len() == 0 {
            return (None, S::default());
        }
        let hash = self.seed.hash(key);
        let leaf = self.directory.leaf(self.bucket_of(hash));
        let found = leaf.find(fingerprint(hash), |entry| entry.key() == key);
        (found.map(|index| &leaf.entries()[index]), leaf.stamp())
    }

    /// All entries whose key has this full hash (one, but for collisions of 64 bits).
    pub fn get_hashed(&self, hash: u64) -> impl Iterator<Item = &E> {
        let leaf = (self.directory.len() > 0).then(|| self.directory.leaf(self.bucket_of(hash)));
        let entries = leaf.map_or(&[][..], Leaf::entries);
        entries.iter().enumerate().filter_map(move |(index, entry)| {
            let near = leaf.is_some_and(|leaf| leaf.fingerprint(index) == fingerprint(hash));
            (near && self.seed.hash(entry.key()) == hash).then_some(entry)
        })
    }

    /// The entries that share a bucket with the hashes that have these low bits.
    pub fn bucket_of_hash(&self, hash: u32) -> &[E] {
        if self.directory.len() == 0 {
            return &[];
        }
        self.directory.leaf(self.bucket_of(u64::from(hash))).entries()
    }

    /// The entry for change in place, its bucket stamped; a miss stamps nothing.
    pub fn get_mut_stamped(&mut self, key: &[u8], stamp: S) -> Option<&mut E> {
        self.get_mut_if(key, stamp, |_| true)
    }

    /// As [`Table::get_mut_stamped`], for an entry that `wanted` accepts; one that it rejects is a miss.
    pub fn get_mut_if(&mut self, key: &[u8], stamp: S, wanted: impl FnOnce(&E) -> bool) -> Option<&mut E> {
        let (bucket, _, index) = self.locate(key);
        let index = index.filter(|&index| wanted(&self.directory.leaf(bucket).entries()[index]))?;
        let mut leaf = self.directory.leaf_mut(bucket).edit();
        leaf.raise(stamp);
        Some(leaf.into_entry(index))
    }

    /// As [`Table::get_mut_if`], with the stamp that the key's bucket had before.
    pub fn get_mut_seen(&mut self, key: &[u8], stamp: S, wanted: impl FnOnce(&E) -> bool) -> (Option<&mut E>, S) {
        let (bucket, _, index) = self.locate(key);
        if self.directory.len() == 0 {
            return (None, S::default());
        }
        let leaf = self.directory.leaf(bucket);
        let before = leaf.stamp();
        let Some(index) = index.filter(|&index| wanted(&leaf.entries()[index])) else { return (None, before) };
        let mut leaf = self.directory.leaf_mut(bucket).edit();
        leaf.raise(stamp);
        (Some(leaf.into_entry(index)), before)
    }

    /// Adds an entry, or replaces the one with the same key and returns it; its bucket is stamped.
    pub fn insert_stamped(&mut self, entry: E, stamp: S) -> Option<E> {
        let (bucket, hash, index) = self.locate_or_begin(entry.key());
        let mut leaf = self.directory.leaf_mut(bucket).edit();
        leaf.raise(stamp);
        match index {
            Some(index) => Some(std::mem::replace(leaf.into_entry(index), entry)),
            None => {
                leaf.push(fingerprint(hash), entry);
                self.grown();
                None
            }
        }
    }

    /// Changes the entry with this key by the first function, or adds the one that the second makes, by one lookup.
    /// `with` goes to whichever is called. The bucket is stamped.
    pub fn upsert_stamped<W, R>(
        &mut self,
        key: &[u8],
        stamp: S,
        with: W,
        change: impl FnOnce(W, &mut E) -> R,
        make: impl FnOnce(W) -> (E, R),
    ) -> R {
        let (bucket, hash, index) = self.locate_or_begin(key);
        let mut leaf = self.directory.leaf_mut(bucket).edit();
        leaf.raise(stamp);
        match index {
            Some(index) => change(with, leaf.into_entry(index)),
            None => {
                let (entry, result) = make(with);
                leaf.push(fingerprint(hash), entry);
                self.grown();
                result
            }
        }
    }

    /// Takes an entry out, its bucket stamped; a miss stamps nothing.
    pub fn remove_stamped(&mut self, key: &[u8], stamp: S) -> Option<E> {
        let (bucket, _, index) = self.locate(key);
        let index = index?;
        let mut leaf = self.directory.leaf_mut(bucket).edit();
        leaf.raise(stamp);
        let entry = leaf.swap_remove(index);
        self.len -= 1;
        if self.directory.len() > 1 && self.len < self.directory.len() * LOAD_SHRINK {
            self.merge();
        }
        Some(entry)
    }

    /// Stamps the bucket where `key` is or would be, without another change.
    pub fn touch(&mut self, key: &[u8], stamp: S) {
        if self.directory.len() == 0 {
            self.directory.push(Leaf::with_capacity(1, stamp));
        }
        let bucket = self.bucket_of(self.seed.hash(key));
        self.directory.leaf_mut(bucket).edit().raise(stamp);
    }

    /// The latest stamp of all; walks the buckets.
    pub fn stamp_max(&self) -> S {
        let buckets = 0..self.directory.len();
        buckets.fold(S::default(), |stamp, bucket| stamp.merge(self.directory.leaf(bucket).stamp()))
    }

    /// Where the key's hash leads: bucket, hash, and its place there when present.
    fn locate(&self, key: &[u8]) -> (usize, u64, Option<usize>) {
        let hash = self.seed.hash(key);
        if self.directory.len() == 0 {
            return (0, hash, None);
        }
        let bucket = self.bucket_of(hash);
        let index = self.directory.leaf(bucket).find(fingerprint(hash), |entry| entry.key() == key);
        (bucket, hash, index)
    }

    /// As `locate`, in a table that has a bucket to put the key into.
    fn locate_or_begin(&mut self, key: &[u8]) -> (usize, u64, Option<usize>) {
        if self.directory.len() == 0 {
            self.directory.push(Leaf::with_capacity(1, S::default()));
        }
        self.locate(key)
    }

    /// Counts a new entry, and adds a bucket when they are too full.
    fn grown(&mut self) {
        self.len += 1;
        if self.len > self.directory.len() * LOAD_GROW {
            self.split();
        }
    }

    fn bucket_of(&self, hash: u64) -> usize {
        let buckets = self.directory.len();
        let mask = buckets.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        if bucket < buckets { bucket } else { bucket & (mask >> 1) }
    }

    /// Adds the next bucket and moves to it what belongs there from the bucket that it divides.
    fn split(&mut self) {
        let new = self.directory.len();
        let bit = 1_u64 << new.ilog2();
        let seed = self.seed;
        let mut from = self.directory.leaf_mut(new - bit as usize).edit();
        let count = from.as_leaf().len();
        let mut moved = Leaf::with_capacity(count / 2 + 2, from.as_leaf().stamp());
        let mut to = moved.edit();
        let mut index = 0;
        while index < from.as_leaf().len() {
            if seed.hash(from.as_leaf().entries()[index].key()) & bit == 0 {
                index += 1;
            } else {
                let (fingerprint, entry) = from.swap_remove_raw(index);
                to.push(fingerprint, entry);
            }
        }
        from.fit();
        to.fit();
        self.directory.push(moved);
    }

    /// Dissolves the last bucket into the one that it was divided from.
    fn merge(&mut self) {
        let Some(last) = self.directory.pop() else { return };
        let removed = self.directory.len();
        let into = removed - (1 << removed.ilog2());
        let mut leaf = self.directory.leaf_mut(into).edit();
        leaf.raise(last.stamp());
        last.consume(|fingerprint, entry| leaf.push(fingerprint, entry));
    }
}

impl<E: Entry, S: Stamp> std::fmt::Debug for Table<E, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("len", &self.len).field("buckets", &self.directory.len()).finish()
    }
}

/// The top bits, which place no entry in any table that fits into memory.
const fn fingerprint(hash: u64) -> u8 {
    (hash >> 56) as u8
}
