//! Bytes of a file, or of a stretch of it, through a bounded buffer, with the checksum of all that was taken.

use std::io;
use std::ops::Range;

use crc_fast::{CrcAlgorithm, Digest};

use crate::env::DiskFile;
use crate::value::payload::Source;

/// Bytes asked of the disk at once; the buffer grows beyond it only for a string that is longer.
const READ_SIZE: usize = 256 * 1024;

/// A file from its beginning to the length that it had when it was opened, or a stretch of one.
pub struct FileSource<'f> {
    file: &'f dyn DiskFile,
    /// Where it ends in the file.
    len: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
    /// Where in the buffer the next byte to take stands, and up to where the checksum goes.
    at: usize,
    summed: usize,
    digest: Digest,
}

impl<'f> FileSource<'f> {
    /// # Errors
    /// When the file does not tell its length.
    pub fn new(file: &'f dyn DiskFile) -> io::Result<Self> {
        Ok(Self::stretch(file, 0..file.len()?))
    }

    /// These bytes of a file, which is at least so long.
    pub fn stretch(file: &'f dyn DiskFile, range: Range<u64>) -> Self {
        Self {
            file,
            len: range.end,
            buffer: Vec::new(),
            start: range.start,
            at: 0,
            summed: 0,
            digest: Digest::new(CrcAlgorithm::Crc64Redis),
        }
    }

    /// Drops what was taken from the buffer and reads on until it holds `len` more bytes.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        self.sum();
        self.buffer.drain(..self.at);
        self.start += self.at as u64;
        (self.at, self.summed) = (0, 0);
        let had = self.buffer.len();
        let left = self.len - self.start - had as u64;
        let wanted = len.max(READ_SIZE) - had;
        let reading = usize::try_from(left).map_or(wanted, |left| wanted.min(left));
        if self.buffer.capacity() > 4 * READ_SIZE && len < READ_SIZE {
            self.buffer.shrink_to(READ_SIZE);
        }
        self.buffer.resize(had + reading, 0);
        let read = self.file.read_exact_at(&mut self.buffer[had..], self.start + had as u64);
        if read.is_err() {
            self.buffer.truncate(had);
        }
        read
    }

    fn sum(&mut self) {
        self.digest.update(&self.buffer[self.summed..self.at]);
        self.summed = self.at;
    }
}

impl Source for FileSource<'_> {
    fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    fn remaining(&self) -> u64 {
        self.len - self.offset()
    }

    fn take(&mut self, len: usize) -> io::Result<&[u8]> {
        if len as u64 > self.remaining() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.buffer.len() - self.at < len {
            self.fill(len)?;
        }
        let from = self.at;
        self.at += len;
        Ok(&self.buffer[from..self.at])
    }

    fn checksum(&mut self) -> u64 {
        self.sum();
        self.digest.finalize()
    }
}
