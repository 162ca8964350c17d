//! Saving the data set to `dbfilename`: by SAVE and BGSAVE, at save points, before the end.
//!
//! A save works on a snapshot, on a thread of its own, while the engine serves as ever; SAVE's client waits for it.
//!
//! Invariants
//! - One save at a time.
//! - A save in the background that fails leaves the file as it was and is tried again, later and later; with an append-only
//!   file nobody is refused anything because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::config::{Settings, ShutdownFlags};
use super::cpus::Work;

use super::retention::Retained;
use super::shared::Shared;
use super::standing::Place;
use super::state::Server;
use super::writing::{PacedDisk, Writing};
use crate::command::{ClientId, CommandError, Cx};
use crate::engine::{Engine, Parts};
use crate::env::Disk;
use crate::env::disk::OsDisk;
use crate::env::{UnixMillis, remedy};
use crate::keyspace::{AccessClock, Keyspace, Snapshot};
use crate::persist::rdb::{self, RdbOptions};
use crate::persist::{DraftWriter, Lsn, Position, SaveError, SaveStep};

/// After a failed save the next one by itself waits this long, and twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Bytes after which a file under work is synced, as in stock.
pub const SYNC_EVERY: u64 = 4 << 20;

/// What INFO tells of a save that somebody stopped.
const GIVEN_UP: &str = "given up";

const REFUSED: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                       Commands that may modify the data set are disabled, because this instance is configured to \
                       report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). \
                       Please check the Redis logs for details about the RDB error.";

/// What the server knows of its saves.
pub struct Saving {
    running: Option<Running>,
    /// BGSAVE inside a transaction: begun when that is over.
    scheduled: bool,
    /// One in the background has failed and is to be tried again.
    again: bool,
    last_saved: UnixMillis,
    last: Option<Ended>,
    saves: u64,
    failures: u32,
    begun: u64,
    /// Clients in SAVE, each with the number of its save.
    waiting: BTreeMap<ClientId, u64>,
    /// Clients in SHUTDOWN, who are told when it fails.
    ending: BTreeSet<ClientId>,
    loaded_keys: u64,
    loaded_expired: u64,
}

struct Running {
    number: u64,
    /// Its number among the snapshots whose memory is watched.
    watched: u64,
    started: Duration,
    /// Changes that the snapshot holds.
    changes: u64,
    by: AskedBy,
    writing: Arc<Writing>,
}

/// Who began a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// SAVE, whose client is told how it ended.
    Waiting,
    /// BGSAVE, or the server itself.
    Background,
}

struct Ended {
    number: u64,
    /// Why it failed, if it did.
    error: Option<String>,
    at: Duration,
    took: Duration,
    retained: u64,
}

/// What is written: the data at one moment.
pub struct Moment {
    pub snapshot: Snapshot,
    pub access: AccessClock,
    /// What changes had left behind until then.
    pub left: u64,
    /// The position in the log of what comes behind it.
    pub next: u64,
}

impl Moment {
    pub fn of(store: &Keyspace, next: u64) -> Self {
        Self { snapshot: store.snapshot(), access: store.db(0).access_clock(), left: store.left(), next }
    }
}

/// The thread of a save.
pub type SaveThread = JoinHandle<()>;

/// The fields of INFO.
pub struct SaveFigures {
    pub in_progress: bool,
    pub keys: u64,
    pub keys_total: u64,
    pub last_saved: UnixMillis,
    /// Why the last one failed; `None` when it did not.
    pub last_error: Option<String>,
    /// Bytes.
    pub last_retained: u64,
    /// Seconds; -1 before the first, and while none runs.
    pub last_seconds: i64,
    pub current_seconds: i64,
    pub saves: u64,
    /// Keys that the start found, and keys that were due by then.
    pub loaded_keys: u64,
    pub loaded_expired: u64,
}

/// What SAVE finds when it looks.
pub enum Waited {
    NotYet,
    Done,
    Failed,
}

impl Saving {
    pub fn new(now: UnixMillis) -> Self {
        Self {
            running: None,
            scheduled: false,
            again: false,
            last_saved: now,
            last: None,
            saves: 0,
            failures: 0,
            begun: 0,
            waiting: BTreeMap::new(),
            ending: BTreeSet::new(),
            loaded_keys: 0,
            loaded_expired: 0,
        }
    }

    /// The data is loaded: what is in memory is what was saved. `expired`: how many of the keys are due.
    pub fn loaded(&mut self, keys: u64, expired: u64, now: UnixMillis) {
        (self.loaded_keys, self.loaded_expired) = (keys.saturating_sub(expired), expired);
        self.last_saved = now;
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn last_saved(&self) -> UnixMillis {
        self.last_saved
    }

    /// Begins a save as soon as the transaction that asks is over.
    pub fn schedule(&mut self) {
        self.scheduled = true;
    }

    pub fn figures(&self, now: Duration) -> SaveFigures {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let (keys, keys_total) = self.running.as_ref().map_or((0, 0), |running| running.writing.keys());
        SaveFigures {
            in_progress: self.running.is_some(),
            keys,
            keys_total,
            last_saved: self.last_saved,
            last_error: self.last.as_ref().and_then(|last| last.error.clone()),
            last_retained: self.last.as_ref().map_or(0, |last| last.retained),
            last_seconds: self.last.as_ref().map_or(-1, |last| seconds(last.took)),
            current_seconds: self.running.as_ref().map_or(-1, |running| seconds(now.saturating_sub(running.started))),
            saves: self.saves,
            loaded_keys: self.loaded_keys,
            loaded_expired: self.loaded_expired,
        }
    }

    /// How the save stands that a client waits for; `None` when it waits for none.
    pub fn waited(&mut self, id: ClientId) -> Option<Waited> {
        let number = *self.waiting.get(&id)?;
        if self.running.as_ref().is_some_and(|running| running.number == number) {
            return Some(Waited::NotYet);
        }
        self.waiting.remove(&id);
        let ok = self.last.as_ref().is_some_and(|last| last.number == number && last.error.is_none());
        Some(if ok { Waited::Done } else { Waited::Failed })
    }

    pub fn wait_for(&mut self, id: ClientId, number: u64) {
        self.waiting.insert(id, number);
    }

    /// Notes a client in SHUTDOWN; false when it is noted already, so that the shutdown has failed.
    pub fn note_ending(&mut self, id: ClientId) -> bool {
        self.ending.insert(id) || !self.ending.remove(&id)
    }

    fn is_well(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.error.is_none())
    }

    fn may_try_again(&self, now: Duration) -> bool {
        let Some(last) = self.last.as_ref().filter(|last| last.error.is_some()) else { return true };
        now.saturating_sub(last.at) >= self.pause()
    }

    /// How long the next attempt waits behind a failed one.
    fn pause(&self) -> Duration {
        RETRY_FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(RETRY_MAX)
    }

    /// Notes the end of the save that runs; the number of changes that are saved now.
    fn end(&mut self, error: Option<String>, retained: u64, now: Duration, unix: UnixMillis) -> u64 {
        let Some(running) = self.running.take() else { return 0 };
        let (took, failed) = (now.saturating_sub(running.started), error.is_some());
        self.last = Some(Ended { number: running.number, error, at: now, took, retained });
        self.failures = if failed { self.failures + 1 } else { 0 };
        self.again = failed && (self.again || running.by == AskedBy::Background);
        if failed {
            return 0;
        }
        self.saves += 1;
        self.last_saved = unix;
        running.changes
    }
}

/// Whether the end of the server begins with a save.
pub fn wanted_at_the_end(flags: ShutdownFlags, settings: &Settings) -> bool {
    flags.save || (!flags.nosave && !settings.save_points.is_empty())
}

/// Begins a save of what there is now; its number.
///
/// # Errors
/// One is running already, or the system has no thread to give.
pub fn start(cx: &mut Cx<'_>, by: AskedBy) -> Result<u64, CommandError> {
    let moment = Moment::of(cx.store, cx.turn.stamp);
    begin(Parts::of(cx), moment, by)
}

/// What the threads share, unless a save is under way.
fn idle(parts: &mut Parts) -> Result<Arc<Shared>, CommandError> {
    let server = Server::in_parts(parts)?;
    if server.saving.is_running() {
        return Err(CommandError::fixed("ERR Background save already in progress"));
    }
    server.shared()
}

fn begin(parts: &mut Parts, moment: Moment, by: AskedBy) -> Result<u64, CommandError> {
    let (changes, clock) = (parts.stats.dirty, Arc::clone(&parts.clock));
    let shared = idle(parts)?;
    let settings = shared.settings();
    let options = options(parts, &settings, moment.access, moment.next)?;
    let place = Place { path: options.path.clone(), position: options.position, waits: true };
    let server = Server::in_parts(parts)?;
    let writing = Writing::new("Background saving", moment.snapshot.len() as u64, Arc::clone(&clock));
    writing.set_rate(settings.snapshot_rate);
    let noting = Arc::downgrade(&shared);
    let note_removal = move |time| {
        if let Some(shared) = noting.upgrade() {
            shared.waits.note_event(&shared, "rdb-unlink-temp-file", time);
        }
    };
    let disk = Arc::new(PacedDisk::new(Arc::new(OsDisk), Arc::clone(&writing), Box::new(note_removal)));
    let writer = rdb::begin(disk, moment.snapshot, options);
    let (seen, for_thread) = (Arc::clone(&writing), Arc::clone(&shared));
    let thread = Builder::new().name("rdb-save".into()).spawn(move || {
        for_thread.settings().cpus.take(Work::Saving);
        let outcome = write(writer, &place, &for_thread, &seen);
        finish(&for_thread, outcome, &seen);
    });
    let thread = thread.map_err(|error| CommandError::new(format!("ERR Background saving cannot begin: {error}")))?;
    shared.keep_save_thread(thread);
    tracing::info!("Background saving started by pid {}", std::process::id());
    server.saving.begun += 1;
    server.saving.scheduled = false;
    let number = server.saving.begun;
    let watched = server.retention.begin(moment.left, Arc::clone(&writing));
    server.saving.running = Some(Running { number, watched, started: clock.monotonic(), changes, by, writing });
    Ok(number)
}

/// How a snapshot of the present moment is written as a dump; `next`: the position in the log of what comes behind it.
pub fn options(
    parts: &mut Parts,
    settings: &Settings,
    clock: AccessClock,
    next: u64,
) -> Result<RdbOptions, CommandError> {
    let libraries = parts.scripts.library_texts().map(<[u8]>::to_vec).collect();
    let now = parts.clock.unix_millis();
    let server = Server::in_parts(parts)?;
    let used = server.shared()?.gauge.used();
    let position = {
        let shared = server.shared()?;
        let standing = shared.standing.lock();
        standing.as_ref().map(|standing| Position { lineage: standing.lineage, lsn: Lsn(next) })
    };
    Ok(RdbOptions {
        path: settings.dump_path(),
        version: settings.rdb_version,
        compression: settings.rdb_compression,
        checksum: settings.rdb_checksum,
        sync_every: settings.rdb_sync.then_some(SYNC_EVERY),
        access: settings.saved_access,
        clock,
        fields: vec![
            ("redis-ver", super::REDIS_VERSION.to_owned()),
            ("redis-bits", usize::BITS.to_string()),
            ("ctime", (now.0 / 1000).to_string()),
            ("used-mem", used.to_string()),
            ("aof-base", "0".to_owned()),
        ],
        libraries,
        position,
        block_bytes: None,
        helpers: settings.snapshot_threads.saturating_sub(1),
    })
}

/// The file's size, or why there is no new one; nothing where the save was given up.
type Outcome = Result<u64, Option<SaveError>>;

/// Steps a writer to its end; the snapshot is freed here, away from the engine.
fn write(mut writer: DraftWriter, place: &Place, shared: &Shared, writing: &Writing) -> Outcome {
    loop {
        if writing.is_given_up() {
            writer.abandon();
            return Err(None);
        }
        match place.step(&mut writer, shared) {
            Ok(SaveStep::Worked) => writing.note(writer.keys()),
            Ok(SaveStep::Done) => return Ok(writer.size()),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// Notes how a save has ended, and tells those who wait for it.
fn finish(shared: &Shared, outcome: Outcome, writing: &Writing) {
    let error = match outcome {
        Ok(bytes) => {
            let megabytes_per_second = bytes as f64 / 1e6 / writing.took().as_secs_f64().max(1e-6);
            tracing::info!("DB saved on disk");
            tracing::info!(
                "Background saving terminated with success ({bytes} bytes at {megabytes_per_second:.1} MB/s)"
            );
            None
        }
        Err(None) => Some(GIVEN_UP.to_owned()),
        Err(Some(error)) => {
            let text = format!("{error}; {}", remedy(&error.path, &error.error, bytes_missing(&error, writing)));
            tracing::warn!("Write error saving DB on disk: {text}. The file in place is as it was");
            tracing::warn!("Background saving error");
            Some(text)
        }
    };
    let mut engine = shared.engine.lock_patiently();
    let settings = shared.settings();
    let (now, unix, left) = (shared.clock.monotonic(), shared.clock.unix_millis(), engine.store.left());
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    let watched = server.saving.running.as_ref().map_or(0, |running| running.watched);
    let Retained { bytes: retained, too_much } = server.retention.end(watched, left, error.is_none());
    let given_up = error.as_deref() == Some(GIVEN_UP);
    let error = match error.as_deref() {
        Some(GIVEN_UP) if too_much => {
            Some(format!("given up, because it retained {} MB (snapshot-max-retained)", retained >> 20))
        }
        _ => error,
    };
    let failed = error.is_some();
    let saved_changes = server.saving.end(error, retained, now, unix);
    if failed && server.saving.again && (too_much || !given_up) {
        let pause = server.saving.pause().as_secs();
        tracing::warn!("Background saving will be tried again in {pause} seconds");
    }
    let waiting: Vec<ClientId> = server.saving.waiting.keys().copied().collect();
    engine.parts.stats.dirty = engine.parts.stats.dirty.saturating_sub(saved_changes);
    judge_writes(&mut engine.parts, &settings);
    for id in waiting {
        engine.look_again(id);
    }
    if let Ok(server) = Server::in_parts(&mut engine.parts) {
        // Whoever is still noted has hung up.
        server.saving.waiting.clear();
    }
}

/// How much more room on the disk a file would have needed, as far as what was written tells.
fn bytes_missing(error: &SaveError, writing: &Writing) -> Option<u64> {
    let free = OsDisk.free_bytes(error.path.parent()?).ok()?;
    writing.bytes_expected().checked_sub(free).filter(|missing| *missing > 0)
}

/// Begins a save that is scheduled, that a save point asks for, or that is to be tried again; looks after the one that runs.
pub fn tick(engine: &mut Engine, shared: &Shared) {
    let (now, unix, dirty) = (shared.clock.monotonic(), shared.clock.unix_millis(), engine.parts.stats.dirty);
    let left = engine.store.left();
    let settings = shared.settings();
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    server.retention.watch(left, now, settings.snapshot_retained_max, settings.snapshot_rate);
    let saving = &server.saving;
    if saving.is_running() || shared.is_draining() {
        return;
    }
    let since = unix.0.saturating_sub(saving.last_saved.0) / 1000;
    let due = settings.save_points.iter().find(|point| {
        dirty >= point.changes
            && u64::try_from(since).is_ok_and(|since| since > point.seconds)
            && saving.may_try_again(now)
    });
    if let Some(point) = due {
        tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
    } else if saving.again && saving.may_try_again(now) {
        tracing::info!("Saving again...");
    } else if !saving.scheduled {
        return;
    }
    let moment = Moment::of(&engine.store, engine.log.next());
    if let Err(error) = begin(&mut engine.parts, moment, AskedBy::Background) {
        tracing::warn!("{}", error.text());
        if let Ok(server) = Server::in_parts(&mut engine.parts) {
            server.saving.scheduled = false;
            server.saving.failures += 1;
            let error = Some(error.text().to_owned());
            server.saving.last = Some(Ended { number: 0, error, at: now, took: Duration::ZERO, retained: 0 });
        }
    }
}

/// Writes are refused while saves are all that keeps them and the last one failed (`stop-writes-on-bgsave-error`).
pub fn judge_writes(parts: &mut Parts, settings: &Settings) {
    let failing = Server::in_parts(parts).is_ok_and(|server| !server.saving.is_well());
    let refused = failing && !settings.appendonly && settings.stop_writes && !settings.save_points.is_empty();
    parts.settings.writes_refused = refused.then_some(REFUSED);
}

/// Saves at once, with the engine held.
///
/// # Errors
/// What failed, or that a save is under way.
pub fn save_now(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    let moment = Moment::of(cx.store, cx.turn.stamp);
    let parts = Parts::of(cx);
    let shared = idle(parts)?;
    let options = options(parts, &shared.settings(), moment.access, moment.next)?;
    match to_the_end(&shared, moment.snapshot, options) {
        Ok(_) => {
            Server::in_parts(parts)?.saving.last_saved = shared.clock.unix_millis();
            parts.stats.dirty = 0;
            Ok(())
        }
        Err(error) => {
            tracing::warn!("Write error saving DB on disk: {error}");
            Err(CommandError::fixed("ERR"))
        }
    }
}

/// A save that nobody can stop.
fn to_the_end(shared: &Shared, snapshot: Snapshot, options: RdbOptions) -> Result<u64, SaveError> {
    let place = Place { path: options.path.clone(), position: options.position, waits: false };
    let mut writer = rdb::begin(Arc::new(OsDisk), snapshot, options);
    while place.step(&mut writer, shared)? == SaveStep::Worked {}
    Ok(writer.size())
}

/// The save with which the server ends, if one is wanted. Nobody is served any more when it has succeeded.
///
/// # Errors
/// It failed, and the server is to go on.
pub fn before_the_end(shared: &Shared, flags: ShutdownFlags) -> Result<(), ()> {
    cancel(shared);
    let settings = shared.settings();
    if !wanted_at_the_end(flags, &settings) {
        return Ok(());
    }
    // Until the engine is held a client may begin another save, which would write the same draft.
    let mut engine = loop {
        let mut engine = shared.engine.lock_within(settings.shutdown_timeout).unwrap_or_else(|| {
            shared.script.abandon();
            shared.engine.lock_patiently()
        });
        if !Server::in_parts(&mut engine.parts).is_ok_and(|server| server.saving.is_running()) {
            break engine;
        }
        drop(engine);
        cancel(shared);
    };
    tracing::warn!("Saving the final RDB snapshot before exiting.");
    let moment = Moment::of(&engine.store, engine.log.next());
    let Ok(options) = options(&mut engine.parts, &settings, moment.access, moment.next) else { return Ok(()) };
    match to_the_end(shared, moment.snapshot, options) {
        Ok(_) => {
            tracing::warn!("DB saved on disk");
            shared.drain();
            Ok(())
        }
        Err(error) => {
            if flags.force {
                tracing::warn!("Error trying to save the DB, exiting all the same: {error}.");
                return Ok(());
            }
            tracing::warn!("Error trying to save the DB, can't exit: {error}.");
            shared.abort_shutdown();
            let ending = Server::in_parts(&mut engine.parts).map(|server| server.saving.ending.clone());
            for id in ending.unwrap_or_default() {
                engine.look_again(id);
            }
            Err(())
        }
    }
}

/// Ends a save that is under way; the file in place stays as it was.
fn cancel(shared: &Shared) {
    let Some(thread) = shared.take_save_thread() else { return };
    {
        let mut engine = shared.engine.lock_patiently();
        if let Ok(server) = Server::in_parts(&mut engine.parts)
            && let Some(running) = &server.saving.running
        {
            running.writing.give_up();
        }
    }
    // A thread that panicked has ended the process already.
    let _ = thread.join();
}
