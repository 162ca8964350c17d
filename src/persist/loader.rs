//! Loads bases and stock files: RDB, RESP, or RDB followed by RESP.
//!
//! Invariant: of a file by stock nothing is believed beyond stock's own rules: whole commands count, a transaction
//! counts when its EXEC is there, a command cut off at the end of the last file may be dropped. Of a base of commands by us
//! nothing is handed over before the checksum line behind it was right.

use super::base::load_base;
use super::feed::Feed;
use super::rdb::{self, RdbEntry, RdbSink, Refusal};
use super::replay::{Block, Piece};
use super::resp_scan::{Scanned, Words, scan};
use super::sums::{Meaning, Sums};
use super::{Damage, DamageKind, Lsn, OpenError};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::value::Limits;
use std::path::Path;

/// Bytes of commands that are handed over together.
const BLOCK_BYTES: usize = 256 << 10;

/// What a plain file held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainLoaded {
    pub keys: u64,
    pub commands: u64,
    /// Bytes of the commands that count, comments left out.
    pub command_bytes: u64,
    /// Offset behind the last command that counts.
    pub end: u64,
    /// Why the file does not end there.
    pub rest: Option<DamageKind>,
    /// Database selected at the end.
    pub db: u32,
    /// Bytes of a transaction that stock's seam ended: they do not count, and stock would not load what follows them.
    pub dropped: Option<(u64, u64)>,
    /// Where the last checksum line of a base of commands ends.
    pub closed: Option<u64>,
}

/// Loads a base or a stock file from its beginning.
pub fn load_plain(
    disk: &dyn Disk,
    path: &Path,
    limits: &Limits,
    feed: &mut Feed<'_>,
) -> Result<PlainLoaded, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    let len = file.len().map_err(OpenError::io(path))?;
    let mut head = [0; 9];
    let shown = (len as usize).min(head.len());
    file.read_exact_at(&mut head[..shown], 0).map_err(OpenError::io(path))?;
    feed.give(path, 0, Piece::FileBegins)?;
    let (mut keys, mut start) = (0, 0);
    if rdb::is_rdb(&head[..shown]) {
        let loaded = load_base(&*file, path, limits, feed)?;
        keys = loaded.keys;
        start = loaded.end;
    }
    let mut loaded = load_commands(&*file, path, start, len, Begins::Stock, feed)?;
    loaded.keys = keys;
    Ok(loaded)
}

/// Whose bytes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// A file, or the rest of one, that stock wrote.
    Stock,
    /// A torn frame of ours, up to stock's seam. Stock cuts between commands, also inside MULTI, never executes what it
    /// left of such a transaction, and writes on behind it: the seam ends a transaction that it meets open.
    TornFrame,
}

/// Loads stock commands from an offset to the end of a file.
pub fn load_commands(
    file: &dyn DiskFile,
    path: &Path,
    start: u64,
    len: u64,
    begins: Begins,
    feed: &mut Feed<'_>,
) -> Result<PlainLoaded, OpenError> {
    let mut loaded = PlainLoaded { end: start, ..PlainLoaded::default() };
    let mut buffer: Vec<u8> = Vec::new();
    // Offset of the buffer's first byte, and how much of it was looked at.
    let (mut base, mut at) = (start, 0);
    let mut block = Block::default();
    let mut transaction: Option<Vec<Words>> = None;
    let mut before_seam = begins == Begins::TornFrame;
    let mut sums = (start == 0).then(Sums::begin);
    // Bytes of the transaction under way.
    let mut queued_bytes = 0;
    loop {
        match scan(&buffer, at) {
            Scanned::Comment { end } => {
                let meaning = sums.as_mut().map_or(Meaning::Comment, |sums| sums.comment(&buffer, base, at, end));
                if meaning == Meaning::Wrong {
                    loaded.rest = Some(DamageKind::BadSum);
                    break;
                }
                at = end;
                if transaction.is_none() {
                    loaded.end = base + at as u64;
                    if meaning == Meaning::Verified {
                        hand_over(&mut block, &buffer[..at], path, loaded.end, feed)?;
                        buffer.drain(..at);
                        base += at as u64;
                        at = 0;
                    }
                }
            }
            Scanned::Command { words, end } => {
                let name = &buffer[words[0].clone()];
                if before_seam && name == b"SELECT" {
                    before_seam = false;
                    if transaction.take().is_some() {
                        loaded.dropped = Some((loaded.end, base + at as u64));
                    }
                    queued_bytes = 0;
                }
                let (multi, exec) = (name.eq_ignore_ascii_case(b"multi"), name.eq_ignore_ascii_case(b"exec"));
                if name.eq_ignore_ascii_case(b"select") && words.len() == 2 {
                    let index = std::str::from_utf8(&buffer[words[1].clone()]).ok().and_then(|text| text.parse().ok());
                    loaded.db = index.unwrap_or(loaded.db);
                }
                queued_bytes += (end - at) as u64;
                at = end;
                match &mut transaction {
                    None if multi => transaction = Some(Vec::new()),
                    Some(queued) if exec => {
                        for words in queued.drain(..) {
                            block.push(words);
                            loaded.commands += 1;
                        }
                        transaction = None;
                    }
                    Some(queued) => queued.push(words),
                    None => {
                        block.push(words);
                        loaded.commands += 1;
                    }
                }
                if transaction.is_none() {
                    loaded.end = base + at as u64;
                    loaded.command_bytes += std::mem::take(&mut queued_bytes);
                }
            }
            Scanned::Garbage => {
                loaded.rest = Some(DamageKind::BadCommand);
                break;
            }
            Scanned::Incomplete => {
                // A transaction under way keeps its bytes, and so does what is not verified; otherwise what was looked at is
                // handed over.
                let holds = sums.as_ref().is_some_and(Sums::holds);
                if transaction.is_none() && !holds {
                    if let Some(sums) = &mut sums {
                        sums.take(&buffer, base, base + at as u64);
                    }
                    hand_over(&mut block, &buffer[..at], path, loaded.end, feed)?;
                    buffer.drain(..at);
                    base += at as u64;
                    at = 0;
                }
                let held = base + buffer.len() as u64;
                if held >= len {
                    let ends_whole = transaction.is_none() && at == buffer.len();
                    loaded.rest = if holds {
                        Some(DamageKind::NoLastSum)
                    } else {
                        (!ends_whole).then_some(DamageKind::ShortCommand)
                    };
                    break;
                }
                let more = (BLOCK_BYTES.max(buffer.len())).min((len - held) as usize);
                let from = buffer.len();
                buffer.resize(from + more, 0);
                file.read_exact_at(&mut buffer[from..], held).map_err(OpenError::io(path))?;
            }
        }
    }
    if let Some(sums) = sums.filter(|sums| sums.holds() || sums.is_closed()) {
        if sums.holds() {
            // Where a command cannot be read, one before it may have another length than it had.
            if loaded.rest == Some(DamageKind::BadCommand) {
                loaded.rest = Some(DamageKind::BadSum);
            }
            loaded.end = sums.verified();
            return Ok(loaded);
        }
        loaded.closed = Some(sums.verified());
    }
    hand_over(&mut block, &buffer, path, loaded.end, feed)?;
    Ok(loaded)
}

fn hand_over(block: &mut Block, bytes: &[u8], path: &Path, offset: u64, feed: &mut Feed<'_>) -> Result<(), OpenError> {
    if block.is_empty() {
        return Ok(());
    }
    let mut full = std::mem::take(block);
    full.bytes = bytes.to_vec();
    feed.give(path, offset, Piece::Commands(full))
}

/// The commands of a verified frame; the reason when they do not parse, which a frame of ours never gives.
pub fn frame_block(payload: &[u8], db: &mut u32) -> Result<Block, usize> {
    let mut block = Block::over(payload.to_vec());
    let mut at = 0;
    while at < payload.len() {
        match scan(payload, at) {
            Scanned::Command { words, end } => {
                if payload[words[0].clone()].eq_ignore_ascii_case(b"select") && words.len() == 2 {
                    let index = std::str::from_utf8(&payload[words[1].clone()]).ok().and_then(|text| text.parse().ok());
                    *db = index.unwrap_or(*db);
                }
                block.push(words);
                at = end;
            }
            Scanned::Comment { end } => at = end,
            Scanned::Incomplete | Scanned::Garbage => return Err(at),
        }
    }
    Ok(block)
}

/// Whether whole commands follow from an offset of a file on, the first of them stock's seam: an upper-case SELECT, which
/// we never write.
pub fn stock_seam(bytes: &[u8]) -> bool {
    let mut at = 0;
    loop {
        match scan(bytes, at) {
            Scanned::Command { words, end } => {
                if &bytes[words[0].clone()] == b"SELECT" {
                    return true;
                }
                at = end;
            }
            Scanned::Comment { end } => at = end,
            Scanned::Incomplete | Scanned::Garbage => return false,
        }
    }
}

/// Damage in a plain file.
pub fn plain_damage(path: &Path, loaded: &PlainLoaded, kind: DamageKind) -> Damage {
    Damage { file: path.to_owned(), offset: loaded.end, lsn: Lsn(0), kind }
}

/// Whether a dump holds a key (or anything else that is not an empty data set).
pub fn holds_keys(disk: &dyn Disk, path: &Path, limits: &Limits) -> Result<bool, OpenError> {
    struct First(bool);
    impl RdbSink for First {
        fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
            self.0 = true;
            Err(Refusal::from(String::new()))
        }

        fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
            self.0 = true;
            Err(Refusal::from(String::new()))
        }
    }
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    if file.is_empty().map_err(OpenError::io(path))? {
        return Ok(false);
    }
    let mut first = First(false);
    let mut source = rdb::FileSource::new(&*file).map_err(OpenError::io(path))?;
    let whole = rdb::read(&mut source, limits, &mut first).is_ok();
    Ok(first.0 || !whole)
}
