//! One turn of the engine: what a top-level command (a transaction and a script included) reads, changes and logs.
//!
//! Invariants
//! - Everything that one turn logs is one [`Unit`], wrapped in MULTI/EXEC when it holds more than one command, so that
//!   it is replayed whole or not at all.
//! - A unit is deterministic: replaying it needs neither clock nor entropy.

use super::PayloadRules;
use crate::env::{Entropy, UnixMillis};
use crate::resp::{Block, Woven, WovenSlice};
use std::any::Any;
use std::time::Duration;

/// A connection's identity, never used twice in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A call as it is executed: its words, and the RESP bytes they were sent in where there are any.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub argv: &'a [&'a [u8]],
    pub raw: Option<&'a [u8]>,
}

fn push_header(out: &mut Vec<u8>, mark: u8, number: usize) {
    out.push(mark);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Room for bytes that a unit leaves to the next one, at most.
const ROOM_KEPT: usize = 1 << 20;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// The commands that one turn logs.
#[derive(Debug, Default)]
pub struct Unit {
    /// Begins with MULTI, which is left out when one command remains alone.
    out: Woven,
    /// The long arguments of the call in progress: words that are one of them are logged by reference.
    blocks: Vec<Block>,
    commands: usize,
    first_db: u32,
    db: u32,
}

impl Unit {
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    pub fn clear(&mut self) {
        self.out.truncate(0);
        self.blocks.clear();
        self.commands = 0;
    }

    /// The turn is over: long arguments are kept in memory no longer on its account, nor is the room of a long unit.
    pub fn let_go(&mut self) {
        if !self.blocks.is_empty() {
            self.clear();
        }
        if self.out.bytes.capacity() > ROOM_KEPT {
            *self = Self::default();
        }
    }

    /// A call begins whose long arguments are these.
    pub fn lend(&mut self, blocks: &[Block]) {
        if !blocks.is_empty() || !self.blocks.is_empty() {
            self.blocks.clear();
            self.blocks.extend_from_slice(blocks);
        }
    }

    /// The long argument that this word is, if it is one.
    pub fn block(&self, word: &[u8]) -> Option<&Block> {
        self.blocks.iter().find(|block| std::ptr::eq(block.as_slice(), word))
    }

    /// Where the next command goes.
    pub fn place(&self) -> UnitPlace {
        UnitPlace { bytes: self.out.bytes.len(), commands: self.commands, db: self.db }
    }

    /// Takes out what was added since.
    pub fn cut(&mut self, place: UnitPlace) {
        self.out.truncate(place.bytes);
        self.commands = place.commands;
        self.db = place.db;
    }

    /// Adds a command, encoded from its words.
    pub fn push(&mut self, db: u32, argv: &[&[u8]]) {
        self.prepare(db);
        push_header(&mut self.out.bytes, b'*', argv.len());
        for word in argv {
            push_header(&mut self.out.bytes, b'$', word.len());
            match self.block(word).cloned() {
                Some(block) => self.out.push_run(block),
                None => self.out.bytes.extend_from_slice(word),
            }
            self.out.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Adds a command as RESP bytes.
    pub fn push_raw(&mut self, db: u32, raw: &[u8]) {
        self.prepare(db);
        self.out.bytes.extend_from_slice(raw);
    }

    fn prepare(&mut self, db: u32) {
        if self.commands == 0 {
            self.out.truncate(0);
            self.out.bytes.extend_from_slice(MULTI);
            self.first_db = db;
            self.db = db;
        }
        if self.db != db {
            self.select(db);
        }
        self.commands += 1;
    }

    fn select(&mut self, db: u32) {
        self.db = db;
        self.commands += 1;
        let mut number = itoa::Buffer::new();
        let number = number.format(db).as_bytes();
        self.out.bytes.extend_from_slice(b"*2\r\n$6\r\nselect\r\n");
        push_header(&mut self.out.bytes, b'$', number.len());
        self.out.bytes.extend_from_slice(number);
        self.out.bytes.extend_from_slice(b"\r\n");
    }

    /// The database selected before and after the unit, and its bytes; `None` when nothing is to be logged.
    pub fn seal(&mut self) -> Option<(u32, WovenSlice<'_>)> {
        if self.commands == 0 {
            return None;
        }
        if self.db != self.first_db {
            self.select(self.first_db);
        }
        if self.commands == 1 {
            return Some((self.first_db, self.out.slice_from(MULTI.len())));
        }
        self.out.bytes.extend_from_slice(EXEC);
        Some((self.first_db, self.out.slice_from(0)))
    }
}

/// A place between two commands of a [`Unit`].
#[derive(Clone, Copy, Debug)]
pub struct UnitPlace {
    bytes: usize,
    commands: usize,
    db: u32,
}

/// What a blocked client is told when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReply {
    NullArray,
    Null,
    /// Its command is run once more, and may not wait again.
    Again,
}

/// A handler's wish to be run again when a key is ready.
#[derive(Clone, Debug)]
pub struct BlockRequest {
    pub keys: Vec<Vec<u8>>,
    /// The type that wakes it.
    pub kind: crate::value::Type,
    /// Milliseconds since the epoch; `None` waits forever.
    pub deadline: Option<UnixMillis>,
    pub on_timeout: TimeoutReply,
    /// The call to run again, where it is not the one that was made.
    pub call: Option<Vec<Vec<u8>>>,
    /// That a key is gone, or of another type, wakes it too.
    pub wakes_when_gone: bool,
}

/// How a command waits for entries of streams.
#[derive(Clone, Debug)]
pub struct StreamWait {
    /// Milliseconds, 0: for ever.
    pub timeout: i64,
    /// See [`BlockRequest`].
    pub call: Option<Vec<Vec<u8>>>,
    pub wakes_when_gone: bool,
}

/// Classes of keyspace notifications (`notify-keyspace-events`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Generic,
    String,
    List,
    Set,
    Hash,
    Zset,
    Expired,
    Evicted,
    Stream,
    KeyMiss,
    New,
}

/// State of the turn in progress.
pub struct Turn {
    /// Wall clock at the start of the turn; the same for all its commands.
    pub now: UnixMillis,
    /// Position at which this turn's unit will start in the log.
    pub stamp: u64,
    pub unit: Unit,
    /// Changes made so far.
    pub dirty: u64,
    /// Highest log position that the keys read so far depend on.
    pub read_tag: u64,
    /// Something was read that `read_tag` does not cover.
    pub reads_all: bool,
    pub block: Option<BlockRequest>,
    /// False inside transactions and scripts, where a blocking command answers as if its time were over.
    pub may_block: bool,
    /// Commands of the log are being applied: nothing expires, nothing is logged.
    pub replaying: bool,
    pub in_script: bool,
    /// Why nothing may be written, for the commands of a script: the log is in trouble.
    pub doubt: Option<String>,
}

impl Turn {
    pub fn new() -> Self {
        Self {
            now: UnixMillis(0),
            stamp: 1,
            unit: Unit::default(),
            dirty: 0,
            read_tag: 0,
            reads_all: false,
            block: None,
            may_block: true,
            replaying: false,
            in_script: false,
            doubt: None,
        }
    }

    pub fn begin(&mut self, now: UnixMillis, stamp: u64) {
        self.now = now;
        self.stamp = stamp;
        self.unit.clear();
        self.dirty = 0;
        self.read_tag = 0;
        self.reads_all = false;
        self.block = None;
        self.may_block = true;
        self.in_script = false;
        self.doubt = None;
    }

    /// The time that expiry is judged by: replay has no clock, so nothing is due while it runs.
    pub fn expiry_now(&self) -> UnixMillis {
        if self.replaying { UnixMillis(i64::MIN) } else { self.now }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

/// What commands need from the rooms above; everything else is reached by the owner's own downcast of `as_any`.
pub trait Host: Any + Send {
    fn as_any(&mut self) -> &mut dyn Any;

    /// A key was changed, created or removed: watching transactions fail.
    fn key_modified(&mut self, db: u32, key: &[u8]);

    /// The same of a key that goes or comes with its whole database: those who keep copies of it are told of that, or not at all.
    fn key_touched(&mut self, db: u32, key: &[u8]);

    /// A key now holds a value of this type: clients blocked on it are served after the turn.
    fn key_ready(&mut self, db: u32, key: &[u8], kind: crate::value::Type);

    /// Keys of a database that transactions watch.
    fn watched_keys(&self, db: u32) -> Vec<Vec<u8>>;

    /// Keys of a database that clients are blocked on.
    fn awaited_keys(&self, db: u32) -> Vec<Vec<u8>>;

    /// Whether the user a client acts as may make this call whatever the keys that it reads are called.
    fn may_read_every_key(&mut self, client: ClientId, argv: &[&[u8]]) -> bool;

    /// A database was emptied at once.
    fn flushed(&mut self);

    /// A keyspace notification.
    fn notify(&mut self, class: Event, event: &str, key: &[u8], db: u32);

    fn entropy(&mut self) -> &mut dyn Entropy;

    /// Counts a lookup for keyspace_hits and keyspace_misses.
    fn looked_up(&mut self, hit: bool);

    /// Counts a key that was found expired.
    fn expired(&mut self, key: &[u8]);

    /// The monotonic clock, where the latency monitor wants to know how long something takes.
    fn spike_clock(&self) -> Option<Duration>;

    /// Something took since then.
    fn spike_since(&mut self, event: &'static str, began: Option<Duration>);

    /// Longest string value, in bytes (`proto-max-bulk-len`).
    fn string_bytes_max(&self) -> usize;

    /// How DUMP writes and RESTORE reads.
    fn payload_rules(&self) -> PayloadRules;

    /// Counts a payload whose packed value was gone through.
    fn payload_checked(&mut self);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(unit: &mut Unit) -> Option<(u32, String)> {
        let (db, cut) = unit.seal()?;
        assert_eq!(cut.joined().len(), cut.len());
        Some((db, String::from_utf8(cut.joined()).expect("text")))
    }

    /// Alone or within MULTI, a long argument stands in the log as it was sent, and is not copied.
    #[test]
    fn a_long_argument_is_logged_by_reference() {
        let block = Block::new(vec![b'v'; 40_000]);
        let mut unit = Unit::default();
        unit.lend(std::slice::from_ref(&block));
        unit.push(0, &[b"SET", b"k", &block]);
        let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n{}\r\n", "v".repeat(40_000));
        assert_eq!(sealed(&mut unit), Some((0, set.clone())));
        assert!(unit.out.bytes.len() < 100 && unit.block(&block[1..]).is_none());
        let place = unit.place();
        unit.push(0, &[b"SET", b"l", &block]);
        unit.cut(place);
        unit.push(0, &[b"PING"]);
        let both = format!("*1\r\n$5\r\nMULTI\r\n{set}*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n");
        assert_eq!(sealed(&mut unit), Some((0, both)));
        unit.clear();
        assert_eq!(Block::strong_count(&block), 1);
    }

    #[test]
    fn one_command_stands_alone_and_several_are_wrapped() {
        let mut unit = Unit::default();
        unit.push(3, &[b"DEL", b"a"]);
        assert_eq!(sealed(&mut unit), Some((3, "*2\r\n$3\r\nDEL\r\n$1\r\na\r\n".to_owned())));
        unit.clear();
        assert_eq!(sealed(&mut unit), None);
        unit.push(0, &[b"PING"]);
        unit.push_raw(0, b"*1\r\n$4\r\nPING\r\n");
        let expected = "*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(sealed(&mut unit), Some((0, expected.to_owned())));
    }

    #[test]
    fn what_was_cut_out_is_not_logged() {
        let mut unit = Unit::default();
        let begin = unit.place();
        unit.push(0, &[b"A"]);
        unit.cut(begin);
        assert_eq!(sealed(&mut unit), None);
        unit.push(1, &[b"A"]);
        let place = unit.place();
        unit.push(2, &[b"B"]);
        unit.cut(place);
        assert_eq!(sealed(&mut unit), Some((1, "*1\r\n$1\r\nA\r\n".to_owned())));
    }

    #[test]
    fn a_unit_over_two_databases_ends_where_it_began() {
        let mut unit = Unit::default();
        unit.push(1, &[b"A"]);
        unit.push(2, &[b"B"]);
        let (db, text) = sealed(&mut unit).expect("two commands");
        assert_eq!(db, 1);
        assert!(text.contains("select\r\n$1\r\n2") && text.contains("select\r\n$1\r\n1"), "{text}");
    }
}
