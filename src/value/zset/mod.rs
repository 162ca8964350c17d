//! Sorted sets: packed in order while small, a table and a tree over the same members when large.
//!
//! Invariants
//! - Ordered by score, then by member bytes. No score is NaN.
//! - Packed: at most `zset_max_listpack_entries` members when the last one was added, none longer than
//!   `zset_max_listpack_value`.
//!
//! Ranges are ranges of ranks: [`Zset::score_span`] and [`Zset::lex_span`] find them, [`Zset::iter_range`] walks them,
//! [`Zset::remove_range`] removes them, and their length is the count.

mod bounds;
mod indexed;
mod packed;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use triomphe::Arc;

use super::payload::Problem;
use super::{Limits, sample};
use crate::ds::{Item, Listpack, ListpackIter, tree};
use crate::env::Entropy;

pub use bounds::LexBound;
use bounds::{lex_before, lex_until, score_before, score_until};
use indexed::Indexed;
pub(super) use indexed::Scored;

/// A sorted set. Clone is O(1).
#[derive(Clone, Debug)]
pub struct Zset {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Listpack),
    Indexed(Arc<Indexed>),
}

/// The order of members: by score (both zeros are equal), then by bytes.
fn order(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

impl Zset {
    /// An empty sorted set, packed.
    pub fn new() -> Self {
        Self { form: Form::Packed(Listpack::new()) }
    }

    /// A sorted set from different members in any order, `None` when one occurs twice. No score is NaN.
    pub(super) fn from_members(members: Vec<Scored>, limits: &Limits) -> Option<Self> {
        if members.len() <= limits.zset_max_listpack_entries {
            let mut zset = Self::new();
            let all_new = members.iter().all(|scored| zset.set(scored.member(), scored.score, limits).is_none());
            return all_new.then_some(zset);
        }
        let indexed = Indexed::build(members, limits.hash_seed).ok()?;
        Some(Self { form: Form::Indexed(Arc::new(indexed)) })
    }

    /// A sorted set from a listpack of members and scores in turn, in any order; too many of them are indexed.
    ///
    /// # Errors
    /// When a member has no score or occurs twice, or a score is not a number.
    pub(super) fn from_listpack(listpack: Listpack, limits: &Limits) -> Result<Self, Problem> {
        let count = listpack.len();
        if !count.is_multiple_of(2) {
            return Err(Problem::Odd);
        }
        if packed::pairs(listpack.iter()).any(|(_, score)| score.is_nan()) {
            return Err(Problem::Score);
        }
        if !sample::all_different(listpack.iter().step_by(2)) {
            return Err(Problem::Duplicate);
        }
        if count / 2 > limits.zset_max_listpack_entries || !packed::ordered(&listpack) {
            let members = scored(&listpack);
            return Self::from_members(members, limits).ok_or(Problem::Duplicate);
        }
        Ok(Self { form: Form::Packed(listpack) })
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(listpack) => listpack.len() / 2,
            Form::Indexed(indexed) => indexed.tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Packed(listpack) => listpack.is_empty(),
            Form::Indexed(indexed) => indexed.tree.is_empty(),
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Packed(_) => "listpack",
            Form::Indexed(_) => "skiplist",
        }
    }

    /// The packed form's bytes, as RDB files carry them.
    pub fn packed(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Packed(listpack) => Some(listpack),
            Form::Indexed(_) => None,
        }
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Packed(listpack) => packed::find(listpack, member).map(|at| packed::score_at(listpack, at)),
            Form::Indexed(indexed) => indexed.score(member),
        }
    }

    /// Sets the score of a member, adding it when it is not there; the score before.
    ///
    /// # Panics
    /// When the score is NaN: sums are checked before they get here.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        assert!(!score.is_nan(), "NaN has no place in an order");
        if let Form::Packed(listpack) = &mut self.form {
            if let Some(at) = packed::find(listpack, member) {
                let before = packed::score_at(listpack, at);
                if before != score {
                    listpack.remove_run(at, 2);
                    packed::insert(listpack, member, score);
                }
                return Some(before);
            }
            if listpack.len() / 2 < limits.zset_max_listpack_entries
                && member.len() <= limits.zset_max_listpack_value
                && listpack.fits(member.len() + 64)
            {
                packed::insert(listpack, member, score);
                return None;
            }
            self.convert(limits);
        }
        match &mut self.form {
            Form::Indexed(indexed) => Arc::make_mut(indexed).set(member, score),
            Form::Packed(_) => unreachable!("converted above"),
        }
    }

    /// Removes a member; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Packed(listpack) => {
                let at = packed::find(listpack, member)?;
                let score = packed::score_at(listpack, at);
                listpack.remove_run(at, 2);
                Some(score)
            }
            Form::Indexed(indexed) => {
                indexed.score(member)?;
                Arc::make_mut(indexed).remove(member)
            }
        }
    }

    /// The rank of a member, from 0 for the lowest, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.form {
            Form::Packed(listpack) => {
                let mut pairs = packed::pairs(listpack.iter());
                pairs
                    .by_ref()
                    .position(|(item, _)| item.eq_bytes(member))
                    .and_then(|rank| Some((rank, self.nth(rank)?.1)))
            }
            Form::Indexed(indexed) => indexed.rank(member),
        }
    }

    /// The member at a rank, with its score.
    pub fn nth(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        match &self.form {
            Form::Packed(listpack) => {
                let at = listpack.seek(2 * rank)?;
                Some((listpack.item(at), packed::score_at(listpack, at)))
            }
            Form::Indexed(indexed) => indexed.tree.get(rank).map(|(scored, _)| pair(scored)),
        }
    }

    /// The ranks of the scores from `min` to `max`.
    pub fn score_span(&self, min: Bound<f64>, max: Bound<f64>) -> Range<usize> {
        let start = self.partition_point(|score, _| score_before(score, min));
        let end = self.partition_point(|score, _| score_until(score, max));
        start..end.max(start)
    }

    /// The ranks of the members from `min` to `max`; means something where all scores are the same.
    pub fn lex_span(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let start = self.partition_point(|_, member| lex_before(member, min));
        let end = self.partition_point(|_, member| lex_until(member, max));
        start..end.max(start)
    }

    /// Members with their scores, ascending.
    pub fn iter(&self) -> Ranked<'_> {
        self.iter_range(0..self.len())
    }

    /// Members with their scores at the ranks of `range`, ascending.
    pub fn iter_range(&self, range: Range<usize>) -> Ranked<'_> {
        let left = range.end.min(self.len()).saturating_sub(range.start);
        let walk = match &self.form {
            Form::Packed(listpack) => Walk::Packed(match listpack.seek(2 * range.start) {
                Some(at) => listpack.iter_from(at),
                None => listpack.iter(),
            }),
            Form::Indexed(indexed) => Walk::Tree(indexed.tree.iter_at(range.start)),
        };
        Ranked { walk, left }
    }

    /// Members with their scores at the ranks of `range`, descending.
    pub fn iter_range_back(&self, range: Range<usize>) -> Ranked<'_> {
        let end = range.end.min(self.len());
        let left = end.saturating_sub(range.start);
        let walk = match &self.form {
            Form::Packed(listpack) => Walk::PackedBack(match listpack.seek(2 * end) {
                Some(at) => listpack.iter_until(at),
                None => listpack.iter(),
            }),
            Form::Indexed(indexed) => Walk::TreeBack(indexed.tree.iter_before(end)),
        };
        Ranked { walk, left }
    }

    /// Removes the members at the ranks of `range`; how many there were.
    pub fn remove_range(&mut self, range: Range<usize>) -> usize {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return 0;
        }
        if range.len() == self.len() {
            *self = Self::new();
            return range.len();
        }
        match &mut self.form {
            Form::Packed(listpack) => packed::remove_range(listpack, range.clone()),
            Form::Indexed(indexed) => Arc::make_mut(indexed).remove_range(range.clone()),
        }
        range.len()
    }

    /// Takes the member of the lowest score out.
    pub fn pop_min(&mut self) -> Option<(Vec<u8>, f64)> {
        self.take(0)
    }

    /// Takes the member of the highest score out.
    pub fn pop_max(&mut self) -> Option<(Vec<u8>, f64)> {
        self.take(self.len().checked_sub(1)?)
    }

    /// Announces that `count` members, the longest of `longest` bytes, are about to be added at once: what is too much
    /// for the packed form converts it first.
    pub fn expect(&mut self, count: usize, longest: usize, limits: &Limits) {
        if count > limits.zset_max_listpack_entries || longest > limits.zset_max_listpack_value {
            self.convert(limits);
        }
    }

    /// Reports a part of the members with their scores and returns the cursor of the next part; 0 starts and ends. See
    /// [`crate::ds::Table::scan`]; a packed sorted set is reported whole.
    pub fn scan(&self, cursor: u64, mut found: impl FnMut(Item<'_>, f64)) -> u64 {
        match &self.form {
            Form::Packed(_) => {
                self.iter().for_each(|(member, score)| found(member, score));
                0
            }
            Form::Indexed(indexed) => {
                indexed.table.scan(cursor, |scored| found(Item::Bytes(scored.member()), scored.score))
            }
        }
    }

    /// One member with its score, each equally likely.
    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<(Item<'_>, f64)> {
        self.nth(entropy.below(self.len() as u64) as usize)
    }

    /// `count` different members with their scores in random order; all of them when there are no more.
    pub fn random_distinct(&self, count: usize, entropy: &mut dyn Entropy) -> Vec<(Item<'_>, f64)> {
        let len = self.len();
        let ranks = sample::distinct(len, count, 0..len, |entropy| Some(entropy.below(len as u64) as usize), entropy);
        ranks.into_iter().filter_map(|rank| self.nth(rank)).collect()
    }

    /// Bytes allocated; exact for the packed form, estimated from a few members for a large one.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(listpack) => listpack.heap_bytes(),
            Form::Indexed(indexed) => {
                let members = indexed.table.iter().map(|scored| scored.member().len() + 2 * size_of::<usize>());
                // Each member stands in the table and, in nodes about three quarters full, in the tree.
                sample::table_bytes::<Scored>(self.len(), members) + self.len() * size_of::<Scored>() * 4 / 3
            }
        }
    }

    fn partition_point(&self, before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        match &self.form {
            Form::Packed(listpack) => packed::partition_point(listpack, before),
            Form::Indexed(indexed) => indexed.partition_point(before),
        }
    }

    fn take(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let (member, score) = self.nth(rank).map(|(member, score)| (member.to_vec(), score))?;
        self.remove_range(rank..rank + 1);
        Some((member, score))
    }

    fn convert(&mut self, limits: &Limits) {
        if let Form::Packed(listpack) = &self.form {
            let indexed = Indexed::build(scored(listpack), limits.hash_seed).expect("packed members are all different");
            self.form = Form::Indexed(Arc::new(indexed));
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Self::new()
    }
}

/// The members of a packed sorted set, each in an allocation of its own.
fn scored(listpack: &Listpack) -> Vec<Scored> {
    let mut text = itoa::Buffer::new();
    packed::pairs(listpack.iter()).map(|(member, score)| Scored::new(member.as_bytes(&mut text), score)).collect()
}

fn pair(scored: &Scored) -> (Item<'_>, f64) {
    (Item::Bytes(scored.member()), scored.score)
}

/// Members with their scores, ascending or descending.
pub struct Ranked<'a> {
    walk: Walk<'a>,
    left: usize,
}

enum Walk<'a> {
    Packed(ListpackIter<'a>),
    PackedBack(ListpackIter<'a>),
    Tree(tree::Iter<'a, Scored>),
    TreeBack(tree::IterBack<'a, Scored>),
}

impl<'a> Iterator for Ranked<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Packed(items) => Some((items.next()?, packed::score_of(items.next()?))),
            Walk::PackedBack(items) => {
                let score = packed::score_of(items.next_back()?);
                Some((items.next_back()?, score))
            }
            Walk::Tree(scored) => scored.next().map(pair),
            Walk::TreeBack(scored) => scored.next().map(pair),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ranked<'_> {}
