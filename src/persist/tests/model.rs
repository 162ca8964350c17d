//! A tiny store over the log, and the history against which a recovered state is judged.

use crate::env::disk::sim::SimDisk;
use crate::env::{Clock, Entropy, ManualClock, SeededEntropy, UnixMillis};
use crate::persist::log::Step;
use crate::persist::{LoadReport, OpenError, OpenOptions, OpenedLog, Piece, Replay, SyncPolicy, World, open};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Keys by database.
pub type State = BTreeMap<(u32, String), String>;

/// SET, DEL, INCR, APPEND and transactions of them.
#[derive(Default)]
pub struct Store {
    pub state: State,
    db: u32,
}

impl Store {
    pub fn apply(&mut self, argv: &[&[u8]]) {
        let word = |at: usize| String::from_utf8_lossy(argv[at]).into_owned();
        let place = |store: &Self| (store.db, word(1));
        match word(0).to_uppercase().as_str() {
            "SELECT" => self.db = word(1).parse().expect("a database"),
            "SET" => {
                self.state.insert(place(self), word(2));
            }
            "DEL" => {
                self.state.remove(&place(self));
            }
            "INCR" => {
                let place = place(self);
                let number: i64 = self.state.get(&place).map_or(0, |text| text.parse().unwrap_or(0));
                self.state.insert(place, (number + 1).to_string());
            }
            "MULTI" | "EXEC" => {}
            other => panic!("unknown command {other}"),
        }
    }
}

impl Replay for Store {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        match piece {
            Piece::FileBegins => self.db = 0,
            Piece::Expected { .. } => {}
            Piece::Keys { db, batch } => {
                for entry in batch.entries() {
                    let name = String::from_utf8_lossy(entry.key()).into_owned();
                    let text = match entry.to_value() {
                        Value::Str(text) => String::from_utf8_lossy(&text.to_vec()).into_owned(),
                        other => format!("a {} of {}", other.kind().name(), other.len()),
                    };
                    self.state.insert((db, name), text);
                }
            }
            Piece::Library(text) => return Err(format!("no functions in this model: {}", text.escape_ascii())),
            Piece::Commands(block) => block.commands().for_each(|argv| self.apply(&argv)),
        }
        Ok(())
    }
}

/// RESP bytes of commands, several of them as a transaction.
pub fn unit(commands: &[Vec<String>]) -> Vec<u8> {
    let mut unit = Vec::new();
    let mut push = |words: &[String]| {
        unit.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            unit.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    };
    let transaction = commands.len() > 1;
    if transaction {
        push(&["multi".into()]);
    }
    commands.iter().for_each(|command| push(command));
    if transaction {
        push(&["exec".into()]);
    }
    unit
}

/// What happened: after each unit its end in the log, and the state then.
#[derive(Clone)]
pub struct History {
    pub states: Vec<(u64, State)>,
    /// Units whose end was durable, or written, when last looked.
    pub durable: usize,
    pub written: usize,
}

impl History {
    pub fn from(state: State) -> Self {
        Self { states: vec![(0, state)], durable: 0, written: 0 }
    }

    /// Which prefix a recovered state is.
    pub fn prefix(&self, state: &State) -> Option<usize> {
        self.states.iter().rposition(|(_, then)| then == state)
    }
}

pub struct Db {
    pub log: OpenedLog,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub report: LoadReport,
    /// When what is submitted is logged, ms since the epoch.
    pub now: i64,
    _lock: Box<dyn crate::env::disk::DiskLock>,
}

pub fn options(policy: SyncPolicy) -> OpenOptions {
    OpenOptions {
        directory: "/data".into(),
        segment_bytes_max: 1500,
        unsynced_bytes_max: 1 << 20,
        policy,
        ..OpenOptions::default()
    }
}

/// Begins a life with its history; `None` where the disk gives out meanwhile, which alone may keep it from starting.
pub fn begin_life(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Option<(Db, History)> {
    match open_db(disk, options, seed) {
        Ok(db) => {
            let history = History::from(db.store.state.clone());
            Some((db, history))
        }
        Err(error) => {
            assert!(disk.is_frozen(), "starts without help: {error}");
            None
        }
    }
}

pub fn open_db(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Result<Db, OpenError> {
    let clock = Arc::new(ManualClock::at(START));
    let mut store = Store::default();
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        entropy: Box::new(SeededEntropy::new(seed)),
    };
    let opened = open(world, options, &mut store)?;
    let log = opened.log.expect("append only");
    Ok(Db { log, clock, store, report: opened.report, now: START.0, _lock: opened.lock })
}

/// Opens with the log switched off; what was loaded.
pub fn open_without_log(disk: &SimDisk, options: &OpenOptions) -> Result<State, OpenError> {
    let mut store = Store::default();
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(START)),
        entropy: Box::new(SeededEntropy::new(1)),
    };
    let opened = open(world, options, &mut store)?;
    assert!(opened.log.is_none());
    Ok(store.state)
}

pub fn word_list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Db {
    /// A store whose log was begun while it ran.
    pub fn over(log: OpenedLog, clock: Arc<ManualClock>, state: State, opened: crate::persist::Opened) -> Self {
        let store = Store { state, ..Store::default() };
        Self { log, clock, store, report: opened.report, now: START.0, _lock: opened.lock }
    }

    /// Executes commands as one unit.
    pub fn submit(&mut self, db: u32, commands: &[Vec<String>], history: &mut History) {
        self.store.db = db;
        for command in commands {
            let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
            self.store.apply(&words);
        }
        self.log.buffer.append(db, unit(commands).as_slice().into(), self.now);
        // Some are written by whoever appends them, others by the driver.
        if self.store.state.len() % 2 == 1 {
            self.log.writer.write_at_once();
        }
        history.states.push((self.log.buffer.next().0, self.store.state.clone()));
    }

    /// Lets the writer work until it waits, letting this much time pass where it waits for time; whether it is closed.
    pub fn pump_for(&mut self, history: &mut History, mut patience: Duration) -> bool {
        for _ in 0..10_000 {
            if let Some(job) = self.log.writer.fill_job() {
                self.log.writer.finish_fill(job.run());
            }
            match self.log.writer.step() {
                Step::Worked => {}
                Step::Sync(job) => self.log.writer.finish_sync(job.run()),
                Step::Idle(Some(wait)) if wait <= patience => {
                    patience -= wait;
                    self.clock.advance(wait);
                }
                Step::Idle(_) => break,
                Step::Closed => {
                    self.look(history);
                    return true;
                }
            }
        }
        self.look(history);
        false
    }

    fn look(&self, history: &mut History) {
        let progress = self.log.buffer.progress();
        history.durable = history.states.iter().filter(|(end, _)| *end <= progress.durable().0).count() - 1;
        history.written = history.states.iter().filter(|(end, _)| *end <= progress.written().0).count() - 1;
    }
}

/// Random units over few keys and databases.
pub struct Workload(SeededEntropy);

impl Workload {
    pub fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub fn unit(&mut self) -> (u32, Vec<Vec<String>>) {
        let db = [0, 0, 0, 3][self.below(4) as usize];
        let count = if self.below(3) == 0 { 2 + self.below(3) } else { 1 };
        (db, (0..count).map(|_| self.command()).collect())
    }

    fn command(&mut self) -> Vec<String> {
        let key = format!("k{}", self.below(5));
        match self.below(4) {
            0 => vec!["DEL".into(), key],
            1 => {
                let len = [3, 10, 400][self.below(3) as usize];
                let letter = char::from(b'a' + self.below(26) as u8);
                vec!["SET".into(), key, letter.to_string().repeat(len)]
            }
            // Every unit counts here, so that no two states are alike.
            _ => vec!["INCR".into(), "counter".into()],
        }
    }
}
