//! The `struct` library: C structures as strings, by a format text.

use super::super::arguments::{Arguments, to_i64};
use super::super::thrown::Thrown;
use mlua::{Lua, MultiValue, Table, Value};

/// Integers may take so many bytes; beyond eight they are filled with zeros.
const INTEGER_BYTES_MAX: usize = 32;
/// Alignment of `!` without a number: that of a double.
const ALIGN_NATIVE: usize = 8;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(|lua, values| pack(lua, &Arguments::new(lua, values)))?)?;
    table.raw_set("unpack", lua.create_function(|lua, values| unpack(lua, &Arguments::new(lua, values)))?)?;
    table.raw_set("size", lua.create_function(|lua, values| size(lua, &Arguments::new(lua, values)))?)?;
    Ok(table)
}

/// A format being read: its options one by one, and what `<`, `>` and `!` said so far.
struct Format<'l> {
    lua: &'l Lua,
    text: Vec<u8>,
    at: usize,
    big_endian: bool,
    align: usize,
}

impl<'l> Format<'l> {
    fn new(lua: &'l Lua, args: &Arguments<'_>) -> mlua::Result<Self> {
        let mut text = args.bytes(1)?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(Self { lua, text, at: 0, big_endian: cfg!(target_endian = "big"), align: 1 })
    }

    /// The next option and the bytes that it takes, as far as the format alone tells.
    fn next(&mut self) -> mlua::Result<Option<(u8, usize)>> {
        let Some(option) = self.text.get(self.at).copied() else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'f' => 4,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'c' => self.count(1)?,
            b'i' | b'I' => {
                let size = self.count(4)?;
                if size > INTEGER_BYTES_MAX {
                    return Err(Thrown::at_caller(
                        self.lua,
                        format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"),
                    ));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    fn count(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let text = &self.text[self.at..self.at + digits];
        self.at += digits;
        let count = text.iter().try_fold(0i32, |n, digit| n.checked_mul(10)?.checked_add(i32::from(digit - b'0')));
        count.map(|n| n as usize).ok_or_else(|| Thrown::at_caller(self.lua, "integral size overflow"))
    }

    /// Bytes to leave out in front of an option, for its alignment.
    fn padding(&self, len: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(len & (size - 1)) & (size - 1)
    }

    /// Options that set something, and those that do not exist.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.count(ALIGN_NATIVE)?;
                if !align.is_power_of_two() {
                    return Err(Thrown::at_caller(self.lua, format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                let problem = format!("invalid format option '{}'", char::from(option));
                return Err(Thrown::bad_argument(self.lua, 1, problem));
            }
        }
        Ok(())
    }

    /// Little-endian bytes in the order of the format, and back.
    fn order(&self, bytes: &mut [u8]) {
        if self.big_endian {
            bytes.reverse();
        }
    }
}

fn pack(lua: &Lua, args: &Arguments<'_>) -> mlua::Result<Value> {
    let mut format = Format::new(lua, args)?;
    // Stock's own mark behind the arguments is what it meets when one is missing.
    let args = &args.then_nil();
    let mut out = Vec::new();
    let mut number = 2;
    while let Some((option, size)) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), option, size), 0);
        let mut bytes = match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = args.number(number)?;
                let mut bytes = [0; INTEGER_BYTES_MAX];
                bytes[..8].copy_from_slice(&unsigned(value).to_le_bytes());
                bytes[..size].to_vec()
            }
            b'f' => (args.number(number)? as f32).to_le_bytes().to_vec(),
            b'd' => args.number(number)?.to_le_bytes().to_vec(),
            b'x' => {
                out.push(0);
                continue;
            }
            b'c' | b's' => {
                let text = args.bytes(number)?;
                number += 1;
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(args.bad(number, "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if option == b's' {
                    out.push(0);
                }
                continue;
            }
            _ => {
                format.control(option)?;
                continue;
            }
        };
        number += 1;
        format.order(&mut bytes);
        out.extend_from_slice(&bytes);
    }
    lua.create_string(out).map(Value::String)
}

/// A number as an unsigned 64-bit word, negative ones in two's complement.
fn unsigned(value: f64) -> u64 {
    if value < 0.0 || value.is_nan() {
        to_i64(value) as u64
    } else if value < 9_223_372_036_854_775_808.0 {
        value as u64
    } else {
        // As x86-64 converts: the upper half by its distance from 2^63.
        (to_i64(value - 9_223_372_036_854_775_808.0) as u64) ^ (1 << 63)
    }
}

fn unpack(lua: &Lua, args: &Arguments<'_>) -> mlua::Result<MultiValue> {
    let mut format = Format::new(lua, args)?;
    let data = args.bytes(2)?;
    let start = args.integer_or(3, 1)?;
    if start == 0 {
        return Err(args.bad(3, "offset must be 1 or greater"));
    }
    let mut at = (start as u64 - 1) as usize;
    let mut results: Vec<Value> = Vec::new();
    let fits = |at: usize, size: usize| size <= data.len() && at <= data.len() - size;
    while let Some((option, mut size)) = format.next()? {
        at = at.wrapping_add(format.padding(at, option, size));
        if !fits(at, size) {
            return Err(args.bad(2, "data string too short"));
        }
        if results.len() >= super::RESULTS_MAX {
            return Err(Thrown::at_caller(lua, "stack overflow (too many results)"));
        }
        let mut bytes = data[at..at + size].to_vec();
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                format.order(&mut bytes);
                results.push(Value::Number(integer(&bytes, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => {
                format.order(&mut bytes);
                let word = bytes.first_chunk().map_or(0.0, |word| f32::from_le_bytes(*word));
                results.push(Value::Number(f64::from(word)));
            }
            b'd' => {
                format.order(&mut bytes);
                results.push(Value::Number(bytes.first_chunk().map_or(0.0, |word| f64::from_le_bytes(*word))));
            }
            b'c' => {
                if size == 0 {
                    let given = results.last().and_then(|value| lua.coerce_number(value.clone()).ok().flatten());
                    let Some(given) = given else {
                        return Err(Thrown::at_caller(lua, "format 'c0' needs a previous size"));
                    };
                    results.pop();
                    size = unsigned(given) as usize;
                    if !fits(at, size) {
                        return Err(args.bad(2, "data string too short"));
                    }
                }
                results.push(Value::String(lua.create_string(&data[at..at + size])?));
            }
            b's' => {
                let Some(end) = data[at..].iter().position(|byte| *byte == 0) else {
                    return Err(Thrown::at_caller(lua, "unfinished string in data"));
                };
                results.push(Value::String(lua.create_string(&data[at..at + end])?));
                size = end + 1;
            }
            _ => format.control(option)?,
        }
        at += size;
    }
    results.push(Value::Number(at as f64 + 1.0));
    Ok(MultiValue::from_vec(results))
}

/// An integer from little-endian bytes; beyond eight only the low ones count.
fn integer(bytes: &[u8], signed: bool) -> f64 {
    let word = bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    if !signed {
        return word as f64;
    }
    let sign = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
    if word & sign != 0 { (word | sign) as i64 as f64 } else { word as i64 as f64 }
}

fn size(lua: &Lua, args: &Arguments<'_>) -> mlua::Result<f64> {
    let mut format = Format::new(lua, args)?;
    let mut at = 0usize;
    while let Some((option, size)) = format.next()? {
        at += format.padding(at, option, size);
        match option {
            b's' => return Err(args.bad(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(args.bad(1, "option 'c0' has no fixed size")),
            _ if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        at += size;
    }
    Ok(at as f64)
}
