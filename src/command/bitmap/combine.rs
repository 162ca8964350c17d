//! BITOP: several strings combined bit by bit, chunk by chunk.

use super::DECLARATION;
use crate::command::{Args, Command, CommandError, Cx, Event, Flags, KeyFlags, KeySpec, Ttl};
use crate::ds::{CowBytes, rope::CHUNK};
use crate::value::Str;

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "bitop",
    arity: -4,
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: &[
        KeySpec::at(2, KeyFlags::OW.and(KeyFlags::UPDATE)),
        KeySpec::range(3, -1, 1, KeyFlags::RO.and(KeyFlags::ACCESS)),
    ],
    run: bitop,
    since: "2.6.0",
    complexity: "O(N)",
    summary: "Combines strings bit by bit and stores the result at a key; shorter ones count as followed by zeros.",
    syntax: "operation:<AND | OR | XOR | NOT> destkey:key key [key ...]",
    ..DECLARATION
}];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let operation = if args.word("and") {
        Operation::And
    } else if args.word("or") {
        Operation::Or
    } else if args.word("xor") {
        Operation::Xor
    } else if args.word("not") {
        Operation::Not
    } else {
        return Err(CommandError::SYNTAX);
    };
    let destination = args.bytes();
    let keys = args.rest();
    if operation == Operation::Not && keys.len() != 1 {
        return Err(CommandError::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys {
        let mut source = cx.get::<Str>(key)?.unwrap_or_default();
        source.grow(0);
        sources.push(source);
    }
    let len = sources.iter().map(Str::len).max().unwrap_or(0);
    if len > 0 {
        let chunks = (0..len.div_ceil(CHUNK)).map(|index| {
            let parts = sources.iter().map(|source| source.chunk(index));
            combine(operation, parts, CHUNK.min(len - index * CHUNK))
        });
        cx.put(destination, Str::from_chunks(chunks, len).into(), Ttl::Clear);
        cx.dirty(1);
        cx.notify(Event::String, "set", destination);
    } else {
        cx.remove(destination);
    }
    cx.reply.count(len);
    Ok(())
}

/// One chunk of the result, of `len` bytes; `None` when it is nothing but zeros. What a part holds too little is zeros.
fn combine<'a>(operation: Operation, parts: impl Iterator<Item = &'a [u8]> + Clone, len: usize) -> Option<CowBytes> {
    let held = match operation {
        Operation::And => parts.clone().map(<[u8]>::len).min(),
        Operation::Or | Operation::Xor => parts.clone().map(<[u8]>::len).max(),
        Operation::Not => Some(len),
    };
    let held = held.filter(|held| *held > 0)?;
    let mut buffer = [0; CHUNK];
    let result = &mut buffer[..held];
    let mut parts = parts;
    let first = parts.next()?;
    let first = &first[..first.len().min(held)];
    result[..first.len()].copy_from_slice(first);
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for part in parts {
        let pairs = result.iter_mut().zip(part);
        match operation {
            Operation::And => pairs.for_each(|(byte, other)| *byte &= other),
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor | Operation::Not => pairs.for_each(|(byte, other)| *byte ^= other),
        }
    }
    Some(CowBytes::new(result))
}
