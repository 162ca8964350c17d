//! Which keys expire when: an exact index, ordered by deadline.
//!
//! Invariants
//! - Holds one mark (deadline, some bits of the key's hash) per key with a deadline, never a key or an address: a mark
//!   costs the same whatever the key, and no mark can dangle.
//! - Not part of a snapshot; who loads one rebuilds it key by key.

use std::collections::BTreeMap;

use crate::ds::{Mover, Tree, tree};
use crate::env::UnixMillis;

/// Measured share of a mark in the tree, in bytes.
pub(super) const MARK_SHARE: usize = 17;

/// A deadline, and the low bits of the hash of the key that has it: enough to find the key's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub(super) struct Mark {
    deadline: i64,
    pub(super) hash: u32,
}

const _: () = assert!(size_of::<Mark>() == 12);

impl Mark {
    fn new(deadline: UnixMillis, hash: u64) -> Self {
        Self { deadline: deadline.0, hash: hash as u32 }
    }

    pub(super) fn deadline(self) -> UnixMillis {
        UnixMillis(self.deadline)
    }
}

impl tree::Item for Mark {
    type Key = Self;
    type Separator = Self;

    fn key(&self) -> &Self {
        self
    }

    fn separator(&self) -> Self {
        *self
    }
}

/// Deadlines of one database.
#[derive(Debug, Default)]
pub(super) struct ExpiryIndex {
    /// Counted, so that a mark can be drawn at random.
    marks: Tree<Mark>,
    /// How many further keys have a mark that is already there.
    twins: BTreeMap<Mark, usize>,
    twin_count: usize,
    sum: i128,
    /// The earliest deadline: every write asks for it.
    first: Option<UnixMillis>,
}

impl ExpiryIndex {
    pub(super) fn len(&self) -> usize {
        self.marks.len() + self.twin_count
    }

    pub(super) fn insert(&mut self, deadline: UnixMillis, hash: u64) {
        let mark = Mark::new(deadline, hash);
        if self.marks.insert_by(|other| other.cmp(&mark), mark).is_some() {
            *self.twins.entry(mark).or_default() += 1;
            self.twin_count += 1;
        }
        self.sum += i128::from(deadline.0);
        self.first = Some(self.first.map_or(deadline, |first| first.min(deadline)));
    }

    pub(super) fn remove(&mut self, deadline: UnixMillis, hash: u64) {
        let mark = Mark::new(deadline, hash);
        let removed = match self.twins.get_mut(&mark) {
            Some(further) => {
                *further -= 1;
                if *further == 0 {
                    self.twins.remove(&mark);
                }
                self.twin_count -= 1;
                true
            }
            None => self.marks.remove_by(|other| other.cmp(&mark)).is_some(),
        };
        debug_assert!(removed, "every key with a deadline has a mark");
        self.sum -= i128::from(deadline.0);
        if self.first == Some(deadline) {
            self.first = self.marks.first().map(|mark| mark.deadline());
        }
    }

    /// Moves some of the index from a mark on; the mark where that goes on.
    pub(super) fn relocate(&mut self, from: usize, count: usize, mover: &mut Mover<'_>) -> Option<usize> {
        let at = self.marks.relocate_from(from, count, mover, |_, _| {});
        (at < self.marks.len()).then_some(at)
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<UnixMillis> {
        self.first
    }

    /// Marks whose keys are expired at `now`, the earliest first.
    pub(super) fn due(&self, now: UnixMillis) -> impl Iterator<Item = Mark> {
        self.marks.iter().copied().take_while(move |mark| mark.deadline() < now)
    }

    /// The mark at a place in the order of deadlines; twins count once.
    pub(super) fn nth(&self, place: usize) -> Option<Mark> {
        self.marks.get(place).map(|(mark, _)| *mark)
    }

    /// Mean of all deadlines.
    pub(super) fn mean(&self) -> Option<UnixMillis> {
        let count = i128::try_from(self.len()).ok().filter(|&count| count > 0)?;
        Some(UnixMillis((self.sum / count) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys may share all 64 bits of their hash: neither may lose its mark to the other.
    #[test]
    fn twins_are_counted() {
        let mut index = ExpiryIndex::default();
        for _ in 0..3 {
            index.insert(UnixMillis(10), 7);
        }
        index.insert(UnixMillis(20), 7);
        assert_eq!((index.len(), index.mean()), (4, Some(UnixMillis(12))));
        index.remove(UnixMillis(10), 7);
        index.remove(UnixMillis(10), 7);
        assert_eq!((index.len(), index.first()), (2, Some(UnixMillis(10))));
        index.remove(UnixMillis(10), 7);
        assert_eq!((index.len(), index.first()), (1, Some(UnixMillis(20))));
    }

    /// A key expires after its deadline, not at it.
    #[test]
    fn due_is_strictly_before_now() {
        let mut index = ExpiryIndex::default();
        index.insert(UnixMillis(10), 1);
        index.insert(UnixMillis(11), u64::MAX);
        index.insert(UnixMillis(12), 0);
        assert_eq!(index.due(UnixMillis(10)).count(), 0);
        assert_eq!(index.due(UnixMillis(11)).count(), 1);
        assert_eq!(index.due(UnixMillis(12)).map(|mark| mark.deadline().0).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(index.due(UnixMillis(i64::MIN)).count(), 0);
    }
}
