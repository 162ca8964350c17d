//! The one grammar of ranges, by rank, score or member, and what part of a sorted set a range is.
//!
//! Invariant: whatever a range was given by, it becomes a range of ranks, and its limit is cut from the end it is read
//! from.

use std::ops::{Bound, Range};

use crate::command::{Args, CommandError, parse_f64_saturating};
use crate::value::index::span;
use crate::value::{LexBound, Ranked, ZsetRef};

/// What a range is given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// The ends of a range, the lower one first whatever the direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ends<'a> {
    Rank(i64, i64),
    Score(Bound<f64>, Bound<f64>),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Ends<'a> {
    /// Two arguments, the upper end first when `reverse` (ranks are counted from there, so they stay as they are).
    pub fn parse(by: By, first: &'a [u8], second: &'a [u8], reverse: bool) -> Result<Self, CommandError> {
        let (min, max) = if reverse && by != By::Rank { (second, first) } else { (first, second) };
        match by {
            By::Rank => {
                let rank = |arg| crate::command::parse_i64(arg).ok_or(CommandError::NOT_INTEGER);
                Ok(Self::Rank(rank(min)?, rank(max)?))
            }
            By::Score => {
                let score = |arg| score_bound(arg).ok_or(CommandError::MIN_MAX_NOT_FLOAT);
                Ok(Self::Score(score(min)?, score(max)?))
            }
            By::Lex => {
                let member = |arg| lex_bound(arg).ok_or(CommandError::MIN_MAX_NOT_STRING);
                Ok(Self::Lex(member(min)?, member(max)?))
            }
        }
    }

    /// The ranks between the ends, counted from the lowest score.
    pub fn ranks(self, zset: ZsetRef<'_>, reverse: bool) -> Range<usize> {
        match self {
            Self::Rank(start, stop) => {
                let len = zset.len();
                let ranks = span(len, start, stop).unwrap_or(0..0);
                if reverse { len - ranks.end..len - ranks.start } else { ranks }
            }
            Self::Score(min, max) => zset.score_span(min, max),
            Self::Lex(min, max) => zset.lex_span(min, max),
        }
    }
}

/// `1.5`, `(1.5` without the end itself, `-inf`, `+inf`. Nothing at all is read as 0, as strtod does.
fn score_bound(arg: &[u8]) -> Option<Bound<f64>> {
    let (excluded, digits) = match arg {
        [b'(', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let digits = digits.trim_ascii_start();
    let score = if digits.is_empty() { 0.0 } else { parse_f64_saturating(digits)? };
    Some(if excluded { Bound::Excluded(score) } else { Bound::Included(score) })
}

/// `-`, `+`, `[member`, `(member` without the member itself.
fn lex_bound(arg: &[u8]) -> Option<LexBound<'_>> {
    match arg {
        b"-" => Some(LexBound::Lowest),
        b"+" => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Included(member)),
        [b'(', member @ ..] => Some(LexBound::Excluded(member)),
        _ => None,
    }
}

/// What of a range's grammar a command has.
#[derive(Clone, Copy)]
pub(super) struct Grammar {
    /// `None` leaves it to BYSCORE and BYLEX.
    pub by: Option<By>,
    /// `None` leaves it to REV.
    pub reverse: Option<bool>,
    /// The result is stored: scores come with it and are not asked for.
    pub stored: bool,
}

/// A range as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    pub ends: Ends<'a>,
    pub reverse: bool,
    offset: i64,
    count: i64,
    pub with_scores: bool,
}

impl<'a> Query<'a> {
    /// Two ends and the options behind them.
    pub fn parse(args: &mut Args<'a>, grammar: Grammar) -> Result<Self, CommandError> {
        let (first, second) = (args.bytes(), args.bytes());
        let Grammar { mut by, mut reverse, stored } = grammar;
        let (mut offset, mut count, mut with_scores) = (0, -1, false);
        while !args.is_empty() {
            if !stored && args.word("withscores") {
                with_scores = true;
            } else if args.remaining() > 2 && args.word("limit") {
                (offset, count) = (args.int(), args.int());
                args.check()?;
            } else if reverse.is_none() && args.word("rev") {
                reverse = Some(true);
            } else if by.is_none() && args.word("bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.word("byscore") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        args.finish()?;
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        if by == By::Rank {
            offset = 0;
        }
        Ok(Self { ends: Ends::parse(by, first, second, reverse)?, reverse, offset, count, with_scores })
    }

    /// The members asked for, in the order asked for.
    pub fn select<'z>(&self, zset: ZsetRef<'z>) -> Ranked<'z> {
        let ranks = self.limited(self.ends.ranks(zset, self.reverse));
        if self.reverse { zset.iter_range_back(ranks) } else { zset.iter_range(ranks) }
    }

    /// A negative offset leaves nothing, a negative count all.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        let len = ranks.len();
        let skipped = usize::try_from(self.offset).map_or(len, |offset| offset.min(len));
        let kept = usize::try_from(self.count).map_or(len - skipped, |count| count.min(len - skipped));
        if self.reverse {
            let end = ranks.end - skipped;
            end - kept..end
        } else {
            let start = ranks.start + skipped;
            start..start + kept
        }
    }
}
