//! A data set at one moment as an RDB file.
//!
//! Values go out in pieces, so memory stays within a few megabytes whatever they hold. The keys form blocks that can be read
//! one by one, located by an index at the end (see `index`).

#[cfg(test)]
pub(super) mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::active;
use super::checksum::{CRC, between};
use super::format::{MAGIC, opcode};
use super::index::{IndexedBlock, write_index};
use crate::env::Disk;
use crate::keyspace::{AccessClock, DatabaseView, Entry, Snapshot};
use crate::persist::Position;
use crate::persist::draft::{DraftOptions, DraftWriter, Form, KeyEncoder, Out};
use crate::value::payload::{Encoder, write_length};

/// What is remembered of a key's last uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedAccess {
    Nothing,
    /// Seconds since the last use, under an LRU policy.
    Idle,
    /// The counter of uses, under an LFU policy.
    Frequency,
}

/// Where a file goes, and how it is written.
#[derive(Clone, Debug)]
pub struct RdbOptions {
    pub path: PathBuf,
    /// 10, which stock 7.0 loads, or 11.
    pub version: u16,
    /// `rdbcompression`.
    pub compression: bool,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// The file is synced each time when so many bytes more were written (`rdb-save-incremental-fsync`).
    pub sync_every: Option<u64>,
    pub access: SavedAccess,
    /// The moment of the snapshot, as access clocks count.
    pub clock: AccessClock,
    /// Named texts that say something about the file.
    pub fields: Vec<(&'static str, String)>,
    /// Libraries of functions, by their source texts.
    pub libraries: Vec<Vec<u8>>,
    /// The moment of the log that the snapshot shows, if there is a log.
    pub position: Option<Position>,
    /// A block ends behind the key with which it reaches so many bytes; `None`: one MiB, four behind the first GiB.
    pub block_bytes: Option<u64>,
    /// Threads that encode keys beside the one that writes.
    pub helpers: usize,
}

/// Sizes of blocks near the beginning of a file, and from [`LARGE_FROM`] on.
const BLOCK_BYTES: u64 = 1 << 20;
const BLOCK_BYTES_LARGE: u64 = 4 << 20;
const LARGE_FROM: u64 = 1 << 30;

/// An RDB file of a snapshot, to be written step by step.
pub fn begin(disk: Arc<dyn Disk>, snapshot: Snapshot, options: RdbOptions) -> DraftWriter {
    let RdbOptions { checksum, sync_every, helpers, .. } = options;
    let checksum = checksum.then_some(CRC);
    let draft = DraftOptions { path: options.path.clone(), checksum, sync_every, helpers };
    DraftWriter::new(disk, snapshot, draft, Box::new(RdbForm::new(options)))
}

/// See the module's header.
pub(super) struct RdbForm {
    options: RdbOptions,
    encoder: EntryEncoder,
    /// The database under way: its number, its keys, and those with expiry.
    db: u32,
    sizes: (u64, u64),
    /// Blocks that are closed, the head first, and where the one under way began.
    blocks: Vec<IndexedBlock>,
    block: Begun,
    keys: u64,
}

/// Where a block began.
#[derive(Clone, Copy, Default)]
struct Begun {
    offset: u64,
    sum_before: u64,
    keys_before: u64,
}

impl Form for RdbForm {
    fn begin(&mut self, out: &mut Out) -> io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(format!("{:04}", self.options.version).as_bytes())?;
        for (name, value) in &self.options.fields {
            out.write_all(&[opcode::AUX])?;
            self.encoder.values.string(name.as_bytes(), out)?;
            self.encoder.values.string(value.as_bytes(), out)?;
        }
        for library in &self.options.libraries {
            out.write_all(&[opcode::FUNCTION_2])?;
            self.encoder.values.string(library, out)?;
        }
        self.close_block(out)
    }

    fn database(&mut self, db: usize, database: &DatabaseView, _: &mut Out) -> io::Result<()> {
        self.db = db as u32;
        self.sizes = (database.len() as u64, database.expires_len() as u64);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, out: &mut Out) -> io::Result<()> {
        self.begin_block(out)?;
        self.encoder.encode(entry, out)?;
        self.keys += 1;
        if self.room(out) > 0 { Ok(()) } else { self.close_block(out) }
    }

    fn encoder(&self) -> Box<dyn KeyEncoder> {
        Box::new(EntryEncoder::new(&self.options))
    }

    fn encoded(&mut self, bytes: &[u8], mut ends: &[usize], out: &mut Out) -> io::Result<()> {
        let mut from = 0;
        while !ends.is_empty() {
            self.begin_block(out)?;
            // The key with which the block reaches its size is its last one.
            let room = self.room(out);
            let fitting = ends.partition_point(|end| ((end - from) as u64) < room);
            let (taken, rest) = ends.split_at(ends.len().min(fitting + 1));
            let until = taken.last().copied().unwrap_or(from);
            out.write_all(&bytes[from..until])?;
            self.keys += taken.len() as u64;
            (from, ends) = (until, rest);
            if self.room(out) == 0 {
                self.close_block(out)?;
            }
        }
        Ok(())
    }

    fn database_ends(&mut self, out: &mut Out) -> io::Result<()> {
        self.close_block(out)
    }

    fn end(&mut self, out: &mut Out) -> io::Result<()> {
        let index_at = out.offset();
        write_index(&self.blocks, index_at, self.options.position, out)?;
        out.write_all(&[opcode::EOF])?;
        let checksum = out.sum().unwrap_or(0);
        out.write_all(&checksum.to_le_bytes())
    }
}

impl RdbForm {
    pub(super) fn new(options: RdbOptions) -> Self {
        let encoder = EntryEncoder::new(&options);
        Self { options, encoder, db: 0, sizes: (0, 0), blocks: Vec::new(), block: Begun::default(), keys: 0 }
    }

    /// What comes next is of this database; how much of it is not known.
    pub(super) fn select(&mut self, db: u32, out: &mut Out) -> io::Result<()> {
        if db != self.db {
            self.close_block(out)?;
            (self.db, self.sizes) = (db, (0, 0));
        }
        Ok(())
    }

    fn block_bytes(&self) -> u64 {
        let usual = if self.block.offset < LARGE_FROM { BLOCK_BYTES } else { BLOCK_BYTES_LARGE };
        self.options.block_bytes.unwrap_or(usual)
    }

    /// Bytes that the block under way lacks.
    fn room(&self, out: &Out) -> u64 {
        self.block_bytes().saturating_sub(out.offset() - self.block.offset)
    }

    /// Writes what a block begins with, where one begins here.
    fn begin_block(&self, out: &mut Out) -> io::Result<()> {
        if out.offset() > self.block.offset {
            return Ok(());
        }
        out.write_all(&[opcode::SELECT_DB])?;
        write_length(u64::from(self.db), out)?;
        if self.blocks.last().is_none_or(|block| block.keys == 0 || block.db != self.db) {
            out.write_all(&[opcode::RESIZE_DB])?;
            write_length(self.sizes.0, out)?;
            write_length(self.sizes.1, out)?;
        }
        Ok(())
    }

    /// Ends the block under way, if it holds anything.
    fn close_block(&mut self, out: &mut Out) -> io::Result<()> {
        let Begun { offset, sum_before, keys_before } = self.block;
        let len = out.offset() - offset;
        if len == 0 {
            return Ok(());
        }
        let crc = out.sum().map(|sum| between(sum_before, sum, len));
        let number = self.blocks.len() as u32;
        let block = IndexedBlock { number, offset, len, crc, keys: self.keys - keys_before, db: self.db };
        out.write_all(&block.field())?;
        self.blocks.push(block);
        self.block = Begun { offset: out.offset(), sum_before: out.sum().unwrap_or(0), keys_before: self.keys };
        Ok(())
    }
}

/// Makes the bytes of a key and what is remembered with it.
struct EntryEncoder {
    values: Encoder,
    access: SavedAccess,
    clock: AccessClock,
}

impl EntryEncoder {
    fn new(options: &RdbOptions) -> Self {
        let values = Encoder::new(options.version, options.compression);
        Self { values, access: options.access, clock: options.clock }
    }
}

impl KeyEncoder for EntryEncoder {
    fn encode(&mut self, entry: &Entry, sink: &mut dyn Write) -> io::Result<()> {
        let value = entry.value();
        let form = self.values.form(value);
        if let Some(field) = active::field(value, form) {
            sink.write_all(&field)?;
        }
        if let Some(deadline) = entry.expiry() {
            sink.write_all(&[opcode::EXPIRE_TIME_MS])?;
            sink.write_all(&deadline.0.to_le_bytes())?;
        }
        match self.access {
            SavedAccess::Nothing => {}
            SavedAccess::Idle => {
                sink.write_all(&[opcode::IDLE])?;
                write_length(self.clock.idle_seconds(entry.clock()), sink)?;
            }
            SavedAccess::Frequency => sink.write_all(&[opcode::FREQ, self.clock.frequency(entry.clock())])?,
        }
        sink.write_all(&[form])?;
        self.values.string(entry.key(), sink)?;
        self.values.value(value, sink)
    }
}
