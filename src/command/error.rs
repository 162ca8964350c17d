//! Every error text. The texts are the protocol: clients compare their first words.

use std::borrow::Cow;

/// An error reply: the line behind `-`, code included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    text: Cow<'static, str>,
    /// A command inside this one gave it, and the statistics have it already.
    counted: bool,
}

impl CommandError {
    pub const SYNTAX: Self = Self::fixed("ERR syntax error");
    pub const WRONG_TYPE: Self = Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    pub const OUT_OF_RANGE: Self = Self::fixed("ERR value is out of range");
    pub const MUST_BE_POSITIVE: Self = Self::fixed("ERR value is out of range, must be positive");
    pub const NO_SUCH_KEY: Self = Self::fixed("ERR no such key");
    pub const INDEX_OUT_OF_RANGE: Self = Self::fixed("ERR index out of range");
    pub const OVERFLOW: Self = Self::fixed("ERR increment or decrement would overflow");
    pub const NOT_FINITE: Self = Self::fixed("ERR increment would produce NaN or Infinity");
    pub const STRING_TOO_LONG: Self = Self::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub const DB_OUT_OF_RANGE: Self = Self::fixed("ERR DB index is out of range");
    pub const OUT_OF_MEMORY: Self = Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    pub const SAME_OBJECT: Self = Self::fixed("ERR source and destination objects are the same");
    pub const TIMEOUT_NOT_FLOAT: Self = Self::fixed("ERR timeout is not a float or out of range");
    pub const TIMEOUT_NEGATIVE: Self = Self::fixed("ERR timeout is negative");
    pub const NESTED_MULTI: Self = Self::fixed("ERR MULTI calls can not be nested");
    pub const EXEC_WITHOUT_MULTI: Self = Self::fixed("ERR EXEC without MULTI");
    pub const DISCARD_WITHOUT_MULTI: Self = Self::fixed("ERR DISCARD without MULTI");
    pub const WATCH_IN_MULTI: Self = Self::fixed("ERR WATCH inside MULTI is not allowed");
    pub const NOT_IN_MULTI: Self = Self::fixed("ERR Command not allowed inside a transaction");
    pub const EXEC_ABORT: Self = Self::fixed("EXECABORT Transaction discarded because of previous errors.");
    pub const NO_AUTH: Self = Self::fixed("NOAUTH Authentication required.");
    pub const WRONG_PASS: Self = Self::fixed("WRONGPASS invalid username-password pair or user is disabled.");
    pub const OOM: Self = Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    pub const LOADING: Self = Self::fixed("LOADING Redis is loading the dataset in memory");
    pub const BUSY: Self =
        Self::fixed("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
    pub const BUSY_FUNCTION: Self =
        Self::fixed("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");
    pub const NO_SCRIPT: Self = Self::fixed("NOSCRIPT No matching script. Please use EVAL.");
    pub const INVALID_CURSOR: Self = Self::fixed("ERR invalid cursor");
    pub const MIN_MAX_NOT_FLOAT: Self = Self::fixed("ERR min or max is not a float");
    pub const MIN_MAX_NOT_STRING: Self = Self::fixed("ERR min or max not valid string range item");

    pub const fn fixed(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), counted: false }
    }

    /// An error with a composed text, code included.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: Cow::Owned(text.into()), counted: false }
    }

    /// That of an EXEC which is refused by this error.
    #[must_use]
    pub fn aborting(&self) -> Self {
        let reason = self.text().strip_prefix("ERR ").unwrap_or(self.text());
        Self::new(format!("EXECABORT Transaction discarded because of: {reason}"))
    }

    pub fn wrong_arity(name: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// An integer outside of bounds that the text names.
    pub fn not_between(least: i64, most: i64) -> Self {
        Self::new(format!("ERR value is out of range, value must between {least} and {most}"))
    }

    /// `name`: the command's, as the client sees it.
    pub fn invalid_expire(name: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{name}' command"))
    }

    pub fn unknown_command(argv: &[&[u8]]) -> Self {
        let mut text = String::from("ERR unknown command '");
        push_limited(&mut text, argv[0], 128);
        text.push_str("', with args beginning with: ");
        let mut shown = 0;
        for arg in &argv[1..] {
            if shown >= 128 {
                break;
            }
            text.push('\'');
            push_limited(&mut text, arg, 128 - shown);
            text.push_str("' ");
            shown += arg.len() + 3;
        }
        Self::new(text)
    }

    pub fn unknown_subcommand(container: &str, sub: &[u8]) -> Self {
        let mut text = String::from("ERR unknown subcommand '");
        push_limited(&mut text, sub, 128);
        text.push_str(&format!("'. Try {} HELP.", container.to_uppercase()));
        Self::new(text)
    }

    /// A subcommand with arguments that it does not take.
    pub fn subcommand_syntax(container: &str, sub: &[u8]) -> Self {
        let mut text = String::from("ERR unknown subcommand or wrong number of arguments for '");
        push_limited(&mut text, sub, 128);
        text.push_str(&format!("'. Try {} HELP.", container.to_uppercase()));
        Self::new(text)
    }

    /// For people; bytes that it quotes and that are no UTF-8 stand as [`quoted`] has them.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line that is sent.
    pub fn line(&self) -> Cow<'_, [u8]> {
        if !self.text.contains(is_escape) {
            return Cow::Borrowed(self.text.as_bytes());
        }
        let mut line = Vec::with_capacity(self.text.len());
        for char in self.text.chars() {
            match escaped(char) {
                Some(byte) => line.push(byte),
                None => line.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Cow::Owned(line)
    }

    /// The first word, under which INFO errorstats counts it.
    pub fn code(&self) -> &str {
        self.text.split(' ').next().unwrap_or("ERR")
    }

    /// The same error, left out of the statistics of errors.
    pub fn counted(self) -> Self {
        Self { counted: true, ..self }
    }

    pub fn is_counted(&self) -> bool {
        self.counted
    }
}

/// Bytes that are no UTF-8 stand in an error as characters from here on, of private use.
const ESCAPES: u32 = 0x10_fe00;

fn is_escape(char: char) -> bool {
    escaped(char).is_some()
}

/// The byte that a character stands for.
fn escaped(char: char) -> Option<u8> {
    u32::from(char).checked_sub(ESCAPES).and_then(|byte| u8::try_from(byte).ok())
}

/// Any bytes as an error's text can hold them; [`CommandError::line`] is what they were.
pub fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(is_escape) => return Cow::Borrowed(text),
        _ => {}
    }
    let mut text = String::with_capacity(bytes.len());
    let escape = |byte: &u8| char::from_u32(ESCAPES + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_escape(char) {
                text.extend(char.encode_utf8(&mut [0; 4]).as_bytes().iter().map(escape));
            } else {
                text.push(char);
            }
        }
        text.extend(chunk.invalid().iter().map(escape));
    }
    Cow::Owned(text)
}

fn push_limited(text: &mut String, bytes: &[u8], limit: usize) {
    text.push_str(&quoted(&bytes[..bytes.len().min(limit)]));
}

#[cfg(test)]
mod tests {
    use super::{CommandError, quoted};

    #[test]
    fn any_bytes_can_be_quoted() {
        let all: Vec<u8> = (0..=255).collect();
        let escapes = "a\u{10fe00}b\u{10feff}c".as_bytes();
        for bytes in [b"".as_slice(), b"plain", "\u{e4}\u{1f600}".as_bytes(), b"\xff\xfe a \xc3", escapes, &all] {
            let error = CommandError::new(format!("ERR '{}' and more", quoted(bytes)));
            assert_eq!(error.line(), [b"ERR '", bytes, b"' and more"].concat());
            assert_eq!(
                error.aborting().line(),
                [b"EXECABORT Transaction discarded because of: '", bytes, b"' and more"].concat()
            );
        }
        assert_eq!(CommandError::new(quoted(b"plain")).text(), "plain");
    }
}
