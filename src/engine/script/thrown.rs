//! Errors that host functions throw into scripts, with the place in the script that stock's C functions give.
//!
//! A host function cannot throw a Lua value, only a userdata that carries one; whoever catches it (the prelude's `pcall`
//! and its kin) turns it into what it stands for by [`Thrown::into_value`].

use mlua::{Error, Lua, Value};
use std::fmt;

/// What stands in the `err` field of an error that was counted in the statistics already.
pub const COUNTED: &str = "ignore_error_stats_update";

/// An error as scripts see it.
#[derive(Clone, Debug)]
pub enum Thrown {
    /// A plain text, as the library functions throw.
    Text(Vec<u8>),
    /// A table whose `err` is the text, code included, as `redis.call` throws; and whether statistics have it already.
    Table { text: Vec<u8>, counted: bool },
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.text()))
    }
}

impl std::error::Error for Thrown {}

impl From<Thrown> for Error {
    fn from(thrown: Thrown) -> Self {
        Self::external(thrown)
    }
}

impl Thrown {
    /// An error table; a text without a code gets ERR.
    pub fn table(text: &str) -> Error {
        Self::Table { text: format!("ERR {text}").into_bytes(), counted: false }.into()
    }

    /// A text without a place.
    pub fn plain(text: impl Into<Vec<u8>>) -> Error {
        Self::Text(text.into()).into()
    }

    /// A text behind the place in the script from which the running host function was called.
    pub fn at_caller(lua: &Lua, text: impl fmt::Display) -> Error {
        Self::plain(format!("{}{text}", place_of_caller(lua)))
    }

    /// A complaint about an argument of the running host function, counted from 1.
    pub fn bad_argument(lua: &Lua, number: usize, problem: impl fmt::Display) -> Error {
        let (name, is_method) = lua
            .inspect_stack(0, |debug| {
                let names = debug.names();
                (names.name.map(|name| name.into_owned()), names.name_what == Some("method"))
            })
            .unwrap_or_default();
        let name = name.unwrap_or_else(|| "?".into());
        match number {
            1 if is_method => Self::at_caller(lua, format!("calling '{name}' on bad self ({problem})")),
            _ => {
                let number = number - usize::from(is_method);
                Self::at_caller(lua, format!("bad argument #{number} to '{name}' ({problem})"))
            }
        }
    }

    /// What an error of the interpreter stands for.
    pub fn of(error: &Error) -> Self {
        if let Some(thrown) = error.chain().find_map(|link| link.downcast_ref::<Self>()) {
            return thrown.clone();
        }
        if error.chain().any(|link| matches!(link.downcast_ref::<Error>(), Some(Error::MemoryError(_)))) {
            return Self::Text(b"not enough memory".to_vec());
        }
        let text = error.to_string();
        let line = text.lines().next().unwrap_or("unknown error");
        Self::Text(line.strip_prefix("runtime error: ").unwrap_or(line).into())
    }

    pub fn text(&self) -> &[u8] {
        let (Self::Text(text) | Self::Table { text, .. }) = self;
        text
    }

    /// The text with a code in front.
    pub fn coded(self) -> Vec<u8> {
        match self {
            Self::Text(text) => [b"ERR ", &*text].concat(),
            Self::Table { text, .. } => text,
        }
    }

    /// The Lua value that a script which catches it sees.
    pub fn into_value(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Text(text) => lua.create_string(text).map(Value::String),
            Self::Table { text, counted } => {
                let table = lua.create_table()?;
                table.raw_set("err", lua.create_string(text)?)?;
                if counted {
                    table.raw_set(COUNTED, true)?;
                }
                Ok(Value::Table(table))
            }
        }
    }
}

/// `source:line: ` of the function that called the running host function; nothing for one that has no lines.
fn place_of_caller(lua: &Lua) -> String {
    lua.inspect_stack(1, |debug| {
        let source = debug.source();
        match (source.short_src, debug.current_line()) {
            (Some(source), Some(line)) if line > 0 => format!("{source}:{line}: "),
            _ => String::new(),
        }
    })
    .unwrap_or_default()
}
