//! The `cjson` library: JSON text from Lua values and back, with the options of lua-cjson 2.1.

mod decode;
mod encode;

use super::super::arguments::Arguments;
use super::super::thrown::Thrown;
use decode::Decoder;
use encode::Encoder;
use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::sync::Arc;

/// Options as `cjson.encode_*` and `cjson.decode_*` set them; they last as long as the library.
#[derive(Clone, Copy, Debug)]
struct Options {
    encode_max_depth: i32,
    decode_max_depth: i32,
    precision: i32,
    keep_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    array_metatable: bool,
}

/// What NaN and infinities are encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Printed,
    Null,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            array_metatable: false,
        }
    }
}

type Shared = Arc<Mutex<Options>>;

/// A library with options of its own: `cjson` itself, and what `cjson.new` answers.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let options = Shared::default();
    let array_mark = lua.create_table()?;
    let library = lua.create_table()?;
    let add = |name: &str, run: Run| {
        let options = Arc::clone(&options);
        library.raw_set(name, lua.create_function(move |lua, values| run(&Arguments::new(lua, values), lua, &options))?)
    };
    let (mark, given) = (array_mark.clone(), Arc::clone(&options));
    library.raw_set(
        "encode",
        lua.create_function(move |lua, values: MultiValue| {
            only_argument(lua, &values)?;
            let text = Encoder::new(lua, *given.lock(), &mark).document(&values[0])?;
            lua.create_string(text)
        })?,
    )?;
    let given = Arc::clone(&options);
    library.raw_set(
        "decode",
        lua.create_function(move |lua, values: MultiValue| {
            only_argument(lua, &values)?;
            let text = Arguments::new(lua, values).bytes(1)?;
            Decoder::new(lua, &text, *given.lock(), &array_mark).document()
        })?,
    )?;
    add("encode_max_depth", |args, _, options| {
        integer(args, 1, 1, 1..=i32::MAX, &mut options.lock().encode_max_depth)
    })?;
    add("decode_max_depth", |args, _, options| {
        integer(args, 1, 1, 1..=i32::MAX, &mut options.lock().decode_max_depth)
    })?;
    add("encode_number_precision", |args, _, options| integer(args, 1, 1, 1..=14, &mut options.lock().precision))?;
    add("encode_keep_buffer", |args, _, options| switch(args, 1, 1, &mut options.lock().keep_buffer))?;
    add("decode_invalid_numbers", |args, _, options| switch(args, 1, 1, &mut options.lock().decode_invalid))?;
    add("decode_array_with_array_mt", |args, _, options| switch(args, 1, 1, &mut options.lock().array_metatable))?;
    add("encode_invalid_numbers", encode_invalid)?;
    add("encode_sparse_array", |args, _, options| {
        let mut options = options.lock();
        let convert = switch(args, 3, 1, &mut options.sparse_convert)?;
        let ratio = integer(args, 3, 2, 0..=i32::MAX, &mut options.sparse_ratio)?;
        let safe = integer(args, 3, 3, 0..=i32::MAX, &mut options.sparse_safe)?;
        Ok(convert.into_iter().chain(ratio).chain(safe).collect())
    })?;
    library.raw_set("new", lua.create_function(|lua, ()| self::library(lua))?)?;
    library.raw_set("null", Value::NULL)?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

type Run = fn(&Arguments<'_>, &Lua, &Shared) -> mlua::Result<MultiValue>;

fn only_argument(lua: &Lua, values: &MultiValue) -> mlua::Result<()> {
    if values.len() == 1 { Ok(()) } else { Err(Thrown::bad_argument(lua, 1, "expected 1 argument")) }
}

fn one(value: Value) -> MultiValue {
    MultiValue::from_vec(vec![value])
}

fn at_most(args: &Arguments<'_>, count: usize) -> mlua::Result<()> {
    if args.len() <= count { Ok(()) } else { Err(args.bad(count + 1, "found too many arguments")) }
}

/// An integer option, set when argument `at` is given; answers with its value.
fn integer(
    args: &Arguments<'_>,
    count: usize,
    at: usize,
    range: std::ops::RangeInclusive<i32>,
    option: &mut i32,
) -> mlua::Result<MultiValue> {
    at_most(args, count)?;
    if !args.is_absent(at) {
        let given = args.integer(at)? as i32;
        if !range.contains(&given) {
            return Err(args.bad(1, format!("expected integer between {} and {}", range.start(), range.end())));
        }
        *option = given;
    }
    Ok(one(Value::Number(f64::from(*option))))
}

/// One of some words; its place.
fn word(args: &Arguments<'_>, at: usize, words: &[&str]) -> mlua::Result<usize> {
    let given = args.bytes(at)?;
    let place = words.iter().position(|word| word.as_bytes() == given);
    place.ok_or_else(|| args.bad(at, format!("invalid option '{}'", String::from_utf8_lossy(&given))))
}

fn switch(args: &Arguments<'_>, count: usize, at: usize, option: &mut bool) -> mlua::Result<MultiValue> {
    at_most(args, count)?;
    match args.get(at) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(truth)) => *option = *truth,
        Some(_) => *option = word(args, at, &["off", "on"])? == 1,
    }
    Ok(one(Value::Boolean(*option)))
}

fn encode_invalid(args: &Arguments<'_>, lua: &Lua, options: &Shared) -> mlua::Result<MultiValue> {
    at_most(args, 1)?;
    let mut options = options.lock();
    match args.get(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(truth)) => {
            options.encode_invalid = if *truth { Invalid::Printed } else { Invalid::Refused };
        }
        Some(_) => {
            options.encode_invalid =
                [Invalid::Refused, Invalid::Printed, Invalid::Null][word(args, 1, &["off", "on", "null"])?];
        }
    }
    Ok(one(match options.encode_invalid {
        Invalid::Null => Value::String(lua.create_string("null")?),
        mode => Value::Boolean(mode == Invalid::Printed),
    }))
}
