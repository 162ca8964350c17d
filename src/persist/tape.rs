//! Commands of a file one after the other, with offsets and lines, by the rules of a start.
//!
//! Invariant: memory is bounded by the largest command.

use super::resp_scan::{Scanned, Words, scan};
use crate::env::DiskFile;
use std::io;
use std::ops::Range;

const CHUNK_BYTES: usize = 1 << 20;

pub struct Tape<'f> {
    file: &'f dyn DiskFile,
    len: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer, and the place in it.
    base: u64,
    at: usize,
    /// Line of the place, from 1.
    pub line: u64,
    /// Words of the command that was handed out last, in the buffer.
    words: Words,
}

/// What stands next.
pub enum Next {
    /// A command: see [`Tape::words`].
    Command,
    /// `#TS:`, in seconds.
    Timestamp(i64),
    Comment,
    End,
    /// The file ends inside a command.
    Short,
    /// Neither command nor comment.
    Garbage(u8),
}

impl<'f> Tape<'f> {
    /// From an offset to the end of a file.
    pub fn new(file: &'f dyn DiskFile, from: u64) -> io::Result<Self> {
        Ok(Self { len: file.len()?, file, buffer: Vec::new(), base: from, at: 0, line: 1, words: Words::new() })
    }

    /// Over a stretch of a file, as if it ended there.
    pub fn stretch(file: &'f dyn DiskFile, range: Range<u64>) -> Self {
        Self { len: range.end, file, buffer: Vec::new(), base: range.start, at: 0, line: 1, words: Words::new() }
    }

    /// Bytes of the file, or up to the end of the stretch.
    pub fn end(&self) -> u64 {
        self.len
    }

    /// Looks at the file anew, which may have grown.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.len = self.file.len()?;
        Ok(())
    }

    /// Offset of what stands next.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What stands next; goes on behind it where it is whole.
    #[expect(clippy::should_implement_trait, reason = "an end is no end where the file grows")]
    pub fn next(&mut self) -> io::Result<Next> {
        loop {
            if self.offset() >= self.len {
                return Ok(Next::End);
            }
            let (next, end) = match scan(&self.buffer, self.at) {
                Scanned::Garbage => {
                    let first = self.buffer[self.at..].iter().copied().next().unwrap_or_default();
                    return Ok(Next::Garbage(first));
                }
                Scanned::Incomplete => {
                    let held = self.base + self.buffer.len() as u64;
                    if held >= self.len {
                        self.line += self.lines(self.buffer.len());
                        return Ok(Next::Short);
                    }
                    self.read_on(held)?;
                    continue;
                }
                Scanned::Comment { end } => (self.comment(end), end),
                Scanned::Command { words, end } => {
                    self.words = words;
                    (Next::Command, end)
                }
            };
            self.line += self.lines(end);
            self.at = end;
            return Ok(next);
        }
    }

    /// The words of the command that was handed out last; of one at least.
    pub fn words(&self) -> Vec<&[u8]> {
        self.words.iter().map(|word| &self.buffer[word.clone()]).collect()
    }

    /// Goes on at the next place behind the present one where a line begins a whole command, or that the file's end cuts off
    /// inside one; whether there is one.
    pub fn resync(&mut self) -> io::Result<bool> {
        loop {
            let from = (self.at + 1).min(self.buffer.len());
            for found in memchr::memmem::find_iter(&self.buffer[from..], b"\n*") {
                if matches!(scan(&self.buffer, from + found + 1), Scanned::Command { .. }) {
                    self.line += self.lines(from + found + 1);
                    self.at = from + found + 1;
                    return Ok(true);
                }
            }
            let held = self.base + self.buffer.len() as u64;
            if held >= self.len {
                return Ok(false);
            }
            // Whatever began near the end of what is held may be whole with more of it.
            let keep = self.buffer.len().saturating_sub(CHUNK_BYTES).max(self.at);
            self.line += self.lines(keep);
            self.at = keep;
            self.read_on(held)?;
        }
    }

    /// What was passed since an offset, which is that of what was handed out last.
    pub fn bytes_since(&self, offset: u64) -> &[u8] {
        &self.buffer[offset.saturating_sub(self.base) as usize..self.at]
    }

    fn comment(&self, end: usize) -> Next {
        let line = self.buffer[self.at..end].trim_ascii_end();
        let seconds = line.strip_prefix(b"#TS:").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        seconds.map_or(Next::Comment, Next::Timestamp)
    }

    fn lines(&self, end: usize) -> u64 {
        memchr::memchr_iter(b'\n', &self.buffer[self.at..end]).count() as u64
    }

    fn read_on(&mut self, held: u64) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let from = self.buffer.len();
        let more = CHUNK_BYTES.max(from).min((self.len - held) as usize);
        self.buffer.resize(from + more, 0);
        self.file.read_exact_at(&mut self.buffer[from..], held)
    }
}
