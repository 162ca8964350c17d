//! From an RDB file to pieces: keys as the keyspace holds them, made by as many threads as are given.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::OpenError;
use super::feed::Feed;
use super::rdb::{self, Division, Loaded, RdbEntry, RdbSink, Read, Refusal};
use super::replay::Piece;
use crate::env::{DiskFile, UnixMillis};
use crate::keyspace::{AccessClock, AccessPolicy, Batch};
use crate::value::Limits;

/// Keys of a base that are handed over together when it is read from front to end.
const KEYS_PER_PIECE: usize = 512;
/// From this many bytes on, a file is read by several threads.
const PARALLEL_FROM: u64 = 4 << 20;
/// Bytes of it that are decoded together then.
const PORTION_BYTES: usize = 512 << 10;
/// No key with its value takes less in a file that is worth preparing for.
const KEY_BYTES_MIN: u64 = 16;

/// How a base is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Processors that there are for it.
    pub processors: usize,
    /// What makes the access clocks of the keys.
    pub clock: AccessClock,
    /// Takes what the base says of itself: bytes of memory that its writer used.
    pub used_memory: Arc<AtomicU64>,
    pub counted: Counted,
}

/// What nobody takes: where checksums prove that it is what was written, it is counted, and not decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    #[default]
    Nothing,
    Bases,
    Everything,
}

impl Reading {
    /// With all processors.
    pub fn to_load() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { processors, ..Self::default() }
    }

    /// For those who want to know whether data can be loaded, with all processors.
    pub fn to_check() -> Self {
        Self { counted: Counted::Everything, ..Self::to_load() }
    }

    /// For those who want to see commands only.
    pub fn for_commands() -> Self {
        Self { counted: Counted::Bases, ..Self::to_load() }
    }
}

impl Default for Reading {
    fn default() -> Self {
        let clock = AccessClock::new(AccessPolicy::Lru, UnixMillis(0));
        Self { processors: 1, clock, used_memory: Arc::default(), counted: Counted::Nothing }
    }
}

/// Loads the RDB file that a file is, or begins with.
pub fn load_base(file: &dyn DiskFile, path: &Path, limits: &Limits, feed: &mut Feed<'_>) -> Result<Loaded, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let reading = feed.reading.clone();
    if reading.counted >= Counted::Bases
        && let Some(loaded) = rdb::prove(file, limits, reading.processors).map_err(OpenError::io(path))?
    {
        return Ok(loaded);
    }
    let sink = || PieceSink::new(limits, &reading);
    let mut out = Out { feed, path, expected_max: len / KEY_BYTES_MIN, refused: None };
    let read = if len < PARALLEL_FROM {
        let mut sink = Streaming { sink: sink(), out: &mut out };
        let mut source = rdb::FileSource::new(file).map_err(OpenError::io(path))?;
        rdb::read(&mut source, limits, &mut sink).inspect(|_| sink.finish())
    } else {
        // The caller's thread decodes too.
        let division = Division { decoders: reading.processors.saturating_sub(1), portion_bytes: PORTION_BYTES };
        match rdb::read_parallel(file, limits, division, sink, |sink| out.take(sink)) {
            Ok(Read::Whole(loaded)) => Ok(loaded),
            Ok(Read::Upto(place)) => {
                let mut sink = Streaming { sink: sink(), out: &mut out };
                rdb::read_on(file, place, limits, &mut sink).inspect(|_| sink.finish())
            }
            Err(error) => Err(error),
        }
    };
    match out.refused {
        Some(refused) => Err(refused),
        None => read.map_err(|error| OpenError::BadBase { path: path.to_owned(), reason: rdb::explain(file, &error) }),
    }
}

/// Makes pieces of what a file holds.
struct PieceSink {
    clock: AccessClock,
    used_memory: Arc<AtomicU64>,
    db: u32,
    batch: Batch,
    pieces: Vec<Piece>,
}

impl PieceSink {
    fn new(limits: &Limits, reading: &Reading) -> Self {
        let used_memory = Arc::clone(&reading.used_memory);
        Self { clock: reading.clock, used_memory, db: 0, batch: Batch::new(limits.hash_seed), pieces: Vec::new() }
    }

    fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            self.pieces.push(Piece::Keys { db: self.db, batch: self.batch.take() });
        }
    }
}

impl RdbSink for PieceSink {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        if entry.db != self.db {
            self.end_batch();
            self.db = entry.db;
        }
        self.batch.push(entry.into_entry(self.clock));
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name == b"used-mem"
            && let Some(bytes) = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok())
        {
            self.used_memory.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn left_out(&mut self, what: &str) {
        tracing::warn!("Left out is {what}");
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.end_batch();
        self.pieces.push(Piece::Library(text.to_vec()));
        Ok(())
    }

    fn sizes(&mut self, db: u32, keys: u64, _expiries: u64) {
        self.end_batch();
        self.pieces.push(Piece::Expected { db, keys });
    }
}

/// Where the pieces go.
struct Out<'o, 'r> {
    feed: &'o mut Feed<'r>,
    path: &'o Path,
    /// For so many keys more the file is large enough.
    expected_max: u64,
    /// Why the applier took no more.
    refused: Option<OpenError>,
}

impl Out<'_, '_> {
    fn take(&mut self, mut sink: PieceSink) -> Result<(), Refusal> {
        sink.end_batch();
        self.give(sink.pieces)
    }

    fn give(&mut self, pieces: Vec<Piece>) -> Result<(), Refusal> {
        for mut piece in pieces {
            if let Piece::Expected { keys, .. } = &mut piece {
                *keys = self.expected_max.min(*keys);
                self.expected_max -= *keys;
            }
            self.feed.give(self.path, 0, piece).map_err(|refused| {
                let reason = Refusal::from(refused.to_string());
                self.refused = Some(refused);
                reason
            })?;
        }
        Ok(())
    }
}

/// Hands pieces over while a file is being read.
struct Streaming<'s, 'o, 'r> {
    sink: PieceSink,
    out: &'s mut Out<'o, 'r>,
}

impl Streaming<'_, '_, '_> {
    fn hand_over(&mut self) -> Result<(), Refusal> {
        self.out.give(std::mem::take(&mut self.sink.pieces))
    }

    /// Hands over the rest; whoever refuses it has said so ([`Out::refused`]).
    fn finish(mut self) {
        self.sink.end_batch();
        let _ = self.hand_over();
    }
}

impl RdbSink for Streaming<'_, '_, '_> {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        self.sink.entry(entry)?;
        if self.sink.batch.len() >= KEYS_PER_PIECE {
            self.sink.end_batch();
        }
        self.hand_over()
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.sink.library(text)?;
        self.hand_over()
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.sink.aux(name, value)
    }

    fn sizes(&mut self, db: u32, keys: u64, expiries: u64) {
        self.sink.sizes(db, keys, expiries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::sim::SimDisk;
    use crate::env::{Disk, OpenMode};
    use crate::persist::Discard;

    /// INFO tells it while a file is being loaded; a file by stock says it as a number.
    #[test]
    fn what_its_writer_used_is_passed_on() {
        for (said, expected) in
            [(&b"\x0812345678"[..], 12_345_678), (b"\xc2\x40\xe2\x01\x00", 123_456), (b"\x03few", 7)]
        {
            let bytes = [b"REDIS0010\xfa\x08used-mem", said, &[0xff], &[0; 8]].concat();
            let file = SimDisk::new().open(Path::new("/dump.rdb"), OpenMode::CreateNew).expect("a file");
            file.write_all_at(&bytes, 0).expect("written");
            let reading = Reading::default();
            reading.used_memory.store(7, Ordering::Relaxed);
            let mut discard = Discard;
            let mut feed = Feed::direct(&mut discard, reading.clone());
            load_base(&*file, Path::new("/dump.rdb"), &Limits::default(), &mut feed).expect("loads");
            assert_eq!(reading.used_memory.load(Ordering::Relaxed), expected);
        }
    }
}
