//! Unions, intersections and differences of sorted sets and sets, answered or stored.
//!
//! Invariants
//! - A member of a plain set has the score 1.
//! - Sums of infinities of both signs, and 0 times infinity, are 0: no result has the score NaN.
//! - A stored result is computed before its destination is replaced, so that the destination may be a source.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::query::store;
use super::{DECLARATION, OVERWRITE, READ, reply_ranked};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeySpec};
use crate::ds::Item;
use crate::value::{Set, Value, Zset};

const ANSWERS: Flags = Flags::READ.and(Flags::MOVABLEKEYS);
const STORES: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS);
const SOURCES: &[KeySpec] = &[KeySpec::counted(1, READ)];
const STORED: &[KeySpec] = &[KeySpec::first(OVERWRITE), KeySpec::counted(2, READ)];
const INTER_COST: &str = "O(N*K+M*log(M)), N being the size of the smallest source, K the number of sources and M the \
                          size of the result";
const UNION_COST: &str = "O(N+M*log(M)), N being the size of all sources together and M that of the result";
const DIFF_COST: &str = "O(N+M*log(M)), N being the size of all sources together and M that of the result";

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "zunion",
        arity: -3,
        flags: ANSWERS,
        keys: SOURCES,
        run: zunion,
        since: "6.2.0",
        complexity: UNION_COST,
        summary: "Returns the members that any of the sources has.",
        syntax: "numkeys:integer key [key ...] [WEIGHTS weight:integer [weight ...]] [AGGREGATE aggregate:<SUM | MIN \
                 | MAX>] [WITHSCORES]",
        ..DECLARATION
    },
    Command {
        name: "zunionstore",
        arity: -4,
        flags: STORES,
        keys: STORED,
        run: zunionstore,
        since: "2.0.0",
        complexity: UNION_COST,
        summary: "Stores the members that any of the sources has.",
        syntax: "destination:key numkeys:integer key [key ...] [WEIGHTS weight:integer [weight ...]] [AGGREGATE \
                 aggregate:<SUM | MIN | MAX>]",
        ..DECLARATION
    },
    Command {
        name: "zinter",
        arity: -3,
        flags: ANSWERS,
        keys: SOURCES,
        run: zinter,
        since: "6.2.0",
        complexity: INTER_COST,
        summary: "Returns the members that all sources have.",
        syntax: "numkeys:integer key [key ...] [WEIGHTS weight:integer [weight ...]] [AGGREGATE aggregate:<SUM | MIN \
                 | MAX>] [WITHSCORES]",
        ..DECLARATION
    },
    Command {
        name: "zinterstore",
        arity: -4,
        flags: STORES,
        keys: STORED,
        run: zinterstore,
        since: "2.0.0",
        complexity: INTER_COST,
        summary: "Stores the members that all sources have.",
        syntax: "destination:key numkeys:integer key [key ...] [WEIGHTS weight:integer [weight ...]] [AGGREGATE \
                 aggregate:<SUM | MIN | MAX>]",
        ..DECLARATION
    },
    Command {
        name: "zintercard",
        arity: -3,
        flags: ANSWERS,
        keys: SOURCES,
        run: zintercard,
        since: "7.0.0",
        complexity: "O(N*K), N being the size of the smallest source and K the number of sources",
        summary: "Counts the members that all sources have, up to a limit.",
        syntax: "numkeys:integer key [key ...] [LIMIT limit:integer]",
        ..DECLARATION
    },
    Command {
        name: "zdiff",
        arity: -3,
        flags: ANSWERS,
        keys: SOURCES,
        run: zdiff,
        since: "6.2.0",
        complexity: DIFF_COST,
        summary: "Returns the members of the first source that no other has.",
        syntax: "numkeys:integer key [key ...] [WITHSCORES]",
        ..DECLARATION
    },
    Command {
        name: "zdiffstore",
        arity: -4,
        flags: STORES,
        keys: STORED,
        run: zdiffstore,
        since: "6.2.0",
        complexity: DIFF_COST,
        summary: "Stores the members of the first source that no other has.",
        syntax: "destination:key numkeys:integer key [key ...]",
        ..DECLARATION
    },
];

fn zunion(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, "zunion", Operation::Union)
}

fn zunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store_result(cx, args, "zunionstore", Operation::Union)
}

fn zinter(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, "zinter", Operation::Inter)
}

fn zinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store_result(cx, args, "zinterstore", Operation::Inter)
}

fn zdiff(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, "zdiff", Operation::Diff)
}

fn zdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store_result(cx, args, "zdiffstore", Operation::Diff)
}

fn zintercard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let mut sources = sources(cx, args, "zintercard", false)?;
    let mut limit = 0;
    while args.remaining() > 1 && args.word("limit") {
        limit = args.int_within(0..=i64::MAX, CommandError::fixed("ERR LIMIT can't be negative"));
        args.check()?;
    }
    args.finish()?;
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    cx.reply.count(inter(&mut sources, Aggregate::Sum).take(limit).count());
    Ok(())
}

fn answer(cx: &mut Cx<'_>, args: &mut Args<'_>, name: &str, operation: Operation) -> Result<(), CommandError> {
    let mut sources = sources(cx, args, name, false)?;
    let options = Options::parse(args, operation, &mut sources, true)?;
    let mut result = combine(&mut sources, operation, options.aggregate);
    result.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(&b.0)));
    let members = result.iter().map(|(member, score)| (Item::Bytes(member), *score));
    reply_ranked(cx.reply, options.with_scores, members);
    Ok(())
}

fn store_result(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    name: &'static str,
    operation: Operation,
) -> Result<(), CommandError> {
    let destination = args.bytes();
    let mut sources = sources(cx, args, name, true)?;
    let options = Options::parse(args, operation, &mut sources, false)?;
    let limits = cx.limits();
    let mut result = Zset::new();
    for (member, score) in combine(&mut sources, operation, options.aggregate) {
        result.set(&member, score, &limits);
    }
    drop(sources);
    store(cx, destination, result, name);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How scores of one member become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, score: f64, other: f64) -> f64 {
        match self {
            Self::Sum => number(score + other),
            Self::Min if other < score => other,
            Self::Max if other > score => other,
            Self::Min | Self::Max => score,
        }
    }
}

fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set or sorted set that takes part; missing keys are empty sorted sets.
enum Members {
    Set(Set),
    Zset(Zset),
}

struct Source {
    members: Members,
    weight: f64,
}

impl Source {
    fn len(&self) -> usize {
        match &self.members {
            Members::Set(set) => set.len(),
            Members::Zset(zset) => zset.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Item<'_>, f64)> {
        let (set, zset) = match &self.members {
            Members::Set(set) => (Some(set), None),
            Members::Zset(zset) => (None, Some(zset)),
        };
        let plain = set.into_iter().flat_map(Set::iter).map(|member| (member, 1.0));
        plain.chain(zset.into_iter().flat_map(Zset::iter))
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.members {
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::Zset(zset) => zset.score(member),
        }
    }
}

/// `numkeys key [key ...]`, and what the keys hold. Keys are looked at before the options behind them are read.
fn sources(cx: &mut Cx<'_>, args: &mut Args<'_>, name: &str, stored: bool) -> Result<Vec<Source>, CommandError> {
    let count = args.int();
    args.check()?;
    if count < 1 {
        return Err(CommandError::new(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let keys = args.take(usize::try_from(count).unwrap_or(usize::MAX));
    args.check()?;
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys {
        if stored {
            cx.delete_if_due(key);
        }
        let members = match cx.value(key) {
            None => Members::Zset(Zset::new()),
            Some(Value::Set(set)) => Members::Set(set),
            Some(Value::Zset(zset)) => Members::Zset(zset),
            Some(_) => return Err(CommandError::WRONG_TYPE),
        };
        sources.push(Source { members, weight: 1.0 });
    }
    Ok(sources)
}

struct Options {
    aggregate: Aggregate,
    with_scores: bool,
}

impl Options {
    fn parse(
        args: &mut Args<'_>,
        operation: Operation,
        sources: &mut [Source],
        answered: bool,
    ) -> Result<Self, CommandError> {
        let mut options = Self { aggregate: Aggregate::Sum, with_scores: false };
        while !args.is_empty() {
            let weighed = operation != Operation::Diff;
            if weighed && args.remaining() > sources.len() && args.word("weights") {
                for source in &mut *sources {
                    source.weight = args.float_or(CommandError::fixed("ERR weight value is not a float"));
                }
                args.check()?;
            } else if weighed && args.remaining() > 1 && args.word("aggregate") {
                options.aggregate = match () {
                    () if args.word("sum") => Aggregate::Sum,
                    () if args.word("min") => Aggregate::Min,
                    () if args.word("max") => Aggregate::Max,
                    () => return Err(CommandError::SYNTAX),
                };
            } else if answered && args.word("withscores") {
                options.with_scores = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        args.finish()?;
        Ok(options)
    }
}

/// Members of the result with their scores, in no order.
type Combined<'s> = Vec<(Cow<'s, [u8]>, f64)>;

fn combine(sources: &mut [Source], operation: Operation, aggregate: Aggregate) -> Combined<'_> {
    match operation {
        Operation::Union => union(sources, aggregate),
        Operation::Inter => inter(sources, aggregate).map(|(member, score)| (text(member), score)).collect(),
        Operation::Diff => diff(sources),
    }
}

fn text(member: Item<'_>) -> Cow<'_, [u8]> {
    match member {
        Item::Bytes(bytes) => Cow::Borrowed(bytes),
        Item::Int(_) => Cow::Owned(member.to_vec()),
    }
}

/// Sums depend on their order: the smallest source counts first.
fn union(sources: &mut [Source], aggregate: Aggregate) -> Combined<'_> {
    sources.sort_by_key(Source::len);
    let mut scores: BTreeMap<Cow<'_, [u8]>, f64> = BTreeMap::new();
    for source in &*sources {
        for (member, score) in source.iter() {
            let score = number(source.weight * score);
            scores.entry(text(member)).and_modify(|before| *before = aggregate.apply(*before, score)).or_insert(score);
        }
    }
    scores.into_iter().collect()
}

fn inter(sources: &mut [Source], aggregate: Aggregate) -> impl Iterator<Item = (Item<'_>, f64)> {
    sources.sort_by_key(Source::len);
    let (smallest, others) = match &*sources {
        [smallest, others @ ..] => (Some(smallest), others),
        [] => (None, &[][..]),
    };
    smallest.into_iter().flat_map(|source| source.iter().map(|pair| (source.weight, pair))).filter_map(
        move |(weight, (member, score))| {
            let mut buffer = itoa::Buffer::new();
            let bytes = member.as_bytes(&mut buffer);
            let score = others.iter().try_fold(number(weight * score), |score, other| {
                Some(aggregate.apply(score, other.score(bytes)? * other.weight))
            })?;
            Some((member, score))
        },
    )
}

fn diff(sources: &[Source]) -> Combined<'_> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let kept = first.iter().map(|(member, score)| (text(member), score));
    kept.filter(|(member, _)| !others.iter().any(|other| other.score(member).is_some())).collect()
}
