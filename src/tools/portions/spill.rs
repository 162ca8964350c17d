//! What one pass over a data set has found, in a file without a name, sorted by the portions of its keys: each can be loaded by
//! itself, without reading what is of the others.
//!
//! Invariants
//! - The file has no name while something is in it: nothing is left behind, however the tool ends.
//! - A portion gets its keys and commands in the order in which they were found. Commands that name no key (FLUSHALL,
//!   SWAPDB) go to every portion, but for the ends of transactions, which mean nothing where they are replayed.
//! - In memory are a chunk of each portion, and where the others lie.

use super::Parts;
use crate::env::{Disk, DiskFile, OpenMode, UnixMillis};
use crate::keyspace::{Batch, Entry};
use crate::persist::{Block, Piece, Replay};
use crate::tools::dataset::block_of;
use crate::value::Limits;
use crate::value::payload::{DecodeError, Encoder, Input, SliceSource, decode_object};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A portion's chunk goes to the file when it has reached so many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Keys that are handed over together.
const KEYS_PER_PIECE: usize = 512;
/// The encoding that keeps everything of a value.
const VERSION: u16 = 11;
/// Files of that name may have been left by something that was killed between making one and removing its name.
const NAMES: u32 = 1000;

const KEY: u8 = 1;
const LIBRARY: u8 = 2;
const COMMAND: u8 = 3;

/// Where drafts without a name may lie.
#[derive(Clone)]
pub struct Scratch {
    pub disk: Arc<dyn Disk>,
    pub directory: PathBuf,
}

impl Scratch {
    /// A file without a name.
    fn file(&self) -> io::Result<Box<dyn DiskFile>> {
        for number in 0..NAMES {
            let path = self.directory.join(format!(".graven-portions-{number}.tmp"));
            match self.disk.open(&path, OpenMode::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    self.disk.remove(&path)?;
                    return Ok(file);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// What is of one portion.
#[derive(Default)]
struct Chain {
    /// Where its chunks lie, in order.
    chunks: Vec<Range<u64>>,
    /// What follows them.
    held: Vec<u8>,
}

/// See the module's header.
pub struct Spill {
    file: Box<dyn DiskFile>,
    chains: Vec<Chain>,
    end: u64,
}

/// Why a portion cannot be loaded.
pub enum Unloaded {
    Io(io::Error),
    /// It does not apply: nor would the whole.
    Refused,
}

impl Spill {
    fn chain(&mut self, portion: u64) -> &mut Vec<u8> {
        &mut self.chains[portion as usize].held
    }

    /// A record of a portion has ended.
    fn ended(&mut self, portion: u64) -> io::Result<()> {
        let Chain { chunks, held } = &mut self.chains[portion as usize];
        if held.len() >= CHUNK_BYTES {
            self.file.write_all_at(held, self.end)?;
            chunks.push(self.end..self.end + held.len() as u64);
            self.end += held.len() as u64;
            held.clear();
            held.shrink_to(2 * CHUNK_BYTES);
        }
        Ok(())
    }

    /// Hands everything of a portion over.
    pub fn load(&self, portion: u64, limits: &Limits, into: &mut dyn Replay) -> Result<(), Unloaded> {
        let Chain { chunks, held } = &self.chains[portion as usize];
        let mut unpacked = Unpacked { limits, into, db: None, batch: Batch::new(limits.hash_seed), of: 0 };
        let mut bytes = Vec::new();
        for chunk in chunks {
            bytes.resize((chunk.end - chunk.start) as usize, 0);
            self.file.read_exact_at(&mut bytes, chunk.start).map_err(Unloaded::Io)?;
            unpacked.records(&bytes)?;
        }
        unpacked.records(held)?;
        unpacked.hand_over_keys()
    }
}

/// Sorts what a data set consists of.
pub struct Spilling<'s> {
    parts: &'s Parts,
    spill: Spill,
    encoder: Encoder,
    db: u32,
    /// Why the file takes no more.
    pub failed: Option<io::Error>,
}

impl<'s> Spilling<'s> {
    pub fn new(parts: &'s Parts, scratch: &Scratch) -> io::Result<Self> {
        let chains = (0..parts.count).map(|_| Chain::default()).collect();
        let spill = Spill { file: scratch.file()?, chains, end: 0 };
        Ok(Self { parts, spill, encoder: Encoder::new(VERSION, false), db: 0, failed: None })
    }

    pub fn finish(self) -> Spill {
        self.spill
    }

    fn key(&mut self, db: u32, entry: &Entry) -> io::Result<()> {
        let portion = self.parts.part_of(entry.key());
        let held = &mut self.spill.chains[portion as usize].held;
        let (value, expiry) = (entry.value(), entry.expiry());
        held.push(KEY);
        held.extend_from_slice(&db.to_le_bytes());
        held.push(u8::from(expiry.is_some()));
        held.extend_from_slice(&expiry.unwrap_or(UnixMillis(0)).0.to_le_bytes());
        put(held, entry.key());
        held.push(self.encoder.form(value));
        self.encoder.value(value, held)?;
        self.spill.ended(portion)
    }

    fn commands(&mut self, block: &Block) -> io::Result<()> {
        let mut words = Vec::new();
        for command in 0..block.len() {
            block.fill(command, &mut words);
            let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
            if is(b"multi") || is(b"exec") {
                continue;
            }
            if is(b"select") && words.len() == 2 {
                // One that cannot be selected is refused by whoever replays what follows.
                let db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok());
                self.db = db.unwrap_or(u32::MAX);
                continue;
            }
            let of = self.parts.of_command(&words);
            match &of[..] {
                [] => (0..self.parts.count).try_for_each(|portion| self.command(portion, block.time, &words))?,
                portions => portions.iter().try_for_each(|portion| self.command(*portion, block.time, &words))?,
            }
        }
        Ok(())
    }

    fn command(&mut self, portion: u64, time: Option<UnixMillis>, words: &[&[u8]]) -> io::Result<()> {
        let db = self.db;
        let held = self.spill.chain(portion);
        held.push(COMMAND);
        held.extend_from_slice(&db.to_le_bytes());
        held.push(u8::from(time.is_some()));
        held.extend_from_slice(&time.unwrap_or(UnixMillis(0)).0.to_le_bytes());
        held.extend_from_slice(&(words.len() as u32).to_le_bytes());
        words.iter().for_each(|word| put(held, word));
        self.spill.ended(portion)
    }
}

impl Replay for Spilling<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        let spilled = match piece {
            Piece::FileBegins => {
                self.db = 0;
                Ok(())
            }
            Piece::Expected { .. } => Ok(()),
            Piece::Keys { db, batch } => {
                self.db = db;
                batch.entries().try_for_each(|entry| self.key(db, entry))
            }
            Piece::Library(text) => {
                let held = self.spill.chain(0);
                held.push(LIBRARY);
                put(held, &text);
                self.spill.ended(0)
            }
            Piece::Commands(block) => self.commands(&block),
        };
        spilled.map_err(|error| {
            let reason = error.to_string();
            self.failed = Some(error);
            reason
        })
    }
}

fn put(held: &mut Vec<u8>, bytes: &[u8]) {
    held.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    held.extend_from_slice(bytes);
}

/// Makes pieces of records again.
struct Unpacked<'u> {
    limits: &'u Limits,
    into: &'u mut dyn Replay,
    /// The database that is selected.
    db: Option<u32>,
    /// Keys that were not handed over yet, and their database.
    batch: Batch,
    of: u32,
}

/// A command in a chunk.
struct Found {
    db: u32,
    time: Option<UnixMillis>,
    words: Vec<Range<usize>>,
}

impl Unpacked<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), Unloaded> {
        self.into.piece(piece).map_err(|_| Unloaded::Refused)
    }

    fn hand_over_keys(&mut self) -> Result<(), Unloaded> {
        if self.batch.is_empty() {
            return Ok(());
        }
        // Keys select their database.
        self.db = None;
        let piece = Piece::Keys { db: self.of, batch: self.batch.take() };
        self.piece(piece)
    }

    fn records(&mut self, chunk: &[u8]) -> Result<(), Unloaded> {
        let mut source = SliceSource::new(chunk);
        let mut input = Input::new(&mut source);
        let mut commands: Vec<Found> = Vec::new();
        while input.remaining() > 0 {
            let kind = input.byte("kind").map_err(lost)?;
            if kind != COMMAND {
                self.hand_over(chunk, &mut commands)?;
            }
            match kind {
                KEY => self.key(&mut input)?,
                LIBRARY => {
                    let text = field(&mut input).map_err(lost)?;
                    self.hand_over_keys()?;
                    self.piece(Piece::Library(chunk[text].to_vec()))?;
                }
                _ => {
                    let found = command(&mut input).map_err(lost)?;
                    let alike = |before: &Found| (before.db, before.time) == (found.db, found.time);
                    if !commands.last().is_none_or(alike) {
                        self.hand_over(chunk, &mut commands)?;
                    }
                    commands.push(found);
                }
            }
            if self.batch.len() >= KEYS_PER_PIECE {
                self.hand_over_keys()?;
            }
        }
        self.hand_over(chunk, &mut commands)
    }

    fn key(&mut self, input: &mut Input<'_>) -> Result<(), Unloaded> {
        let db = u32::from_le_bytes(input.array("database").map_err(lost)?);
        if db != self.of {
            self.hand_over_keys()?;
            self.of = db;
        }
        let mut entry = || -> Result<Option<Entry>, DecodeError> {
            let expiry = moment(input)?;
            let len = u64::from_le_bytes(input.array("length of the key")?);
            let key = input.bytes(len, "key")?.to_vec();
            let form = input.byte("form of the value")?;
            let value = decode_object(input, form, self.limits)?;
            Ok(value.map(|value| Entry::new(&key, value, expiry, 0)))
        };
        if let Some(entry) = entry().map_err(lost)? {
            self.batch.push(entry);
        }
        Ok(())
    }

    /// Hands over what was found one behind the other, of one time and database.
    fn hand_over(&mut self, chunk: &[u8], commands: &mut Vec<Found>) -> Result<(), Unloaded> {
        let (Some(first), Some(last)) = (commands.first(), commands.last()) else { return Ok(()) };
        self.hand_over_keys()?;
        if self.db != Some(first.db) {
            self.db = Some(first.db);
            let db = first.db.to_string();
            self.piece(Piece::Commands(block_of(&[&[b"select", db.as_bytes()]])))?;
        }
        let from = first.words.first().map_or(0, |word| word.start);
        let to = last.words.last().map_or(from, |word| word.end);
        let mut block = Block::over(chunk[from..to].to_vec());
        block.time = first.time;
        for Found { words, .. } in commands.drain(..) {
            block.push(words.into_iter().map(|word| word.start - from..word.end - from));
        }
        self.piece(Piece::Commands(block))
    }
}

/// What was written does not read back.
fn lost(error: DecodeError) -> Unloaded {
    Unloaded::Io(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

fn moment(input: &mut Input<'_>) -> Result<Option<UnixMillis>, DecodeError> {
    let is_there = input.byte("whether there is a time")? == 1;
    let ms = i64::from_le_bytes(input.array("time")?);
    Ok(is_there.then_some(UnixMillis(ms)))
}

/// Where some bytes lie.
fn field(input: &mut Input<'_>) -> Result<Range<usize>, DecodeError> {
    let len = u64::from_le_bytes(input.array("length")?);
    let from = input.offset() as usize;
    input.bytes(len, "bytes")?;
    Ok(from..from + len as usize)
}

fn command(input: &mut Input<'_>) -> Result<Found, DecodeError> {
    let db = u32::from_le_bytes(input.array("database")?);
    let time = moment(input)?;
    let count = u32::from_le_bytes(input.array("number of words")?);
    let words = (0..count).map(|_| field(input)).collect::<Result<_, _>>()?;
    Ok(Found { db, time, words })
}
