//! The members of lowest and highest score taken out: of one sorted set, of the first of several, or waited for.

use super::{DECLARATION, TAKE};
use crate::command::multi_pop::MultiPop;
use crate::command::{Args, Command, CommandError, Cx, Flags, KeySpec, TimeoutReply};
use crate::value::{Type, Zset};

const POP: Flags = Flags::WRITE.and(Flags::FAST);
const WAITS: Flags = POP.and(Flags::NOSCRIPT).and(Flags::BLOCKING);

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "zpopmin",
        arity: -2,
        flags: POP,
        keys: &[KeySpec::first(TAKE)],
        run: zpopmin,
        since: "5.0.0",
        complexity: "O(log(N)+M), N being the size of the sorted set and M the number of members returned",
        summary: "Takes the members of lowest score out of a sorted set and returns them.",
        syntax: "key [count:integer]",
        ..DECLARATION
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: POP,
        keys: &[KeySpec::first(TAKE)],
        run: zpopmax,
        since: "5.0.0",
        complexity: "O(log(N)+M), N being the size of the sorted set and M the number of members returned",
        summary: "Takes the members of highest score out of a sorted set and returns them.",
        syntax: "key [count:integer]",
        ..DECLARATION
    },
    Command {
        name: "zmpop",
        arity: -4,
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(1, TAKE)],
        run: zmpop,
        since: "7.0.0",
        complexity: "O(K+log(N)+M), K being the number of keys, N the size of the sorted set and M the number of \
                     members returned",
        summary: "Takes members of lowest or highest score out of the first sorted set that has any.",
        syntax: "numkeys:integer key [key ...] where:<MIN | MAX> [COUNT count:integer]",
        ..DECLARATION
    },
    Command {
        name: "bzpopmin",
        arity: -3,
        flags: WAITS,
        keys: &[KeySpec::range(1, -2, 1, TAKE)],
        run: bzpopmin,
        since: "5.0.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Takes the member of lowest score out of the first sorted set that has one, and waits for one if \
                  none has.",
        syntax: "key [key ...] timeout:double",
        ..DECLARATION
    },
    Command {
        name: "bzpopmax",
        arity: -3,
        flags: WAITS,
        keys: &[KeySpec::range(1, -2, 1, TAKE)],
        run: bzpopmax,
        since: "5.0.0",
        complexity: "O(log(N)), N being the size of the sorted set",
        summary: "Takes the member of highest score out of the first sorted set that has one, and waits for one if \
                  none has.",
        syntax: "key [key ...] timeout:double",
        ..DECLARATION
    },
    Command {
        name: "bzmpop",
        arity: -5,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(2, TAKE)],
        run: bzmpop,
        since: "7.0.0",
        complexity: "O(K+log(N)+M), K being the number of keys, N the size of the sorted set and M the number of \
                     members returned",
        summary: "Takes members of lowest or highest score out of the first sorted set that has any, and waits for \
                  some if none has.",
        syntax: "timeout:double numkeys:integer key [key ...] where:<MIN | MAX> [COUNT count:integer]",
        ..DECLARATION
    },
];

/// Where members are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extreme {
    Min,
    Max,
}

impl Extreme {
    fn word(args: &mut Args<'_>) -> Option<Self> {
        if args.word("min") {
            Some(Self::Min)
        } else if args.word("max") {
            Some(Self::Max)
        } else {
            None
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }

    /// The command that the log names.
    fn logged(self) -> &'static [u8] {
        match self {
            Self::Min => b"ZPOPMIN",
            Self::Max => b"ZPOPMAX",
        }
    }
}

type Popped = Vec<(Vec<u8>, f64)>;

/// Takes up to `count` members out, the outermost first; `None` when there is no sorted set.
fn take(cx: &mut Cx<'_>, key: &[u8], from: Extreme, count: usize) -> Result<Option<Popped>, CommandError> {
    cx.edit_existing::<Zset, _>(key, from.event(), |zset, edit| {
        let len = zset.len();
        let count = count.min(len);
        let ranks = match from {
            Extreme::Min => 0..count,
            Extreme::Max => len - count..len,
        };
        let members = match from {
            Extreme::Min => zset.iter_range(ranks.clone()),
            Extreme::Max => zset.iter_range_back(ranks.clone()),
        };
        let popped: Popped = members.map(|(member, score)| (member.to_vec(), score)).collect();
        zset.remove_range(ranks);
        edit.changed(count);
        popped
    })
}

fn zpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, Extreme::Min)
}

fn zpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, Extreme::Max)
}

/// Pairs are nested only in RESP3 and only when a count was given.
fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, from: Extreme) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.remaining() > 1 {
        return Err(CommandError::SYNTAX);
    }
    let nested = !args.is_empty() && cx.reply.is_resp3();
    let count = match args.is_empty() {
        true => 1,
        false => args.int_within(0..=i64::MAX, CommandError::MUST_BE_POSITIVE) as usize,
    };
    args.finish()?;
    let popped = take(cx, key, from, count)?.unwrap_or_default();
    if nested {
        reply_pairs(cx, &popped);
        return Ok(());
    }
    cx.reply.array(popped.len() * 2);
    for (member, score) in popped {
        cx.reply.bulk(member);
        cx.reply.double(score);
    }
    Ok(())
}

fn reply_pairs(cx: &mut Cx<'_>, popped: &Popped) {
    cx.reply.array(popped.len());
    for (member, score) in popped {
        cx.reply.array(2);
        cx.reply.bulk(member);
        cx.reply.double(*score);
    }
}

/// Takes from the first of the sorted sets that is there and answers with its key; false when none is.
fn take_from_first(cx: &mut Cx<'_>, pop: &MultiPop<'_, Extreme>) -> Result<bool, CommandError> {
    for &key in pop.keys {
        let Some(popped) = take(cx, key, pop.from, pop.count)? else { continue };
        let mut count = itoa::Buffer::new();
        cx.log_as(&[pop.from.logged(), key, count.format(popped.len()).as_bytes()]);
        cx.reply.array(2);
        cx.reply.bulk(key);
        reply_pairs(cx, &popped);
        return Ok(true);
    }
    Ok(false)
}

fn zmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let pop = MultiPop::parse(args, Extreme::word)?;
    if !take_from_first(cx, &pop)? {
        cx.reply.null_array();
    }
    Ok(())
}

fn bzmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let timeout = args.bytes();
    let pop = MultiPop::parse(args, Extreme::word)?;
    let timeout = Cx::timeout(timeout)?;
    if !take_from_first(cx, &pop)? {
        cx.block(pop.keys, Type::Zset, timeout, TimeoutReply::NullArray);
    }
    Ok(())
}

fn bzpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, Extreme::Min)
}

fn bzpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, Extreme::Max)
}

fn blocking_pop(cx: &mut Cx<'_>, args: &mut Args<'_>, from: Extreme) -> Result<(), CommandError> {
    let keys = args.take(args.remaining().saturating_sub(1));
    let timeout = Cx::timeout(args.bytes())?;
    args.finish()?;
    for &key in keys {
        let Some((member, score)) = take(cx, key, from, 1)?.and_then(|mut popped| popped.pop()) else { continue };
        cx.log_as(&[from.logged(), key]);
        cx.reply.array(3);
        cx.reply.bulk(key);
        cx.reply.bulk(member);
        cx.reply.double(score);
        return Ok(());
    }
    cx.block(keys, Type::Zset, timeout, TimeoutReply::NullArray);
    Ok(())
}
