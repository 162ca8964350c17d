//! Hashes field by field.

use crate::command::extended::Extended;
use crate::command::{Args, Command, CommandError, Cx, Deprecated, Flags, Group, KeyFlags, KeySpec, parse_i64};
use crate::resp::Reply;
use crate::value::{Hash, HashRef, Item};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "hset",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: hset,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "Sets fields of a hash, which begins empty.",
        syntax: "key field_value:(field value) [field_value ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "hmset",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: hmset,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "Sets fields of a hash: the old form of HSET.",
        syntax: "key field_value:(field value) [field_value ...]",
        deprecated: Some(Deprecated { since: "4.0.0", replaced_by: "`HSET` with multiple field-value pairs" }),
        ..Command::DEFAULT
    },
    Command {
        name: "hsetnx",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::INSERT))],
        run: hsetnx,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Sets a field of a hash that it does not have yet.",
        syntax: "key field value",
        ..Command::DEFAULT
    },
    Command {
        name: "hget",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hget,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "The value of a field.",
        syntax: "key field",
        ..Command::DEFAULT
    },
    Command {
        name: "hmget",
        arity: -3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: hmget,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "The values of several fields.",
        syntax: "key field [field ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "hdel",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::DELETE))],
        run: hdel,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(N), N being the number of fields.",
        summary: "Deletes fields; a hash without fields is deleted.",
        syntax: "key field [field ...]",
        ..Command::DEFAULT
    },
    Command {
        name: "hexists",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: hexists,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Whether a hash has a field.",
        syntax: "key field",
        ..Command::DEFAULT
    },
    Command {
        name: "hlen",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: hlen,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "The number of fields of a hash.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "hstrlen",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: hstrlen,
        group: Group::Hash,
        since: "3.2.0",
        complexity: "O(1)",
        summary: "The length of the value of a field, in bytes.",
        syntax: "key field",
        ..Command::DEFAULT
    },
    Command {
        name: "hincrby",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: hincrby,
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Adds a number to the integer of a field, which begins as 0.",
        syntax: "key field increment:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "hincrbyfloat",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: hincrbyfloat,
        group: Group::Hash,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Adds a number to the floating-point number of a field, which begins as 0.",
        syntax: "key field increment:double",
        ..Command::DEFAULT
    },
];

/// A field or value as a bulk reply.
pub(super) fn write(item: Item<'_>, reply: &mut Reply) {
    reply.bulk(item.as_bytes(&mut itoa::Buffer::new()));
}

fn write_or_null(item: Option<Item<'_>>, reply: &mut Reply) {
    match item {
        Some(item) => write(item, reply),
        None => reply.null(),
    }
}

fn hset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let created = set_fields(cx, args, "hset")?;
    cx.reply.count(created);
    Ok(())
}

fn hmset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    set_fields(cx, args, "hmset")?;
    cx.reply.ok();
    Ok(())
}

/// Number of fields that are new.
fn set_fields(cx: &mut Cx<'_>, args: &mut Args<'_>, command: &str) -> Result<usize, CommandError> {
    let (key, pairs) = (args.bytes(), args.rest());
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    cx.edit::<Hash, _>(key, "hset", |hash, edit| {
        hash.expect(pairs.len() / 2, &edit.limits);
        edit.changed(pairs.len() / 2);
        pairs.chunks_exact(2).filter(|pair| hash.set(pair[0], pair[1], &edit.limits)).count()
    })
}

fn hsetnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field, value) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    let new = cx.edit::<Hash, _>(key, "hset", |hash, edit| {
        let new = !hash.contains(field);
        if new {
            hash.set(field, value, &edit.limits);
            edit.changed(1);
        }
        new
    })?;
    cx.reply.int(i64::from(new));
    Ok(())
}

fn hget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (args.bytes(), args.bytes());
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    write_or_null(hash.and_then(|hash| hash.get(field)), reply);
    Ok(())
}

fn hmget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, fields) = (args.bytes(), args.rest());
    let (hash, reply) = cx.read::<Hash>(key)?;
    reply.array(fields.len());
    for field in fields {
        write_or_null(hash.and_then(|hash| hash.get(field)), reply);
    }
    Ok(())
}

fn hdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, fields) = (args.bytes(), args.rest());
    let removed = cx.edit_existing::<Hash, _>(key, "hdel", |hash, edit| {
        let removed = fields.iter().filter(|field| hash.remove(field)).count();
        edit.changed(removed);
        removed
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn hexists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (args.bytes(), args.bytes());
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    reply.int(i64::from(hash.is_some_and(|hash| hash.contains(field))));
    Ok(())
}

fn hlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    reply.count(hash.map_or(0, HashRef::len));
    Ok(())
}

fn hstrlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (args.bytes(), args.bytes());
    args.finish()?;
    let (hash, reply) = cx.read::<Hash>(key)?;
    let value = hash.and_then(|hash| hash.get(field));
    reply.count(value.map_or(0, |value| value.as_bytes(&mut itoa::Buffer::new()).len()));
    Ok(())
}

fn hincrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field, number) = (args.bytes(), args.bytes(), args.int());
    args.finish()?;
    let sum = cx.edit::<Hash, _>(key, "hincrby", |hash, edit| {
        let old = match hash.get(field) {
            None => 0,
            Some(value) => parse_i64(value.as_bytes(&mut itoa::Buffer::new()))
                .ok_or(CommandError::fixed("ERR hash value is not an integer"))?,
        };
        let sum = old.checked_add(number).ok_or(CommandError::OVERFLOW)?;
        hash.set(field, itoa::Buffer::new().format(sum).as_bytes(), &edit.limits);
        edit.changed(1);
        Ok(sum)
    })??;
    cx.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, field, number) = (args.bytes(), args.bytes(), args.bytes());
    args.finish()?;
    let number = Extended::parse(number).ok_or(CommandError::NOT_FLOAT)?;
    if number.is_infinite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let sum = cx.edit::<Hash, _>(key, "hincrbyfloat", |hash, edit| {
        let old = match hash.get(field) {
            None => Extended::ZERO,
            Some(value) => Extended::parse(value.as_bytes(&mut itoa::Buffer::new()))
                .ok_or(CommandError::fixed("ERR hash value is not a float"))?,
        };
        let sum = old.add(number).ok_or(CommandError::NOT_FINITE)?.format();
        hash.set(field, sum.as_bytes(), &edit.limits);
        edit.changed(1);
        Ok(sum)
    })??;
    cx.log_as(&[b"HSET", key, field, sum.as_bytes()]);
    cx.reply.bulk(sum);
    Ok(())
}
