//! A base as commands (`aof-use-rdb-preamble no`): what, executed on an empty server, makes the data set of one moment.
//!
//! A first comment line says where in the log's history it stands; others verify what stands before them (`sums.rs`).

use std::io::{self, Write};
use std::sync::Arc;

use crc_fast::CrcAlgorithm;

use super::Position;
use super::draft::{DraftOptions, DraftWriter, Form, KeyEncoder, Out};
use super::log::format::timestamp;
use super::position::position_line;
use super::rdb::RdbOptions;
use super::sums::SumLine;
use crate::env::Disk;
use crate::keyspace::{DatabaseView, Entry, Snapshot};
use crate::resp::{DoubleBuffer, format_double};
use crate::value::{Group, StrRef, Stream, StreamId, ValueRef};

/// A block is closed when it has this many bytes: where damage is told, and what of the file it costs.
const BLOCK_BYTES: u64 = 1 << 20;
/// Elements that one command adds, as in stock.
const ELEMENTS_PER_COMMAND: usize = 64;

/// A base as commands, to be written step by step. Of the options what does not belong to RDB files alone counts.
/// `timestamp`: when, in milliseconds since the epoch, if it is to say so.
pub fn begin(
    disk: Arc<dyn Disk>,
    snapshot: Snapshot,
    options: RdbOptions,
    position: Position,
    timestamp: Option<i64>,
) -> DraftWriter {
    let RdbOptions { path, sync_every, libraries, helpers, block_bytes, .. } = options;
    let draft = DraftOptions { path, checksum: Some(CrcAlgorithm::Crc32IsoHdlc), sync_every, helpers };
    let block_bytes = block_bytes.unwrap_or(BLOCK_BYTES);
    let form = CommandForm { libraries, position, timestamp, block_bytes, begun: 0, db: 0, selected: false };
    DraftWriter::new(disk, snapshot, draft, Box::new(form))
}

/// See the module's header.
struct CommandForm {
    libraries: Vec<Vec<u8>>,
    position: Position,
    timestamp: Option<i64>,
    block_bytes: u64,
    /// Where the block under way began.
    begun: u64,
    /// The database under way, and whether the block under way selects it already.
    db: u32,
    selected: bool,
}

impl CommandForm {
    /// Each block can be read without those before it.
    fn begin_block(&mut self, out: &mut Out) -> io::Result<()> {
        if std::mem::replace(&mut self.selected, true) { Ok(()) } else { write_select(self.db, out) }
    }

    fn end_block_if_full(&mut self, out: &mut Out) -> io::Result<()> {
        if out.offset() - self.begun < self.block_bytes { Ok(()) } else { self.end_block(false, out) }
    }

    fn end_block(&mut self, last: bool, out: &mut Out) -> io::Result<()> {
        let sum = out.sum().map_or(0, |sum| sum as u32);
        out.write_all(&SumLine { offset: out.offset(), sum, last }.encode())?;
        (self.begun, self.selected) = (out.offset(), false);
        Ok(())
    }
}

impl Form for CommandForm {
    fn begin(&mut self, out: &mut Out) -> io::Result<()> {
        out.write_all(&position_line(&self.position))?;
        if let Some(time) = self.timestamp {
            out.write_all(&timestamp(time))?;
        }
        self.libraries.iter().try_for_each(|library| write_library(library, out))
    }

    fn database(&mut self, db: usize, _: &DatabaseView, _: &mut Out) -> io::Result<()> {
        (self.db, self.selected) = (db as u32, false);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, out: &mut Out) -> io::Result<()> {
        self.begin_block(out)?;
        write_commands(entry, out)?;
        self.end_block_if_full(out)
    }

    fn encoder(&self) -> Box<dyn KeyEncoder> {
        Box::new(EntryCommands)
    }

    fn encoded(&mut self, bytes: &[u8], _: &[usize], out: &mut Out) -> io::Result<()> {
        self.begin_block(out)?;
        out.write_all(bytes)?;
        self.end_block_if_full(out)
    }

    fn database_ends(&mut self, _: &mut Out) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> io::Result<()> {
        self.end_block(true, out)
    }
}

/// Makes the commands of a key.
struct EntryCommands;

impl KeyEncoder for EntryCommands {
    fn encode(&mut self, entry: &Entry, sink: &mut dyn Write) -> io::Result<()> {
        write_commands(entry, sink)
    }
}

/// The command that selects a database, for the keys that follow.
pub fn write_select(db: u32, out: &mut dyn Write) -> io::Result<()> {
    command(out, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()])
}

/// The command that loads a library of functions.
pub fn write_library(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    command(out, &[b"FUNCTION", b"LOAD", text])
}

fn command(out: &mut dyn Write, words: &[&[u8]]) -> io::Result<()> {
    write!(out, "*{}\r\n", words.len())?;
    words.iter().try_for_each(|word| bulk(out, word))
}

fn bulk(out: &mut dyn Write, word: &[u8]) -> io::Result<()> {
    write!(out, "${}\r\n", word.len())?;
    out.write_all(word)?;
    out.write_all(b"\r\n")
}

/// A command whose words come one by one.
struct Growing<'k> {
    name: &'static [u8],
    key: &'k [u8],
    elements: usize,
    words: usize,
    bytes: Vec<u8>,
}

impl<'k> Growing<'k> {
    fn new(name: &'static [u8], key: &'k [u8]) -> Self {
        Self { name, key, elements: 0, words: 2, bytes: Vec::new() }
    }

    fn push(&mut self, word: &[u8]) -> io::Result<()> {
        self.words += 1;
        bulk(&mut self.bytes, word)
    }

    /// An element is complete; enough of them make a command.
    fn element(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.elements += 1;
        if self.elements < ELEMENTS_PER_COMMAND { Ok(()) } else { self.finish(out) }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.words > 2 {
            write!(out, "*{}\r\n", self.words)?;
            bulk(out, self.name)?;
            bulk(out, self.key)?;
            out.write_all(&self.bytes)?;
        }
        (self.elements, self.words) = (0, 2);
        self.bytes.clear();
        Ok(())
    }
}

/// The commands that make a key.
pub fn write_commands(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    let key = entry.key();
    let mut text = itoa::Buffer::new();
    match entry.value() {
        ValueRef::Str(StrRef::Int(number)) => command(out, &[b"SET", key, text.format(number).as_bytes()])?,
        ValueRef::Str(StrRef::Embedded(bytes) | StrRef::Raw(bytes)) => command(out, &[b"SET", key, bytes])?,
        ValueRef::Str(StrRef::Chunked(rope)) => {
            out.write_all(b"*3\r\n")?;
            bulk(out, b"SET")?;
            bulk(out, key)?;
            write!(out, "${}\r\n", rope.len())?;
            rope.pieces(0..rope.len()).slices().try_for_each(|slice| out.write_all(slice))?;
            out.write_all(b"\r\n")?;
        }
        ValueRef::List(list) => {
            let mut push = Growing::new(b"RPUSH", key);
            for item in list.iter() {
                push.push(item.as_bytes(&mut text))?;
                push.element(out)?;
            }
            push.finish(out)?;
        }
        ValueRef::Set(set) => {
            let mut add = Growing::new(b"SADD", key);
            for member in set.iter() {
                add.push(member.as_bytes(&mut text))?;
                add.element(out)?;
            }
            add.finish(out)?;
        }
        ValueRef::Hash(hash) => {
            let mut set = Growing::new(b"HMSET", key);
            for (field, value) in hash.iter() {
                set.push(field.as_bytes(&mut text))?;
                set.push(value.as_bytes(&mut text))?;
                set.element(out)?;
            }
            set.finish(out)?;
        }
        ValueRef::Zset(zset) => {
            let mut add = Growing::new(b"ZADD", key);
            for (member, score) in zset.iter() {
                add.push(format_double(score, &mut DoubleBuffer::new()))?;
                add.push(member.as_bytes(&mut text))?;
                add.element(out)?;
            }
            add.finish(out)?;
        }
        ValueRef::Stream(stream) => write_stream(key, stream, out)?,
    }
    if let Some(deadline) = entry.expiry() {
        command(out, &[b"PEXPIREAT", key, text.format(deadline.0).as_bytes()])?;
    }
    Ok(())
}

fn write_stream(key: &[u8], stream: &Stream, out: &mut dyn Write) -> io::Result<()> {
    let mut text = itoa::Buffer::new();
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut add = Growing::new(b"XADD", key);
        add.push(entry.id.to_string().as_bytes())?;
        for (field, value) in entry.fields {
            add.push(field.as_bytes(&mut text))?;
            add.push(value.as_bytes(&mut text))?;
        }
        add.finish(out)?;
    }
    let last = stream.last_id().to_string();
    if stream.is_empty() {
        // A stream that has come to be empty: an entry that is trimmed away at once, under an ID that may be one.
        let id = stream.last_id().max(StreamId::new(0, 1)).to_string();
        command(out, &[b"XADD", key, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"])?;
    }
    let (added, deleted) = (stream.entries_added().to_string(), stream.max_deleted_id().to_string());
    let words: [&[u8]; 7] =
        [b"XSETID", key, last.as_bytes(), b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", deleted.as_bytes()];
    command(out, &words)?;
    stream.groups().try_for_each(|group| write_group(key, group, out))
}

fn write_group(key: &[u8], group: &Group, out: &mut dyn Write) -> io::Result<()> {
    let (last, name) = (group.last_id.to_string(), group.name());
    let read = group.entries_read.map_or("-1".to_owned(), |read| read.to_string());
    let words: [&[u8]; 7] = [b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
    command(out, &words)?;
    for consumer in group.consumers() {
        command(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()])?;
    }
    for pending in group.pending_from(StreamId::MIN) {
        let (id, at) = (pending.id.to_string(), pending.delivered_at.to_string());
        let deliveries = pending.deliveries.to_string();
        let words: [&[u8]; 12] = [
            b"XCLAIM",
            key,
            name,
            pending.consumer(),
            b"0",
            id.as_bytes(),
            b"TIME",
            at.as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"JUSTID",
            b"FORCE",
        ];
        command(out, &words)?;
    }
    Ok(())
}
