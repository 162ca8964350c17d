//! One bit.

use super::{DECLARATION, bit_offset};
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::value::Str;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "setbit",
        arity: 4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE))],
        run: setbit,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Sets or clears a bit of the string at a key, which grows as needed; answers what the bit was.",
        syntax: "key offset:integer value:integer",
        ..DECLARATION
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: getbit,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "A bit of the string at a key; those behind its end are 0.",
        syntax: "key offset:integer",
        ..DECLARATION
    },
];

fn setbit(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, offset) = (args.bytes(), args.bytes());
    let offset = bit_offset(cx, offset, None)?;
    let value = args.int_within(0..=1, CommandError::fixed("ERR bit is not an integer or out of range"));
    args.finish()?;
    let (at, mask, on) = ((offset / 8) as usize, 0x80 >> (offset % 8), value == 1);
    let was = cx.edit_string(key, "setbit", |text, edit| {
        let mut byte = [0];
        text.as_ref().read(at, &mut byte);
        let was = byte[0] & mask != 0;
        if text.len() <= at || was != on {
            edit.changed(1);
            text.set_range(at, &[if on { byte[0] | mask } else { byte[0] & !mask }]);
        }
        Ok(was)
    })?;
    cx.reply.int(i64::from(was));
    Ok(())
}

fn getbit(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (key, offset) = (args.bytes(), args.bytes());
    args.finish()?;
    let offset = bit_offset(cx, offset, None)?;
    let (found, reply) = cx.read::<Str>(key)?;
    let mut byte = [0];
    if let Some(text) = found {
        text.read((offset / 8) as usize, &mut byte);
    }
    reply.int(i64::from(byte[0] & (0x80 >> (offset % 8)) != 0));
    Ok(())
}
