//! Which part of the order is meant: by score, by member, by rank; all become ranges of ranks.

use std::ops::Bound;

/// An end of a range of members, for sets whose scores are all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member.
    Lowest,
    /// Behind every member.
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

/// Whether a score lies before a range that begins with `min`.
pub(super) fn score_before(score: f64, min: Bound<f64>) -> bool {
    match min {
        Bound::Included(min) => score < min,
        Bound::Excluded(min) => score <= min,
        Bound::Unbounded => false,
    }
}

/// Whether a score does not yet lie behind a range that ends with `max`.
pub(super) fn score_until(score: f64, max: Bound<f64>) -> bool {
    match max {
        Bound::Included(max) => score <= max,
        Bound::Excluded(max) => score < max,
        Bound::Unbounded => true,
    }
}

/// Whether a member lies before a range that begins with `min`.
pub(super) fn lex_before(member: &[u8], min: LexBound<'_>) -> bool {
    match min {
        LexBound::Lowest => false,
        LexBound::Highest => true,
        LexBound::Included(min) => member < min,
        LexBound::Excluded(min) => member <= min,
    }
}

/// Whether a member does not yet lie behind a range that ends with `max`.
pub(super) fn lex_until(member: &[u8], max: LexBound<'_>) -> bool {
    match max {
        LexBound::Lowest => false,
        LexBound::Highest => true,
        LexBound::Included(max) => member <= max,
        LexBound::Excluded(max) => member < max,
    }
}
