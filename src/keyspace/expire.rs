//! Which keys expire when: an exact index, ordered by deadline.
//!
//! Invariants
//! - Holds one mark (deadline, key hash) per key with a deadline, never a key or an address: a mark costs the same
//!   whatever the key, and no mark can dangle.
//! - Not part of a snapshot; who loads one rebuilds it key by key.

use std::collections::BTreeSet;

use crate::env::UnixMillis;

/// Deadlines of one database.
#[derive(Debug, Default)]
pub(super) struct ExpiryIndex {
    marks: BTreeSet<(i64, u64)>,
    /// Further keys with a mark that is already there: equal in deadline and in all bits of the hash.
    twins: Vec<(i64, u64)>,
    sum: i128,
}

impl ExpiryIndex {
    pub(super) fn len(&self) -> usize {
        self.marks.len() + self.twins.len()
    }

    pub(super) fn insert(&mut self, deadline: UnixMillis, hash: u64) {
        if !self.marks.insert((deadline.0, hash)) {
            self.twins.push((deadline.0, hash));
        }
        self.sum += i128::from(deadline.0);
    }

    pub(super) fn remove(&mut self, deadline: UnixMillis, hash: u64) {
        let mark = (deadline.0, hash);
        let removed = match self.twins.iter().position(|twin| *twin == mark) {
            Some(twin) => {
                self.twins.swap_remove(twin);
                true
            }
            None => self.marks.remove(&mark),
        };
        debug_assert!(removed, "every key with a deadline has a mark");
        self.sum -= i128::from(deadline.0);
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<UnixMillis> {
        self.marks.first().map(|&(deadline, _)| UnixMillis(deadline))
    }

    /// Marks whose keys are expired at `now`, the earliest first.
    pub(super) fn due(&self, now: UnixMillis) -> impl Iterator<Item = (UnixMillis, u64)> {
        self.marks.range(..(now.0, 0)).map(|&(deadline, hash)| (UnixMillis(deadline), hash))
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
        assert_eq!(index.due(UnixMillis(12)).map(|(at, _)| at.0).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(index.due(UnixMillis(i64::MIN)).count(), 0);
    }
}
