//! The `bit` library: operations on numbers as 32-bit words.

use super::super::arguments::Arguments;
use mlua::{Lua, Table, Value};

/// Added to a double, this puts its integer part, modulo 2^32, into the low word of the mantissa.
const INTO_MANTISSA: f64 = 6_755_399_441_055_744.0;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let add = |name: &str, run: fn(&Arguments<'_>) -> mlua::Result<u32>| {
        table.raw_set(
            name,
            lua.create_function(move |lua, values| {
                run(&Arguments::new(lua, values)).map(|word| f64::from(word as i32))
            })?,
        )
    };
    add("tobit", |args| word(args, 1))?;
    add("bnot", |args| word(args, 1).map(|bits| !bits))?;
    add("bswap", |args| word(args, 1).map(u32::swap_bytes))?;
    add("band", |args| fold(args, |a, b| a & b))?;
    add("bor", |args| fold(args, |a, b| a | b))?;
    add("bxor", |args| fold(args, |a, b| a ^ b))?;
    add("lshift", |args| shift(args, |bits, by| bits << by))?;
    add("rshift", |args| shift(args, |bits, by| bits >> by))?;
    add("arshift", |args| shift(args, |bits, by| ((bits as i32) >> by) as u32))?;
    add("rol", |args| shift(args, u32::rotate_left))?;
    add("ror", |args| shift(args, u32::rotate_right))?;
    table.raw_set("tohex", lua.create_function(|lua, values| tohex(lua, &Arguments::new(lua, values)))?)?;
    Ok(table)
}

fn word(args: &Arguments<'_>, number: usize) -> mlua::Result<u32> {
    let value = args.number(number)?;
    Ok((value + INTO_MANTISSA).to_bits() as u32)
}

fn fold(args: &Arguments<'_>, operation: fn(u32, u32) -> u32) -> mlua::Result<u32> {
    let first = word(args, 1)?;
    (2..=args.len()).rev().try_fold(first, |bits, number| Ok(operation(bits, word(args, number)?)))
}

fn shift(args: &Arguments<'_>, operation: fn(u32, u32) -> u32) -> mlua::Result<u32> {
    Ok(operation(word(args, 1)?, word(args, 2)? & 31))
}

fn tohex(lua: &Lua, args: &Arguments<'_>) -> mlua::Result<Value> {
    let bits = word(args, 1)?;
    let digits = if args.get(2).is_none() { 8 } else { word(args, 2)? as i32 };
    let text = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let shown = digits.unsigned_abs().min(8) as usize;
    lua.create_string(&text[8 - shown..]).map(Value::String)
}
