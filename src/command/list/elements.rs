//! Elements by index and by value.

use super::{DECLARATION, INSERT, READ};
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, KeyFlags, KeySpec};
use crate::value::index::{place, span};
use crate::value::{End, List, ListRef};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "llen",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: llen,
        complexity: "O(1)",
        summary: "Returns the length of a list.",
        syntax: "key",
        ..DECLARATION
    },
    Command {
        name: "lindex",
        arity: 3,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: lindex,
        complexity: "O(log(N)), N being the length of the list",
        summary: "Returns the element at an index.",
        syntax: "key index:integer",
        ..DECLARATION
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: lrange,
        complexity: "O(log(N)+M), N being the length of the list and M that of the reply",
        summary: "Returns the elements of a range of indexes.",
        syntax: "key start:integer stop:integer",
        ..DECLARATION
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: lpos,
        since: "6.0.6",
        complexity: "O(N), N being the number of elements looked at",
        summary: "Returns the indexes of elements that equal a value.",
        syntax: "key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len:integer]",
        ..DECLARATION
    },
    Command {
        name: "lset",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: lset,
        complexity: "O(log(N)), N being the length of the list",
        summary: "Replaces the element at an index.",
        syntax: "key index:integer element",
        ..DECLARATION
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(INSERT)],
        run: linsert,
        since: "2.2.0",
        complexity: "O(N), N being the number of elements before the pivot",
        summary: "Inserts an element before or after the first one that equals a value.",
        syntax: "key where:<BEFORE | AFTER> pivot element",
        ..DECLARATION
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: Flags::WRITE,
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: lrem,
        complexity: "O(N), N being the length of the list",
        summary: "Removes elements that equal a value.",
        syntax: "key count:integer element",
        ..DECLARATION
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: Flags::WRITE,
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: ltrim,
        complexity: "O(log(N)+M), N being the length of the list and M the number of elements removed",
        summary: "Removes the elements outside a range of indexes.",
        syntax: "key start:integer stop:integer",
        ..DECLARATION
    },
];

fn llen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (list, reply) = cx.read::<List>(key)?;
    reply.count(list.map_or(0, ListRef::len));
    Ok(())
}

/// The key is looked at before the index is: a missing key needs no valid one.
fn lindex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, index) = (args.bytes(), args.int());
    let outcome = args.finish();
    let (list, reply) = cx.read::<List>(key)?;
    let Some(list) = list else {
        reply.null();
        return Ok(());
    };
    outcome?;
    match place(list.len(), index).and_then(|at| list.get(at)) {
        Some(element) => reply.bulk(element.as_bytes(&mut itoa::Buffer::new())),
        None => reply.null(),
    }
    Ok(())
}

fn lrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, start, stop) = (args.bytes(), args.int(), args.int());
    args.finish()?;
    let (list, reply) = cx.read::<List>(key)?;
    let Some((list, range)) = list.and_then(|list| Some((list, span(list.len(), start, stop)?))) else {
        reply.array(0);
        return Ok(());
    };
    reply.array(range.len());
    let mut text = itoa::Buffer::new();
    for element in list.iter_range(range) {
        reply.bulk(element.as_bytes(&mut text));
    }
    Ok(())
}

struct Search {
    backward: bool,
    /// Matches passed over.
    skip: usize,
    /// Matches wanted; `None` wants one, outside of an array.
    count: Option<usize>,
    compare_max: usize,
}

impl Search {
    fn parse(args: &mut Args<'_>) -> Result<Self, CommandError> {
        const ZERO_RANK: CommandError = CommandError::fixed(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        );
        let unlimited = |count: i64| if count == 0 { usize::MAX } else { count as usize };
        let (mut rank, mut count, mut compare_max) = (1, None, usize::MAX);
        while args.remaining() > 1 {
            if args.word("rank") {
                rank = args.int();
                match rank {
                    i64::MIN => args.fail(CommandError::not_between(-i64::MAX, i64::MAX)),
                    0 => args.fail(ZERO_RANK),
                    _ => {}
                }
            } else if args.word("count") {
                let value = args.int_within(0..=i64::MAX, CommandError::fixed("ERR COUNT can't be negative"));
                count = Some(unlimited(value));
            } else if args.word("maxlen") {
                let value = args.int_within(0..=i64::MAX, CommandError::fixed("ERR MAXLEN can't be negative"));
                compare_max = unlimited(value);
            } else {
                break;
            }
            args.check()?;
        }
        args.finish()?;
        Ok(Self { backward: rank < 0, skip: rank.unsigned_abs() as usize - 1, count, compare_max })
    }
}

fn lpos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, element) = (args.bytes(), args.bytes());
    let search = Search::parse(args)?;
    let (list, reply) = cx.read::<List>(key)?;
    let mut matches = list
        .into_iter()
        .flat_map(|list| list.positions(element, search.backward, search.compare_max))
        .skip(search.skip);
    let Some(count) = search.count else {
        match matches.next() {
            Some(index) => reply.count(index),
            None => reply.null(),
        }
        return Ok(());
    };
    let start = reply.begin_array();
    let mut found = 0;
    for index in matches.take(count) {
        reply.count(index);
        found += 1;
    }
    reply.end_array(start, found);
    Ok(())
}

/// The key is looked at before the index is, as in LINDEX.
fn lset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, index, element) = (args.bytes(), args.int(), args.bytes());
    let outcome = args.finish();
    let set = cx.edit_existing::<List, Result<(), CommandError>>(key, "lset", |list, edit| {
        outcome?;
        let at = place(list.len(), index).ok_or(CommandError::INDEX_OUT_OF_RANGE)?;
        list.set(at, element, &edit.limits);
        edit.changed(1);
        Ok(())
    })?;
    set.ok_or(CommandError::NO_SUCH_KEY)??;
    cx.reply.ok();
    Ok(())
}

fn linsert(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let after = args.word("after");
    if !after && !args.word("before") {
        return Err(CommandError::SYNTAX);
    }
    let (pivot, element) = (args.bytes(), args.bytes());
    args.finish()?;
    let len = cx.edit_existing::<List, _>(key, "linsert", |list, edit| {
        let at = list.positions(pivot, false, usize::MAX).next()?;
        list.insert(at + usize::from(after), element, &edit.limits);
        edit.changed(1);
        Some(list.len())
    })?;
    match len {
        None => cx.reply.int(0),
        Some(None) => cx.reply.int(-1),
        Some(Some(len)) => cx.reply.count(len),
    }
    Ok(())
}

fn lrem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, count, element) = (args.bytes(), args.int(), args.bytes());
    args.finish()?;
    let from = if count < 0 { End::Back } else { End::Front };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = cx.edit_existing::<List, _>(key, "lrem", |list, edit| {
        let removed = list.remove_equal(element, from, max, &edit.limits);
        edit.changed(removed);
        removed
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn ltrim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, start, stop) = (args.bytes(), args.int(), args.int());
    args.finish()?;
    let removed = cx.edit_existing::<List, _>(key, "ltrim", |list, edit| {
        let kept = span(list.len(), start, stop).unwrap_or(0..0);
        let removed = list.len() - kept.len();
        if removed > 0 {
            list.trim(kept, &edit.limits);
            edit.changed(removed);
        }
        removed
    })?;
    if removed == Some(0) {
        // Nothing changed, which is nothing to log; it is notified all the same.
        cx.host.key_modified(cx.db, key);
        cx.notify(Event::List, "ltrim", key);
    }
    cx.reply.ok();
    Ok(())
}
