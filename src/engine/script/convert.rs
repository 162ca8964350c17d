//! Values between Lua and replies.
//!
//! The rules are those of stock scripting: integers become numbers, null bulk and null array become false, a status or
//! an error is a table with one field; under RESP3 (`redis.setresp(3)`) maps, sets, doubles and booleans keep their kind.

use super::number::{format_g17, numeric};
use crate::resp::{Reply, ReplyValue};
use mlua::{Lua, Table, Value};

/// How deep a script's result may nest.
const DEPTH_MAX: usize = 128;

/// A reply as scripts see it, and whether it is an error.
pub fn reply_to_lua(lua: &Lua, reply: ReplyValue, resp3: bool) -> mlua::Result<(Value, bool)> {
    let mut failed = false;
    let value = match reply {
        ReplyValue::Simple(text) => field(lua, "ok", bytes(lua, &text)?)?,
        ReplyValue::Error(text) => {
            failed = true;
            field(lua, "err", bytes(lua, &text)?)?
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
/// client speaks.
pub fn lua_to_reply(value: &Value, resp3: bool, reply: &mut Reply) {
    write(value, resp3, reply, 0);
}

fn write(value: &Value, resp3: bool, reply: &mut Reply, depth: usize) {
    if depth > DEPTH_MAX {
        reply.error("ERR reached lua stack limit");
        return;
    }
    match value {
        Value::String(text) => reply.bulk(text.as_bytes()),
        Value::Boolean(truth) if resp3 => reply.boolean(*truth),
        Value::Boolean(true) => reply.int(1),
        Value::Integer(number) => reply.int(*number),
        Value::Number(number) => reply.int(*number as i64),
        Value::Table(table) => write_table(table, resp3, reply, depth),
        _ => reply.null(),
    }
}

fn write_table(table: &Table, resp3: bool, reply: &mut Reply, depth: usize) {
    let get = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
    if let Value::String(text) = get("err") {
        return reply.error(one_line(&text.as_bytes()));
    }
    if let Value::String(text) = get("ok") {
        return reply.simple(one_line(&text.as_bytes()));
    }
    if let Some(number) = numeric(&get("double")) {
        return reply.double(number);
    }
    if let Value::Table(map) = get("map") {
        let pairs: Vec<(Value, Value)> = map.pairs().flatten().collect();
        reply.map(pairs.len());
        for (key, value) in pairs {
            write(&key, resp3, reply, depth + 1);
            write(&value, resp3, reply, depth + 1);
        }
        return;
    }
    if let Value::Table(set) = get("set") {
        let members: Vec<(Value, Value)> = set.pairs().flatten().collect();
        reply.set(members.len());
        for (member, _) in members {
            write(&member, resp3, reply, depth + 1);
        }
        return;
    }
    if let Value::String(digits) = get("big_number") {
        return reply.big_number(one_line(&digits.as_bytes()));
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
    loop {
        match table.raw_get::<Value>(len + 1) {
            Ok(Value::Nil) | Err(_) => break,
            Ok(item) => write(&item, resp3, reply, depth + 1),
        }
        len += 1;
    }
    reply.end_array(at, len);
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
