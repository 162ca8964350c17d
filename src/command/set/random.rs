//! Random members of a set: looked at, or taken out.

use super::{DECLARATION, READ, TAKE, reply_members};
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, KeySpec};
use crate::value::Set;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "spop",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(TAKE)],
        run: spop,
        complexity: "O(N), N being the number of members returned",
        summary: "Takes random members out of a set and returns them.",
        syntax: "key [count:integer {3.2.0}]",
        tips: &["nondeterministic_output"],
        ..DECLARATION
    },
    Command {
        name: "srandmember",
        arity: -2,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: srandmember,
        complexity: "O(N), N being the absolute value of the count",
        summary: "Returns random members of a set.",
        syntax: "key [count:integer {2.6.0}]",
        tips: &["nondeterministic_output"],
        ..DECLARATION
    },
];

/// Members named in one SREM of the log.
const LOGGED_MEMBERS_MAX: usize = 1024;

fn spop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.remaining() > 1 {
        return Err(CommandError::SYNTAX);
    }
    if !args.is_empty() {
        let count = args.int_within(0..=i64::MAX, CommandError::MUST_BE_POSITIVE) as usize;
        args.finish()?;
        return spop_many(cx, key, count);
    }
    let popped = cx.edit_existing::<Set, _>(key, "spop", |set, edit| {
        let popped = set.pop(edit.entropy);
        edit.changed(usize::from(popped.is_some()));
        popped
    })?;
    if let Some(member) = popped.flatten() {
        cx.log_as(&[b"SREM", key, &member]);
        cx.reply.bulk(member);
    } else {
        cx.reply.null();
    }
    Ok(())
}

fn spop_many(cx: &mut Cx<'_>, key: &[u8], count: usize) -> Result<(), CommandError> {
    cx.delete_if_due(key);
    let Some(all) = cx.get_for_change::<Set>(key)? else {
        cx.reply.set(0);
        return Ok(());
    };
    if count >= all.len() {
        cx.notify(Event::Set, "spop", key);
        cx.remove(key);
        cx.log_as(&[b"DEL", key]);
        reply_members(cx.reply, &all);
        return Ok(());
    }
    drop(all);
    let members = cx.edit_existing::<Set, _>(key, "spop", |set, edit| {
        let members: Vec<_> = set.random_distinct(count, edit.entropy).iter().map(|member| member.to_vec()).collect();
        for member in &members {
            set.remove(member);
        }
        edit.changed(members.len());
        members
    })?;
    let members = members.unwrap_or_default();
    for members in members.chunks(LOGGED_MEMBERS_MAX) {
        let mut argv: Vec<&[u8]> = vec![b"SREM", key];
        argv.extend(members.iter().map(Vec::as_slice));
        cx.log_as(&argv);
    }
    cx.reply.set(members.len());
    for member in members {
        cx.reply.bulk(member);
    }
    Ok(())
}

fn srandmember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    if args.remaining() > 1 {
        return Err(CommandError::SYNTAX);
    }
    if args.is_empty() {
        let Some(set) = cx.get::<Set>(key)? else {
            cx.reply.null();
            return Ok(());
        };
        match set.random(cx.host.entropy()) {
            Some(member) => cx.reply.bulk(member.as_bytes(&mut itoa::Buffer::new())),
            None => cx.reply.null(),
        }
        return Ok(());
    }
    let count = args.int();
    if count == i64::MIN {
        args.fail(CommandError::not_between(-i64::MAX, i64::MAX));
    }
    args.finish()?;
    let Some(set) = cx.get::<Set>(key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let mut text = itoa::Buffer::new();
    if count >= 0 {
        let members = set.random_distinct(count as usize, cx.host.entropy());
        cx.reply.array(members.len());
        for member in members {
            cx.reply.bulk(member.as_bytes(&mut text));
        }
        return Ok(());
    }
    let repeated = count.unsigned_abs() as usize;
    cx.reply.array(repeated);
    for _ in 0..repeated {
        if let Some(member) = set.random(cx.host.entropy()) {
            cx.reply.bulk(member.as_bytes(&mut text));
        }
    }
    Ok(())
}
