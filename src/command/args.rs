//! The arguments of one call, read front to back. The first error latches; it is asked for once, in `finish`.

use super::{CommandError, parse_f64, parse_i64};

/// A cursor over the arguments behind the command's (and subcommand's) name.
pub struct Args<'a> {
    argv: &'a [&'a [u8]],
    at: usize,
    error: Option<CommandError>,
}

impl<'a> Args<'a> {
    /// `first`: index of the first argument behind the names.
    pub fn new(argv: &'a [&'a [u8]], first: usize) -> Self {
        Self { argv, at: first, error: None }
    }

    /// All words of the call, the command's name included.
    pub fn argv(&self) -> &'a [&'a [u8]] {
        self.argv
    }

    /// Arguments not read yet.
    pub fn remaining(&self) -> usize {
        self.argv.len() - self.at
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next argument without reading it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.at).copied()
    }

    /// The next argument; a missing one latches a syntax error and reads as empty.
    pub fn bytes(&mut self) -> &'a [u8] {
        match self.argv.get(self.at) {
            Some(arg) => {
                self.at += 1;
                arg
            }
            None => {
                self.fail(CommandError::SYNTAX);
                b""
            }
        }
    }

    /// The next argument if there is one.
    #[expect(clippy::should_implement_trait, reason = "a cursor with a latch is no iterator")]
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let arg = self.peek()?;
        self.at += 1;
        Some(arg)
    }

    pub fn int(&mut self) -> i64 {
        self.int_or(CommandError::NOT_INTEGER)
    }

    /// An integer, or this error.
    pub fn int_or(&mut self, error: CommandError) -> i64 {
        let arg = self.bytes();
        parse_i64(arg).unwrap_or_else(|| {
            self.fail(error);
            0
        })
    }

    /// An integer within bounds, or this error for both reasons.
    pub fn int_within(&mut self, range: std::ops::RangeInclusive<i64>, error: CommandError) -> i64 {
        let value = self.int_or(error.clone());
        if !range.contains(&value) {
            self.fail(error);
        }
        value
    }

    pub fn float(&mut self) -> f64 {
        self.float_or(CommandError::NOT_FLOAT)
    }

    pub fn float_or(&mut self, error: CommandError) -> f64 {
        let arg = self.bytes();
        parse_f64(arg).unwrap_or_else(|| {
            self.fail(error);
            0.0
        })
    }

    /// Reads the next argument if it is this word, in any case.
    pub fn word(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(is);
        is
    }

    /// All arguments not read yet.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        let rest = &self.argv[self.at..];
        self.at = self.argv.len();
        rest
    }

    /// The next `count` arguments; fewer latch a syntax error.
    pub fn take(&mut self, count: usize) -> &'a [&'a [u8]] {
        if count > self.remaining() {
            self.fail(CommandError::SYNTAX);
            return &[];
        }
        let taken = &self.argv[self.at..self.at + count];
        self.at += count;
        taken
    }

    /// Latches an error unless one is latched already.
    pub fn fail(&mut self, error: CommandError) {
        self.error.get_or_insert(error);
    }

    /// The latched error; a surplus argument is a syntax error.
    pub fn finish(&mut self) -> Result<(), CommandError> {
        if !self.is_empty() {
            self.fail(CommandError::SYNTAX);
        }
        self.check()
    }

    /// The latched error, with arguments left to read.
    pub fn check(&mut self) -> Result<(), CommandError> {
        self.error.take().map_or(Ok(()), Err)
    }
}
