//! Writes a data set at one moment as an RDB file: a draft beside its place, which takes that place when it is whole.
//!
//! A state machine: `step` does a bounded piece of work; a thread drives it in the server, a seed in a test. Values go
//! out in pieces, so memory stays within a few megabytes whatever they hold.
//!
//! Invariants
//! - The file in place is touched by one rename only, of a draft that is whole and synced: after a crash the old content
//!   or the new one is there.
//! - An error leaves the file in place as it was; the draft is removed.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

use super::format::{MAGIC, opcode};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::keyspace::{AccessClock, Entry, Snapshot};
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
const BUFFER_BYTES: usize = 256 * 1024;

/// See the module's header.
pub struct RdbWriter {
    disk: Arc<dyn Disk>,
    options: RdbOptions,
    snapshot: Snapshot,
    encoder: Encoder,
    draft: PathBuf,
    out: Option<Out>,
    stage: Stage,
    keys: u64,
    size: u64,
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
        Ok(Stage::Keys { db: 0, portion: 0 })
    }

    fn write_keys(&mut self, db: usize, portion: usize) -> io::Result<Stage> {
        let Self { snapshot, encoder, options, out: Some(out), .. } = self else { return Ok(Stage::Done) };
        let Some(database) = snapshot.databases().get(db) else { return Ok(Stage::End) };
        if database.is_empty() {
            return Ok(Stage::Keys { db: db + 1, portion: 0 });
        }
        if portion == 0 {
            out.write_all(&[opcode::SELECT_DB])?;
            write_length(db as u64, out)?;
            out.write_all(&[opcode::RESIZE_DB])?;
            write_length(database.len() as u64, out)?;
            write_length(database.expires_len() as u64, out)?;
        }
        let until = database.portions().min(portion + PORTIONS_PER_STEP);
        for entry in (portion..until).flat_map(|portion| database.portion(portion)) {
            write_entry(entry, encoder, options, out)?;
            self.keys += 1;
        }
        let more = until < database.portions();
        Ok(if more { Stage::Keys { db, portion: until } } else { Stage::Keys { db: db + 1, portion: 0 } })
    }

    fn end(&mut self) -> io::Result<Stage> {
        let Some(out) = &mut self.out else { return Ok(Stage::Done) };
        out.write_all(&[opcode::EOF])?;
        let checksum = out.checksum()?;
        out.write_all(&checksum.to_le_bytes())?;
        out.drain()?;
        out.file.sync_all()?;
        self.size = out.written;
        Ok(Stage::Place)
    }

    fn place(&mut self) -> io::Result<Stage> {
        self.disk.rename(&self.draft, &self.options.path)?;
        self.disk.sync_dir(self.options.path.parent().unwrap_or(Path::new(".")))?;
        Ok(Stage::Done)
    }
}

fn write_entry(entry: &Entry, encoder: &mut Encoder, options: &RdbOptions, out: &mut Out) -> io::Result<()> {
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
    let value = entry.value();
    out.write_all(&[encoder.form(value)])?;
    encoder.string(entry.key(), out)?;
    encoder.value(value, out)
}

/// The draft behind a buffer, with the checksum of what went into it.
struct Out {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    sync_every: Option<u64>,
    digest: Option<Digest>,
}

impl Out {
    fn new(file: Box<dyn DiskFile>, options: &RdbOptions) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            synced: 0,
            sync_every: options.sync_every,
            digest: options.checksum.then(|| Digest::new(CrcAlgorithm::Crc64Redis)),
        }
    }

    /// CRC-64 of all bytes so far; 0 when none is kept.
    fn checksum(&mut self) -> io::Result<u64> {
        self.drain()?;
        Ok(self.digest.as_ref().map_or(0, Digest::finalize))
    }

    fn drain(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let passed = self.pass(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        passed
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
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
