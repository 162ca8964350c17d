//! Sorted sets: packed in order while small, a table and a tree over the same members when large.
//!
//! Invariants
//! - Ordered by score, then by member bytes. No score is NaN.
//! - Packed: members in order in one run of bytes; at most `zset_max_listpack_entries` members when the last one was added, none longer than
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
use super::{Limits, Stretch, sample};
use crate::ds::{CowBytes, Item, Listpack, Mover, Table, own, relocated, tree};
use crate::env::Entropy;

pub use bounds::LexBound;
use bounds::{lex_before, lex_until, score_before, score_until};
pub(super) use indexed::Scored;
use indexed::{Indexed, LEAF};
use packed::{Packed, Pairs, PairsBack, Placement};

/// A sorted set. Clone is O(1).
#[derive(Clone, Debug)]
pub struct Zset {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// See [`Packed`].
    Packed(CowBytes),
    Indexed(Arc<Indexed>),
}

/// A sorted set as it is read, wherever its packed form lies.
#[derive(Clone, Copy, Debug)]
pub struct ZsetRef<'a> {
    form: FormRef<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormRef<'a> {
    Packed(Packed<'a>),
    Indexed(&'a Arc<Indexed>),
}

/// The order of members: by score (both zeros are equal), then by bytes.
fn order(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

impl Zset {
    pub(super) fn relocate(&mut self, stretch: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        match &mut self.form {
            Form::Packed(bytes) => {
                bytes.relocate(mover);
                None
            }
            Form::Indexed(indexed) => relocated(indexed, mover)?.relocate(stretch, mover),
        }
    }

    /// An empty sorted set, packed.
    pub fn new() -> Self {
        Self { form: Form::Packed(packed::empty()) }
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
    pub(super) fn from_listpack(listpack: &Listpack, limits: &Limits) -> Result<Self, Problem> {
        if !listpack.len().is_multiple_of(2) {
            return Err(Problem::Odd);
        }
        let pairs = packed::listpack_pairs(listpack);
        if pairs.iter().any(|(_, score)| score.is_nan()) {
            return Err(Problem::Score);
        }
        if !sample::all_different(listpack.iter().step_by(2)) {
            return Err(Problem::Duplicate);
        }
        if pairs.len() > limits.zset_max_listpack_entries || !packed::ordered(&pairs) {
            return Self::from_members(scored(pairs.into_iter()), limits).ok_or(Problem::Duplicate);
        }
        Ok(Self { form: Form::Packed(packed::build(pairs.into_iter())) })
    }

    pub fn as_ref(&self) -> ZsetRef<'_> {
        ZsetRef {
            form: match &self.form {
                Form::Packed(bytes) => FormRef::Packed(Packed(bytes)),
                Form::Indexed(indexed) => FormRef::Indexed(indexed),
            },
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        self.as_ref().encoding()
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.as_ref().score(member)
    }

    /// See [`ZsetRef::rank`].
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        self.as_ref().rank(member)
    }

    /// See [`ZsetRef::nth`].
    pub fn nth(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        self.as_ref().nth(rank)
    }

    /// See [`ZsetRef::iter`].
    pub fn iter(&self) -> Ranked<'_> {
        self.as_ref().iter()
    }

    /// See [`ZsetRef::iter_range`].
    pub fn iter_range(&self, range: Range<usize>) -> Ranked<'_> {
        self.as_ref().iter_range(range)
    }

    /// See [`ZsetRef::iter_range_back`].
    pub fn iter_range_back(&self, range: Range<usize>) -> Ranked<'_> {
        self.as_ref().iter_range_back(range)
    }

    /// See [`ZsetRef::scan`].
    pub fn scan(&self, cursor: u64, found: impl FnMut(Item<'_>, f64)) -> u64 {
        self.as_ref().scan(cursor, found)
    }

    /// See [`ZsetRef::random`].
    pub fn random(&self, entropy: &mut dyn Entropy) -> Option<(Item<'_>, f64)> {
        self.as_ref().random(entropy)
    }

    /// See [`ZsetRef::random_distinct`].
    pub fn random_distinct(&self, count: usize, entropy: &mut dyn Entropy) -> Vec<(Item<'_>, f64)> {
        self.as_ref().random_distinct(count, entropy)
    }

    /// Sets the score of a member, adding it when it is not there; the score before.
    ///
    /// # Panics
    /// When the score is NaN: sums are checked before they get here.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        assert!(!score.is_nan(), "NaN has no place in an order");
        if let Form::Packed(bytes) = &mut self.form {
            let packed = Packed(bytes);
            let room = packed.len() < limits.zset_max_listpack_entries
                && member.len() <= limits.zset_max_listpack_value
                && packed.fits(member.len());
            match packed::set(bytes, member, score, room) {
                Some(Placement::There(before)) => return Some(before),
                Some(Placement::Added) => return None,
                None => self.convert(limits),
            }
        }
        match &mut self.form {
            Form::Indexed(indexed) => own(indexed).set(member, score),
            Form::Packed(_) => unreachable!("converted above"),
        }
    }

    /// Removes a member; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Packed(bytes) => packed::remove(bytes, member),
            Form::Indexed(indexed) => {
                indexed.score(member)?;
                own(indexed).remove(member)
            }
        }
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
            Form::Packed(bytes) => packed::remove_range(bytes, range.clone()),
            Form::Indexed(indexed) => own(indexed).remove_range(range.clone()),
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

    /// Bytes allocated; exact for the packed form, estimated from a few members for a large one.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(bytes) => bytes.heap_bytes(),
            Form::Indexed(indexed) => {
                let members = indexed.table.iter().map(|scored| scored.member().len() + 2 * size_of::<usize>());
                // Each member stands in the table and, in leaves about three quarters full and with its share of the
                // nodes above, in the tree.
                sample::table_bytes::<Scored>(self.len(), members) + self.len() * size_of::<Scored>() * 5 / 3
            }
        }
    }

    fn take(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let (member, score) = self.nth(rank).map(|(member, score)| (member.to_vec(), score))?;
        self.remove_range(rank..rank + 1);
        Some((member, score))
    }

    fn convert(&mut self, limits: &Limits) {
        if let Form::Packed(_) = self.form {
            let members = scored(self.iter());
            let indexed = Indexed::build(members, limits.hash_seed).expect("packed members are all different");
            self.form = Form::Indexed(Arc::new(indexed));
        }
    }
}

impl<'a> ZsetRef<'a> {
    /// The table that a large one is found by.
    pub(super) fn table(self) -> Option<&'a Table<Scored>> {
        match self.form {
            FormRef::Indexed(indexed) => Some(&indexed.table),
            FormRef::Packed(_) => None,
        }
    }

    /// A sorted set in packed form: bytes that [`Self::packed`] gave.
    pub(super) fn from_packed(bytes: &'a [u8]) -> Self {
        Self { form: FormRef::Packed(Packed(bytes)) }
    }

    /// An owned sorted set; a packed one is copied.
    pub fn to_zset(self) -> Zset {
        Zset {
            form: match self.form {
                FormRef::Packed(packed) => Form::Packed(CowBytes::with_room(packed.0)),
                FormRef::Indexed(indexed) => Form::Indexed(indexed.clone()),
            },
        }
    }

    /// Number of members.
    pub fn len(self) -> usize {
        match self.form {
            FormRef::Packed(packed) => packed.len(),
            FormRef::Indexed(indexed) => indexed.tree.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormRef::Packed(_) => "listpack",
            FormRef::Indexed(_) => "skiplist",
        }
    }

    /// The packed form's bytes.
    pub(super) fn packed(self) -> Option<&'a [u8]> {
        match self.form {
            FormRef::Packed(packed) => Some(packed.0),
            FormRef::Indexed(_) => None,
        }
    }

    pub fn is_packed(self) -> bool {
        matches!(self.form, FormRef::Packed(_))
    }

    /// A packed sorted set as RDB files carry it.
    pub fn to_listpack(self) -> Option<Listpack> {
        match self.form {
            FormRef::Packed(packed) => Some(packed.to_listpack()),
            FormRef::Indexed(_) => None,
        }
    }

    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self.form {
            FormRef::Packed(packed) => packed.score(member),
            FormRef::Indexed(indexed) => indexed.score(member),
        }
    }

    /// The rank of a member, from 0 for the lowest, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        match self.form {
            FormRef::Packed(packed) => packed.rank(member),
            FormRef::Indexed(indexed) => indexed.rank(member),
        }
    }

    /// The member at a rank, with its score.
    pub fn nth(self, rank: usize) -> Option<(Item<'a>, f64)> {
        match self.form {
            FormRef::Packed(packed) => packed.iter_from(rank).next(),
            FormRef::Indexed(indexed) => indexed.tree.get(rank).map(|(scored, _)| pair(scored)),
        }
    }

    /// The ranks of the scores from `min` to `max`.
    pub fn score_span(self, min: Bound<f64>, max: Bound<f64>) -> Range<usize> {
        let start = self.partition_point(|score, _| score_before(score, min));
        let end = self.partition_point(|score, _| score_until(score, max));
        start..end.max(start)
    }

    /// The ranks of the members from `min` to `max`; means something where all scores are the same.
    pub fn lex_span(self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let start = self.partition_point(|_, member| lex_before(member, min));
        let end = self.partition_point(|_, member| lex_until(member, max));
        start..end.max(start)
    }

    /// Members with their scores, ascending.
    pub fn iter(self) -> Ranked<'a> {
        self.iter_range(0..self.len())
    }

    /// Members with their scores at the ranks of `range`, ascending.
    pub fn iter_range(self, range: Range<usize>) -> Ranked<'a> {
        let left = range.end.min(self.len()).saturating_sub(range.start);
        let walk = match self.form {
            FormRef::Packed(packed) => Walk::Packed(packed.iter_from(range.start)),
            FormRef::Indexed(indexed) => Walk::Tree(indexed.tree.iter_at(range.start)),
        };
        Ranked { walk, left }
    }

    /// Members with their scores at the ranks of `range`, descending.
    pub fn iter_range_back(self, range: Range<usize>) -> Ranked<'a> {
        let end = range.end.min(self.len());
        let left = end.saturating_sub(range.start);
        let walk = match self.form {
            FormRef::Packed(packed) => Walk::PackedBack(packed.iter_back(range.start.min(end)..end)),
            FormRef::Indexed(indexed) => Walk::TreeBack(indexed.tree.iter_before(end)),
        };
        Ranked { walk, left }
    }

    /// Reports a part of the members with their scores and returns the cursor of the next part; 0 starts and ends. See
    /// [`crate::ds::Table::scan`]; a packed sorted set is reported whole.
    pub fn scan(self, cursor: u64, mut found: impl FnMut(Item<'_>, f64)) -> u64 {
        match self.form {
            FormRef::Packed(_) => {
                self.iter().for_each(|(member, score)| found(member, score));
                0
            }
            FormRef::Indexed(indexed) => {
                indexed.table.scan(cursor, |scored| found(Item::Bytes(scored.member()), scored.score))
            }
        }
    }

    /// One member with its score, each equally likely.
    pub fn random(self, entropy: &mut dyn Entropy) -> Option<(Item<'a>, f64)> {
        self.nth(entropy.below(self.len() as u64) as usize)
    }

    /// `count` different members with their scores in random order; all of them when there are no more.
    pub fn random_distinct(self, count: usize, entropy: &mut dyn Entropy) -> Vec<(Item<'a>, f64)> {
        let len = self.len();
        let ranks = sample::distinct(len, count, 0..len, |entropy| Some(entropy.below(len as u64) as usize), entropy);
        ranks.into_iter().filter_map(|rank| self.nth(rank)).collect()
    }

    fn partition_point(self, before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        match self.form {
            FormRef::Packed(packed) => packed.partition_point(before),
            FormRef::Indexed(indexed) => indexed.partition_point(before),
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Self::new()
    }
}

/// Members of a packed sorted set, each in an allocation of its own.
fn scored<'a>(pairs: impl Iterator<Item = (Item<'a>, f64)>) -> Vec<Scored> {
    let mut text = itoa::Buffer::new();
    pairs.map(|(member, score)| Scored::new(member.as_bytes(&mut text), score)).collect()
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
    Packed(Pairs<'a>),
    PackedBack(PairsBack<'a>),
    Tree(tree::Iter<'a, Scored, LEAF>),
    TreeBack(tree::IterBack<'a, Scored, LEAF>),
}

impl<'a> Iterator for Ranked<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Packed(pairs) => pairs.next(),
            Walk::PackedBack(pairs) => pairs.next(),
            Walk::Tree(scored) => scored.next().map(pair),
            Walk::TreeBack(scored) => scored.next().map(pair),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ranked<'_> {}
