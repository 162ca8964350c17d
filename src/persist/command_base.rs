//! A base as commands (`aof-use-rdb-preamble no`): what, executed on an empty server, makes the data set of one moment.
//!
//! A state machine with the steps and the promises of the RDB writer: a draft beside its place, which takes that place when
//! it is whole and synced. A first comment line says where in the log's history it stands.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Position;
use super::position::position_line;
use super::rdb::{RdbOptions, SaveError, SaveStep};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::keyspace::{Entry, Snapshot};
use crate::resp::{DoubleBuffer, format_double};
use crate::value::{Group, StrRef, Stream, StreamId, ValueRef};

/// Elements that one command adds, as in stock.
const ELEMENTS_PER_COMMAND: usize = 64;
/// Portions of the keyspace in one step; each holds about a dozen keys.
const PORTIONS_PER_STEP: usize = 64;
const BUFFER_BYTES: usize = 256 * 1024;

/// See the module's header.
pub struct CommandWriter {
    disk: Arc<dyn Disk>,
    snapshot: Snapshot,
    options: RdbOptions,
    position: Position,
    draft: PathBuf,
    out: Option<BufWriter<Appending>>,
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

impl CommandWriter {
    /// Of the options what does not belong to RDB files alone counts.
    pub fn new(disk: Arc<dyn Disk>, snapshot: Snapshot, options: RdbOptions, position: Position) -> Self {
        let draft = options.path.with_added_extension("tmp");
        Self { disk, snapshot, options, position, draft, out: None, stage: Stage::Begin, keys: 0, size: 0 }
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
        let begun = self.out.take().map(BufWriter::into_parts).is_some();
        if begun && !matches!(self.stage, Stage::Done) {
            // A draft that stays behind is removed by the next start.
            let _ = self.disk.remove(&self.draft);
        }
        self.stage = Stage::Done;
    }

    fn begin(&mut self) -> io::Result<Stage> {
        let file = self.disk.open(&self.draft, OpenMode::Truncate)?;
        let appending = Appending { file, written: 0, synced: 0, sync_every: self.options.sync_every };
        let out = self.out.insert(BufWriter::with_capacity(BUFFER_BYTES, appending));
        out.write_all(&position_line(&self.position))?;
        for library in &self.options.libraries {
            command(out, &[b"FUNCTION", b"LOAD", library])?;
        }
        Ok(Stage::Keys { db: 0, portion: 0 })
    }

    fn write_keys(&mut self, db: usize, portion: usize) -> io::Result<Stage> {
        let Self { snapshot, out: Some(out), .. } = self else { return Ok(Stage::Done) };
        let Some(database) = snapshot.databases().get(db) else { return Ok(Stage::End) };
        if database.is_empty() {
            return Ok(Stage::Keys { db: db + 1, portion: 0 });
        }
        if portion == 0 {
            command(out, &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()])?;
        }
        let until = database.portions().min(portion + PORTIONS_PER_STEP);
        for entry in (portion..until).flat_map(|portion| database.portion(portion)) {
            write_entry(entry, out)?;
            self.keys += 1;
        }
        let more = until < database.portions();
        Ok(if more { Stage::Keys { db, portion: until } } else { Stage::Keys { db: db + 1, portion: 0 } })
    }

    fn end(&mut self) -> io::Result<Stage> {
        let Some(out) = &mut self.out else { return Ok(Stage::Done) };
        out.flush()?;
        out.get_ref().file.sync_all()?;
        self.size = out.get_ref().written;
        Ok(Stage::Place)
    }

    fn place(&mut self) -> io::Result<Stage> {
        self.disk.rename(&self.draft, &self.options.path)?;
        self.disk.sync_dir(self.options.path.parent().unwrap_or(Path::new(".")))?;
        Ok(Stage::Done)
    }
}

/// A file that grows at its end.
struct Appending {
    file: Box<dyn DiskFile>,
    written: u64,
    synced: u64,
    sync_every: Option<u64>,
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.sync_every.is_some_and(|every| self.written - self.synced >= every) {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

fn write_entry(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
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
