//! The `cmsgpack` library: Lua values as MessagePack and back.

use super::super::arguments::{Arguments, numeric, to_i64};
use super::super::thrown::Thrown;
use super::{BYTES_MAX, STACK_SLOTS_MAX, not_enough_memory};
use mlua::{Lua, MultiValue, Table, Value};

/// Tables nested deeper are encoded as nil, so that one which contains itself ends.
const NESTING_MAX: usize = 16;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set(
        "unpack",
        lua.create_function(|lua, values| {
            let args = Arguments::new(lua, values);
            unpack(lua, &args.bytes(1)?, None)
        })?,
    )?;
    table.raw_set(
        "unpack_one",
        lua.create_function(|lua, values| {
            let args = Arguments::new(lua, values);
            let offset = args.integer_or(2, 0)?;
            unpack(lua, &args.bytes(1)?, Some((1, offset as i32)))
        })?,
    )?;
    table.raw_set(
        "unpack_limit",
        lua.create_function(|lua, values| {
            let args = Arguments::new(lua, values);
            let (limit, offset) = (args.integer(2)?, args.integer_or(3, 0)?);
            unpack(lua, &args.bytes(1)?, Some((limit as i32, offset as i32)))
        })?,
    )?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    if values.is_empty() {
        return Err(Thrown::bad_argument(lua, 0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for value in &values {
        encode(value, 0, &mut out)?;
    }
    lua.create_string(out).map(Value::String)
}

fn encode(value: &Value, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            head(text.len(), [(31, 0xa0), (0xff, 0xd9), (0xffff, 0xda)], 0xdb, out);
            out.extend_from_slice(&text);
        }
        Value::Boolean(truth) => out.push(0xc2 + u8::from(*truth)),
        Value::Integer(number) => encode_integer(*number, out),
        Value::Number(number) if !number.is_infinite() && to_i64(*number) as f64 == *number => {
            encode_integer(to_i64(*number), out);
        }
        Value::Number(number) => encode_double(*number, out),
        Value::Table(table) if level < NESTING_MAX => encode_table(table, level, out)?,
        _ => out.push(0xc0),
    }
    if out.len() > BYTES_MAX { Err(not_enough_memory()) } else { Ok(()) }
}

/// A length: within the first byte, in one byte (where there is such a form) or two, or in four.
fn head<const N: usize>(len: usize, forms: [(usize, u8); N], longest: u8, out: &mut Vec<u8>) {
    match forms.into_iter().find(|(most, _)| len <= *most) {
        Some((0xff, form)) => out.extend_from_slice(&[form, len as u8]),
        Some((0xffff, form)) => {
            out.push(form);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        Some((_, form)) => out.push(form | len as u8),
        None => {
            out.push(longest);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn encode_integer(number: i64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let (form, kept) = match number {
        -32..=0x7f => return out.push(number as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..-32 => (0xd0, 1),
        -0x8000..-0x80 => (0xd1, 2),
        -0x8000_0000..-0x8000 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(form);
    out.extend_from_slice(&bytes[8 - kept..]);
}

fn encode_double(number: f64, out: &mut Vec<u8>) {
    let single = number as f32;
    if f64::from(single) == number {
        out.push(0xca);
        out.extend_from_slice(&single.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn encode_table(table: &Table, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    let (pairs, is_array) = survey(table)?;
    if is_array {
        let len = table.raw_len();
        head(len, [(15, 0x90), (0xffff, 0xdc)], 0xdd, out);
        for at in 1..=len {
            encode(&table.raw_get(at)?, level + 1, out)?;
        }
        return Ok(());
    }
    head(pairs, [(15, 0x80), (0xffff, 0xde)], 0xdf, out);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(&key, level + 1, out)?;
        encode(&value, level + 1, out)?;
    }
    Ok(())
}

/// How many pairs a table has, and whether their keys are the numbers from 1 to that.
fn survey(table: &Table) -> mlua::Result<(usize, bool)> {
    let (mut count, mut highest, mut whole) = (0, 0.0, true);
    table.for_each(|key: Value, _: Value| {
        count += 1;
        match numeric(&key) {
            Some(number) if number >= 1.0 && number.fract() == 0.0 && number <= f64::from(i32::MAX) => {
                highest = number.max(highest);
            }
            _ => whole = false,
        }
        Ok(())
    })?;
    Ok((count, whole && highest == count as f64))
}

/// Decodes values one behind the other: all of them, or from an offset at most so many, the next offset (or -1) first.
fn unpack(lua: &Lua, data: &[u8], part: Option<(i32, i32)>) -> mlua::Result<MultiValue> {
    let (limit, offset) = part.unwrap_or((0, 0));
    if offset < 0 || limit < 0 {
        return Err(Thrown::at_caller(
            lua,
            // The length in the place of the limit, as stock has it.
            format!("Invalid request to unpack with offset of {offset} and limit of {}.", data.len()),
        ));
    }
    if offset as usize > data.len() {
        return Err(Thrown::at_caller(lua, format!("Start offset {offset} greater than input length {}.", data.len())));
    }
    // Limit and offset both 0 ask for everything.
    let all = limit == 0 && offset == 0;
    let mut decoder = Decoder { lua, data, at: offset as usize };
    let mut results = Vec::new();
    while decoder.at < data.len() && (all || results.len() < limit as usize) {
        if results.len() >= super::RESULTS_MAX {
            return Err(Thrown::at_caller(
                lua,
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ));
        }
        let slots = results.len() + 1;
        results.push(decoder.value(slots)?);
    }
    if !all {
        let next = if decoder.at == data.len() { -1.0 } else { decoder.at as f64 };
        results.insert(0, Value::Number(next));
    }
    Ok(MultiValue::from_vec(results))
}

struct Decoder<'d> {
    lua: &'d Lua,
    data: &'d [u8],
    at: usize,
}

impl Decoder<'_> {
    /// One value; `slots` of the stack are taken by what it is part of.
    fn value(&mut self, slots: usize) -> mlua::Result<Value> {
        let form = self.array::<1>()?[0];
        Ok(match form {
            0x00..=0x7f => number(f64::from(form)),
            0xe0..=0xff => number(f64::from(form as i8)),
            0xa0..=0xbf => self.text(usize::from(form & 0x1f))?,
            0x90..=0x9f => self.list(usize::from(form & 0xf), slots)?,
            0x80..=0x8f => self.map(usize::from(form & 0xf), slots)?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xcc => number(f64::from(self.array::<1>()?[0])),
            0xcd => number(f64::from(u16::from_be_bytes(self.array()?))),
            0xce => number(f64::from(u32::from_be_bytes(self.array()?))),
            0xd0 => number(f64::from(self.array::<1>()?[0] as i8)),
            0xd1 => number(f64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => number(f64::from(i32::from_be_bytes(self.array()?))),
            // Stock takes unsigned ones of eight bytes for signed.
            0xcf | 0xd3 => number(i64::from_be_bytes(self.array()?) as f64),
            0xd9 => {
                let len = usize::from(self.array::<1>()?[0]);
                self.text(len)?
            }
            0xda => {
                let len = usize::from(u16::from_be_bytes(self.array()?));
                self.text(len)?
            }
            0xdb => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.text(len)?
            }
            0xdc => {
                let len = usize::from(u16::from_be_bytes(self.array()?));
                self.list(len, slots)?
            }
            0xdd => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.list(len, slots)?
            }
            0xde => {
                let len = usize::from(u16::from_be_bytes(self.array()?));
                self.map(len, slots)?
            }
            0xdf => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.map(len, slots)?
            }
            _ => return Err(Thrown::at_caller(self.lua, "Bad data format in input.")),
        })
    }

    fn take(&mut self, len: usize) -> mlua::Result<&[u8]> {
        let Some(bytes) = self.data.get(self.at..).and_then(|rest| rest.get(..len)) else {
            return Err(Thrown::at_caller(self.lua, "Missing bytes in input."));
        };
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> mlua::Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self, len: usize) -> mlua::Result<Value> {
        let lua = self.lua;
        lua.create_string(self.take(len)?).map(Value::String)
    }

    fn deeper(&self, slots: usize, within: &str) -> mlua::Result<()> {
        if slots > STACK_SLOTS_MAX {
            return Err(Thrown::at_caller(self.lua, format!("stack overflow (in function {within})")));
        }
        Ok(())
    }

    fn list(&mut self, len: usize, slots: usize) -> mlua::Result<Value> {
        self.deeper(slots + 2, "mp_decode_to_lua_array")?;
        let table = self.lua.create_table()?;
        for at in 1..=len {
            let item = self.value(slots + 2)?;
            table.raw_set(at, item)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, slots: usize) -> mlua::Result<Value> {
        self.deeper(slots + 1, "mp_decode_to_lua_hash")?;
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(slots + 1)?;
            let value = self.value(slots + 2)?;
            match &key {
                Value::Nil => return Err(Thrown::plain("table index is nil")),
                Value::Number(number) if number.is_nan() => return Err(Thrown::plain("table index is NaN")),
                _ => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}

fn number(value: f64) -> Value {
    Value::Number(value)
}
