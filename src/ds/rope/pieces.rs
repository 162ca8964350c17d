//! Reading a run of bytes piece by piece, in order, without joining it.

use std::ops::Range;

use super::{CHUNK, Rope};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many zeros that lie nowhere.
    Zeros(usize),
}

impl Piece<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) => *len,
        }
    }

    /// Never true of a piece that [`Pieces`] yields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies it to the front of `buffer`.
    ///
    /// # Panics
    /// When the buffer is shorter.
    pub fn copy_to(&self, buffer: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => buffer[..bytes.len()].copy_from_slice(bytes),
            Self::Zeros(len) => buffer[..*len].fill(0),
        }
    }
}

/// The pieces of a range of a run, none of them empty.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    source: Source<'a>,
    range: Range<usize>,
}

#[derive(Clone, Debug)]
enum Source<'a> {
    Flat(&'a [u8]),
    Rope(&'a Rope),
}

impl<'a> Pieces<'a> {
    /// Bytes that lie in one piece.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { range: 0..bytes.len(), source: Source::Flat(bytes) }
    }

    /// Bytes that are left.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The pieces as bytes, zeros too.
    pub fn slices(self) -> impl Iterator<Item = &'a [u8]> {
        self.flat_map(|piece| {
            let (bytes, zeros_len) = match piece {
                Piece::Bytes(bytes) => (Some(bytes), 0),
                Piece::Zeros(len) => (None, len),
            };
            bytes.into_iter().chain(zeros(zeros_len))
        })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.range.is_empty() {
            return None;
        }
        let (start, end) = (self.range.start, self.range.end);
        let piece = match self.source {
            Source::Flat(bytes) => Piece::Bytes(&bytes[start..end]),
            Source::Rope(rope) => {
                let (index, offset) = (start / CHUNK, start % CHUNK);
                match rope.find(index) {
                    Ok(chunk) if offset < chunk.len() => {
                        Piece::Bytes(&chunk[offset..chunk.len().min(offset + (end - start))])
                    }
                    Ok(_) => Piece::Zeros((index + 1).saturating_mul(CHUNK).min(end) - start),
                    Err(next) => {
                        let end = next.saturating_mul(CHUNK).min(end);
                        match &rope.base {
                            Some(base) if start < base.block.len() => {
                                Piece::Bytes(&base.block[start..end.min(base.block.len())])
                            }
                            _ => Piece::Zeros(end - start),
                        }
                    }
                }
            }
        };
        self.range.start += piece.len();
        Some(piece)
    }
}

impl Rope {
    /// The pieces of a range.
    ///
    /// # Panics
    /// When the range reaches behind the end.
    pub fn pieces(&self, range: Range<usize>) -> Pieces<'_> {
        assert!(range.start <= range.end && range.end <= self.len, "pieces lie within the rope");
        Pieces { source: Source::Rope(self), range }
    }
}

/// So many zeros, in slices.
pub fn zeros<'a>(len: usize) -> impl Iterator<Item = &'a [u8]> {
    static ZEROS: [u8; CHUNK] = [0; CHUNK];
    (0..len.div_ceil(CHUNK)).map(move |index| &ZEROS[..CHUNK.min(len - index * CHUNK)])
}
