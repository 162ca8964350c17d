//! A small engine for tests of commands: a keyspace, a turn for each call, and a host that writes down what it is told.
//!
//! [`check`] runs a script, one call a line:
//!
//! ```text
//! SET key "a value"      => +OK
//! GET key                => "a value"
//! @log                   => SET key "a value"
//! ```
//!
//! Words are split as redis-cli splits them. A reply is written `+simple`, `-error`, `:1`, `,1.5` (double), `nil`,
//! `[a, b]`, `{key: value}`, `~[a, b]` (set); a bulk string stands bare when it is made of letters, digits and `_.-`
//! with no sign or mark in front, and in quotes otherwise. `=> ?` accepts any reply but an error. Lines that begin with
//! `#` are comments. Lines that begin with `@` ask the test engine:
//!
//! - `@log`: what the call before logged, commands joined by `; `, nothing as `-`
//! - `@events`: its notifications, as `class:event:key`, joined by a space; `new` and `keymiss` after `@rare` only
//! - `@advance MS`: moves the clock; `@expire`: deletes what is due, as the expirer does
//! - `@resp2`, `@resp3`, `@db N`: the connection's protocol and database
//!
//! After each line all that the keyspace consists of moves to other places in memory. When a script ends, everything that was logged is replayed into an empty keyspace, which must then hold the same.

use crate::command::{
    Args, ClientId, Command, CommandError, CommandTable, Cx, Event, Host, PayloadRules, Turn, data_families,
};
use crate::env::{Entropy, SeededEntropy, UnixMillis};
use crate::keyspace::{Keyspace, Relocation};
use crate::resp::{Protocol, Reply, ReplyValue, Request, RequestReader, split_args};
use crate::value::{Limits, Type};
use std::any::Any;
use std::collections::BTreeSet;

/// Databases of a test engine.
const DATABASES: u32 = 16;
/// The clock's start: 2020-01-01.
pub const START: UnixMillis = UnixMillis(1_577_836_800_000);

/// Runs a script with stock's limits; see the module's header.
pub fn check(script: &str) {
    check_with(Limits::default(), script);
}

/// Runs a script with other limits between packed and large encodings.
pub fn check_with(limits: Limits, script: &str) {
    let mut engine = TestEngine::with_limits(limits);
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (call, expected) = match line.rsplit_once("=>") {
            Some((call, expected)) => (call.trim(), Some(expected.trim())),
            None => (line, None),
        };
        let got = engine.line(call);
        // Where things lie in memory shows nowhere.
        let mut pass = Relocation::default();
        while pass.step(&mut engine.store, 3, &mut |_| true) {}
        match expected {
            Some("?") | None => assert!(!got.starts_with('-'), "line {}: {call}\n  got {got}", number + 1),
            Some(expected) => assert_eq!(got, expected, "line {}: {call}", number + 1),
        }
    }
    engine.assert_replay_gives_the_same();
}

/// The host of a test engine.
pub struct TestHost {
    entropy: SeededEntropy,
    pub events: Vec<String>,
    /// Notes events of new keys and of misses too, which a server's `A` leaves out.
    pub rare_events: bool,
    pub ready: BTreeSet<(u32, Vec<u8>)>,
    pub modified: Vec<(u32, Vec<u8>)>,
    pub watched: Vec<(u32, Vec<u8>)>,
    pub awaited: Vec<(u32, Vec<u8>)>,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub string_bytes_max: usize,
    pub payload_rules: PayloadRules,
}

impl TestHost {
    fn new() -> Self {
        Self {
            entropy: SeededEntropy::new(1),
            events: Vec::new(),
            rare_events: false,
            ready: BTreeSet::new(),
            modified: Vec::new(),
            watched: Vec::new(),
            awaited: Vec::new(),
            hits: 0,
            misses: 0,
            expired: 0,
            string_bytes_max: 512 << 20,
            payload_rules: PayloadRules::default(),
        }
    }
}

impl Host for TestHost {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn key_modified(&mut self, db: u32, key: &[u8]) {
        self.modified.push((db, key.to_vec()));
    }

    fn key_touched(&mut self, db: u32, key: &[u8]) {
        self.key_modified(db, key);
    }

    fn key_ready(&mut self, db: u32, key: &[u8], _: Type) {
        self.ready.insert((db, key.to_vec()));
    }

    fn flushed(&mut self) {}

    fn may_read_every_key(&mut self, _: ClientId, _: &[&[u8]]) -> bool {
        true
    }

    fn watched_keys(&self, db: u32) -> Vec<Vec<u8>> {
        self.watched.iter().filter(|(at, _)| *at == db).map(|(_, key)| key.clone()).collect()
    }

    fn awaited_keys(&self, db: u32) -> Vec<Vec<u8>> {
        self.awaited.iter().filter(|(at, _)| *at == db).map(|(_, key)| key.clone()).collect()
    }

    fn notify(&mut self, class: Event, event: &str, key: &[u8], _: u32) {
        if matches!(class, Event::New | Event::KeyMiss) && !self.rare_events {
            return;
        }
        let class = format!("{class:?}").to_lowercase();
        self.events.push(format!("{class}:{event}:{}", String::from_utf8_lossy(key)));
    }

    fn entropy(&mut self) -> &mut dyn Entropy {
        &mut self.entropy
    }

    fn looked_up(&mut self, hit: bool) {
        *(if hit { &mut self.hits } else { &mut self.misses }) += 1;
    }

    fn expired(&mut self, _: &[u8]) {
        self.expired += 1;
    }

    fn spike_clock(&self) -> Option<std::time::Duration> {
        None
    }

    fn spike_since(&mut self, _: &'static str, _: Option<std::time::Duration>) {}

    fn string_bytes_max(&self) -> usize {
        self.string_bytes_max
    }

    fn payload_rules(&self) -> PayloadRules {
        self.payload_rules
    }

    fn payload_checked(&mut self) {}
}

/// See the module's header.
pub struct TestEngine {
    pub store: Keyspace,
    pub host: TestHost,
    pub turn: Turn,
    pub now: UnixMillis,
    pub db: u32,
    pub protocol: Protocol,
    /// Whether the last call asked to be run again when a key is ready.
    pub blocked: bool,
    table: CommandTable,
    limits: Limits,
    /// Units in the order in which they were logged, each with its database.
    log: Vec<(u32, Vec<u8>)>,
    /// Commands that the last call logged.
    last_logged: Vec<Vec<Vec<u8>>>,
    lsn: u64,
}

impl TestEngine {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self {
            store: Keyspace::new(DATABASES, limits),
            host: TestHost::new(),
            turn: Turn::new(),
            now: START,
            db: 0,
            protocol: Protocol::Resp2,
            blocked: false,
            table: CommandTable::new(&data_families()),
            limits,
            log: Vec::new(),
            last_logged: Vec::new(),
            lsn: 1,
        }
    }

    /// One line of a script: its reply in the script's notation.
    pub fn line(&mut self, line: &str) -> String {
        let Some(words) = split_args(line.as_bytes()) else { panic!("unbalanced quotes: {line}") };
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        let number = |at: usize| -> i64 {
            words
                .get(at)
                .and_then(|word| std::str::from_utf8(word).ok())
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        match words[0] {
            b"@advance" => self.now.0 += number(1),
            b"@resp2" => self.protocol = Protocol::Resp2,
            b"@resp3" => self.protocol = Protocol::Resp3,
            b"@rare" => self.host.rare_events = true,
            b"@db" => self.db = number(1) as u32,
            b"@expire" => return format!(":{}", self.expire()),
            b"@log" => return self.logged(),
            b"@events" => return self.host.events.join(" "),
            _ => return notation(&self.run(&words)),
        }
        String::new()
    }

    /// The declaration that a call reaches.
    pub fn command(&self, argv: &[&[u8]]) -> &'static Command {
        self.table.resolve(argv).unwrap_or_else(|error| panic!("{}", error.text())).command
    }

    /// What the last call logged, in the script's notation.
    pub fn logged(&self) -> String {
        let commands: Vec<String> = self
            .last_logged
            .iter()
            .map(|argv| argv.iter().map(|word| bulk_notation(word)).collect::<Vec<_>>().join(" "))
            .collect();
        if commands.is_empty() { "-".to_owned() } else { commands.join("; ") }
    }

    /// Runs one call in a turn of its own; its reply.
    pub fn run(&mut self, argv: &[&[u8]]) -> ReplyValue {
        self.host.events.clear();
        self.host.ready.clear();
        self.turn.begin(self.now, self.lsn);
        let reply = self.call(argv);
        self.blocked = self.turn.block.take().is_some();
        self.last_logged.clear();
        if let Some((db, unit)) = self.turn.unit.seal() {
            self.lsn += unit.len() as u64;
            self.last_logged = decode(&unit.joined());
            self.log.push((db, unit.joined()));
        }
        match ReplyValue::decode(&reply) {
            Ok(Some((value, len))) => {
                assert_eq!(len, reply.len(), "one reply for one call: {}", String::from_utf8_lossy(&reply));
                value
            }
            Ok(None) if self.blocked && reply.is_empty() => ReplyValue::Simple(b"BLOCKED".to_vec()),
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&reply)),
        }
    }

    fn call(&mut self, argv: &[&[u8]]) -> Vec<u8> {
        let mut reply = Reply::new(self.protocol);
        let resolved = match self.table.resolve(argv) {
            Ok(resolved) => resolved,
            Err(error) => {
                reply.error(error.text());
                return reply.into_bytes();
            }
        };
        let (dirty, db) = (self.turn.dirty, self.db);
        let mut cx = Cx::new(&mut self.store, &mut reply, &mut self.host, &mut self.turn, ClientId(1), db, true);
        let outer = cx.begin_command();
        let outcome = (resolved.command.run)(&mut cx, &mut Args::new(argv, resolved.first_argument()));
        let as_sent = cx.end_command(outer);
        assert_eq!(cx.db, db, "a command leaves its client's database selected");
        if self.turn.dirty > dirty && as_sent && !self.turn.replaying {
            self.turn.unit.push(db, argv);
        }
        if let Err(error) = outcome {
            reply.truncate(0);
            reply.error(CommandError::text(&error));
        }
        reply.into_bytes()
    }

    /// Deletes what is due, as the engine's expirer does; how many keys that were.
    pub fn expire(&mut self) -> usize {
        let due = self.store.due(self.now, usize::MAX);
        self.last_logged.clear();
        for (db, key) in &due {
            self.turn.begin(self.now, self.lsn);
            let mut reply = Reply::new(self.protocol);
            Cx::new(&mut self.store, &mut reply, &mut self.host, &mut self.turn, ClientId(0), *db, false)
                .delete_if_due(key);
            if let Some((db, unit)) = self.turn.unit.seal() {
                self.lsn += unit.len() as u64;
                self.last_logged.extend(decode(&unit.joined()));
                self.log.push((db, unit.joined()));
            }
        }
        due.len()
    }

    /// Replays the log into an empty keyspace and compares.
    pub fn assert_replay_gives_the_same(&mut self) {
        let mut other = Self::with_limits(self.limits);
        other.turn.begin(START, 1);
        other.turn.replaying = true;
        for (db, unit) in &self.log {
            other.db = *db;
            for argv in decode(unit) {
                let argv: Vec<&[u8]> = argv.iter().map(|word| &word[..]).collect();
                match argv[0] {
                    b"MULTI" | b"EXEC" => {}
                    b"select" => other.db = std::str::from_utf8(argv[1]).expect("digits").parse().expect("a number"),
                    _ => {
                        let reply = other.call(&argv);
                        assert!(!reply.starts_with(b"-"), "{argv:?}: {}", String::from_utf8_lossy(&reply));
                    }
                }
            }
        }
        other.turn.replaying = false;
        other.now = self.now;
        assert_eq!(self.contents(), other.contents(), "the log replayed, against what is there");
    }

    /// All databases in the script's notation: every key with its expiry and value, in order of their names.
    pub fn contents(&mut self) -> Vec<String> {
        let (db, protocol) = (self.db, self.protocol);
        self.protocol = Protocol::Resp3;
        let mut contents = Vec::new();
        for at in 0..DATABASES {
            self.db = at;
            let mut keys = match self.run(&[b"KEYS", b"*"]) {
                ReplyValue::Array(keys) => keys,
                other => panic!("{other:?}"),
            };
            keys.sort_by_key(notation);
            for key in keys {
                let ReplyValue::Bulk(key) = key else { panic!("{key:?}") };
                let expiry = notation(&self.run(&[b"PEXPIRETIME", &key]));
                let value = self.value(&key);
                contents.push(format!("{at} {} {expiry} {value}", bulk_notation(&key)));
            }
        }
        (self.db, self.protocol) = (db, protocol);
        contents
    }

    /// All that XINFO tells of a stream, but when consumers asked or got anything: that is logged where entries change
    /// hands only.
    fn stream(&mut self, key: &[u8]) -> String {
        let full = notation(&self.run(&[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"]));
        let kept = full.split(", ").filter(|part| !part.starts_with("seen-time:") && !part.starts_with("active-time:"));
        kept.collect::<Vec<_>>().join(", ")
    }

    fn value(&mut self, key: &[u8]) -> String {
        let kind = notation(&self.run(&[b"TYPE", key]));
        let value = match &kind[..] {
            "+string" => self.run(&[b"GET", key]),
            "+list" => self.run(&[b"LRANGE", key, b"0", b"-1"]),
            "+set" => self.run(&[b"SMEMBERS", key]),
            "+hash" => self.run(&[b"HGETALL", key]),
            "+zset" => self.run(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
            "+stream" => return self.stream(key),
            other => panic!("type {other}"),
        };
        match value {
            ReplyValue::Map(mut pairs) => {
                pairs.sort_by_key(|(field, _)| notation(field));
                notation(&ReplyValue::Map(pairs))
            }
            ReplyValue::Set(mut members) => {
                members.sort_by_key(notation);
                notation(&ReplyValue::Set(members))
            }
            other => notation(&other),
        }
    }
}

/// The commands in logged bytes.
fn decode(unit: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut reader, mut request) = (RequestReader::new(), Request::new());
    let mut commands = Vec::new();
    reader.feed(unit);
    while reader.next(&crate::resp::Limits::default(), &mut request).expect("logged commands are requests") {
        commands.push(request.args().map(<[u8]>::to_vec).collect());
    }
    commands
}

/// A reply in the script's notation.
pub fn notation(value: &ReplyValue) -> String {
    let join = |elements: &[ReplyValue]| elements.iter().map(notation).collect::<Vec<_>>().join(", ");
    match value {
        ReplyValue::Simple(text) => format!("+{}", String::from_utf8_lossy(text)),
        ReplyValue::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        ReplyValue::Int(number) => format!(":{number}"),
        ReplyValue::Bulk(bytes) => bulk_notation(bytes),
        ReplyValue::Null => "nil".to_owned(),
        ReplyValue::Array(elements) => format!("[{}]", join(elements)),
        ReplyValue::Set(elements) => format!("~[{}]", join(elements)),
        ReplyValue::Push(elements) => format!(">[{}]", join(elements)),
        ReplyValue::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {}", notation(key), notation(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        ReplyValue::Double(number) => format!(",{number}"),
        ReplyValue::Boolean(value) => format!("#{value}"),
        ReplyValue::BigNumber(digits) => format!("({}", String::from_utf8_lossy(digits)),
        ReplyValue::Verbatim(_, text) => format!("={}", String::from_utf8_lossy(text)),
        ReplyValue::Attributed(_, value) => notation(value),
    }
}

fn bulk_notation(bytes: &[u8]) -> String {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+');
    let marked = bytes.first().is_none_or(|first| *first == b'+');
    if !marked && bytes.iter().all(bare) && bytes != b"nil" && !is_dash_word(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text.push('"');
    text
}

/// A word that would read as an error.
fn is_dash_word(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', second, ..] if !second.is_ascii_digit() && *second != b'i') || bytes == b"-"
}
