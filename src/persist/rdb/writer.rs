//! Writes a data set at one moment as an RDB file: a draft beside its place, which takes that place when it is whole.
//!
//! A state machine: `step` does a bounded piece of work; a thread drives it in the server, a seed in a test. Values go
//! out in pieces, so memory stays within a few megabytes whatever they hold. The keys form blocks that can be read one by
//! one, located by an index at the end (see `index`).
//!
//! Invariants
//! - The file in place is touched by one rename only, of a draft that is whole and synced: after a crash the old content
//!   or the new one is there.
//! - An error leaves the file in place as it was; the draft is removed.

mod out;
#[cfg(test)]
pub(super) mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::out::Out;
use super::active;
use super::checksum::between;
use super::format::{MAGIC, opcode};
use super::index::{IndexedBlock, write_index};
use crate::env::{Disk, OpenMode};
use crate::keyspace::{AccessClock, Entry, Snapshot};
use crate::persist::Position;
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
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {error}", path.display())]
pub struct SaveError {
    pub path: PathBuf,
    pub doing: &'static str,
    pub error: io::Error,
}

/// What `step` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveStep {
    Worked,
    /// The file is in place, durably.
    Done,
}

/// Portions of the keyspace in one step; each holds about a dozen keys.
const PORTIONS_PER_STEP: usize = 64;
/// Sizes of blocks near the beginning of a file, and from [`LARGE_FROM`] on.
const BLOCK_BYTES: u64 = 1 << 20;
const BLOCK_BYTES_LARGE: u64 = 4 << 20;
const LARGE_FROM: u64 = 1 << 30;

/// See the module's header.
pub struct RdbWriter {
    disk: Arc<dyn Disk>,
    options: RdbOptions,
    snapshot: Snapshot,
    encoder: Encoder,
    draft: PathBuf,
    out: Option<Out>,
    stage: Stage,
    /// Blocks that are closed, the head first, and where the one under way began.
    blocks: Vec<IndexedBlock>,
    block: Begun,
    keys: u64,
    size: u64,
}

/// Where a block began.
#[derive(Clone, Copy, Default)]
struct Begun {
    offset: u64,
    sum_before: u64,
    keys_before: u64,
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    Keys { db: usize, portion: usize },
    End,
    Place,
    Done,
}

impl RdbWriter {
    pub fn new(disk: Arc<dyn Disk>, snapshot: Snapshot, options: RdbOptions) -> Self {
        Self {
            disk,
            encoder: Encoder::new(options.version, options.compression),
            draft: options.path.with_added_extension("tmp"),
            options,
            snapshot,
            out: None,
            stage: Stage::Begin,
            blocks: Vec::new(),
            block: Begun::default(),
            keys: 0,
            size: 0,
        }
    }

    /// Keys written so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes of the file, when it is in place.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    /// What failed; the writer has ended then.
    pub fn step(&mut self) -> Result<SaveStep, SaveError> {
        let (doing, path, worked) = match self.stage {
            Stage::Begin => ("writing", self.draft.clone(), self.begin()),
            Stage::Keys { db, portion } => ("writing", self.draft.clone(), self.write_keys(db, portion)),
            Stage::End => ("finishing", self.draft.clone(), self.end()),
            Stage::Place => ("replacing", self.options.path.clone(), self.place()),
            Stage::Done => return Ok(SaveStep::Done),
        };
        match worked {
            Ok(stage) => self.stage = stage,
            Err(error) => {
                self.abandon();
                return Err(SaveError { path, doing, error });
            }
        }
        Ok(if matches!(self.stage, Stage::Done) { SaveStep::Done } else { SaveStep::Worked })
    }

    /// Gives the file up: what was there stays.
    pub fn abandon(&mut self) {
        let begun = self.out.take().is_some();
        if begun && !matches!(self.stage, Stage::Done) {
            // A draft that stays behind is overwritten by the next save.
            let _ = self.disk.remove(&self.draft);
        }
        self.stage = Stage::Done;
    }

    fn begin(&mut self) -> io::Result<Stage> {
        let file = self.disk.open(&self.draft, OpenMode::Truncate)?;
        let out = self.out.insert(Out::new(file, &self.options));
        out.write_all(MAGIC)?;
        out.write_all(format!("{:04}", self.options.version).as_bytes())?;
        for (name, value) in &self.options.fields {
            out.write_all(&[opcode::AUX])?;
            self.encoder.string(name.as_bytes(), out)?;
            self.encoder.string(value.as_bytes(), out)?;
        }
        for library in &self.options.libraries {
            out.write_all(&[opcode::FUNCTION_2])?;
            self.encoder.string(library, out)?;
        }
        self.close_block(0)?;
        Ok(Stage::Keys { db: 0, portion: 0 })
    }

    fn write_keys(&mut self, db: usize, portion: usize) -> io::Result<Stage> {
        // A handle of its own, since blocks are closed on the way.
        let Some(database) = self.snapshot.databases().get(db).cloned() else { return Ok(Stage::End) };
        if database.is_empty() {
            return Ok(Stage::Keys { db: db + 1, portion: 0 });
        }
        let until = database.portions().min(portion + PORTIONS_PER_STEP);
        for entry in (portion..until).flat_map(|portion| database.portion(portion)) {
            let Self { encoder, options, out: Some(out), .. } = self else { return Ok(Stage::Done) };
            if out.offset() == self.block.offset {
                out.write_all(&[opcode::SELECT_DB])?;
                write_length(db as u64, out)?;
                if self.blocks.last().is_none_or(|block| block.keys == 0 || block.db as usize != db) {
                    out.write_all(&[opcode::RESIZE_DB])?;
                    write_length(database.len() as u64, out)?;
                    write_length(database.expires_len() as u64, out)?;
                }
            }
            write_entry(entry, encoder, options, out)?;
            self.keys += 1;
            if out.offset() - self.block.offset >= self.block_bytes() {
                self.close_block(db as u32)?;
            }
        }
        if until < database.portions() {
            return Ok(Stage::Keys { db, portion: until });
        }
        self.close_block(db as u32)?;
        Ok(Stage::Keys { db: db + 1, portion: 0 })
    }

    fn block_bytes(&self) -> u64 {
        let usual = if self.block.offset < LARGE_FROM { BLOCK_BYTES } else { BLOCK_BYTES_LARGE };
        self.options.block_bytes.unwrap_or(usual)
    }

    /// Ends the block under way, if it holds anything.
    fn close_block(&mut self, db: u32) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let Begun { offset, sum_before, keys_before } = self.block;
        let len = out.offset() - offset;
        if len == 0 {
            return Ok(());
        }
        let crc = out.sum().map(|sum| between(sum_before, sum, len));
        let number = self.blocks.len() as u32;
        let block = IndexedBlock { number, offset, len, crc, keys: self.keys - keys_before, db };
        out.write_all(&block.field())?;
        self.blocks.push(block);
        self.block = Begun { offset: out.offset(), sum_before: out.sum().unwrap_or(0), keys_before: self.keys };
        Ok(())
    }

    fn end(&mut self) -> io::Result<Stage> {
        let Some(out) = &mut self.out else { return Ok(Stage::Done) };
        let index_at = out.offset();
        write_index(&self.blocks, index_at, self.options.position, out)?;
        out.write_all(&[opcode::EOF])?;
        let checksum = out.sum().unwrap_or(0);
        out.write_all(&checksum.to_le_bytes())?;
        self.size = out.finish()?;
        Ok(Stage::Place)
    }

    fn place(&mut self) -> io::Result<Stage> {
        self.disk.rename(&self.draft, &self.options.path)?;
        self.disk.sync_dir(self.options.path.parent().unwrap_or(Path::new(".")))?;
        Ok(Stage::Done)
    }
}

fn write_entry(entry: &Entry, encoder: &mut Encoder, options: &RdbOptions, out: &mut Out) -> io::Result<()> {
    let value = entry.value();
    if let Some(field) = active::field(value, encoder.form(value)) {
        out.write_all(&field)?;
    }
    if let Some(deadline) = entry.expiry() {
        out.write_all(&[opcode::EXPIRE_TIME_MS])?;
        out.write_all(&deadline.0.to_le_bytes())?;
    }
    match options.access {
        SavedAccess::Nothing => {}
        SavedAccess::Idle => {
            out.write_all(&[opcode::IDLE])?;
            write_length(options.clock.idle_seconds(entry.clock()), out)?;
        }
        SavedAccess::Frequency => out.write_all(&[opcode::FREQ, options.clock.frequency(entry.clock())])?,
    }
    out.write_all(&[encoder.form(value)])?;
    encoder.string(entry.key(), out)?;
    encoder.value(value, out)
}
