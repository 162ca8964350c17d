//! What reads the entries of a stream: XLEN, XRANGE, XREVRANGE.

use super::{DECLARATION, id, reply_entry};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::value::Stream;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "xlen",
        arity: 2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO)],
        run: xlen,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Returns the number of entries in a stream.",
        syntax: "key",
        ..DECLARATION
    },
    Command {
        name: "xrange",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: xrange,
        since: "5.0.0",
        complexity: "O(log(N)+M), M being the number of entries returned",
        summary: "Returns the entries of a stream between two IDs.",
        syntax: "key start end [COUNT count:integer]",
        ..DECLARATION
    },
    Command {
        name: "xrevrange",
        arity: -4,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: xrevrange,
        since: "5.0.0",
        complexity: "O(log(N)+M), M being the number of entries returned",
        summary: "Returns the entries of a stream between two IDs, the highest first.",
        syntax: "key end start [COUNT count:integer]",
        ..DECLARATION
    },
];

fn xlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    args.finish()?;
    let (stream, reply) = cx.read::<Stream>(key)?;
    reply.count(stream.map_or(0, Stream::len));
    Ok(())
}

fn xrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    range(cx, args, false)
}

fn xrevrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    range(cx, args, true)
}

fn range(cx: &mut Cx<'_>, args: &mut Args<'_>, back: bool) -> Result<(), CommandError> {
    let (key, one, other) = (args.bytes(), args.bytes(), args.bytes());
    let (first, last) = if back { (other, one) } else { (one, other) };
    let (first, last) = (id::range_start(first)?, id::range_end(last)?);
    let mut most = None;
    while !args.is_empty() {
        if args.remaining() < 2 || !args.word("count") {
            return Err(CommandError::SYNTAX);
        }
        most = Some(args.int().max(0) as usize);
        args.check()?;
    }
    let (stream, reply) = cx.read::<Stream>(key)?;
    let Some(stream) = stream else {
        reply.array(0);
        return Ok(());
    };
    if most == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let count = stream.count(first, last).min(most.unwrap_or(usize::MAX));
    reply.array(count);
    if back {
        stream.range_back(first, last).take(count).for_each(|entry| reply_entry(reply, entry));
    } else {
        stream.range(first, last).take(count).for_each(|entry| reply_entry(reply, entry));
    }
    Ok(())
}
