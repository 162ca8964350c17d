//! Where loaded data goes: a sink of base keys and of blocks of commands.
//!
//! Blocks are made by the loader (reading, checksums, parsing) and applied by their receiver, which may be another
//! thread: loading overlaps with applying.

use crate::env::UnixMillis;
use crate::keyspace::Batch;
use std::ops::Range;

/// Commands in order, whole units only.
#[derive(Debug, Default)]
pub struct Block {
    pub bytes: Vec<u8>,
    /// When they were logged, where that is known.
    pub time: Option<UnixMillis>,
    /// Words of all commands, as ranges of `bytes`.
    words: Vec<Range<usize>>,
    /// Where each command's words end in `words`.
    ends: Vec<usize>,
}

impl Block {
    /// No commands yet, in these bytes.
    pub fn over(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    pub fn push(&mut self, words: impl IntoIterator<Item = Range<usize>>) {
        self.words.extend(words);
        self.ends.push(self.words.len());
    }

    pub fn commands(&self) -> impl Iterator<Item = Vec<&[u8]>> {
        (0..self.len()).map(|command| {
            let mut argv = Vec::new();
            self.fill(command, &mut argv);
            argv
        })
    }

    /// Puts the words of a command in place of what `argv` holds.
    pub fn fill<'b>(&'b self, command: usize, argv: &mut Vec<&'b [u8]>) {
        argv.clear();
        argv.extend(self.words(command).iter().map(|word| &self.bytes[word.clone()]));
    }

    /// How many words a command has.
    pub fn word_count(&self, command: usize) -> usize {
        self.words(command).len()
    }

    /// A word of a command, its name being the first.
    pub fn word(&self, command: usize, at: usize) -> Option<&[u8]> {
        self.words(command).get(at).map(|word| &self.bytes[word.clone()])
    }

    fn words(&self, command: usize) -> &[Range<usize>] {
        let from = command.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.words[from..self.ends[command]]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// What the loader hands over.
#[derive(Debug)]
pub enum Piece {
    /// A file begins: database 0 is selected.
    FileBegins,
    /// A base is about to give so many keys of a database: a hint, within what a file of its size can hold.
    Expected {
        db: u32,
        keys: u64,
    },
    /// Keys of a base, due or not.
    Keys {
        db: u32,
        batch: Batch,
    },
    /// A library of functions of a base, by its source text.
    Library(Vec<u8>),
    Commands(Block),
}

/// Takes loaded data, in order.
pub trait Replay {
    /// # Errors
    /// When it cannot be applied: the reason, for the operator.
    fn piece(&mut self, piece: Piece) -> Result<(), String>;
}

/// Takes everything and keeps nothing, for those who only look.
pub struct Discard;

impl Replay for Discard {
    fn piece(&mut self, _: Piece) -> Result<(), String> {
        Ok(())
    }
}
