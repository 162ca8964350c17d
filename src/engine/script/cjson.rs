//! The cjson library: JSON text from Lua values and back, with the options of lua-cjson.

use super::number::{format_g, numeric};
use mlua::{Lua, Table, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Options as `cjson.encode_*` and `cjson.decode_*` set them.
struct Options {
    encode_depth: AtomicU32,
    decode_depth: AtomicU32,
    precision: AtomicU32,
    keep_buffer: AtomicBool,
    /// Encode NaN and infinities: 0 refuse, 1 as they print, 2 as null.
    encode_invalid: AtomicU32,
    decode_invalid: AtomicBool,
    sparse_convert: AtomicBool,
    sparse_ratio: AtomicU32,
    sparse_safe: AtomicU32,
    array_metatable: AtomicBool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encode_depth: AtomicU32::new(1000),
            decode_depth: AtomicU32::new(1000),
            precision: AtomicU32::new(14),
            keep_buffer: AtomicBool::new(true),
            encode_invalid: AtomicU32::new(0),
            decode_invalid: AtomicBool::new(true),
            sparse_convert: AtomicBool::new(false),
            sparse_ratio: AtomicU32::new(2),
            sparse_safe: AtomicU32::new(10),
            array_metatable: AtomicBool::new(false),
        }
    }
}

/// The result of a library function: a value, or the text of the error that the script sees.
type Outcome = Result<Value, String>;

/// The library as a table. Functions answer `(value, nil)` or `(nil, error text)`; `wrap` turns the latter into errors.
pub fn library(lua: &Lua, wrap: &mlua::Function) -> mlua::Result<Table> {
    let options = Arc::new(Options::default());
    let array_mark = lua.create_table()?;
    let library = lua.create_table()?;
    let add = |name: &str, run: Function| {
        let options = Arc::clone(&options);
        let raw = lua.create_function(move |lua, args: mlua::MultiValue| {
            Ok(match run(lua, &options, args) {
                Ok(value) => (value, None),
                Err(text) => (Value::Nil, Some(text)),
            })
        })?;
        library.raw_set(name, wrap.call::<mlua::Function>(raw)?)
    };
    let mark = array_mark.clone();
    add(
        "encode",
        Box::new(move |lua, options, args| {
            if args.len() != 1 {
                return Err("bad argument #1 to 'encode' (expected 1 argument)".into());
            }
            let mut out = Vec::new();
            encode(args.front().unwrap_or(&Value::Nil), options, &mark, 0, &mut out)?;
            lua.create_string(out).map(Value::String).map_err(|error| error.to_string())
        }),
    )?;
    let mark = array_mark.clone();
    add(
        "decode",
        Box::new(move |lua, options, args| match args.front() {
            Some(Value::String(text)) if args.len() == 1 => {
                let text = text.as_bytes().to_vec();
                Decoder { lua, text: &text, at: 0, options, mark: &mark }.document()
            }
            Some(number @ (Value::Number(_) | Value::Integer(_))) if args.len() == 1 => Ok(number.clone()),
            Some(other) if args.len() == 1 => {
                Err(format!("bad argument #1 to 'decode' (string expected, got {})", other.type_name()))
            }
            _ => Err("bad argument #1 to 'decode' (expected 1 argument)".into()),
        }),
    )?;
    add("encode_max_depth", number_option(|o| &o.encode_depth, 1, i32::MAX as u32))?;
    add("decode_max_depth", number_option(|o| &o.decode_depth, 1, i32::MAX as u32))?;
    add("encode_number_precision", number_option(|o| &o.precision, 1, 14))?;
    add("encode_keep_buffer", switch_option(|o| &o.keep_buffer))?;
    add("decode_invalid_numbers", switch_option(|o| &o.decode_invalid))?;
    add("decode_array_with_array_mt", switch_option(|o| &o.array_metatable))?;
    add(
        "encode_invalid_numbers",
        Box::new(|lua, options, args| {
            if let Some(given) = args.front() {
                let mode = match given {
                    Value::Boolean(truth) => u32::from(*truth),
                    Value::String(text) => match &*text.as_bytes() {
                        b"off" => 0,
                        b"on" => 1,
                        b"null" => 2,
                        _ => return Err("bad argument #1 to '?' (invalid option)".into()),
                    },
                    _ => return Err("bad argument #1 to '?' (string expected)".into()),
                };
                options.encode_invalid.store(mode, Ordering::Relaxed);
            }
            Ok(match options.encode_invalid.load(Ordering::Relaxed) {
                2 => Value::String(lua.create_string("null").map_err(|error| error.to_string())?),
                mode => Value::Boolean(mode == 1),
            })
        }),
    )?;
    add(
        "encode_sparse_array",
        Box::new(|_, options, args| {
            if let Some(Value::Boolean(convert)) = args.front() {
                options.sparse_convert.store(*convert, Ordering::Relaxed);
            }
            for (at, option) in [(1, &options.sparse_ratio), (2, &options.sparse_safe)] {
                if let Some(number) = args.get(at).and_then(numeric) {
                    if !(0.0..=f64::from(i32::MAX)).contains(&number) {
                        return Err(format!("bad argument #{} to '?' (expected integer)", at + 1));
                    }
                    option.store(number as u32, Ordering::Relaxed);
                }
            }
            Ok(Value::Boolean(options.sparse_convert.load(Ordering::Relaxed)))
        }),
    )?;
    library.raw_set("null", Value::NULL)?;
    library.raw_set("array_mt", array_mark)?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

type Function = Box<dyn Fn(&Lua, &Options, mlua::MultiValue) -> Outcome + Send>;

fn number_option(option: fn(&Options) -> &AtomicU32, low: u32, high: u32) -> Function {
    Box::new(move |_, options, args| {
        if let Some(given) = args.front() {
            match numeric(given) {
                Some(number) if number >= f64::from(low) && number <= f64::from(high) => {
                    option(options).store(number as u32, Ordering::Relaxed);
                }
                _ => return Err(format!("bad argument #1 to '?' (expected integer between {low} and {high})")),
            }
        }
        Ok(Value::Number(f64::from(option(options).load(Ordering::Relaxed))))
    })
}

fn switch_option(option: fn(&Options) -> &AtomicBool) -> Function {
    Box::new(move |_, options, args| {
        match args.front() {
            Some(Value::Boolean(truth)) => option(options).store(*truth, Ordering::Relaxed),
            Some(Value::String(text)) => option(options).store(&*text.as_bytes() == b"on", Ordering::Relaxed),
            _ => {}
        }
        Ok(Value::Boolean(option(options).load(Ordering::Relaxed)))
    })
}

fn encode(value: &Value, options: &Options, mark: &Table, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::String(text) => encode_text(&text.as_bytes(), out),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Number(number) => encode_number(*number, options, out)?,
        Value::LightUserData(pointer) if pointer.0.is_null() => out.extend_from_slice(b"null"),
        Value::Table(table) => encode_table(table, options, mark, depth + 1, out)?,
        other => return Err(format!("Cannot serialise {}: type not supported", other.type_name())),
    }
    Ok(())
}

fn encode_number(number: f64, options: &Options, out: &mut Vec<u8>) -> Result<(), String> {
    if !number.is_finite() {
        match options.encode_invalid.load(Ordering::Relaxed) {
            0 => return Err("Cannot serialise number: must not be NaN or Inf".into()),
            2 => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            _ => {}
        }
    }
    let precision = options.precision.load(Ordering::Relaxed) as usize;
    out.extend_from_slice(format_g(number, precision).as_bytes());
    Ok(())
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            0..=31 | 127 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn encode_table(table: &Table, options: &Options, mark: &Table, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
    if depth > options.encode_depth.load(Ordering::Relaxed) {
        return Err(format!("Cannot serialise, excessive nesting ({depth})"));
    }
    let marked = table.metatable().is_some_and(|metatable| metatable == *mark);
    if let Some(len) = if marked { Some(table.raw_len()) } else { array_length(table, options)? } {
        out.push(b'[');
        for at in 1..=len {
            if at > 1 {
                out.push(b',');
            }
            let item: Value = table.raw_get(at).map_err(|error| error.to_string())?;
            encode(&item, options, mark, depth, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let mut first = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        if !first {
            out.push(b',');
        }
        first = false;
        match &key {
            Value::String(text) => encode_text(&text.as_bytes(), out),
            Value::Integer(_) | Value::Number(_) => {
                out.push(b'"');
                encode(&key, options, mark, depth, out)?;
                out.push(b'"');
            }
            other => {
                return Err(format!("Cannot serialise {}: table key must be a number or string", other.type_name()));
            }
        }
        out.push(b':');
        encode(&value, options, mark, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Length of a table that is an array: all keys positive integers, not too sparse. An empty table is an object.
fn array_length(table: &Table, options: &Options) -> Result<Option<usize>, String> {
    let (mut highest, mut items) = (0.0f64, 0u64);
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair.map_err(|error| error.to_string())?;
        match numeric(&key) {
            Some(number) if number >= 1.0 && number.fract() == 0.0 => {
                highest = highest.max(number);
                items += 1;
            }
            _ => return Ok(None),
        }
    }
    if items == 0 {
        return Ok(None);
    }
    let ratio = options.sparse_ratio.load(Ordering::Relaxed);
    let sparse = ratio > 0
        && highest > items as f64 * f64::from(ratio)
        && highest > f64::from(options.sparse_safe.load(Ordering::Relaxed));
    match sparse {
        false => Ok(Some(highest as usize)),
        true if options.sparse_convert.load(Ordering::Relaxed) => Ok(None),
        true => Err("Cannot serialise table: excessively sparse array".into()),
    }
}

struct Decoder<'d> {
    lua: &'d Lua,
    text: &'d [u8],
    at: usize,
    options: &'d Options,
    mark: &'d Table,
}

impl Decoder<'_> {
    fn document(&mut self) -> Outcome {
        if self.text.len() >= 2 && (self.text[0] == 0 || self.text[1] == 0) {
            return Err("JSON parser does not support UTF-16 or UTF-32".into());
        }
        let value = self.value(0)?;
        self.space();
        if self.at < self.text.len() {
            return self.expected("the end");
        }
        Ok(value)
    }

    fn value(&mut self, depth: u32) -> Outcome {
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => {
                let text = self.string()?;
                self.lua.create_string(text).map(Value::String).map_err(|error| error.to_string())
            }
            Some(b't') if self.word(b"true") => Ok(Value::Boolean(true)),
            Some(b'f') if self.word(b"false") => Ok(Value::Boolean(false)),
            Some(b'n') if self.word(b"null") => Ok(Value::NULL),
            _ => self.number(),
        }
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let is = self.text[self.at..].starts_with(word);
        self.at += if is { word.len() } else { 0 };
        is
    }

    fn expected<T>(&self, what: &str) -> Result<T, String> {
        let found = match self.text.get(self.at) {
            None => "T_END",
            Some(b'{') => "T_OBJ_BEGIN",
            Some(b'}') => "T_OBJ_END",
            Some(b'[') => "T_ARR_BEGIN",
            Some(b']') => "T_ARR_END",
            Some(b'"') => "T_STRING",
            Some(b':') => "T_COLON",
            Some(b',') => "T_COMMA",
            Some(b'0'..=b'9') => "T_NUMBER",
            Some(_) => "invalid token",
        };
        Err(format!("Expected {what} but found {found} at character {}", self.at + 1))
    }

    fn deeper(&self, depth: u32) -> Result<(), String> {
        if depth > self.options.decode_depth.load(Ordering::Relaxed) {
            return Err(format!("Found too many nested data structures ({depth})"));
        }
        Ok(())
    }

    fn object(&mut self, depth: u32) -> Outcome {
        self.deeper(depth)?;
        self.at += 1;
        let table = self.lua.create_table().map_err(|error| error.to_string())?;
        self.space();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            self.space();
            if self.text.get(self.at) != Some(&b'"') {
                return self.expected("object key string");
            }
            let key = self.string()?;
            self.space();
            if self.text.get(self.at) != Some(&b':') {
                return self.expected("colon");
            }
            self.at += 1;
            let value = self.value(depth)?;
            let key = self.lua.create_string(key).map_err(|error| error.to_string())?;
            table.raw_set(key, value).map_err(|error| error.to_string())?;
            self.space();
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.expected("comma or object end"),
            }
        }
        self.at += 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self, depth: u32) -> Outcome {
        self.deeper(depth)?;
        self.at += 1;
        let table = self.lua.create_table().map_err(|error| error.to_string())?;
        if self.options.array_metatable.load(Ordering::Relaxed) {
            table.set_metatable(Some(self.mark.clone())).map_err(|error| error.to_string())?;
        }
        self.space();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        let mut len = 0;
        loop {
            let value = self.value(depth)?;
            len += 1;
            table.raw_set(len, value).map_err(|error| error.to_string())?;
            self.space();
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.expected("comma or array end"),
            }
        }
        self.at += 1;
        Ok(Value::Table(table))
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let Some(byte) = self.text.get(self.at) else {
                return Err(format!("Expected value but found unexpected end of string at character {}", self.at + 1));
            };
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                0..=31 => return Err(format!("Expected value but found invalid token at character {}", self.at)),
                _ => out.push(*byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let escaped = self.text.get(self.at).copied();
        self.at += 1;
        out.push(match escaped {
            Some(b'b') => 8,
            Some(b't') => 9,
            Some(b'n') => 10,
            Some(b'f') => 12,
            Some(b'r') => 13,
            Some(plain @ (b'"' | b'\\' | b'/')) => plain,
            Some(b'u') => return self.unicode(out),
            _ => return Err(format!("Expected value but found invalid escape code at character {}", self.at)),
        });
        Ok(())
    }

    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let invalid = format!("Expected value but found invalid unicode escape code at character {}", self.at);
        let high = self.hex4().ok_or(&invalid)?;
        let code = if (0xd800..0xdc00).contains(&high) {
            if !self.word(b"\\u") {
                return Err(invalid);
            }
            let low = self.hex4().filter(|low| (0xdc00..0xe000).contains(low)).ok_or(&invalid)?;
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        let char = char::from_u32(code).ok_or(&invalid)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = std::str::from_utf8(self.text.get(self.at..self.at + 4)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Outcome {
        let rest = &self.text[self.at..];
        let lenient = self.options.decode_invalid.load(Ordering::Relaxed);
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..end]).unwrap_or("");
        let strict = text.trim_start_matches('-');
        let plain = strict.starts_with(|c: char| c.is_ascii_digit())
            && !(strict.len() > 1 && strict.starts_with('0') && strict.as_bytes()[1].is_ascii_digit())
            && !strict.starts_with("0x");
        if !plain && !lenient {
            return self.expected("value");
        }
        match crate::command::parse_f64(text.as_bytes()) {
            Some(number) if !text.starts_with('+') => {
                self.at += end;
                Ok(Value::Number(number))
            }
            _ if lenient && text.trim_start_matches('-').eq_ignore_ascii_case("nan") => {
                self.at += end;
                Ok(Value::Number(f64::NAN))
            }
            _ => self.expected("value"),
        }
    }
}
