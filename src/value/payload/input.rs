//! Reading of lengths and strings from a source of foreign bytes.

use std::io;

use crc_fast::{CrcAlgorithm, Digest};

use super::error::{DecodeError, Problem};

/// Where stored bytes come from.
pub trait Source {
    /// Offset of the next byte.
    fn offset(&self) -> u64;

    /// How many bytes there are at most.
    fn remaining(&self) -> u64;

    /// The next `len` bytes, which are at most [`Self::remaining`].
    ///
    /// # Errors
    /// When they cannot be read.
    fn take(&mut self, len: usize) -> io::Result<&[u8]>;

    /// CRC-64 of all bytes taken so far.
    fn checksum(&mut self) -> u64;
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What offsets count from.
    base: u64,
    /// The checksum of the first `summed` bytes.
    sum: u64,
    summed: usize,
}

impl<'a> SliceSource<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Bytes that stand at `base` in a file.
    pub fn at(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base, sum: 0, summed: 0 }
    }
}

impl Source for SliceSource<'_> {
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn take(&mut self, len: usize) -> io::Result<&[u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.at += len;
        Ok(taken)
    }

    fn checksum(&mut self) -> u64 {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, self.sum);
        digest.update(&self.bytes[self.summed..self.at]);
        (self.sum, self.summed) = (digest.get_state(), self.at);
        digest.finalize()
    }
}

/// A length as files write it, or the mark of a specially encoded string.
enum Length {
    Plain(u64),
    Special(u8),
}

const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

/// The most that one byte of compressed input can stand for: three bytes copy up to 264.
const EXPANSION_MAX: u64 = 88;

/// Lengths, integers and strings from a [`Source`].
pub struct Input<'s> {
    source: &'s mut dyn Source,
    /// Holds a string that does not lie in the source as it is.
    scratch: Vec<u8>,
}

impl<'s> Input<'s> {
    pub fn new(source: &'s mut dyn Source) -> Self {
        Self { source, scratch: Vec::new() }
    }

    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    pub fn remaining(&self) -> u64 {
        self.source.remaining()
    }

    /// CRC-64 of all bytes taken so far.
    pub fn checksum(&mut self) -> u64 {
        self.source.checksum()
    }

    /// An error at the current place.
    pub fn error(&self, reading: &'static str, problem: impl Into<Problem>) -> DecodeError {
        DecodeError { offset: self.offset(), reading, problem: problem.into() }
    }

    /// The next `len` bytes as they are.
    pub fn bytes(&mut self, len: u64, reading: &'static str) -> Result<&[u8], DecodeError> {
        let (offset, left) = (self.offset(), self.remaining());
        let fail = |problem| DecodeError { offset, reading, problem };
        if len > left {
            return Err(fail(Problem::Ended { wanted: len, left }));
        }
        let len = usize::try_from(len).map_err(|_| fail(Problem::TooLong(len)))?;
        self.source.take(len).map_err(|e| fail(e.into()))
    }

    pub fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N as u64, reading)?);
        Ok(out)
    }

    pub fn byte(&mut self, reading: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(reading).map(|[byte]| byte)
    }

    /// A length or another unsigned number. It may be anything: compare before use.
    pub fn length(&mut self, reading: &'static str) -> Result<u64, DecodeError> {
        match self.length_or_special(reading)? {
            Length::Plain(length) => Ok(length),
            Length::Special(kind) => Err(self.error(reading, Problem::BadLength { byte: 0xc0 | kind })),
        }
    }

    /// How many elements follow, each of at least `size_min` bytes: refused when the input has no room for them.
    pub fn count(&mut self, size_min: u64, reading: &'static str) -> Result<usize, DecodeError> {
        let count = self.length(reading)?;
        let left = self.remaining();
        let wanted = count.saturating_mul(size_min);
        if wanted > left {
            return Err(self.error(reading, Problem::Ended { wanted, left }));
        }
        usize::try_from(count).map_err(|_| self.error(reading, Problem::TooLong(count)))
    }

    /// A string: as it lies there, an integer, or compressed.
    pub fn string(&mut self, reading: &'static str) -> Result<&[u8], DecodeError> {
        match self.length_or_special(reading)? {
            Length::Plain(len) => self.bytes(len, reading),
            Length::Special(INT8) => {
                let number = i8::from_le_bytes(self.array(reading)?);
                Ok(self.text_of(number.into()))
            }
            Length::Special(INT16) => {
                let number = i16::from_le_bytes(self.array(reading)?);
                Ok(self.text_of(number.into()))
            }
            Length::Special(INT32) => {
                let number = i32::from_le_bytes(self.array(reading)?);
                Ok(self.text_of(number.into()))
            }
            Length::Special(LZF) => self.compressed(reading),
            Length::Special(kind) => Err(self.error(reading, Problem::BadLength { byte: 0xc0 | kind })),
        }
    }

    fn length_or_special(&mut self, reading: &'static str) -> Result<Length, DecodeError> {
        let first = self.byte(reading)?;
        Ok(match first {
            0..=0x3f => Length::Plain(first.into()),
            0x40..=0x7f => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte(reading)?)),
            0x80 => Length::Plain(u32::from_be_bytes(self.array(reading)?).into()),
            0x81 => Length::Plain(u64::from_be_bytes(self.array(reading)?)),
            0xc0..=0xff => Length::Special(first & 0x3f),
            _ => return Err(self.error(reading, Problem::BadLength { byte: first })),
        })
    }

    fn text_of(&mut self, number: i64) -> &[u8] {
        self.scratch.clear();
        self.scratch.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        &self.scratch
    }

    fn compressed(&mut self, reading: &'static str) -> Result<&[u8], DecodeError> {
        let packed_len = self.length(reading)?;
        let len = self.length(reading)?;
        if packed_len > self.remaining() || len > packed_len.saturating_mul(EXPANSION_MAX) {
            let problem = if packed_len > self.remaining() {
                Problem::Ended { wanted: packed_len, left: self.remaining() }
            } else {
                Problem::Compressed
            };
            return Err(self.error(reading, problem));
        }
        let packed = self.bytes(packed_len, reading)?;
        let content = if len == 0 { None } else { lzf::decompress(packed, len as usize).ok() };
        match content {
            Some(content) if content.len() as u64 == len => {
                self.scratch = content;
                Ok(&self.scratch)
            }
            _ => Err(self.error(reading, Problem::Compressed)),
        }
    }
}
