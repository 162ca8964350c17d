//! Moving a table's allocations, bucket by bucket.

use super::{Entry, Stamp, Table};
use crate::ds::Mover;

impl<E: Entry, S: Stamp> Table<E, S> {
    /// Moves what a bucket consists of, and what `each` moves of its entries, whose keys must stay the same. Nothing is
    /// done where somebody else holds the bucket.
    pub fn relocate_bucket(&mut self, bucket: usize, mover: &mut Mover<'_>, each: impl FnMut(&mut E, &mut Mover<'_>)) {
        if bucket >= self.directory.len() {
            return;
        }
        let leaf = self.directory.leaf_relocated(bucket, mover).and_then(|leaf| leaf.relocated(mover));
        let Some(leaf) = leaf else { return };
        let mut each = each;
        leaf.into_entries().iter_mut().for_each(|entry| each(entry, mover));
    }

    /// As [`Table::relocate_bucket`], from one bucket on until `count` entries were visited; the bucket behind those.
    pub fn relocate_from(
        &mut self,
        from: usize,
        count: usize,
        mover: &mut Mover<'_>,
        mut each: impl FnMut(&mut E, &mut Mover<'_>),
    ) -> usize {
        let (mut bucket, mut visited) = (from, 0);
        while bucket < self.buckets() && visited < count {
            visited += self.bucket(bucket).len().max(1);
            self.relocate_bucket(bucket, mover, &mut each);
            bucket += 1;
        }
        bucket
    }
}
