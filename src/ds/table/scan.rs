//! Incremental scans that survive changes between calls, and random choice.
//!
//! A scan walks the space of hashes in the order of their reversed bits. In that order every bucket, at any size of the
//! table, is one interval, and splitting or merging divides or joins neighbouring intervals. The cursor is the position
//! up to which all is done (its bits reversed back, so that it is a small number): what was present from the first call
//! to the last is therefore reported at least once, however the table grew and shrank in between.

use super::{Entry, Stamp, Table};

/// More than the entries of any bucket but one in 10^15, see [`Table::random`].
const BUCKET_BOUND: u64 = 64;
/// Up to this many buckets a random choice counts entries instead of guessing.
const BUCKETS_COUNTED: usize = 16;

impl<E: Entry, S: Stamp> Table<E, S> {
    /// Reports the entries of one bucket and returns the cursor for the next call; 0 starts a scan and ends it.
    ///
    /// An entry that is present during the whole scan is reported at least once, any other at most by chance. A cursor
    /// that no scan returned is harmless: the walk goes on from the place that it means.
    pub fn scan(&self, cursor: u64, mut found: impl FnMut(&E)) -> u64 {
        if self.directory.len() == 0 {
            return 0;
        }
        let from = cursor.reverse_bits();
        let bucket = self.bucket_of(cursor);
        let bits = self.bits_of(bucket);
        let start = if bits == 0 { 0 } else { from >> (64 - bits) << (64 - bits) };
        for entry in self.directory.leaf(bucket).entries() {
            // What lies before the cursor was reported from a smaller bucket that has since been merged into this one.
            if start == from || self.seed.hash(entry.key()).reverse_bits() >= from {
                found(entry);
            }
        }
        let next = if bits == 0 { None } else { start.checked_add(1 << (64 - bits)) };
        next.map_or(0, u64::reverse_bits)
    }

    /// An entry chosen by `random`, which must be uniform over all numbers; every entry is equally likely.
    pub fn random(&self, random: u64) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        let mut stream = random;
        let mut below = |bound: u64| {
            stream = stream.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = stream;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((u128::from(z ^ (z >> 31)) * u128::from(bound)) >> 64) as u64
        };
        if self.buckets() <= BUCKETS_COUNTED {
            return self.nth(below(self.len as u64) as usize);
        }
        // Buckets differ in size, so a place in a bucket is drawn too, and drawn again when it is empty.
        loop {
            let entries = self.bucket(below(self.buckets() as u64) as usize);
            let place = below(BUCKET_BOUND.max(entries.len() as u64));
            if let Some(entry) = entries.get(place as usize) {
                return Some(entry);
            }
        }
    }

    fn nth(&self, mut place: usize) -> Option<&E> {
        for bucket in 0..self.buckets() {
            let entries = self.bucket(bucket);
            match entries.get(place) {
                Some(entry) => return Some(entry),
                None => place -= entries.len(),
            }
        }
        None
    }

    /// How many low bits of a hash the bucket stands for.
    fn bits_of(&self, bucket: usize) -> u32 {
        let buckets = self.directory.len();
        let level = buckets.ilog2();
        let low = bucket & ((1 << level) - 1);
        if low + (1 << level) < buckets { level + 1 } else { level }
    }
}
