//! Parts of strings: appending, overwriting, cutting out.

use super::shared::write;
use crate::command::{Args, Command, CommandError, Cx, Deprecated, Flags, Group, KeyFlags, KeySpec};
use crate::value::{Str, index::byte_span};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::INSERT))],
        run: append,
        group: Group::String,
        since: "2.0.0",
        complexity: "O(1), amortized, for small values.",
        summary: "Appends to the string at a key, which begins empty.",
        syntax: "key value",
        ..Command::DEFAULT
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: strlen,
        group: Group::String,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "The length of the string at a key, in bytes.",
        syntax: "key",
        ..Command::DEFAULT
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: getrange,
        group: Group::String,
        since: "2.4.0",
        complexity: "O(N), N being the length of the reply.",
        summary: "Part of the string at a key, by offsets from either end.",
        syntax: "key start:integer end:integer",
        ..Command::DEFAULT
    },
    Command {
        name: "substr",
        arity: 4,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: getrange,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(N), N being the length of the reply.",
        summary: "Part of the string at a key: the old name of GETRANGE.",
        syntax: "key start:integer end:integer",
        deprecated: Some(Deprecated { since: "2.0.0", replaced_by: "`GETRANGE`" }),
        ..Command::DEFAULT
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::UPDATE))],
        run: setrange,
        group: Group::String,
        since: "2.2.0",
        complexity: "O(M), M being the length of the value; O(1) for short ones.",
        summary: "Overwrites part of the string at a key, from an offset on.",
        syntax: "key offset:integer value",
        ..Command::DEFAULT
    },
];

/// Refuses what would grow a string beyond the limit.
fn check_length(max: usize, len: usize, added: usize) -> Result<(), CommandError> {
    match len.checked_add(added) {
        Some(total) if total <= max => Ok(()),
        _ => Err(CommandError::STRING_TOO_LONG),
    }
}

fn append(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, tail) = (args.bytes(), args.bytes());
    args.finish()?;
    cx.delete_if_due(key);
    let (max, absent) = (cx.host.string_bytes_max(), cx.peek(key).is_none());
    let len = cx.edit_string(key, "append", |text, edit| {
        check_length(max, text.len(), tail.len())?;
        edit.changed(1);
        if absent {
            *text = Str::encode(tail);
            return Ok(tail.len());
        }
        Ok(text.append(tail))
    })?;
    cx.reply.count(len);
    Ok(())
}

fn strlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (found, reply) = cx.read::<Str>(key)?;
    reply.count(found.map_or(0, |text| text.len()));
    Ok(())
}

fn getrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, start, end) = (args.bytes(), args.int(), args.int());
    args.finish()?;
    let (found, reply) = cx.read::<Str>(key)?;
    let found = found.and_then(|text| Some((text, byte_span(text.len(), start, end)?)));
    match found {
        Some((text, range)) => write(text, range, reply),
        None => reply.bulk(b""),
    }
    Ok(())
}

fn setrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, offset, content) = (args.bytes(), args.int(), args.bytes());
    args.finish()?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::fixed("ERR offset is out of range"))?;
    let max = cx.host.string_bytes_max();
    let len = cx.edit_string(key, "setrange", |text, edit| {
        if content.is_empty() {
            return Ok(text.len());
        }
        check_length(max, offset, content.len())?;
        edit.changed(1);
        Ok(text.set_range(offset, content))
    })?;
    cx.reply.count(len);
    Ok(())
}
