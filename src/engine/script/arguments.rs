//! Arguments of host functions, checked and converted as the interpreter's own library does, with its error texts.

use super::thrown::Thrown;
use mlua::{Lua, MultiValue, Table, Value};

/// The arguments of one call.
pub struct Arguments<'l> {
    lua: &'l Lua,
    values: MultiValue,
}

/// The name of a value's type as scripts know it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A Lua number: the interpreter's binding shows whole ones as integers.
pub fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// A double as C's conversion to `long` gives it on x86-64: what does not fit becomes the least.
pub fn to_i64(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

/// A double as C's conversion to `int` gives it on x86-64.
pub fn to_i32(number: f64) -> i32 {
    if number > -2_147_483_649.0 && number < 2_147_483_648.0 { number as i32 } else { i32::MIN }
}

impl<'l> Arguments<'l> {
    pub fn new(lua: &'l Lua, values: MultiValue) -> Self {
        Self { lua, values }
    }

    /// The same with one nil behind them.
    pub fn then_nil(&self) -> Self {
        let mut values = self.values.clone();
        values.push_back(Value::Nil);
        Self { lua: self.lua, values }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// An argument, counted from 1 as in error texts; `None` when it was not given.
    pub fn get(&self, number: usize) -> Option<&Value> {
        self.values.get(number - 1)
    }

    pub fn is_absent(&self, number: usize) -> bool {
        matches!(self.get(number), None | Some(Value::Nil))
    }

    /// # Errors
    /// The error that the script sees.
    pub fn bad(&self, number: usize, problem: impl std::fmt::Display) -> mlua::Error {
        Thrown::bad_argument(self.lua, number, problem)
    }

    fn not_a(&self, number: usize, expected: &str) -> mlua::Error {
        let got = self.get(number).map_or("no value", type_name);
        self.bad(number, format!("{expected} expected, got {got}"))
    }

    /// A number, or a text that is one.
    pub fn number(&self, number: usize) -> mlua::Result<f64> {
        match self.number_or_none(number) {
            Some(value) => Ok(value),
            None => Err(self.not_a(number, "number")),
        }
    }

    pub fn number_or_none(&self, number: usize) -> Option<f64> {
        let value = self.get(number)?;
        match numeric(value) {
            Some(value) => Some(value),
            None if matches!(value, Value::String(_)) => self.lua.coerce_number(value.clone()).ok().flatten(),
            None => None,
        }
    }

    pub fn integer(&self, number: usize) -> mlua::Result<i64> {
        self.number(number).map(to_i64)
    }

    pub fn integer_or(&self, number: usize, default: i64) -> mlua::Result<i64> {
        if self.is_absent(number) { Ok(default) } else { self.integer(number) }
    }

    /// A text, or a number as text.
    pub fn bytes(&self, number: usize) -> mlua::Result<Vec<u8>> {
        match self.get(number) {
            Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => Ok(number_text(value)),
            _ => Err(self.not_a(number, "string")),
        }
    }

    pub fn table(&self, number: usize) -> Option<&Table> {
        match self.get(number) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        }
    }
}

/// A number as `tostring` writes it; other values as nothing.
pub fn number_text(value: &Value) -> Vec<u8> {
    numeric(value).map_or(Vec::new(), |number| super::number::format_g(number, 14).into_bytes())
}
