//! What of a damaged RDB file can be kept: its whole blocks, told by its index or, where that is lost, by the fields behind them;
//! in a file without blocks the records that can be decoded, as far as records can be told apart.
//!
//! Invariants
//! - What is kept is copied byte by byte; the file that is made has checksums of its own, an index where it had one, and the
//!   position of the old one, so that the log goes on behind it.
//! - Memory is bounded by the largest block or record.

use super::blocks::stretch_sum;
use super::checksum::sum;
use super::format::{HEADER_LEN, MAGIC, opcode, version};
use super::index::{BLOCK_DIGITS, BLOCK_FIELD_BYTES, BLOCK_NAME, BlockField, Index, IndexedBlock, write_index};
use super::reader::{Body, RdbEntry, RdbSink, Refusal, Until};
use super::records::{Record, record};
use super::{read_block, read_head};
use crate::env::DiskFile;
use crate::persist::Position;
use crate::value::Limits;
use crate::value::payload::{Input, SliceSource};
use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Write};
use std::ops::Range;

/// Read at once when records are looked for.
const CHUNK_BYTES: usize = 1 << 20;
/// Keys of what is lost that are named.
const NAMED_MAX: usize = 1000;
/// Bytes of what is lost that are looked through for names.
const LOOKED_BYTES_MAX: usize = 16 << 20;

/// What of a file is kept.
#[derive(Clone, Debug)]
pub struct Salvage {
    kept: Kept,
    pub position: Option<Position>,
    /// Keys that are kept.
    pub keys: u64,
    pub lost: Vec<LostKeys>,
    /// Where commands may follow.
    end: Option<u64>,
}

#[derive(Clone, Debug)]
enum Kept {
    Blocks {
        head: Option<IndexedBlock>,
        blocks: Vec<IndexedBlock>,
    },
    /// Stretches of whole records behind the header, and the database that each begins in.
    Records {
        header: [u8; HEADER_LEN],
        stretches: Vec<(Range<u64>, u32)>,
    },
}

/// A stretch that does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKeys {
    pub range: Range<u64>,
    /// How many keys, where that is known.
    pub keys: Option<u64>,
    /// Their names as far as they can still be read, with their databases.
    pub names: Vec<(u32, Vec<u8>)>,
    pub reason: String,
}

impl Salvage {
    /// Looks through a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(file: &dyn DiskFile, limits: &Limits) -> io::Result<Self> {
        if let Some(index) = Index::read(file)? {
            return Self::blocks(file, &index, limits);
        }
        let blocks = blocks_by_fields(file)?;
        if blocks.is_empty() { Self::records(file, limits) } else { Self::found(file, &blocks, limits) }
    }

    /// Of a file whose index is lost, from the blocks that the fields behind them prove to be whole. The last one, where the file
    /// ends inside it, is kept as far as its keys can be decoded.
    fn found(file: &dyn DiskFile, blocks: &[IndexedBlock], limits: &Limits) -> io::Result<Self> {
        let (mut head, mut kept, mut lost, mut keys) = (None, Vec::new(), Vec::new(), 0);
        let mut at = 0;
        let lost_between = |range: Range<u64>, reason: &str| -> io::Result<LostKeys> {
            let names = names_in(file, range.clone(), 0)?;
            Ok(LostKeys { range, keys: None, names, reason: reason.into() })
        };
        const NO_PROOF: &str = "no checksum proves what stands here, and the index of the file is lost";
        for block in blocks {
            if block.offset > at {
                lost.push(lost_between(at..block.offset, NO_PROOF)?);
            }
            at = block.offset + block.len + BLOCK_FIELD_BYTES;
            if block.number == 0 {
                head = Some(*block);
                continue;
            }
            match read_block(file, block, limits, &mut Seen) {
                Ok((whole, empty)) => {
                    keys += whole + empty;
                    kept.push(*block);
                }
                Err(error) => lost.push(lost_between(block.range(), &error.to_string())?),
            }
        }
        let len = file.len()?;
        let (tail, ended) = tail(file, at, limits)?;
        if let Some(block) = tail {
            keys += block.keys;
            at = block.offset + block.len;
            kept.push(block);
        }
        if at < len && !ended {
            lost.push(lost_between(at..len, "the file ends inside a block, or what follows is none")?);
        }
        if lost.is_empty() {
            let reason = "the index of the file is lost, every block of it is whole".into();
            lost.push(LostKeys { range: at..len, keys: Some(0), names: Vec::new(), reason });
        }
        Ok(Self { kept: Kept::Blocks { head, blocks: kept }, position: None, keys, lost, end: None })
    }

    fn blocks(file: &dyn DiskFile, index: &Index, limits: &Limits) -> io::Result<Self> {
        let mut salvage = Self {
            kept: Kept::Blocks { head: None, blocks: Vec::new() },
            position: index.position,
            keys: 0,
            lost: Vec::new(),
            end: None,
        };
        let mut seen = Seen;
        let head = read_head(file, index, limits, &mut seen).map(|_| index.head);
        let mut good = Vec::new();
        for block in &index.blocks {
            match read_block(file, block, limits, &mut seen) {
                Ok((keys, empty)) => {
                    salvage.keys += keys + empty;
                    good.push(*block);
                }
                Err(error) => {
                    let range = block.offset..block.offset + block.len;
                    let names = names_in(file, range.clone(), block.db)?;
                    salvage.lost.push(LostKeys { range, keys: Some(block.keys), names, reason: error.to_string() });
                }
            }
        }
        let head = match head {
            Ok(head) => Some(head),
            Err(error) => {
                let range = 0..index.head.len;
                let reason = format!("{error}; it may have held libraries of functions");
                salvage.lost.insert(0, LostKeys { range, keys: Some(0), names: Vec::new(), reason });
                None
            }
        };
        salvage.kept = Kept::Blocks { head, blocks: good };
        Ok(salvage)
    }

    fn records(file: &dyn DiskFile, limits: &Limits) -> io::Result<Self> {
        let len = file.len()?;
        let mut header = [0; HEADER_LEN];
        let shown = header.len().min(usize::try_from(len).unwrap_or(HEADER_LEN));
        file.read_exact_at(&mut header[..shown], 0)?;
        if version(&header).is_none() {
            header.copy_from_slice(&[MAGIC, b"0010"].concat());
        }
        let mut found = Records { file, len, bytes: Vec::new(), base: HEADER_LEN as u64, at: 0, db: 0 };
        let mut salvage = Self {
            kept: Kept::Records { header, stretches: Vec::new() },
            position: None,
            keys: 0,
            lost: Vec::new(),
            end: None,
        };
        // The stretch under way: where it began, in which database, and up to where its records are whole.
        let (mut stretch, mut whole) = ((found.offset(), 0), found.offset());
        let mut stretches = Vec::new();
        let rest = loop {
            match found.next()? {
                Found::Field => {}
                Found::Key { bytes, begins, db } => {
                    let mut source = SliceSource::at(bytes, begins);
                    let mut seen = Seen;
                    let read =
                        Body::new(Input::new(&mut source), limits, &mut seen).beginning(db, 0).read(Until::EndOfInput);
                    let (name, end) = (name_of(bytes), begins + bytes.len() as u64);
                    match read {
                        Ok((keys, empty)) => {
                            salvage.keys += keys + empty;
                            whole = end;
                        }
                        Err(error) => {
                            stretches.push((stretch.0..whole, stretch.1));
                            let names = name.into_iter().map(|name| (db, name)).collect();
                            let reason = error.to_string();
                            salvage.lost.push(LostKeys { range: begins..end, keys: Some(1), names, reason });
                            (stretch, whole) = ((end, db), end);
                        }
                    }
                }
                Found::End => break None,
                Found::Lost => break Some("records cannot be told apart from there on"),
            }
        };
        if rest.is_none() {
            whole = found.offset() - 1;
            // Behind the end mark stands the checksum.
            salvage.end = Some(found.offset() + 8);
        }
        stretches.push((stretch.0..whole, stretch.1));
        if let Some(reason) = rest
            && whole < len
        {
            salvage.lost.push(LostKeys { range: whole..len, keys: None, names: Vec::new(), reason: reason.into() });
        }
        stretches.retain(|(range, _)| !range.is_empty());
        salvage.kept = Kept::Records { header, stretches };
        if rest.is_none() && salvage.lost.is_empty() {
            let reason = "every key can be read, and the checksum of the file is wrong: which of them have changed cannot be told";
            salvage.lost.push(LostKeys { range: whole..len, keys: None, names: Vec::new(), reason: reason.into() });
        }
        Ok(salvage)
    }

    /// Where commands may follow the keys; nowhere where the end of the keys was not found.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Writes what is kept as a file of its own.
    ///
    /// # Errors
    /// When either file fails.
    pub fn write(&self, file: &dyn DiskFile, sink: &mut dyn Write) -> io::Result<()> {
        let mut out = Summed { sink, digest: Digest::new(CrcAlgorithm::Crc64Redis), written: 0 };
        match &self.kept {
            Kept::Blocks { head, blocks } => {
                let mut made = Vec::new();
                for (number, block) in (0..).zip(std::iter::once(head.as_ref()).chain(blocks.iter().map(Some))) {
                    let offset = out.written;
                    let made_block = match block {
                        Some(block) => {
                            copy(file, block.range(), &mut out)?;
                            IndexedBlock { number, offset, ..*block }
                        }
                        None => {
                            let header = [MAGIC, b"0010"].concat();
                            out.write_all(&header)?;
                            let crc = Some(sum(&header));
                            IndexedBlock { number, offset, len: header.len() as u64, crc, keys: 0, db: 0 }
                        }
                    };
                    out.write_all(&made_block.field())?;
                    debug_assert_eq!(out.written, offset + made_block.len + BLOCK_FIELD_BYTES);
                    made.push(made_block);
                }
                let index_at = out.written;
                write_index(&made, index_at, self.position, &mut out)?;
            }
            Kept::Records { header, stretches } => {
                out.write_all(header)?;
                for (range, db) in stretches {
                    out.write_all(&[opcode::SELECT_DB])?;
                    crate::value::payload::write_length(u64::from(*db), &mut out)?;
                    copy(file, range.clone(), &mut out)?;
                }
            }
        }
        out.write_all(&[opcode::EOF])?;
        let checksum = out.digest.finalize();
        out.write_all(&checksum.to_le_bytes())
    }
}

fn copy(file: &dyn DiskFile, range: Range<u64>, out: &mut dyn Write) -> io::Result<()> {
    let (mut at, mut chunk) = (range.start, Vec::new());
    while at < range.end {
        chunk.resize((range.end - at).min(CHUNK_BYTES as u64) as usize, 0);
        file.read_exact_at(&mut chunk, at)?;
        out.write_all(&chunk)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

struct Summed<'s> {
    sink: &'s mut dyn Write,
    digest: Digest,
    written: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_all(bytes)?;
        self.digest.update(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Takes everything and keeps nothing.
struct Seen;

impl RdbSink for Seen {
    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// The blocks that the fields behind them prove to be whole, in order, wherever they lie in the file.
fn blocks_by_fields(file: &dyn DiskFile) -> io::Result<Vec<IndexedBlock>> {
    let field = IndexedBlock { number: 0, offset: 0, len: 0, crc: None, keys: 0, db: 0 }.field();
    let front = &field[..BLOCK_NAME.len() + 2];
    let (len, mut at, mut blocks) = (file.len()?, 0, Vec::<IndexedBlock>::new());
    let mut chunk = Vec::new();
    while at < len {
        chunk.resize((len - at).min(CHUNK_BYTES as u64) as usize, 0);
        file.read_exact_at(&mut chunk, at)?;
        for found in memchr::memmem::find_iter(&chunk, front) {
            let end = at + found as u64;
            let mut bytes = vec![0; field.len()];
            if end + bytes.len() as u64 > len {
                continue;
            }
            file.read_exact_at(&mut bytes, end)?;
            let value = &bytes[bytes.len() - BLOCK_DIGITS..];
            let Some(BlockField { number, crc, keys, len }) = BlockField::decode(BLOCK_NAME, value) else { continue };
            let Some(offset) = end.checked_sub(len).filter(|_| crc != 0) else { continue };
            let block = IndexedBlock { number, offset, len, crc: Some(crc), keys, db: 0 };
            let follows = blocks.last().is_none_or(|last| last.offset + last.len + BLOCK_FIELD_BYTES <= offset);
            if follows && bytes == block.field() && stretch_sum(file, &block)? == crc {
                let Some(db) = (if number == 0 { Some(0) } else { selected_at(file, offset)? }) else { continue };
                blocks.push(IndexedBlock { db, ..block });
            }
        }
        // A field may begin at the border of two chunks.
        let step = chunk.len();
        at += if at + step as u64 >= len { step } else { step - front.len() } as u64;
    }
    Ok(blocks)
}

/// The database that a block selects, which each does first.
fn selected_at(file: &dyn DiskFile, offset: u64) -> io::Result<Option<u32>> {
    let mut head = [0; 6];
    let held = (file.len()? - offset).min(head.len() as u64) as usize;
    file.read_exact_at(&mut head[..held], offset)?;
    Ok(if let Record::SelectDb { db, .. } = record(&head[..held], 0) { Some(db) } else { None })
}

/// The keys of a last block that the file ends inside, as far as they can be decoded; whether nothing but the end of a file
/// stands there.
fn tail(file: &dyn DiskFile, from: u64, limits: &Limits) -> io::Result<(Option<IndexedBlock>, bool)> {
    let len = file.len()?;
    let Some(db) = selected_at(file, from.min(len))? else {
        let mut found = Records { file, len, bytes: Vec::new(), base: from, at: 0, db: 0 };
        return Ok(loop {
            match found.next()? {
                Found::Field => {}
                Found::End => break (None, true),
                Found::Key { .. } | Found::Lost => break (None, from >= len),
            }
        });
    };
    let mut found = Records { file, len, bytes: Vec::new(), base: from, at: 0, db };
    let (mut whole, mut keys) = (from, 0);
    loop {
        let before = found.offset();
        match found.next()? {
            Found::Field => {
                if found.is_block_field(before) {
                    return Ok((None, false));
                }
            }
            Found::Key { bytes, begins, db } => {
                let mut source = SliceSource::at(bytes, begins);
                let mut seen = Seen;
                let body = Body::new(Input::new(&mut source), limits, &mut seen).beginning(db, 0);
                let Ok((read, empty)) = body.read(Until::EndOfInput) else { break };
                keys += read + empty;
                whole = begins + bytes.len() as u64;
            }
            Found::End | Found::Lost => break,
        }
    }
    if keys == 0 {
        return Ok((None, false));
    }
    let block = IndexedBlock { number: 1, offset: from, len: whole - from, crc: None, keys, db };
    Ok((Some(IndexedBlock { crc: Some(stretch_sum(file, &block)?), ..block }), false))
}

/// Names of keys that can still be read in a stretch.
fn names_in(file: &dyn DiskFile, range: Range<u64>, mut db: u32) -> io::Result<Vec<(u32, Vec<u8>)>> {
    let mut names = Vec::new();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0).min(LOOKED_BYTES_MAX)];
    file.read_exact_at(&mut bytes, range.start)?;
    let mut at = 0;
    while let Some((end, named)) = step(&bytes, at, &mut db) {
        names.extend(named.map(|name| (db, name)).filter(|_| names.len() < NAMED_MAX));
        at = end;
    }
    Ok(names)
}

/// Behind the record that begins there, and the name of its key, if it is one.
fn step(bytes: &[u8], at: usize, db: &mut u32) -> Option<(usize, Option<Vec<u8>>)> {
    match record(bytes, at) {
        Record::Key { end } => Some((end, name_of(&bytes[at..end]))),
        Record::Field { end } => Some((end, None)),
        Record::SelectDb { end, db: selected } => {
            *db = selected;
            Some((end, None))
        }
        Record::End { .. } | Record::Short | Record::Unknown => None,
    }
}

/// The name in a key's record, what stands before it included, if it can be read.
fn name_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Record::Field { end } = record(bytes, at) {
        at = end;
    }
    let mut source = SliceSource::new(bytes.get(at + 1..)?);
    Input::new(&mut source).string("key").map(<[u8]>::to_vec).ok()
}

/// Walks records from front to end.
struct Records<'f> {
    file: &'f dyn DiskFile,
    len: u64,
    bytes: Vec<u8>,
    base: u64,
    at: usize,
    db: u32,
}

enum Found<'r> {
    /// Something that belongs to the file, or to the key that follows.
    Field,
    /// A key's record with what stands before it.
    Key {
        bytes: &'r [u8],
        begins: u64,
        db: u32,
    },
    End,
    Lost,
}

impl Records<'_> {
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Whether what was met from there on is what closes a block.
    fn is_block_field(&self, from: u64) -> bool {
        let from = from.checked_sub(self.base).and_then(|at| self.bytes.get(at as usize..self.at));
        from.is_some_and(|bytes| memchr::memmem::find(bytes, BLOCK_NAME).is_some())
    }

    fn next(&mut self) -> io::Result<Found<'_>> {
        // Where the fields that belong to the next key begin.
        let (mut from, mut look) = (self.at, self.at);
        loop {
            match record(&self.bytes, look) {
                Record::Field { end } => {
                    // What says something about the file, not about a key.
                    let of_file = !matches!(
                        self.bytes[look],
                        opcode::EXPIRE_TIME | opcode::EXPIRE_TIME_MS | opcode::IDLE | opcode::FREQ
                    );
                    look = end;
                    if of_file {
                        self.at = end;
                        return Ok(Found::Field);
                    }
                }
                Record::SelectDb { end, db } => {
                    (self.db, self.at) = (db, end);
                    return Ok(Found::Field);
                }
                Record::Key { end } => {
                    self.at = end;
                    let begins = self.base + from as u64;
                    return Ok(Found::Key { bytes: &self.bytes[from..end], begins, db: self.db });
                }
                Record::End { end } => {
                    self.at = end;
                    return Ok(Found::End);
                }
                Record::Short if self.base + (self.bytes.len() as u64) < self.len => {
                    self.bytes.drain(..from);
                    self.base += from as u64;
                    (look, from, self.at) = (look - from, 0, 0);
                    let held = self.bytes.len();
                    let left = self.len - self.base - held as u64;
                    let more = CHUNK_BYTES.max(held).min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.bytes.resize(held + more, 0);
                    self.file.read_exact_at(&mut self.bytes[held..], self.base + held as u64)?;
                }
                Record::Short | Record::Unknown => {
                    self.at = from;
                    return Ok(Found::Lost);
                }
            }
        }
    }
}
