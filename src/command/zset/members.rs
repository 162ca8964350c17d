//! Single members of a sorted set: their scores and ranks.

use super::{DECLARATION, READ};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::value::{Limits, Zset, ZsetRef};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "zadd",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: zadd,
        since: "1.2.0",
        complexity: "O(M*log(N)), N being the size of the sorted set and M the number of members given",
        summary: "Adds members to a sorted set or changes their scores, creating it if needed.",
        syntax: "key [condition:<NX | XX> {3.0.2}] [comparison:<GT | LT> {6.2.0}] [change:CH {3.0.2}] [increment:INCR \
                 {3.0.2}] score_member:(score:double member) [score_member ...]",
        ..DECLARATION
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: zincrby,
        since: "1.2.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Adds to the score of a member, which begins at 0.",
        syntax: "key increment:integer member",
        ..DECLARATION
    },
    Command {
        name: "zrem",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: zrem,
        since: "1.2.0",
        complexity: "O(M*log(N)), N being the size of the sorted set and M the number of members given",
        summary: "Removes members from a sorted set.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: zcard,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Returns the number of members of a sorted set.",
        syntax: "key",
        ..DECLARATION
    },
    Command {
        name: "zscore",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zscore,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Returns the score of a member.",
        syntax: "key member",
        ..DECLARATION
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zmscore,
        since: "6.2.0",
        complexity: "O(N), N being the number of members given",
        summary: "Returns the scores of several members.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "zrank",
        arity: -3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zrank,
        since: "2.0.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Returns the rank of a member, the lowest score first.",
        syntax: "key member [WITHSCORE {7.2.0}]",
        ..DECLARATION
    },
    Command {
        name: "zrevrank",
        arity: -3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zrevrank,
        since: "2.0.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Returns the rank of a member, the highest score first.",
        syntax: "key member [WITHSCORE {7.2.0}]",
        ..DECLARATION
    },
];

const NOT_A_NUMBER: CommandError = CommandError::fixed("ERR resulting score is not a number (NaN)");

/// Which members ZADD changes, and how.
#[derive(Clone, Copy, Default)]
pub(in crate::command) struct AddRule {
    /// Only members that are not there.
    pub new_only: bool,
    /// Only members that are there.
    pub existing_only: bool,
    /// Only to a higher score.
    greater: bool,
    /// Only to a lower score.
    less: bool,
    /// The score is added to the one before.
    increment: bool,
    /// Members that have changed are counted too.
    count_updated: bool,
}

enum Outcome {
    Untouched,
    /// The score was this already.
    Same(f64),
    Updated(f64),
    Added(f64),
}

impl AddRule {
    /// Reads an option, if one comes next: of those that GEOADD has too.
    pub fn read_option(&mut self, args: &mut Args<'_>) -> bool {
        let flag = match () {
            () if args.word("nx") => &mut self.new_only,
            () if args.word("xx") => &mut self.existing_only,
            () if args.word("ch") => &mut self.count_updated,
            () => return false,
        };
        *flag = true;
        true
    }

    fn read_option_on_scores(&mut self, args: &mut Args<'_>) -> bool {
        let flag = match () {
            () if args.word("incr") => &mut self.increment,
            () if args.word("gt") => &mut self.greater,
            () if args.word("lt") => &mut self.less,
            () => return false,
        };
        *flag = true;
        true
    }

    /// How many members the reply counts.
    pub fn count(self, sum: &Added) -> usize {
        sum.added + if self.count_updated { sum.updated } else { 0 }
    }

    fn apply(self, zset: &mut Zset, member: &[u8], score: f64, limits: &Limits) -> Result<Outcome, CommandError> {
        let Some(before) = zset.score(member) else {
            if self.existing_only {
                return Ok(Outcome::Untouched);
            }
            zset.set(member, score, limits);
            return Ok(Outcome::Added(score));
        };
        if self.new_only {
            return Ok(Outcome::Untouched);
        }
        let score = if self.increment { before + score } else { score };
        if score.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        if (self.less && score >= before) || (self.greater && score <= before) {
            return Ok(Outcome::Untouched);
        }
        if score == before {
            return Ok(Outcome::Same(score));
        }
        zset.set(member, score, limits);
        Ok(Outcome::Updated(score))
    }
}

#[derive(Default)]
pub(in crate::command) struct Added {
    added: usize,
    updated: usize,
    /// Score of the last member that was not left untouched.
    score: Option<f64>,
}

impl Added {
    /// Whether anything has changed.
    pub fn any(&self) -> bool {
        self.added + self.updated > 0
    }
}

pub(in crate::command) fn add(
    cx: &mut Cx<'_>,
    key: &[u8],
    rule: AddRule,
    members: &[(f64, &[u8])],
) -> Result<Added, CommandError> {
    let event = if rule.increment { "zincr" } else { "zadd" };
    cx.edit::<Zset, Result<Added, CommandError>>(key, event, |zset, edit| {
        zset.expect(members.len(), 0, &edit.limits);
        let mut sum = Added::default();
        for (score, member) in members {
            match rule.apply(zset, member, *score, &edit.limits)? {
                Outcome::Untouched => {}
                Outcome::Same(score) => sum.score = Some(score),
                Outcome::Updated(score) => {
                    sum.updated += 1;
                    sum.score = Some(score);
                }
                Outcome::Added(score) => {
                    sum.added += 1;
                    sum.score = Some(score);
                }
            }
        }
        edit.changed(sum.added + sum.updated);
        Ok(sum)
    })?
}

fn zadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let mut rule = AddRule::default();
    while rule.read_option(args) || rule.read_option_on_scores(args) {}
    if args.is_empty() || !args.remaining().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    if rule.new_only && rule.existing_only {
        return Err(CommandError::fixed("ERR XX and NX options at the same time are not compatible"));
    }
    if usize::from(rule.greater) + usize::from(rule.less) + usize::from(rule.new_only) > 1 {
        return Err(CommandError::fixed("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if rule.increment && args.remaining() > 2 {
        return Err(CommandError::fixed("ERR INCR option supports a single increment-element pair"));
    }
    let members: Vec<(f64, &[u8])> = (0..args.remaining() / 2).map(|_| (args.float(), args.bytes())).collect();
    args.finish()?;
    let sum = add(cx, key, rule, &members)?;
    match (rule.increment, sum.score) {
        (false, _) => cx.reply.count(rule.count(&sum)),
        (true, Some(score)) => cx.reply.double(score),
        (true, None) => cx.reply.null(),
    }
    Ok(())
}

fn zincrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, increment, member) = (args.bytes(), args.float(), args.bytes());
    args.finish()?;
    let rule = AddRule { increment: true, ..AddRule::default() };
    let sum = add(cx, key, rule, &[(increment, member)])?;
    cx.reply.double(sum.score.unwrap_or_default());
    Ok(())
}

fn zrem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    args.finish()?;
    let removed = cx.edit_existing::<Zset, _>(key, "zrem", |zset, edit| {
        let removed = members.iter().filter(|member| zset.remove(member).is_some()).count();
        edit.changed(removed);
        removed
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn zcard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (zset, reply) = cx.read::<Zset>(key)?;
    reply.count(zset.map_or(0, ZsetRef::len));
    Ok(())
}

fn zscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, member) = (args.bytes(), args.bytes());
    args.finish()?;
    let (zset, reply) = cx.read::<Zset>(key)?;
    match zset.and_then(|zset| zset.score(member)) {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(())
}

fn zmscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    args.finish()?;
    let (zset, reply) = cx.read::<Zset>(key)?;
    reply.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    }
    Ok(())
}

fn zrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    rank(cx, args, "zrank", |_, rank| rank)
}

fn zrevrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    rank(cx, args, "zrevrank", |len, rank| len - 1 - rank)
}

fn rank(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    name: &str,
    counted: fn(usize, usize) -> usize,
) -> Result<(), CommandError> {
    let (key, member) = (args.bytes(), args.bytes());
    if args.remaining() > 1 {
        return Err(CommandError::wrong_arity(name));
    }
    let with_score = args.word("withscore");
    args.finish()?;
    let (zset, reply) = cx.read::<Zset>(key)?;
    match zset.and_then(|zset| zset.rank(member).map(|(rank, score)| (counted(zset.len(), rank), score))) {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.count(rank);
            reply.double(score);
        }
        Some((rank, _)) => reply.count(rank),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}
