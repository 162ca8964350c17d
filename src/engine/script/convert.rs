//! Values between Lua and replies.
//!
//! The rules are those of stock scripting: integers become numbers, null bulk and null array become false, a status or
//! an error is a table with one field; under RESP3 (`redis.setresp(3)`) maps, sets, doubles and booleans keep their kind.

use super::arguments::{numeric, to_i64};
use super::number::format_g17;
use super::thrown::COUNTED;
use crate::resp::{Reply, ReplyValue};
use mlua::{Lua, Table, Value};

/// Slots of the interpreter's stack that a reply may take, as in stock.
const SLOTS_MAX: usize = 8000;
/// The longest reply: a table that occurs many times inside itself would have none.
const REPLY_BYTES_MAX: usize = 512 << 20;

/// A reply as scripts see it, and whether it is an error.
pub fn reply_to_lua(lua: &Lua, reply: ReplyValue, resp3: bool) -> mlua::Result<(Value, bool)> {
    let mut failed = false;
    let value = match reply {
        ReplyValue::Simple(text) => field(lua, "ok", bytes(lua, &text)?)?,
        ReplyValue::Error(text) => {
            failed = true;
            let error = lua.create_table_with_capacity(0, 2)?;
            error.raw_set("err", bytes(lua, &text)?)?;
            error.raw_set(COUNTED, true)?;
            Value::Table(error)
        }
        ReplyValue::Int(number) => Value::Number(number as f64),
        ReplyValue::Bulk(content) => bytes(lua, &content)?,
        ReplyValue::Null if resp3 => Value::Nil,
        ReplyValue::Null => Value::Boolean(false),
        ReplyValue::Boolean(truth) => Value::Boolean(truth),
        ReplyValue::Double(number) => field(lua, "double", Value::Number(number))?,
        ReplyValue::BigNumber(digits) => field(lua, "big_number", bytes(lua, &digits)?)?,
        ReplyValue::Verbatim(format, text) => {
            let inner = lua.create_table()?;
            inner.raw_set("string", bytes(lua, &text)?)?;
            inner.raw_set("format", bytes(lua, &format)?)?;
            field(lua, "verbatim_string", Value::Table(inner))?
        }
        ReplyValue::Array(items) | ReplyValue::Push(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (at, item) in items.into_iter().enumerate() {
                table.raw_set(at + 1, reply_to_lua(lua, item, resp3)?.0)?;
            }
            Value::Table(table)
        }
        ReplyValue::Map(pairs) => {
            let table = lua.create_table_with_capacity(0, pairs.len())?;
            for (key, value) in pairs {
                table.raw_set(reply_to_lua(lua, key, resp3)?.0, reply_to_lua(lua, value, resp3)?.0)?;
            }
            field(lua, "map", Value::Table(table))?
        }
        ReplyValue::Set(items) => {
            let table = lua.create_table_with_capacity(0, items.len())?;
            for item in items {
                table.raw_set(reply_to_lua(lua, item, resp3)?.0, true)?;
            }
            field(lua, "set", Value::Table(table))?
        }
        ReplyValue::Attributed(_, inner) => return reply_to_lua(lua, *inner, resp3),
    };
    Ok((value, failed))
}

fn bytes(lua: &Lua, content: &[u8]) -> mlua::Result<Value> {
    lua.create_string(content).map(Value::String)
}

fn field(lua: &Lua, name: &str, value: Value) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

/// A script's result as a reply. Booleans are booleans only for a script that asked for RESP3 (`resp3`), whatever the
/// client speaks. What nests deeper than stock's interpreter has room for ends in an error there, and so does what
/// would never end.
pub fn lua_to_reply(value: &Value, resp3: bool, reply: &mut Reply) {
    Writer { resp3, slots: 2, begins: reply.len() }.value(value, reply);
}

/// Stock takes line ends off the end of an error before it makes spaces of those within.
fn without_line_ends(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// The text of an error that a script returns as its result, and whether it is counted already.
pub fn returned_error(value: &Value) -> Option<(Vec<u8>, bool)> {
    let Value::Table(table) = value else { return None };
    let text = text_of(&table.raw_get("err").ok()?)?;
    Some((status_line(without_line_ends(&text)), table.raw_get::<bool>(COUNTED).unwrap_or(false)))
}

struct Writer {
    resp3: bool,
    /// Slots of the interpreter's stack that stock would have in use.
    slots: usize,
    begins: usize,
}

impl Writer {
    fn value(&mut self, value: &Value, reply: &mut Reply) {
        if self.slots + 4 > SLOTS_MAX || reply.len() - self.begins > REPLY_BYTES_MAX {
            reply.error("ERR reached lua stack limit");
            return;
        }
        match value {
            Value::String(text) => reply.bulk(text.as_bytes()),
            Value::Boolean(truth) if self.resp3 => reply.boolean(*truth),
            Value::Boolean(true) => reply.int(1),
            Value::Integer(number) => reply.int(*number),
            Value::Number(number) => reply.int(to_i64(*number)),
            Value::Table(table) => self.table(table, reply),
            _ => reply.null(),
        }
    }

    fn nested(&mut self, slots: usize, write: impl FnOnce(&mut Self)) {
        self.slots += slots;
        write(self);
        self.slots -= slots;
    }

    fn table(&mut self, table: &Table, reply: &mut Reply) {
        let get = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
        if let Some(text) = text_of(&get("err")) {
            return reply.error(status_line(without_line_ends(&text)));
        }
        if let Some(text) = text_of(&get("ok")) {
            return reply.simple(status_line(&text));
        }
        if let Some(number) = numeric(&get("double")) {
            return reply.double(number);
        }
        if let Value::Table(map) = get("map") {
            let pairs: Vec<(Value, Value)> = map.pairs().flatten().collect();
            reply.map(pairs.len());
            return self.nested(3, |writer| {
                for (key, value) in pairs {
                    writer.value(&key, reply);
                    writer.value(&value, reply);
                }
            });
        }
        if let Value::Table(set) = get("set") {
            let members: Vec<(Value, Value)> = set.pairs().flatten().collect();
            reply.set(members.len());
            return self.nested(3, |writer| {
                for (member, _) in members {
                    writer.value(&member, reply);
                }
            });
        }
        if let Some(digits) = text_of(&get("big_number")) {
            return reply.big_number(one_line(&digits));
        }
        if let Value::Table(verbatim) = get("verbatim_string") {
            let text = verbatim.raw_get::<mlua::LuaString>("string");
            let format = verbatim.raw_get::<mlua::LuaString>("format");
            if let (Ok(text), Ok(format)) = (text, format)
                && let Ok(format) = <[u8; 3]>::try_from(&*format.as_bytes())
            {
                return reply.verbatim(format, &*text.as_bytes());
            }
        }
        let at = reply.begin_array();
        let mut len = 0;
        self.nested(1, |writer| {
            loop {
                match table.raw_get::<Value>(len + 1) {
                    Ok(Value::Nil) | Err(_) => break,
                    Ok(item) => writer.value(&item, reply),
                }
                len += 1;
            }
        });
        reply.end_array(at, len);
    }
}

fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// An error given by a script: a leading code stays, a text without one gets ERR.
pub fn coded(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = text.strip_suffix(b"\r\n").unwrap_or(text);
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

/// The text of a status or an error: C's, which a zero byte ends.
pub fn status_line(text: &[u8]) -> Vec<u8> {
    one_line(text.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// A command's argument: strings as they are, numbers in their shortest exact form; anything else is refused.
pub fn argument(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(format_g17(*number).into_bytes()),
        _ => None,
    }
}
