//! Both ends of a list: pushing, popping, popping from the first of several lists, waiting for one.

use super::{DECLARATION, INSERT, TAKE, end_word, names};
use crate::command::multi_pop::MultiPop;
use crate::command::{Args, Command, CommandError, Cx, Flags, KeySpec, TimeoutReply};
use crate::value::{End, List, Type};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "lpush",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(INSERT)],
        run: lpush,
        complexity: "O(N), N being the number of elements given",
        summary: "Puts elements before the first of a list, creating it if needed.",
        syntax: "key element [element ...]",
        ..DECLARATION
    },
    Command {
        name: "rpush",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(INSERT)],
        run: rpush,
        complexity: "O(N), N being the number of elements given",
        summary: "Puts elements behind the last of a list, creating it if needed.",
        syntax: "key element [element ...]",
        ..DECLARATION
    },
    Command {
        name: "lpushx",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(INSERT)],
        run: lpushx,
        since: "2.2.0",
        complexity: "O(N), N being the number of elements given",
        summary: "Puts elements before the first of a list that exists.",
        syntax: "key element [element ...]",
        ..DECLARATION
    },
    Command {
        name: "rpushx",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(INSERT)],
        run: rpushx,
        since: "2.2.0",
        complexity: "O(N), N being the number of elements given",
        summary: "Puts elements behind the last of a list that exists.",
        syntax: "key element [element ...]",
        ..DECLARATION
    },
    Command {
        name: "lpop",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(TAKE)],
        run: lpop,
        complexity: "O(N), N being the number of elements returned",
        summary: "Takes the first elements out of a list and returns them.",
        syntax: "key [count:integer {6.2.0}]",
        ..DECLARATION
    },
    Command {
        name: "rpop",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(TAKE)],
        run: rpop,
        complexity: "O(N), N being the number of elements returned",
        summary: "Takes the last elements out of a list and returns them.",
        syntax: "key [count:integer {6.2.0}]",
        ..DECLARATION
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(1, TAKE)],
        run: lmpop,
        since: "7.0.0",
        complexity: "O(N+M), N being the number of keys and M the number of elements returned",
        summary: "Takes elements out of the first list that has any.",
        syntax: "numkeys:integer key [key ...] where:<LEFT | RIGHT> [COUNT count:integer]",
        ..DECLARATION
    },
    Command {
        name: "blpop",
        arity: -3,
        flags: Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::BLOCKING),
        keys: &[KeySpec::range(1, -2, 1, TAKE)],
        run: blpop,
        since: "2.0.0",
        complexity: "O(N), N being the number of keys",
        summary: "Takes the first element out of the first list that has one, and waits for one if none has.",
        syntax: "key [key ...] timeout:double",
        ..DECLARATION
    },
    Command {
        name: "brpop",
        arity: -3,
        flags: Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::BLOCKING),
        keys: &[KeySpec::range(1, -2, 1, TAKE)],
        run: brpop,
        since: "2.0.0",
        complexity: "O(N), N being the number of keys",
        summary: "Takes the last element out of the first list that has one, and waits for one if none has.",
        syntax: "key [key ...] timeout:double",
        ..DECLARATION
    },
    Command {
        name: "blmpop",
        arity: -5,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(2, TAKE)],
        run: blmpop,
        since: "7.0.0",
        complexity: "O(N+M), N being the number of keys and M the number of elements returned",
        summary: "Takes elements out of the first list that has any, and waits for some if none has.",
        syntax: "timeout:double numkeys:integer key [key ...] where:<LEFT | RIGHT> [COUNT count:integer]",
        ..DECLARATION
    },
];

fn lpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    push(cx, args, End::Front)
}

fn rpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    push(cx, args, End::Back)
}

fn lpushx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    push_existing(cx, args, End::Front)
}

fn rpushx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    push_existing(cx, args, End::Back)
}

fn lpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Front)
}

fn rpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Back)
}

fn push(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Result<(), CommandError> {
    let (key, elements) = (args.bytes(), args.rest());
    args.finish()?;
    let len = cx.edit::<List, _>(key, names(end).push, |list, edit| {
        list.extend(end, elements.iter().copied(), &edit.limits);
        edit.changed(elements.len());
        list.len()
    })?;
    cx.reply.count(len);
    Ok(())
}

fn push_existing(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Result<(), CommandError> {
    let (key, elements) = (args.bytes(), args.rest());
    args.finish()?;
    let len = cx.edit_existing::<List, _>(key, names(end).push, |list, edit| {
        list.extend(end, elements.iter().copied(), &edit.limits);
        edit.changed(elements.len());
        list.len()
    })?;
    cx.reply.count(len.unwrap_or(0));
    Ok(())
}

fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.remaining() > 1 {
        return Err(CommandError::wrong_arity(names(end).pop));
    }
    let count = match args.is_empty() {
        true => None,
        false => Some(args.int_within(0..=i64::MAX, CommandError::MUST_BE_POSITIVE) as usize),
    };
    args.finish()?;
    let elements = take(cx, key, end, count.unwrap_or(1))?;
    match (elements, count) {
        (None, None) => cx.reply.null(),
        (None, Some(_)) => cx.reply.null_array(),
        (Some(elements), None) => cx.reply.bulk_or_null(elements.first()),
        (Some(elements), Some(_)) => reply_elements(cx, &elements),
    }
    Ok(())
}

/// Takes up to `count` elements from an end, the outermost first; `None` when there is no list.
fn take(cx: &mut Cx<'_>, key: &[u8], end: End, count: usize) -> Result<Option<Vec<Vec<u8>>>, CommandError> {
    cx.edit_existing::<List, _>(key, names(end).pop, |list, edit| {
        let len = list.len();
        let count = count.min(len);
        let taken: Vec<_> = match end {
            End::Front => list.iter_range(0..count).map(|element| element.to_vec()).collect(),
            End::Back => list.iter_range_back(len - count..len).map(|element| element.to_vec()).collect(),
        };
        if count > 0 {
            list.remove_from(end, count, &edit.limits);
            edit.changed(count);
        }
        taken
    })
}

fn reply_elements(cx: &mut Cx<'_>, elements: &[Vec<u8>]) {
    cx.reply.array(elements.len());
    for element in elements {
        cx.reply.bulk(element);
    }
}

/// Takes from the first of the lists that is there and answers with its key; false when none is.
fn take_from_first(cx: &mut Cx<'_>, pop: &MultiPop<'_, End>) -> Result<bool, CommandError> {
    for &key in pop.keys {
        let Some(elements) = take(cx, key, pop.from, pop.count)? else { continue };
        let mut count = itoa::Buffer::new();
        cx.log_as(&[names(pop.from).logged_pop, key, count.format(elements.len()).as_bytes()]);
        cx.reply.array(2);
        cx.reply.bulk(key);
        reply_elements(cx, &elements);
        return Ok(true);
    }
    Ok(false)
}

fn lmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let pop = MultiPop::parse(args, end_word)?;
    if !take_from_first(cx, &pop)? {
        cx.reply.null_array();
    }
    Ok(())
}

fn blmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let timeout = args.bytes();
    let pop = MultiPop::parse(args, end_word)?;
    let timeout = Cx::timeout(timeout)?;
    if !take_from_first(cx, &pop)? {
        cx.block(pop.keys, Type::List, timeout, TimeoutReply::NullArray);
    }
    Ok(())
}

fn blpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, End::Front)
}

fn brpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, End::Back)
}

fn blocking_pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Result<(), CommandError> {
    let keys = args.take(args.remaining().saturating_sub(1));
    let timeout = Cx::timeout(args.bytes())?;
    args.finish()?;
    for &key in keys {
        let Some(element) = take(cx, key, end, 1)?.and_then(|mut elements| elements.pop()) else { continue };
        cx.log_as(&[names(end).logged_pop, key]);
        cx.reply.array(2);
        cx.reply.bulk(key);
        cx.reply.bulk(element);
        return Ok(());
    }
    cx.block(keys, Type::List, timeout, TimeoutReply::NullArray);
    Ok(())
}
