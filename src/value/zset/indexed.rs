//! The large form of a sorted set: a table that knows the score of each member, and a tree of members in order.
//!
//! Invariants
//! - Both hold the same members with the same scores; a member's bytes are one allocation that both refer to.

use std::cmp::Ordering;
use std::ops::Range;

use triomphe::ThinArc;

use super::order;
use crate::ds::{Entry, HashSeed, Mover, Table, Tree, tree};
use crate::value::Stretch;

/// A member with its score.
#[derive(Clone, Debug)]
pub(in crate::value) struct Scored {
    pub(in crate::value) score: f64,
    member: ThinArc<(), u8>,
}

impl Scored {
    pub(in crate::value) fn new(member: &[u8], score: f64) -> Self {
        Self { score, member: ThinArc::from_header_and_slice((), member) }
    }

    pub(super) fn member(&self) -> &[u8] {
        &self.member.slice
    }

    pub(super) fn order(&self, other: &Self) -> Ordering {
        order((self.score, self.member()), (other.score, other.member()))
    }
}

impl Entry for Scored {
    fn key(&self) -> &[u8] {
        self.member()
    }
}

impl tree::Item for Scored {
    type Key = Self;
    type Separator = Self;

    fn key(&self) -> &Self {
        self
    }

    fn separator(&self) -> Self {
        self.clone()
    }
}

/// Members in a leaf of the tree. A change of a score beside a snapshot copies two; half as many in one cost two bytes
/// more for each member.
pub(super) const LEAF: usize = tree::LEAF;

#[derive(Clone, Debug)]
pub(super) struct Indexed {
    pub(super) table: Table<Scored>,
    pub(super) tree: Tree<Scored, LEAF>,
}

impl Indexed {
    /// Built at once from different members in any order; the first member that occurs twice otherwise.
    pub(super) fn build(mut members: Vec<Scored>, seed: HashSeed) -> Result<Self, Scored> {
        if !members.is_sorted_by(|a, b| a.order(b) == Ordering::Less) {
            members.sort_unstable_by(Scored::order);
        }
        let mut table = Table::with_seed(seed);
        for scored in &members {
            if let Some(twice) = table.insert(scored.clone()) {
                return Err(twice);
            }
        }
        Ok(Self { table, tree: members.into_iter().collect() })
    }

    /// Places: the buckets of the table, then the ranks of the tree.
    pub(super) fn relocate(&mut self, Stretch { from, count }: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        let buckets = self.table.buckets();
        let end = buckets + self.tree.len();
        if from >= buckets {
            let at = self.tree.relocate_from(from - buckets, count, mover, |_, _| {});
            return Stretch::next(buckets + at, end);
        }
        let mut moving = Vec::new();
        let at = self.table.relocate_from(from, count, mover, |scored, mover| {
            if mover.moves(scored.member.heap_ptr()) {
                moving.push(scored.clone());
            }
        });
        for scored in moving {
            let new = Scored::new(scored.member(), scored.score);
            self.tree.insert_by(|key| key.order(&new), new.clone());
            self.table.insert(new);
        }
        Stretch::next(at, end)
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(member).map(|scored| scored.score)
    }

    /// Sets a score; the one before.
    pub(super) fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let Some(old) = self.table.get(member).cloned() else {
            let scored = Scored::new(member, score);
            self.tree.insert_by(|key| key.order(&scored), scored.clone());
            self.table.insert(scored);
            return None;
        };
        if old.score != score {
            self.tree.remove_by(|key| key.order(&old));
            let new = Scored { score, member: old.member.clone() };
            self.tree.insert_by(|key| key.order(&new), new.clone());
            self.table.insert(new);
        }
        Some(old.score)
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.table.get(member)?.clone();
        self.tree.remove_by(|key| key.order(&old));
        self.table.remove(member);
        Some(old.score)
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>) {
        for _ in 0..ranks.len() {
            if let Some(scored) = self.tree.remove_at(ranks.start) {
                self.table.remove(scored.member());
            }
        }
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let scored = self.table.get(member)?;
        let (rank, _) = self.tree.find(|key| key.order(scored))?;
        Some((rank, scored.score))
    }

    pub(super) fn partition_point(&self, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        self.tree.partition_point(|key| before(key.score, key.member()))
    }
}
