//! The libraries that scripts have beside Lua's own: cjson, cmsgpack, struct and bit, with stock's results and errors.
//!
//! Invariant: no input makes them recurse deeper than the interpreter's stack, or produce more than [`BYTES_MAX`].

mod bit;
mod cjson;
mod cmsgpack;
mod strtod;
mod structs;

use super::thrown::Thrown;
use mlua::{Lua, Table};

/// Slots of the interpreter's stack that one host function may use; nesting is bounded by it, as in stock.
const STACK_SLOTS_MAX: usize = 8000;
/// Results of one call.
const RESULTS_MAX: usize = 7000;
/// The longest text that encoders produce: one table that occurs many times inside itself would have no end.
const BYTES_MAX: usize = 512 << 20;

/// All of them, by name.
pub fn libraries(lua: &Lua) -> mlua::Result<Table> {
    let all = lua.create_table()?;
    all.raw_set("bit", bit::library(lua)?)?;
    all.raw_set("cjson", cjson::library(lua)?)?;
    all.raw_set("cmsgpack", cmsgpack::library(lua)?)?;
    all.raw_set("struct", structs::library(lua)?)?;
    Ok(all)
}

fn not_enough_memory() -> mlua::Error {
    Thrown::plain("not enough memory")
}
