//! HyperLogLogs: strings that estimate how many different elements were added to them.
//!
//! A long one is dense and lies in chunks: adding to it reads and writes the bytes of single registers where they lie.

mod debug;
mod target;

use super::{Args, Command, CommandError, Cx, Flags, Group, KeyFlags, KeySpec};
use crate::ds::hll::{self, Encoding, HEADER_BYTES, Header, Registers};
use crate::value::{Str, StrRef};
use target::Target;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::INSERT))],
        run: pfadd,
        since: "2.8.9",
        complexity: "O(1) to add every element.",
        summary: "Adds elements to the HyperLogLog at a key, which begins empty; answers whether its estimate may change.",
        syntax: "key [element [element ...]]",
        ..DECLARATION
    },
    Command {
        name: "pfcount",
        arity: -2,
        flags: Flags::READ.and(Flags::MAY_REPLICATE),
        keys: &[KeySpec::all(KeyFlags::RW.and(KeyFlags::ACCESS))],
        run: pfcount,
        since: "2.8.9",
        complexity: "O(1) for one key whose estimate is cached; O(N) for N keys, with a large constant time.",
        summary: "Estimates how many different elements were added to the HyperLogLogs at some keys, taken together.",
        syntax: "key [key ...]",
        ..DECLARATION
    },
    Command {
        name: "pfmerge",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[
            KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::INSERT)),
            KeySpec::range(2, -1, 1, KeyFlags::RO.and(KeyFlags::ACCESS)),
        ],
        run: pfmerge,
        since: "2.8.9",
        complexity: "O(N) for N keys, with a large constant time.",
        summary: "Adds to the HyperLogLog at a key what was added to others.",
        syntax: "destkey:key [sourcekey:key [sourcekey ...]]",
        ..DECLARATION
    },
    Command {
        name: "pfdebug",
        arity: 3,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN).and(Flags::SYSTEM),
        keys: &[KeySpec::at(2, KeyFlags::RW.and(KeyFlags::ACCESS))],
        run: debug::pfdebug,
        since: "2.8.9",
        complexity: "N/A",
        summary: "Shows the registers and the encoding of the HyperLogLog at a key, for tests.",
        syntax: "subcommand key",
        ..DECLARATION
    },
    Command {
        name: "pfselftest",
        arity: 1,
        flags: Flags::ADMIN.and(Flags::SYSTEM),
        run: debug::pfselftest,
        since: "2.8.9",
        complexity: "N/A",
        summary: "Checks the registers and the estimates of HyperLogLogs against what is known of them.",
        ..DECLARATION
    },
];

const DECLARATION: Command = Command { group: Group::Hyperloglog, ..Command::DEFAULT };

const NOT_ONE: CommandError = CommandError::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");

fn damaged(_: hll::Damage) -> CommandError {
    CommandError::fixed("INVALIDOBJ Corrupted HLL object detected")
}

/// The header of a string that must be a HyperLogLog.
fn header(text: StrRef<'_>) -> Result<Header, CommandError> {
    let mut bytes = [0; HEADER_BYTES];
    text.read(0, &mut bytes);
    Header::read(&bytes, text.len()).ok_or(NOT_ONE)
}

fn pfadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, elements) = (args.bytes(), args.rest());
    cx.delete_if_due(key);
    let absent = cx.peek(key).is_none();
    let bytes_max = cx.limits().hll_sparse_max_bytes;
    let changed = cx.edit_string(key, "pfadd", |text, edit| {
        if absent {
            *text = Str::raw(&hll::empty());
        }
        let mut changed = usize::from(absent);
        let mut target = Target::new(text, bytes_max)?;
        for element in elements {
            let (index, rank) = hll::locate(element);
            changed += usize::from(target.raise(index, rank)?);
        }
        if changed > 0 {
            target.finish();
            edit.changed(changed);
        }
        Ok(changed > 0)
    })?;
    cx.reply.int(i64::from(changed));
    Ok(())
}

fn pfcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let keys = args.rest();
    if let [key] = keys {
        return count_one(cx, key);
    }
    let union = Union::of(cx, keys)?;
    cx.reply.int(hll::cardinality_of(&union.registers) as i64);
    Ok(())
}

/// Counts one, and keeps the result in its header: a change of the string, though of nothing that it says.
fn count_one(cx: &mut Cx<'_>, key: &[u8]) -> Result<(), CommandError> {
    let (found, reply) = cx.read::<Str>(key)?;
    let Some(text) = found else {
        reply.int(0);
        return Ok(());
    };
    let header = header(text)?;
    if let Some(cached) = header.cached {
        reply.int(cached as i64);
        return Ok(());
    }
    let count = hll::cardinality(header.encoding, &text.as_bytes(&mut itoa::Buffer::new()));
    let count = count.map_err(damaged)?;
    reply.int(count as i64);
    cx.edit_string(key, "", |text, edit| {
        edit.changed(1);
        edit.silent();
        text.set_range(hll::CACHE_AT, &count.to_le_bytes());
        Ok(())
    })
}

/// What several HyperLogLogs are together.
struct Union {
    registers: Box<Registers>,
    /// One of them at least is dense.
    dense: bool,
}

impl Union {
    fn of(cx: &mut Cx<'_>, keys: &[&[u8]]) -> Result<Self, CommandError> {
        let mut union = Self { registers: Box::new([0; hll::REGISTERS]), dense: false };
        for key in keys {
            let (Some(text), _) = cx.read::<Str>(key)? else { continue };
            let header = header(text)?;
            union.dense |= header.encoding == Encoding::Dense;
            let bytes = text.as_bytes(&mut itoa::Buffer::new()).into_owned();
            hll::merge_into(&mut union.registers, header.encoding, &bytes).map_err(damaged)?;
        }
        Ok(union)
    }
}

fn pfmerge(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let keys = args.rest();
    let destination = keys[0];
    let union = Union::of(cx, keys)?;
    cx.delete_if_due(destination);
    let absent = cx.peek(destination).is_none();
    let bytes_max = cx.limits().hll_sparse_max_bytes;
    cx.edit_string(destination, "pfadd", |text, edit| {
        if absent {
            *text = Str::raw(&hll::empty());
        }
        let mut target = Target::new(text, bytes_max)?;
        if union.dense {
            target.make_dense()?;
        }
        for (index, rank) in union.registers.iter().enumerate().filter(|(_, rank)| **rank > 0) {
            target.raise(index, *rank)?;
        }
        target.finish();
        edit.changed(1);
        Ok(())
    })?;
    cx.reply.ok();
    Ok(())
}
