//! JSON text as Lua values: tokens, then values over them, so that complaints name what stock's parser names.

use super::super::super::thrown::Thrown;
use super::super::STACK_SLOTS_MAX;
use super::super::strtod::strtod;
use super::Options;
use mlua::{Lua, Table, Value};

pub struct Decoder<'d> {
    lua: &'d Lua,
    text: &'d [u8],
    at: usize,
    options: Options,
    /// The metatable that arrays get when asked for.
    mark: &'d Table,
    depth: i32,
    /// Slots of the interpreter's stack that stock's decoder would have in use.
    slots: usize,
}

/// A token, and where it begins (or where it goes wrong).
struct Token {
    kind: Kind,
    at: usize,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Wrong(what) => what,
        }
    }
}

impl<'d> Decoder<'d> {
    pub fn new(lua: &'d Lua, text: &'d [u8], options: Options, mark: &'d Table) -> Self {
        Self { lua, text, at: 0, options, mark, depth: 0, slots: 1 }
    }

    pub fn document(mut self) -> mlua::Result<Value> {
        if self.text.len() >= 2 && self.text[..2].contains(&0) {
            return Err(Thrown::at_caller(self.lua, "JSON parser does not support UTF-16 or UTF-32"));
        }
        let first = self.token();
        let value = self.value(first)?;
        match self.token() {
            Token { kind: Kind::End, .. } => Ok(value),
            other => Err(self.expected("the end", &other)),
        }
    }

    fn expected(&self, what: &str, found: &Token) -> mlua::Error {
        let text = format!("Expected {what} but found {} at character {}", found.kind.name(), found.at + 1);
        Thrown::at_caller(self.lua, text)
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        Ok(match token.kind {
            Kind::Text(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(truth) => Value::Boolean(truth),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => self.within(3, 2, Self::object)?,
            Kind::ArrayBegin => self.within(2, 1, Self::array)?,
            _ => return Err(self.expected("value", &token)),
        })
    }

    /// One level deeper: `needs` slots must be free, `keeps` of them are taken by what it holds.
    fn within(
        &mut self,
        needs: usize,
        keeps: usize,
        read: fn(&mut Self) -> mlua::Result<Table>,
    ) -> mlua::Result<Value> {
        self.depth += 1;
        if self.depth > self.options.decode_max_depth || self.slots + needs > STACK_SLOTS_MAX {
            let text = format!("Found too many nested data structures ({}) at character {}", self.depth, self.at);
            return Err(Thrown::at_caller(self.lua, text));
        }
        self.slots += keeps;
        let table = read(self)?;
        self.slots -= keeps;
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn object(&mut self) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(table);
        }
        loop {
            let Kind::Text(key) = token.kind else { return Err(self.expected("object key string", &token)) };
            let colon = self.token();
            if !matches!(colon.kind, Kind::Colon) {
                return Err(self.expected("colon", &colon));
            }
            let next = self.token();
            let key = self.lua.create_string(key)?;
            let value = self.value(next)?;
            table.raw_set(key, value)?;
            let behind = self.token();
            match behind.kind {
                Kind::ObjectEnd => return Ok(table),
                Kind::Comma => token = self.token(),
                _ => return Err(self.expected("comma or object end", &behind)),
            }
        }
    }

    fn array(&mut self) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        if self.options.array_metatable {
            table.set_metatable(Some(self.mark.clone()))?;
        }
        let mut token = self.token();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(table);
        }
        for at in 1.. {
            let value = self.value(token)?;
            table.raw_set(at, value)?;
            let behind = self.token();
            match behind.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.token(),
                _ => return Err(self.expected("comma or array end", &behind)),
            }
        }
        Ok(table)
    }

    /// The byte at a place; a NUL behind the end, as C strings have one.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Kind::ObjectBegin,
            b'}' => Kind::ObjectEnd,
            b'[' => Kind::ArrayBegin,
            b']' => Kind::ArrayEnd,
            b':' => Kind::Colon,
            b',' => Kind::Comma,
            0 => return Token { kind: Kind::End, at },
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.options.decode_invalid && self.is_invalid_number() {
                    return Token { kind: Kind::Wrong("invalid number"), at };
                }
                return self.number();
            }
            _ if self.word(b"true") => return Token { kind: Kind::Boolean(true), at },
            _ if self.word(b"false") => return Token { kind: Kind::Boolean(false), at },
            _ if self.word(b"null") => return Token { kind: Kind::Null, at },
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+'
                if self.options.decode_invalid && self.is_invalid_number() =>
            {
                return self.number();
            }
            _ => return Token { kind: Kind::Wrong("invalid token"), at },
        };
        self.at += 1;
        Token { kind: single, at }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let is = self.text[self.at..].starts_with(word);
        self.at += if is { word.len() } else { 0 };
        is
    }

    /// What C reads as a number but JSON does not have: signs in front, hexadecimal, leading zeros, infinities, NaN.
    fn is_invalid_number(&self) -> bool {
        let from = match self.byte(self.at) {
            b'+' => return true,
            b'-' => self.at + 1,
            _ => self.at,
        };
        match self.byte(from) {
            b'0' => matches!(self.byte(from + 1), b'x' | b'X' | b'0'..=b'9'),
            byte if byte <= b'9' => false,
            _ => {
                let rest = self.text.get(from..from + 3).unwrap_or_default();
                rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        let at = self.at;
        match strtod(&self.text[at..]) {
            Some((number, len)) => {
                self.at += len;
                Token { kind: Kind::Number(number), at }
            }
            None => Token { kind: Kind::Wrong("invalid number"), at },
        }
    }

    fn string(&mut self) -> Token {
        let begin = self.at;
        self.at += 1;
        let mut out = Vec::new();
        let wrong = loop {
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Token { kind: Kind::Text(out), at: begin };
                }
                0 => break "unexpected end of string",
                b'\\' => {
                    out.push(match self.byte(self.at + 1) {
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        plain @ (b'"' | b'\\' | b'/') => plain,
                        b'u' => match self.unicode() {
                            Some((code, len)) => {
                                encode_utf8(code, &mut out);
                                self.at += len;
                                continue;
                            }
                            None => break "invalid unicode escape code",
                        },
                        _ => break "invalid escape code",
                    });
                    self.at += 2;
                }
                plain => {
                    out.push(plain);
                    self.at += 1;
                }
            }
        };
        Token { kind: Kind::Wrong(wrong), at: self.at }
    }

    /// The code point of the escape that stands here, and its length: two escapes for a surrogate pair.
    fn unicode(&self) -> Option<(u32, usize)> {
        let code = self.hex4(self.at + 2)?;
        if code & 0xf800 != 0xd800 {
            return Some((code, 6));
        }
        if code & 0x400 != 0 || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
            return None;
        }
        let low = self.hex4(self.at + 8).filter(|low| low & 0xfc00 == 0xdc00)?;
        Some((0x10000 + (((code & 0x3ff) << 10) | (low & 0x3ff)), 12))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }
}

fn encode_utf8(code: u32, out: &mut Vec<u8>) {
    if let Some(char) = char::from_u32(code) {
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
