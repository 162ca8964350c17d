//! Commands on single members of a set, and on the whole of one set.

use super::{DECLARATION, READ, TAKE, reply_members};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::value::Set;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "sadd",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::INSERT))],
        run: sadd,
        complexity: "O(N), N being the number of members given",
        summary: "Adds members to a set, creating it if needed.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "srem",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: srem,
        complexity: "O(N), N being the number of members given",
        summary: "Removes members from a set.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "smove",
        arity: 4,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(TAKE), KeySpec::at(2, KeyFlags::RW.and(KeyFlags::INSERT))],
        run: smove,
        complexity: "O(1)",
        summary: "Moves a member from one set to another.",
        syntax: "source:key destination:key member",
        ..DECLARATION
    },
    Command {
        name: "scard",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: scard,
        complexity: "O(1)",
        summary: "Returns the number of members of a set.",
        syntax: "key",
        ..DECLARATION
    },
    Command {
        name: "sismember",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: sismember,
        complexity: "O(1)",
        summary: "Tells whether a set has a member.",
        syntax: "key member",
        ..DECLARATION
    },
    Command {
        name: "smismember",
        arity: -3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(READ)],
        run: smismember,
        since: "6.2.0",
        complexity: "O(N), N being the number of members given",
        summary: "Tells for several members whether a set has them.",
        syntax: "key member [member ...]",
        ..DECLARATION
    },
    Command {
        name: "smembers",
        arity: 2,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: smembers,
        complexity: "O(N), N being the size of the set",
        summary: "Returns all members of a set.",
        syntax: "key",
        tips: &["nondeterministic_output_order"],
        ..DECLARATION
    },
];

fn sadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    args.finish()?;
    let added = cx.edit::<Set, _>(key, "sadd", |set, edit| {
        if set.is_empty() {
            *set = Set::for_members(members[0], members.len(), &edit.limits);
        } else {
            set.expect(members.len(), &edit.limits);
        }
        let added = members.iter().filter(|member| set.add(member, &edit.limits)).count();
        edit.changed(added);
        added
    })?;
    cx.reply.count(added);
    Ok(())
}

fn srem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    args.finish()?;
    let removed = cx.edit_existing::<Set, _>(key, "srem", |set, edit| {
        let removed = members.iter().filter(|member| set.remove(member)).count();
        edit.changed(removed);
        removed
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn smove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (source, destination, member) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    if !cx.changeable::<Set>(source)? {
        cx.reply.int(0);
        return Ok(());
    }
    cx.changeable::<Set>(destination)?;
    if source == destination {
        return sismember_at(cx, source, member);
    }
    let removed = cx.edit_existing::<Set, _>(source, "srem", |set, edit| {
        let removed = set.remove(member);
        edit.changed(usize::from(removed));
        removed
    })?;
    if removed != Some(true) {
        cx.writable::<Set>(destination)?;
        cx.reply.int(0);
        return Ok(());
    }
    cx.edit::<Set, _>(destination, "sadd", |set, edit| {
        if set.is_empty() {
            *set = Set::for_members(member, 1, &edit.limits);
        }
        let added = set.add(member, &edit.limits);
        edit.changed(usize::from(added));
    })?;
    cx.reply.int(1);
    Ok(())
}

fn scard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (set, reply) = cx.read::<Set>(key)?;
    reply.count(set.map_or(0, Set::len));
    Ok(())
}

fn sismember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, member) = (args.bytes(), args.bytes());
    args.finish()?;
    sismember_at(cx, key, member)
}

fn sismember_at(cx: &mut Cx<'_>, key: &[u8], member: &[u8]) -> Result<(), CommandError> {
    let (set, reply) = cx.read::<Set>(key)?;
    reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    Ok(())
}

fn smismember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, members) = (args.bytes(), args.rest());
    args.finish()?;
    let (set, reply) = cx.read::<Set>(key)?;
    reply.array(members.len());
    for member in members {
        reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn smembers(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    match cx.read::<Set>(key)? {
        (Some(set), reply) => reply_members(reply, set),
        (None, reply) => reply.set(0),
    }
    Ok(())
}
