//! The small form of a sorted set: members with their scores in order, in one run of bytes.
//!
//! Layout: the number of members (u32, little-endian), then member and score in turn as elements of
//! [`crate::ds::run`]. A score is a number where it is whole, else the bytes of the shortest float that it fits: four
//! for an `f32`, eight for an `f64`, little-endian. A negative zero becomes zero, as in the stock server.
//!
//! RDB files carry the same as a listpack, whose scores are text where they are not whole: [`Packed::to_listpack`].
//! Without its header and the lengths for walking backwards, each member takes two bytes less.

use std::cmp::Ordering;
use std::ops::Range;

use super::order;
use crate::ds::{CowBytes, Item, Listpack, ListpackBuilder, ListpackSlice, Needle, run};

/// Whole numbers up to here are stored as such: the stock server's bound, half of what an `i64` holds.
const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;

/// Bytes of the number of members.
const COUNT: usize = 4;

/// More than this no packed sorted set may hold.
const BYTES_MAX: usize = 1 << 30;

/// The bytes of a packed sorted set, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a>(pub(super) &'a [u8]);

/// A member as it stands in the run.
struct Placed<'a> {
    at: usize,
    member: Item<'a>,
    score: f64,
    end: usize,
}

impl<'a> Packed<'a> {
    pub(super) fn len(self) -> usize {
        self.0.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Whether a member of so many bytes may still be added.
    pub(super) fn fits(self, member: usize) -> bool {
        member <= BYTES_MAX && self.0.len() + member + 64 <= BYTES_MAX
    }

    pub(super) fn score(self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|(_, placed)| placed.score)
    }

    /// The rank of a member and its score.
    pub(super) fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        self.find(member).map(|(rank, placed)| (rank, placed.score))
    }

    /// Members from this rank on, all of them up to the last where there are fewer.
    pub(super) fn iter_from(self, rank: usize) -> Pairs<'a> {
        let rest = run::behind(self.0.get(COUNT..).unwrap_or_default(), 2 * rank.min(self.len()));
        Pairs { bytes: self.0, at: self.0.len() - rest.len() }
    }

    /// Members at these ranks, the last one first.
    pub(super) fn iter_back(self, ranks: Range<usize>) -> PairsBack<'a> {
        let mut pairs = self.iter_from(ranks.start);
        let mut places = Vec::with_capacity(ranks.len());
        places.extend(std::iter::from_fn(|| pairs.placed()).take(ranks.len()).map(|placed| placed.at));
        PairsBack { bytes: self.0, places }
    }

    /// How many members in front satisfy `before`, which holds up to some member and for none behind it.
    pub(super) fn partition_point(self, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        let mut text = itoa::Buffer::new();
        self.iter_from(0).take_while(|(member, score)| before(*score, member.as_bytes(&mut text))).count()
    }

    /// As RDB files carry it.
    pub(super) fn to_listpack(self) -> Listpack {
        let mut listpack = ListpackBuilder::new();
        let mut text = ryu::Buffer::new();
        for (member, score) in self.iter_from(0) {
            listpack.push(member);
            listpack.push(match whole(score) {
                Some(whole) => Item::Int(whole),
                None if score == f64::INFINITY => Item::Bytes(b"inf"),
                None if score == f64::NEG_INFINITY => Item::Bytes(b"-inf"),
                None => Item::Bytes(text.format_finite(score).as_bytes()),
            });
        }
        listpack.finish()
    }

    /// Where a member that is not there would stand.
    fn place_of(self, member: &[u8], score: f64) -> usize {
        let mut rest = self.0.get(COUNT..).unwrap_or_default();
        let mut text = itoa::Buffer::new();
        while let Some((own, behind)) = run::split_first(run::behind(rest, 1)) {
            let own = score_of(own);
            let is_before = own < score
                || own == score
                    && run::split_first(rest).is_some_and(|(other, _)| {
                        order((own, other.as_bytes(&mut text)), (score, member)) == Ordering::Less
                    });
            if !is_before {
                break;
            }
            rest = behind;
        }
        self.0.len() - rest.len()
    }

    fn find(self, member: &[u8]) -> Option<(usize, Placed<'a>)> {
        let needle = Needle::new(member);
        let mut rest = self.0.get(COUNT..)?;
        for rank in 0.. {
            let (found, score) = run::split_first_if(rest, needle)?;
            if found {
                let mut pairs = Pairs { bytes: self.0, at: self.0.len() - rest.len() };
                return pairs.placed().map(|placed| (rank, placed));
            }
            rest = run::behind(score, 1);
        }
        None
    }
}

/// Members with their scores, ascending.
pub(super) struct Pairs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    fn placed(&mut self) -> Option<Placed<'a>> {
        let at = self.at;
        let (member, rest) = run::split_first(&self.bytes[at..])?;
        let (score, rest) = run::split_first(rest)?;
        self.at = self.bytes.len() - rest.len();
        Some(Placed { at, member, score: score_of(score), end: self.at })
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.placed().map(|placed| (placed.member, placed.score))
    }
}

/// Members with their scores, descending.
pub(super) struct PairsBack<'a> {
    bytes: &'a [u8],
    places: Vec<usize>,
}

impl<'a> Iterator for PairsBack<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        Pairs { bytes: self.bytes, at: self.places.pop()? }.next()
    }
}

/// An empty run.
pub(super) fn empty() -> CowBytes {
    CowBytes::new(&[0; COUNT])
}

/// Members with their scores, in order and all different.
pub(super) fn build<'a>(pairs: impl Iterator<Item = (Item<'a>, f64)>) -> CowBytes {
    let (mut bytes, mut count) = (vec![0; COUNT], 0_u32);
    for (member, score) in pairs {
        run::push(&mut bytes, member);
        push_score(&mut bytes, score);
        count += 1;
    }
    bytes[..COUNT].copy_from_slice(&count.to_le_bytes());
    CowBytes::new(&bytes)
}

/// What became of a member whose score was set.
pub(super) enum Placement {
    /// It was there, with this score.
    There(f64),
    Added,
}

/// Sets the score of a member, adding it where there is `room` for one more; `None`, and nothing done, where there is
/// none.
pub(super) fn set(bytes: &mut CowBytes, member: &[u8], score: f64, room: bool) -> Option<Placement> {
    let found = Packed(bytes).find(member).map(|(_, placed)| (placed.at, placed.end, placed.score));
    let placement = match found {
        Some((_, _, before)) if before == score => return Some(Placement::There(before)),
        Some((at, end, before)) => {
            splice(bytes, at, end - at, &[], -1);
            Placement::There(before)
        }
        None if room => Placement::Added,
        None => return None,
    };
    let at = Packed(bytes).place_of(member, score);
    let mut pair = Vec::with_capacity(member.len() + 16);
    run::push(&mut pair, Item::new(member));
    push_score(&mut pair, score);
    splice(bytes, at, 0, &pair, 1);
    Some(placement)
}

/// Removes a member; its score.
pub(super) fn remove(bytes: &mut CowBytes, member: &[u8]) -> Option<f64> {
    let (_, Placed { at, end, score, .. }) = Packed(bytes).find(member)?;
    splice(bytes, at, end - at, &[], -1);
    Some(score)
}

/// Removes the members at these ranks, all of which are there.
pub(super) fn remove_range(bytes: &mut CowBytes, ranks: Range<usize>) {
    let from = Packed(bytes).iter_from(ranks.start).at;
    let to = Packed(bytes).iter_from(ranks.end).at;
    splice(bytes, from, to - from, &[], -(ranks.len() as i64));
}

fn splice(bytes: &mut CowBytes, at: usize, removed: usize, added: &[u8], members: i64) {
    let count = Packed(bytes).len() as i64 + members;
    bytes.splice(at, removed, &[added]);
    bytes.as_mut_slice()[..COUNT].copy_from_slice(&(count as u32).to_le_bytes());
}

fn push_score(run: &mut Vec<u8>, score: f64) {
    if let Some(whole) = whole(score) {
        run::push(run, Item::Int(whole));
    } else if f64::from(score as f32) == score {
        run::push(run, Item::Bytes(&(score as f32).to_le_bytes()));
    } else {
        run::push(run, Item::Bytes(&score.to_le_bytes()));
    }
}

fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(whole) => whole as f64,
        Item::Bytes(bytes) => match (bytes.first_chunk(), bytes.first_chunk()) {
            (Some(wide), _) => f64::from_le_bytes(*wide),
            (None, Some(narrow)) => f32::from_le_bytes(*narrow).into(),
            (None, None) => f64::NAN,
        },
    }
}

/// The number that a score is stored as, if it is a whole one.
fn whole(score: f64) -> Option<i64> {
    (score.fract() == 0.0 && score.abs() <= WHOLE_MAX).then_some(score as i64)
}

/// The members of a listpack with their scores, taken two by two; NaN where there is no score.
pub(super) fn listpack_pairs(listpack: &ListpackSlice) -> Vec<(Item<'_>, f64)> {
    let mut items = listpack.iter();
    let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
    let score = |item| match item {
        Item::Int(whole) => whole as f64,
        Item::Bytes(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
    };
    pairs.map(|(member, text)| (member, score(text))).collect()
}

/// Whether members stand in the order of sorted sets.
pub(super) fn ordered(pairs: &[(Item<'_>, f64)]) -> bool {
    let (mut a_text, mut b_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    pairs.is_sorted_by(|(a, a_score), (b, b_score)| {
        order((*a_score, a.as_bytes(&mut a_text)), (*b_score, b.as_bytes(&mut b_text))) == Ordering::Less
    })
}
