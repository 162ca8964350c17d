//! Lua values as JSON text.

use super::super::super::arguments::{numeric, to_i32, type_name};
use super::super::super::number::format_g;
use super::super::super::thrown::Thrown;
use super::super::{BYTES_MAX, STACK_SLOTS_MAX, not_enough_memory};
use super::{Invalid, Options};
use mlua::{Lua, Table, Value};

pub struct Encoder<'e> {
    lua: &'e Lua,
    options: Options,
    /// The metatable of arrays that were decoded as such.
    mark: &'e Table,
    out: Vec<u8>,
    /// Slots of the interpreter's stack that stock's encoder would have in use.
    slots: usize,
}

impl<'e> Encoder<'e> {
    pub fn new(lua: &'e Lua, options: Options, mark: &'e Table) -> Self {
        Self { lua, options, mark, out: Vec::new(), slots: 1 }
    }

    pub fn document(mut self, value: &Value) -> mlua::Result<Vec<u8>> {
        self.value(value, 0)?;
        Ok(self.out)
    }

    fn value(&mut self, value: &Value, depth: i32) -> mlua::Result<()> {
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::Boolean(truth) => self.out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Value::Integer(_) | Value::Number(_) => self.number(numeric(value).unwrap_or(0.0))?,
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Table(table) => self.table(table, depth + 1)?,
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            other => return Err(self.cannot(other, "type not supported")),
        }
        if self.out.len() > BYTES_MAX { Err(not_enough_memory()) } else { Ok(()) }
    }

    fn cannot(&self, value: &Value, reason: &str) -> mlua::Error {
        Thrown::at_caller(self.lua, format!("Cannot serialise {}: {reason}", type_name(value)))
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.options.encode_invalid {
                Invalid::Refused => return Err(self.cannot(&Value::Number(number), "must not be NaN or Inf")),
                Invalid::Printed if number.is_nan() => self.out.extend_from_slice(b"nan"),
                Invalid::Printed => self.out.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" }),
                Invalid::Null => self.out.extend_from_slice(b"null"),
            }
            return Ok(());
        }
        if number.fract() == 0.0 && number.abs() < 1e9 && (number != 0.0 || number.is_sign_positive()) {
            // As `%.14g` prints it too; shorter precisions go the long way.
            if self.options.precision >= 9 {
                self.out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
                return Ok(());
            }
        }
        self.out.extend_from_slice(format_g(number, self.options.precision as usize).as_bytes());
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for byte in text {
            match byte {
                b'"' | b'\\' | b'/' => self.out.extend_from_slice(&[b'\\', *byte]),
                8 => self.out.extend_from_slice(b"\\b"),
                9 => self.out.extend_from_slice(b"\\t"),
                10 => self.out.extend_from_slice(b"\\n"),
                12 => self.out.extend_from_slice(b"\\f"),
                13 => self.out.extend_from_slice(b"\\r"),
                0..=31 | 127 => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(*byte),
            }
        }
        self.out.push(b'"');
    }

    fn table(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        if depth > self.options.encode_max_depth || self.slots + 3 > STACK_SLOTS_MAX {
            return Err(Thrown::at_caller(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        let marked = table.metatable().is_some_and(|metatable| metatable == *self.mark);
        if marked {
            return self.array(table, table.raw_len(), depth);
        }
        match self.array_length(table)? {
            len if len > 0 => self.array(table, len as usize, depth),
            _ => self.object(table, depth),
        }
    }

    /// Length of a table that is an array: all keys positive integers, not too sparse. What is none, and what is empty,
    /// has none above 0.
    fn array_length(&self, table: &Table) -> mlua::Result<i32> {
        let (mut highest, mut items) = (0i32, 0i32);
        for pair in table.pairs::<Value, Value>() {
            match numeric(&pair?.0) {
                Some(number) if number >= 1.0 && number.fract() == 0.0 => {
                    if number > f64::from(highest) {
                        highest = to_i32(number);
                    }
                    items += 1;
                }
                _ => return Ok(-1),
            }
        }
        let Options { sparse_ratio: ratio, sparse_safe: safe, .. } = self.options;
        if ratio > 0 && highest > items.wrapping_mul(ratio) && highest > safe {
            if !self.options.sparse_convert {
                return Err(self.cannot(&Value::Table(table.clone()), "excessively sparse array"));
            }
            return Ok(-1);
        }
        Ok(highest)
    }

    fn array(&mut self, table: &Table, len: usize, depth: i32) -> mlua::Result<()> {
        self.out.push(b'[');
        self.slots += 1;
        for at in 1..=len {
            if at > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(at)?, depth)?;
        }
        self.slots -= 1;
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        self.out.push(b'{');
        self.slots += 2;
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => self.text(&text.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(numeric(&key).unwrap_or(0.0))?;
                    self.out.push(b'"');
                }
                other => return Err(self.cannot(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.slots -= 2;
        self.out.push(b'}');
        Ok(())
    }
}
