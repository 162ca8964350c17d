//! The draft of a file behind a buffer, with the checksum of what went into it.

use std::io::{self, Write};

use crc_fast::{CrcAlgorithm, Digest};

use crate::env::DiskFile;

const BUFFER_BYTES: usize = 256 * 1024;

/// Takes bytes in order.
pub struct Out {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    sync_every: Option<u64>,
    /// The checksum of what was written and of the first `summed` bytes of the buffer.
    digest: Option<Digest>,
    summed: usize,
}

impl Out {
    pub fn new(file: Box<dyn DiskFile>, checksum: Option<CrcAlgorithm>, sync_every: Option<u64>) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            synced: 0,
            sync_every,
            digest: checksum.map(Digest::new),
            summed: 0,
        }
    }

    /// Offset in the file of the byte that comes next.
    pub fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The checksum of all bytes so far, where one is kept.
    pub fn sum(&mut self) -> Option<u64> {
        let digest = self.digest.as_mut()?;
        digest.update(&self.buffer[self.summed..]);
        self.summed = self.buffer.len();
        Some(digest.finalize())
    }

    /// Makes everything durable; the length of the file.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.drain()?;
        self.file.sync_all()?;
        Ok(self.written)
    }

    fn drain(&mut self) -> io::Result<()> {
        self.sum();
        let buffer = std::mem::take(&mut self.buffer);
        let passed = self.pass(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        self.summed = 0;
        passed
    }

    /// Writes bytes that are summed already.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.sync_every.is_some_and(|every| self.written - self.synced >= every) {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.drain()?;
        }
        if bytes.len() > BUFFER_BYTES {
            if let Some(digest) = &mut self.digest {
                digest.update(bytes);
            }
            self.pass(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}
