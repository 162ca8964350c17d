//! Walks over all entries, in order of buckets.

use std::collections::BTreeMap;

use super::leaf::Leaf;
use super::{Entry, Row, Stamp, Table};

/// Entries in order of buckets. A walk over a frozen clone sees exactly its version, whatever happens elsewhere.
pub struct Iter<'a, E, S = ()> {
    table: &'a Table<E, S>,
    row: usize,
    leaves: std::slice::Iter<'a, Option<Leaf<E, S>>>,
    entries: std::slice::Iter<'a, E>,
    left: usize,
}

impl<E: Entry, S: Stamp> Table<E, S> {
    pub fn iter(&self) -> Iter<'_, E, S> {
        Iter { table: self, row: 0, leaves: [].iter(), entries: [].iter(), left: self.len }
    }

    /// A frozen version in pieces, in order of buckets, which a walk lets go of one by one.
    pub fn into_rows(self) -> Vec<Row<E, S>> {
        self.directory.into_rows()
    }

    /// Number of buckets, for walks in portions.
    pub fn buckets(&self) -> usize {
        self.directory.len()
    }

    /// How many buckets hold how many entries.
    pub fn bucket_lengths(&self) -> BTreeMap<usize, usize> {
        let mut lengths = BTreeMap::new();
        for bucket in 0..self.buckets() {
            *lengths.entry(self.bucket(bucket).len()).or_default() += 1;
        }
        lengths
    }

    /// The entries of one bucket; none when there is no such bucket.
    pub fn bucket(&self, bucket: usize) -> &[E] {
        if bucket < self.directory.len() { self.directory.leaf(bucket).entries() } else { &[] }
    }
}

impl<'a, E: Entry, S: Stamp> Iterator for Iter<'a, E, S> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(entry) = self.entries.next() {
                self.left -= 1;
                return Some(entry);
            }
            match self.leaves.next() {
                Some(Some(leaf)) => self.entries = leaf.entries().iter(),
                Some(None) => return None,
                None => {
                    let leaves = self.table.directory.row(self.row);
                    if leaves.is_empty() {
                        return None;
                    }
                    self.row += 1;
                    self.leaves = leaves.iter();
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<E: Entry, S: Stamp> ExactSizeIterator for Iter<'_, E, S> {}

impl<'a, E: Entry, S: Stamp> IntoIterator for &'a Table<E, S> {
    type Item = &'a E;
    type IntoIter = Iter<'a, E, S>;

    fn into_iter(self) -> Iter<'a, E, S> {
        self.iter()
    }
}
