//! One file of the archive: a file of the log as blocks of zstd between two skippable frames, one that says what it is and one
//! that says where its blocks are and what is in them. `zstd -d` makes the file of the log of it.
//!
//! Invariant: nothing is handed out of a block whose checksum is not right.
//!
//! Layout: format-spec/archive.md.

use super::contents::Label;
use crate::env::{Disk, DiskFile, OpenMode};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use thiserror::Error;

/// Bytes of the original in each block; fewer in the last one.
pub const BLOCK_BYTES: usize = 1 << 20;
/// zstd's level: commands repeat themselves, more effort gains little.
const LEVEL: i32 = 3;
const HEAD_MAGIC: u32 = 0x184d_2a50;
const INDEX_MAGIC: u32 = 0x184d_2a51;
/// In front of a skippable frame's content: magic and length.
const FRAME_BYTES: u64 = 8;
/// What of the index does not depend on the number of blocks: size and checksum of the original, checksum of the index.
const TAIL_BYTES: u64 = 16;
const ENTRY_BYTES: u64 = 8;
/// Longest label that is believed.
const LABEL_BYTES_MAX: u32 = 4096;

/// Why a file of the archive is not believed; offsets are those of the file itself.
#[derive(Debug, Error)]
pub enum PackedError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{reason} at offset {offset}")]
    Damaged { offset: u64, reason: &'static str },
}

impl PackedError {
    pub fn offset(&self) -> u64 {
        match self {
            Self::Io(_) => 0,
            Self::Damaged { offset, .. } => *offset,
        }
    }
}

fn damaged<T>(offset: u64, reason: &'static str) -> Result<T, PackedError> {
    Err(PackedError::Damaged { offset, reason })
}

/// Writes a file of the archive, one block at a time.
pub struct Packing {
    from: Box<dyn DiskFile>,
    to: Box<dyn DiskFile>,
    raw: u64,
    read: u64,
    written: u64,
    crc: crc32fast::Hasher,
    index: Vec<u8>,
}

/// What was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Size and CRC-32 of the original.
    pub raw: u64,
    pub crc: u32,
    /// Size of the file.
    pub bytes: u64,
}

impl Packing {
    /// Begins with a label, as long as `from` is now.
    ///
    /// # Errors
    /// A file cannot be read or made.
    pub fn begin(disk: &dyn Disk, from: &Path, to: &Path, label: &Label) -> io::Result<Self> {
        let from = disk.open(from, OpenMode::Read)?;
        let to = disk.open(to, OpenMode::Truncate)?;
        let raw = from.len()?;
        let head = frame(HEAD_MAGIC, label.encode().as_bytes());
        to.write_all_at(&head, 0)?;
        let (crc, index) = (crc32fast::Hasher::new(), Vec::new());
        Ok(Self { from, to, raw, read: 0, written: head.len() as u64, crc, index })
    }

    /// Packs the next block; `Some` when all of it is written and synced, under the name it was begun with.
    ///
    /// # Errors
    /// A file cannot be read, or written.
    pub fn step(&mut self) -> io::Result<Option<Packed>> {
        if self.read < self.raw {
            let mut block = vec![0; (self.raw - self.read).min(BLOCK_BYTES as u64) as usize];
            self.from.read_exact_at(&mut block, self.read)?;
            let packed = zstd::bulk::compress(&block, LEVEL)?;
            self.to.write_all_at(&packed, self.written)?;
            self.index.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            self.index.extend_from_slice(&crc32fast::hash(&block).to_le_bytes());
            self.crc.update(&block);
            self.read += block.len() as u64;
            self.written += packed.len() as u64;
            return Ok(None);
        }
        let crc = self.crc.clone().finalize();
        self.index.extend_from_slice(&self.raw.to_le_bytes());
        self.index.extend_from_slice(&crc.to_le_bytes());
        self.index.extend_from_slice(&crc32fast::hash(&self.index).to_le_bytes());
        let tail = frame(INDEX_MAGIC, &self.index);
        self.to.write_all_at(&tail, self.written)?;
        self.to.sync_all()?;
        Ok(Some(Packed { raw: self.raw, crc, bytes: self.written + tail.len() as u64 }))
    }
}

fn frame(magic: u32, content: &[u8]) -> Vec<u8> {
    [&magic.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// A file of the archive, read as the file of the log that is in it.
pub struct Unpacked {
    file: Box<dyn DiskFile>,
    pub label: Label,
    pub packed: Packed,
    /// Of each block its offset in the file and the checksum of what is in it; behind them the offset of the index.
    blocks: Vec<(u64, u32)>,
    index_at: u64,
    /// The block that was read last.
    held: Mutex<(usize, Vec<u8>)>,
}

impl Unpacked {
    /// Whether a file begins as one of the archive.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_one(file: &dyn DiskFile) -> io::Result<bool> {
        if file.len()? < FRAME_BYTES {
            return Ok(false);
        }
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0)?;
        Ok(magic == HEAD_MAGIC.to_le_bytes())
    }

    /// Reads and checks what frames the blocks.
    ///
    /// # Errors
    /// It cannot be read, or does not verify.
    pub fn open(file: Box<dyn DiskFile>) -> Result<Self, PackedError> {
        let bytes = file.len()?;
        if bytes < 2 * FRAME_BYTES + TAIL_BYTES {
            return damaged(0, "it is too short for a file of the archive");
        }
        let (magic, length) = frame_head(&*file, 0)?;
        if magic != HEAD_MAGIC || length > LABEL_BYTES_MAX || FRAME_BYTES + u64::from(length) > bytes {
            return damaged(0, "no label of a file of the archive");
        }
        let mut text = vec![0; length as usize];
        file.read_exact_at(&mut text, FRAME_BYTES)?;
        let Some(label) = std::str::from_utf8(&text).ok().and_then(Label::decode) else {
            return damaged(FRAME_BYTES, "the label does not verify");
        };
        let mut tail = [0; TAIL_BYTES as usize];
        file.read_exact_at(&mut tail, bytes - TAIL_BYTES)?;
        let raw = u64::from_le_bytes(tail[..8].try_into().unwrap_or_default());
        let crc = u32::from_le_bytes(tail[8..12].try_into().unwrap_or_default());
        let count = raw.div_ceil(BLOCK_BYTES as u64);
        let begin = FRAME_BYTES + u64::from(length);
        let index_bytes = count.checked_mul(ENTRY_BYTES).map(|entries| entries + TAIL_BYTES);
        let index_at = index_bytes.and_then(|index| bytes.checked_sub(index + FRAME_BYTES)).filter(|at| *at >= begin);
        let (Some(index_bytes), Some(index_at)) = (index_bytes, index_at) else {
            return damaged(bytes - TAIL_BYTES, "the index does not fit the file");
        };
        let (magic, length) = frame_head(&*file, index_at)?;
        if magic != INDEX_MAGIC || u64::from(length) != index_bytes {
            return damaged(index_at, "no index stands where the file says");
        }
        let mut index = vec![0; index_bytes as usize];
        file.read_exact_at(&mut index, index_at + FRAME_BYTES)?;
        let (said, own) = index.split_at(index.len() - 4);
        if own != crc32fast::hash(said).to_le_bytes() {
            return damaged(index_at + FRAME_BYTES, "the index has the wrong checksum");
        }
        let (mut blocks, mut at) = (Vec::with_capacity(count as usize), begin);
        for entry in said.chunks_exact(ENTRY_BYTES as usize).take(count as usize) {
            let number =
                |range: std::ops::Range<usize>| u32::from_le_bytes(entry[range].try_into().unwrap_or_default());
            blocks.push((at, number(4..8)));
            at += u64::from(number(0..4));
        }
        if at != index_at {
            return damaged(index_at, "the blocks do not end where the index begins");
        }
        let packed = Packed { raw, crc, bytes };
        Ok(Self { file, label, packed, blocks, index_at, held: Mutex::new((usize::MAX, Vec::new())) })
    }

    /// Reads every block: everything that was packed is there.
    ///
    /// # Errors
    /// The first damage.
    pub fn verify(&self) -> Result<(), PackedError> {
        let mut crc = crc32fast::Hasher::new();
        for number in 0..self.blocks.len() {
            crc.update(&self.block(number)?);
        }
        if crc.finalize() != self.packed.crc {
            return damaged(self.index_at, "what is in it has another checksum");
        }
        Ok(())
    }

    fn block(&self, number: usize) -> Result<Vec<u8>, PackedError> {
        let (offset, crc) = self.blocks[number];
        let end = self.blocks.get(number + 1).map_or(self.index_at, |next| next.0);
        let raw = (self.packed.raw - (number * BLOCK_BYTES) as u64).min(BLOCK_BYTES as u64) as usize;
        let mut packed = vec![0; (end - offset) as usize];
        self.file.read_exact_at(&mut packed, offset)?;
        match zstd::bulk::decompress(&packed, raw) {
            Ok(block) if block.len() == raw && crc32fast::hash(&block) == crc => Ok(block),
            _ => damaged(offset, "a block does not verify"),
        }
    }
}

fn frame_head(file: &dyn DiskFile, at: u64) -> io::Result<(u32, u32)> {
    let mut head = [0; FRAME_BYTES as usize];
    file.read_exact_at(&mut head, at)?;
    let number = |range: std::ops::Range<usize>| u32::from_le_bytes(head[range].try_into().unwrap_or_default());
    Ok((number(0..4), number(4..8)))
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a file of the archive is never written to")
}

impl DiskFile for Unpacked {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.packed.raw || buf.is_empty() {
            return Ok(0);
        }
        let (number, within) = ((offset / BLOCK_BYTES as u64) as usize, (offset % BLOCK_BYTES as u64) as usize);
        let mut held = self.held.lock();
        if held.0 != number {
            held.0 = usize::MAX;
            let block = self.block(number).map_err(|error| match error {
                PackedError::Io(error) => error,
                damage => io::Error::new(io::ErrorKind::InvalidData, damage.to_string()),
            })?;
            *held = (number, block);
        }
        let rest = &held.1[within..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.packed.raw)
    }
}
