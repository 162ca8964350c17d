//! Numbers in strings: INCR and its kin.

use crate::command::extended::Extended;
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, Group, KeyFlags, KeySpec, Ttl};
use crate::value::{Str, StrRef};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "incr",
        arity: 2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: incr,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Adds one to the integer at a key, which begins as 0.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "decr",
        arity: 2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: decr,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Takes one from the integer at a key, which begins as 0.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "incrby",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: incrby,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Adds a number to the integer at a key, which begins as 0.",
        syntax: "key increment:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: decrby,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Takes a number from the integer at a key, which begins as 0.",
        syntax: "key decrement:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: incrbyfloat,
        group: Group::String,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Adds a number to the floating-point number at a key, which begins as 0.",
        syntax: "key increment:double",
        ..Command::DEFAULT
    },
];

fn incr(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    add(cx, key, 1)
}

fn decr(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    add(cx, key, -1)
}

fn incrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, number) = (args.bytes(), args.int());
    args.finish()?;
    add(cx, key, number)
}

fn decrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, number) = (args.bytes(), args.int());
    args.finish()?;
    let number = number.checked_neg().ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(cx, key, number)
}

fn add(cx: &mut Cx<'_>, key: &[u8], number: i64) -> Result<(), CommandError> {
    let old = match cx.changeable::<Str>(key)? {
        false => 0,
        true => cx.peek_string(key).and_then(StrRef::as_int).ok_or(CommandError::NOT_INTEGER)?,
    };
    let sum = old.checked_add(number).ok_or(CommandError::OVERFLOW)?;
    cx.put_string(key, StrRef::Int(sum), Ttl::Keep);
    cx.dirty(1);
    cx.notify(Event::String, "incrby", key);
    cx.reply.int(sum);
    Ok(())
}

fn incrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, number) = (args.bytes(), args.bytes());
    args.finish()?;
    let old = match cx.changeable::<Str>(key)? {
        false => Some(Extended::ZERO),
        true => cx.peek_string(key).and_then(|text| Extended::parse(&text.as_bytes(&mut itoa::Buffer::new()))),
    };
    let (Some(old), Some(number)) = (old, Extended::parse(number)) else { return Err(CommandError::NOT_FLOAT) };
    let sum = old.add(number).ok_or(CommandError::NOT_FINITE)?.format();
    cx.put_string(key, StrRef::plain(sum.as_bytes()), Ttl::Keep);
    cx.dirty(1);
    cx.notify(Event::String, "incrbyfloat", key);
    cx.log_as(&[b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    cx.reply.bulk(sum);
    Ok(())
}
