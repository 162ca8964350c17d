//! Unions, intersections and differences of sets, answered or stored.
//!
//! Invariant: a stored result is computed before its destination is replaced, so that the destination may be a source.

use super::{DECLARATION, READ, reply_members};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::ds::Item;
use crate::value::{Limits, Set};

const SOURCES: KeySpec = KeySpec::all(READ);
const STORED_SOURCES: KeySpec = KeySpec::range(2, -1, 1, READ);
const WRITES: Flags = Flags::WRITE.and(Flags::DENYOOM);

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "sinter",
        arity: -2,
        flags: Flags::READ,
        keys: &[SOURCES],
        run: sinter,
        complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
        summary: "Returns the members that all sets have.",
        syntax: "key [key ...]",
        tips: &["nondeterministic_output_order"],
        ..DECLARATION
    },
    Command {
        name: "sinterstore",
        arity: -3,
        flags: WRITES,
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE)), STORED_SOURCES],
        run: sinterstore,
        complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
        summary: "Stores the members that all sets have.",
        syntax: "destination:key key [key ...]",
        ..DECLARATION
    },
    Command {
        name: "sintercard",
        arity: -3,
        flags: Flags::READ.and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(1, READ)],
        run: sintercard,
        since: "7.0.0",
        complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
        summary: "Counts the members that all sets have, up to a limit.",
        syntax: "numkeys:integer key [key ...] [LIMIT limit:integer]",
        ..DECLARATION
    },
    Command {
        name: "sunion",
        arity: -2,
        flags: Flags::READ,
        keys: &[SOURCES],
        run: sunion,
        complexity: "O(N), N being the size of all sets together",
        summary: "Returns the members that any of the sets has.",
        syntax: "key [key ...]",
        tips: &["nondeterministic_output_order"],
        ..DECLARATION
    },
    Command {
        name: "sunionstore",
        arity: -3,
        flags: WRITES,
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE)), STORED_SOURCES],
        run: sunionstore,
        complexity: "O(N), N being the size of all sets together",
        summary: "Stores the members that any of the sets has.",
        syntax: "destination:key key [key ...]",
        ..DECLARATION
    },
    Command {
        name: "sdiff",
        arity: -2,
        flags: Flags::READ,
        keys: &[SOURCES],
        run: sdiff,
        complexity: "O(N), N being the size of all sets together",
        summary: "Returns the members of the first set that no other has.",
        syntax: "key [key ...]",
        tips: &["nondeterministic_output_order"],
        ..DECLARATION
    },
    Command {
        name: "sdiffstore",
        arity: -3,
        flags: WRITES,
        keys: &[KeySpec::first(KeyFlags::OW.and(KeyFlags::UPDATE)), STORED_SOURCES],
        run: sdiffstore,
        complexity: "O(N), N being the size of all sets together",
        summary: "Stores the members of the first set that no other has.",
        syntax: "destination:key key [key ...]",
        ..DECLARATION
    },
];

/// What becomes of several sets; a missing key is an empty set.
type Combine = fn(&[Option<Set>], &Limits) -> Set;

fn sinter(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let keys = args.rest();
    args.finish()?;
    let sets = sources(cx, keys)?;
    let start = cx.reply.begin();
    let (mut count, mut text) = (0, itoa::Buffer::new());
    for member in common(&sets) {
        cx.reply.bulk(member.as_bytes(&mut text));
        count += 1;
    }
    cx.reply.end_set(start, count);
    Ok(())
}

fn sinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store(cx, args, intersection, "sinterstore")
}

fn sunion(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, union)
}

fn sunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store(cx, args, union, "sunionstore")
}

fn sdiff(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    answer(cx, args, difference)
}

fn sdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    store(cx, args, difference, "sdiffstore")
}

fn sintercard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let count = args.int_within(1..=i64::MAX, CommandError::fixed("ERR numkeys should be greater than 0"));
    args.check()?;
    if count as u64 > args.remaining() as u64 {
        return Err(CommandError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let keys = args.take(count as usize);
    let mut limit = 0;
    while args.remaining() > 1 && args.word("limit") {
        limit = args.int_within(0..=i64::MAX, CommandError::fixed("ERR LIMIT can't be negative"));
        args.check()?;
    }
    args.finish()?;
    let sets = sources(cx, keys)?;
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    cx.reply.count(common(&sets).take(limit).count());
    Ok(())
}

fn answer(cx: &mut Cx<'_>, args: &mut Args<'_>, combine: Combine) -> Result<(), CommandError> {
    let keys = args.rest();
    args.finish()?;
    let sets = sources(cx, keys)?;
    if let [Some(only)] = &sets[..] {
        reply_members(cx.reply, only);
        return Ok(());
    }
    let result = combine(&sets, &cx.limits());
    reply_members(cx.reply, &result);
    Ok(())
}

fn store(cx: &mut Cx<'_>, args: &mut Args<'_>, combine: Combine, event: &'static str) -> Result<(), CommandError> {
    let (destination, keys) = (args.bytes(), args.rest());
    args.finish()?;
    for key in keys {
        cx.delete_if_due(key);
    }
    let sets = sources(cx, keys)?;
    let result = combine(&sets, &cx.limits());
    cx.put_result(destination, result, event);
    Ok(())
}

fn sources(cx: &mut Cx<'_>, keys: &[&[u8]]) -> Result<Vec<Option<Set>>, CommandError> {
    keys.iter().map(|key| cx.get::<Set>(key)).collect()
}

/// Members of the smallest set that all others have; none when one of the sets is missing.
fn common(sets: &[Option<Set>]) -> impl Iterator<Item = Item<'_>> {
    let mut sets: Vec<&Set> = sets.iter().map(Option::as_ref).collect::<Option<_>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let others = sets.split_off(sets.len().min(1));
    let smallest = sets.pop();
    let candidates = smallest.into_iter().flat_map(Set::iter);
    candidates.filter(move |member| others.iter().all(|other| other.contains_item(*member)))
}

fn intersection(sets: &[Option<Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    for member in common(sets) {
        result.add_item(member, limits);
    }
    result
}

fn union(sets: &[Option<Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    for member in sets.iter().flatten().flat_map(Set::iter) {
        result.add_item(member, limits);
    }
    result
}

fn difference(sets: &[Option<Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    let Some((Some(first), rest)) = sets.split_first() else { return result };
    let mut rest: Vec<&Set> = rest.iter().flatten().collect();
    let asking = first.len() * (1 + rest.len()) / 2;
    let removing = rest.iter().map(|set| set.len()).sum::<usize>() + first.len();
    if asking <= removing {
        rest.sort_by_key(|set| std::cmp::Reverse(set.len()));
        for member in first.iter().filter(|member| !rest.iter().any(|other| other.contains_item(*member))) {
            result.add_item(member, limits);
        }
        return result;
    }
    for member in first.iter() {
        result.add_item(member, limits);
    }
    let mut text = itoa::Buffer::new();
    for member in rest.iter().flat_map(|set| set.iter()) {
        if result.is_empty() {
            break;
        }
        result.remove(member.as_bytes(&mut text));
    }
    result
}
