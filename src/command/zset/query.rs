//! Ranges of a sorted set: answered, counted, removed, stored.

use super::range::{By, Ends, Grammar, Query};
use super::{DECLARATION, OVERWRITE, READ, reply_ranked};
use crate::command::{Args, Command, CommandError, Cx, Deprecated, Flags, KeyFlags, KeySpec};
use crate::value::Zset;

const REMOVED: &[KeySpec] = &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))];
const RANGE_COST: &str = "O(log(N)+M), N being the size of the sorted set and M the number of members returned";
const REMOVE_COST: &str = "O(log(N)+M), N being the size of the sorted set and M the number of members removed";

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "zrange",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrange,
        since: "1.2.0",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of ranks, scores or members.",
        syntax: "key start stop [sortby:<BYSCORE | BYLEX> {6.2.0}] [REV {6.2.0}] [LIMIT offset_count:(offset:integer \
                 count:integer) {6.2.0}] [WITHSCORES]",
        ..DECLARATION
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(OVERWRITE), KeySpec::at(2, READ)],
        run: zrangestore,
        since: "6.2.0",
        complexity: "O(log(N)+M), N being the size of the sorted set and M the number of members stored",
        summary: "Stores the members in a range of ranks, scores or members.",
        syntax: "dst:key src:key min max [sortby:<BYSCORE | BYLEX>] [REV] [LIMIT offset_count:(offset:integer \
                 count:integer)]",
        ..DECLARATION
    },
    Command {
        name: "zrangebyscore",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrangebyscore,
        since: "1.0.5",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of scores.",
        syntax: "key min:double max:double [WITHSCORES {2.0.0}] [LIMIT offset_count:(offset:integer count:integer)]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYSCORE` argument" }),
        ..DECLARATION
    },
    Command {
        name: "zrangebylex",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrangebylex,
        since: "2.8.9",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of members, where all scores are the same.",
        syntax: "key min max [LIMIT offset_count:(offset:integer count:integer)]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYLEX` argument" }),
        ..DECLARATION
    },
    Command {
        name: "zrevrange",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrevrange,
        since: "1.2.0",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of ranks, the highest score first.",
        syntax: "key start:integer stop:integer [WITHSCORES]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` argument" }),
        ..DECLARATION
    },
    Command {
        name: "zrevrangebyscore",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrevrangebyscore,
        since: "2.2.0",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of scores, the highest first.",
        syntax: "key max:double min:double [WITHSCORES] [LIMIT offset_count:(offset:integer count:integer)]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments" }),
        ..DECLARATION
    },
    Command {
        name: "zrevrangebylex",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: zrevrangebylex,
        since: "2.8.9",
        complexity: RANGE_COST,
        summary: "Returns the members in a range of members, the last one first, where all scores are the same.",
        syntax: "key max min [LIMIT offset_count:(offset:integer count:integer)]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments" }),
        ..DECLARATION
    },
    Command {
        name: "zcount",
        arity: 4,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zcount,
        since: "2.0.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Counts the members in a range of scores.",
        syntax: "key min:double max:double",
        ..DECLARATION
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: zlexcount,
        since: "2.8.9",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Counts the members in a range of members, where all scores are the same.",
        syntax: "key min max",
        ..DECLARATION
    },
    Command {
        name: "zremrangebyrank",
        arity: 4,
        flags: Flags::WRITE,
        keys: REMOVED,
        run: zremrangebyrank,
        since: "2.0.0",
        complexity: REMOVE_COST,
        summary: "Removes the members in a range of ranks.",
        syntax: "key start:integer stop:integer",
        ..DECLARATION
    },
    Command {
        name: "zremrangebyscore",
        arity: 4,
        flags: Flags::WRITE,
        keys: REMOVED,
        run: zremrangebyscore,
        since: "1.2.0",
        complexity: REMOVE_COST,
        summary: "Removes the members in a range of scores.",
        syntax: "key min:double max:double",
        ..DECLARATION
    },
    Command {
        name: "zremrangebylex",
        arity: 4,
        flags: Flags::WRITE,
        keys: REMOVED,
        run: zremrangebylex,
        since: "2.8.9",
        complexity: REMOVE_COST,
        summary: "Removes the members in a range of members, where all scores are the same.",
        syntax: "key min max",
        ..DECLARATION
    },
];

fn zrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: None, reverse: None, stored: false })
}

fn zrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: Some(By::Score), reverse: Some(false), stored: false })
}

fn zrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: Some(By::Lex), reverse: Some(false), stored: false })
}

fn zrevrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: Some(By::Rank), reverse: Some(true), stored: false })
}

fn zrevrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: Some(By::Score), reverse: Some(true), stored: false })
}

fn zrevrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, Grammar { by: Some(By::Lex), reverse: Some(true), stored: false })
}

fn answer(cx: &mut Cx<'_>, args: &mut Args<'_>, grammar: Grammar) -> Result<(), CommandError> {
    let key = args.bytes();
    let query = Query::parse(args, grammar)?;
    match cx.read::<Zset>(key)? {
        (Some(zset), reply) => reply_ranked(reply, query.with_scores, query.select(zset)),
        (None, reply) => reply.array(0),
    }
    Ok(())
}

fn zrangestore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (destination, source) = (args.bytes(), args.bytes());
    let query = Query::parse(args, Grammar { by: None, reverse: None, stored: true })?;
    cx.delete_if_due(source);
    let limits = cx.limits();
    let mut result = Zset::new();
    if let Some(zset) = cx.get::<Zset>(source)? {
        let members = query.select(zset.as_ref());
        result.expect(members.len(), 0, &limits);
        let mut text = itoa::Buffer::new();
        for (member, score) in members {
            result.set(member.as_bytes(&mut text), score, &limits);
        }
    }
    store(cx, destination, result, "zrangestore");
    Ok(())
}

/// Puts a result at a key, or removes the key when the result is empty, and answers with its size.
pub(super) fn store(cx: &mut Cx<'_>, destination: &[u8], result: Zset, event: &'static str) {
    cx.put_result(destination, result, event);
}

fn zcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Score)
}

fn zlexcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Lex)
}

fn count(cx: &mut Cx<'_>, args: &mut Args<'_>, by: By) -> Result<(), CommandError> {
    let key = args.bytes();
    let ends = Ends::parse(by, args.bytes(), args.bytes(), false)?;
    args.finish()?;
    let (zset, reply) = cx.read::<Zset>(key)?;
    reply.count(zset.map_or(0, |zset| ends.ranks(zset, false).len()));
    Ok(())
}

fn zremrangebyrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Rank, "zremrangebyrank")
}

fn zremrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Score, "zremrangebyscore")
}

fn zremrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Lex, "zremrangebylex")
}

fn remove(cx: &mut Cx<'_>, args: &mut Args<'_>, by: By, event: &'static str) -> Result<(), CommandError> {
    let key = args.bytes();
    let ends = Ends::parse(by, args.bytes(), args.bytes(), false)?;
    args.finish()?;
    let removed = cx.edit_existing::<Zset, _>(key, event, |zset, edit| {
        let removed = zset.remove_range(ends.ranks(zset.as_ref(), false));
        edit.changed(removed);
        removed
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}
