//! The small form of a sorted set: member and score alternate in one listpack, in order.
//!
//! Scores that are whole numbers are stored as numbers, others as their shortest text. A negative zero becomes zero, as
//! in the stock server.

use std::cmp::Ordering;
use std::ops::Range;

use super::order;
use crate::ds::{Item, Listpack, ListpackIter, Pos};

/// Whole numbers up to here are stored as such: the stock server's bound, half of what an `i64` holds.
const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;

/// Where a member stands.
pub(super) fn find(listpack: &Listpack, member: &[u8]) -> Option<Pos> {
    listpack.find(member, listpack.first(), 1)
}

/// The score behind the member at `at`.
pub(super) fn score_at(listpack: &Listpack, at: Pos) -> f64 {
    listpack.next(at).map_or(f64::NAN, |score| score_of(listpack.item(score)))
}

/// Inserts a member that is not there.
pub(super) fn insert(listpack: &mut Listpack, member: &[u8], score: f64) {
    let mut text = itoa::Buffer::new();
    let mut at = listpack.first();
    while let Some(pos) = at {
        let other = listpack.item(pos).as_bytes(&mut text);
        if order((score_at(listpack, pos), other), (score, member)) == Ordering::Greater {
            break;
        }
        at = listpack.next(pos).and_then(|score| listpack.next(score));
    }
    let mut text = ScoreText::new(score);
    match at {
        Some(pos) => {
            // The score goes in first, so that the member then stands before it.
            listpack.insert_before(pos, text.as_bytes());
            listpack.insert_before(pos, member);
        }
        None => {
            listpack.push_back(member);
            listpack.push_back(text.as_bytes());
        }
    }
}

/// How many members in front satisfy `before`, which holds up to some member and for none behind it.
pub(super) fn partition_point(listpack: &Listpack, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
    let mut text = itoa::Buffer::new();
    pairs(listpack.iter()).take_while(|(member, score)| before(*score, member.as_bytes(&mut text))).count()
}

/// Removes the members at these ranks.
pub(super) fn remove_range(listpack: &mut Listpack, ranks: Range<usize>) {
    if let Some(at) = listpack.seek(2 * ranks.start) {
        listpack.remove_run(at, 2 * ranks.len());
    }
}

/// Whether members stand in the order of sorted sets.
pub(super) fn ordered(listpack: &Listpack) -> bool {
    let (mut a_text, mut b_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    pairs(listpack.iter()).zip(pairs(listpack.iter()).skip(1)).all(|((a, a_score), (b, b_score))| {
        order((a_score, a.as_bytes(&mut a_text)), (b_score, b.as_bytes(&mut b_text))) == Ordering::Less
    })
}

/// Elements taken two by two, as members with their scores.
pub(super) fn pairs<'a>(mut items: ListpackIter<'a>) -> impl Iterator<Item = (Item<'a>, f64)> {
    std::iter::from_fn(move || Some((items.next()?, score_of(items.next()?))))
}

/// The score that an element holds; NaN when it holds none, which foreign bytes are checked for.
pub(super) fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(whole) => whole as f64,
        Item::Bytes(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
    }
}

enum ScoreText {
    Whole(itoa::Buffer, i64),
    Short(ryu::Buffer, f64),
    Infinite(&'static str),
}

impl ScoreText {
    fn new(score: f64) -> Self {
        if score.fract() == 0.0 && score.abs() < WHOLE_MAX {
            Self::Whole(itoa::Buffer::new(), score as i64)
        } else if score.is_finite() {
            Self::Short(ryu::Buffer::new(), score)
        } else {
            Self::Infinite(if score > 0.0 { "inf" } else { "-inf" })
        }
    }

    fn as_bytes(&mut self) -> &[u8] {
        match self {
            Self::Whole(buffer, whole) => buffer.format(*whole).as_bytes(),
            Self::Short(buffer, score) => buffer.format_finite(*score).as_bytes(),
            Self::Infinite(text) => text.as_bytes(),
        }
    }
}
