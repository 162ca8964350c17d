//! Rewriting the append-only file: by BGREWRITEAOF, by itself when the log has grown or the disk is filling up, and behind
//! whatever has left bytes in the log that no checksum of ours covers.
//!
//! A rewrite works on a snapshot and a cut of the log, taken in one hold of the engine, on a thread of its own.
//!
//! Invariants
//! - One rewrite at a time; saves go on beside it.
//! - A rewrite that fails leaves the log as it was, nobody is refused anything because of it, and it is tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::config::Settings;
use super::cpus::Work;
use super::keeping;
use super::log_driver::{self, RunningLog};
use super::reserve;
use super::saving::{self, Moment};
use super::shared::Shared;
use super::state::Server;
use super::switching;
use super::writing::{PacedDisk, Writing};
use crate::command::{CommandError, Cx};
use crate::engine::{Engine, Parts};
use crate::env::Disk;
use crate::env::disk::OsDisk;
use crate::env::{UnixMillis, is_full, remedy};
use crate::persist::rdb::RdbOptions;
use crate::persist::{BaseOptions, Compaction, CompactionError, CompactionStep, Cut, Founding, Lsn, Position};

/// After a failed rewrite the next one by itself waits this long, and twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Longest time for which the thread waits for the log's writer before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(100);

const FAILED: CommandError = CommandError::fixed(
    "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
);

/// What the server knows of its rewrites.
#[derive(Default)]
pub struct Rewriting {
    running: Option<Running>,
    /// BGREWRITEAOF inside a transaction: begun when that is over.
    scheduled: bool,
    last: Option<Ended>,
    rewrites: u64,
    failures: u32,
    growth: Growth,
    last_retained: u64,
}

struct Running {
    started: Duration,
    /// Its number among the snapshots whose memory is watched.
    watched: u64,
    writing: Arc<Writing>,
    /// BGREWRITEAOF without a log: what it begins is closed when it is whole.
    passing: bool,
}

struct Ended {
    error: Option<String>,
    /// There was no room on the disk.
    full: bool,
    at: Duration,
    took: Duration,
}

/// The fields of INFO.
pub struct RewriteFigures {
    pub in_progress: bool,
    pub scheduled: bool,
    pub keys: u64,
    pub keys_total: u64,
    /// Bytes that the snapshot of the last one retained.
    pub last_retained: u64,
    /// Seconds; -1 before the first, and while none runs.
    pub last_seconds: i64,
    pub current_seconds: i64,
    /// Why the last one failed.
    pub last_error: Option<String>,
    pub rewrites: u64,
    pub failures: u32,
}

impl Rewriting {
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins a rewrite as soon as the transaction that asks is over, whatever failed before.
    pub fn schedule(&mut self) {
        (self.scheduled, self.failures) = (true, 0);
    }

    /// The last one found no room on the disk.
    pub fn met_full_disk(&self) -> bool {
        !self.is_running() && self.last.as_ref().is_some_and(|last| last.full)
    }

    /// What failed before does not make the next attempt wait.
    pub fn forget_failures(&mut self) {
        self.failures = 0;
    }

    /// The log is not wanted: whether it may end now. A rewrite of it is given up; one that begins it ends it itself.
    pub fn give_up_for_the_end(&self, founded: bool) -> bool {
        let Some(running) = &self.running else { return founded };
        if !running.passing {
            running.writing.give_up();
        }
        founded && !running.passing
    }

    pub fn figures(&self, now: Duration) -> RewriteFigures {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let (keys, keys_total) = self.running.as_ref().map_or((0, 0), |running| running.writing.keys());
        RewriteFigures {
            in_progress: self.is_running(),
            scheduled: self.scheduled,
            keys,
            keys_total,
            last_retained: self.last_retained,
            last_seconds: self.last.as_ref().map_or(-1, |last| seconds(last.took)),
            current_seconds: self.running.as_ref().map_or(-1, |running| seconds(now.saturating_sub(running.started))),
            last_error: self.last.as_ref().and_then(|last| last.error.clone()),
            rewrites: self.rewrites,
            failures: self.failures,
        }
    }

    fn may_try_again(&self, now: Duration) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.failures > 0) else { return true };
        let pause = RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(12)).min(RETRY_MAX);
        now.saturating_sub(last.at) >= pause
    }

    fn end(&mut self, error: Option<String>, full: bool, retained: u64, now: Duration) {
        let Some(running) = self.running.take() else { return };
        self.last_retained = retained;
        self.failures = if error.is_none() { 0 } else { self.failures + 1 };
        self.rewrites += u64::from(error.is_none());
        self.last = Some(Ended { error, full, at: now, took: now.saturating_sub(running.started) });
    }

    fn fail_at_once(&mut self, error: String, now: Duration) {
        self.scheduled = false;
        self.failures += 1;
        self.last = Some(Ended { error: Some(error), full: false, at: now, took: Duration::ZERO });
    }
}

/// Rewrites for room alone follow each other after this time, or when they gain an eighth of what is free.
const SPACE_AGAIN: Duration = Duration::from_secs(60);

/// How fast the log grows, and how much room there is for it.
#[derive(Debug, Default)]
pub struct Growth {
    looked: Option<(Duration, u64)>,
    bytes_per_second: u64,
    free: Option<u64>,
}

/// The log is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time that a rewrite and whatever else happens may take before the disk is full.
const AHEAD: Duration = Duration::from_secs(600);

impl Growth {
    /// Notes the log's size and the room on its disk.
    fn look(&mut self, now: Duration, size: u64, free: u64) {
        if let Some((then, before)) = self.looked {
            let millis = now.saturating_sub(then).as_millis().max(1) as u64;
            let rate = size.saturating_sub(before).saturating_mul(1000) / millis;
            // The mean of about the last ten looks.
            self.bytes_per_second = (self.bytes_per_second * 9 + rate).div_ceil(10);
        }
        self.looked = Some((now, size));
        self.free = Some(free);
    }

    /// Whether the disk will be full soon, and a rewrite, which needs `base` bytes itself, gains more than that much again.
    fn is_short(&self, size: u64, base: u64) -> bool {
        let Some(free) = self.free else { return false };
        let ahead = self.bytes_per_second.saturating_mul(AHEAD.as_secs());
        size > base.saturating_mul(2) && free < base.saturating_add(ahead)
    }
}

/// Why a rewrite begins by itself.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    Scheduled,
    /// The last one failed.
    Again,
    Growth(u64),
    Space {
        free: u64,
    },
    /// The log holds bytes that no checksum of ours covers, or a file whose disk has lied.
    Unverified,
}

/// What is weighed.
struct Case {
    size: u64,
    base: u64,
    percentage: u64,
    min_size: u64,
    asked: bool,
}

impl Rewriting {
    fn reason(&self, now: Duration, case: &Case) -> Option<Reason> {
        if self.scheduled {
            return Some(Reason::Scheduled);
        }
        if !self.may_try_again(now) {
            return None;
        }
        if case.asked {
            return Some(Reason::Unverified);
        }
        if self.failures > 0 {
            return Some(Reason::Again);
        }
        if case.percentage > 0 && case.size > case.min_size {
            let growth = (u128::from(case.size) * 100 / u128::from(case.base.max(1))).saturating_sub(100);
            if growth >= u128::from(case.percentage) {
                return Some(Reason::Growth(u64::try_from(growth).unwrap_or(u64::MAX)));
            }
        }
        // Without percentage nothing happens by itself, as in stock.
        let rested = self.last.as_ref().is_none_or(|last| now.saturating_sub(last.at) >= SPACE_AGAIN);
        let worth = rested || case.size.saturating_sub(case.base) >= self.growth.free.unwrap_or(0) / 8;
        let short = case.percentage > 0 && worth && self.growth.is_short(case.size, case.base);
        short.then_some(Reason::Space { free: self.growth.free.unwrap_or(0) })
    }
}

/// BGREWRITEAOF, outside of transactions.
///
/// # Errors
/// One is under way, or none can begin.
pub fn start(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    let moment = Moment::of(cx.store, cx.turn.stamp);
    let parts = Parts::of(cx);
    let server = Server::in_parts(parts)?;
    server.rewriting.failures = 0;
    let shared = server.shared()?;
    if shared.log().is_none() && !server.rewriting.is_running() {
        // The ticker does it: a log cannot begin inside of a turn.
        server.rewriting.schedule();
        shared.ticker.ring(UnixMillis(i64::MIN));
        return Ok(());
    }
    begin(parts, moment)
}

/// Begins a rewrite if one is due.
pub fn tick(engine: &mut Engine, shared: &Shared) {
    let now = shared.clock.monotonic();
    let settings = shared.settings();
    let Some(log) = shared.log() else { return begin_log_if_wanted(engine, shared, &settings, now) };
    let stats = &log.progress.stats;
    let (size, base) = (stats.size.load(Ordering::Relaxed), stats.base_size.load(Ordering::Relaxed));
    let case = Case {
        size,
        base,
        percentage: settings.rewrite_percentage,
        min_size: settings.rewrite_min_size,
        asked: log.progress.is_rebase_asked(),
    };
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    if server.rewriting.is_running() || shared.is_draining() {
        return;
    }
    match server.rewriting.reason(now, &case) {
        None => return,
        Some(Reason::Scheduled) => {}
        Some(Reason::Again) => tracing::info!("Starting AOF rewrite again after a failure"),
        Some(Reason::Growth(growth)) => tracing::info!("Starting automatic rewriting of AOF on {growth}% growth"),
        Some(Reason::Space { free }) => {
            tracing::warn!("Starting automatic rewriting of AOF: {free} bytes are free on its disk and will not last");
        }
        Some(Reason::Unverified) => {
            tracing::info!("Starting automatic rewriting of AOF: it holds what no checksum covers");
        }
    }
    let moment = Moment::of(&engine.store, engine.log.next());
    if let Err(error) = begin(&mut engine.parts, moment) {
        tracing::warn!("{}", error.text());
        if let Ok(server) = Server::in_parts(&mut engine.parts) {
            server.rewriting.fail_at_once(error.text().to_owned(), now);
        }
    }
}

/// Looks at the room on the log's disk, now and then; without the engine, because that may wait.
pub fn look_at_disk(shared: &Arc<Shared>, looked: &mut Option<Duration>) {
    let now = shared.clock.monotonic();
    let Some(log) = shared.log().filter(|_| looked.is_none_or(|then| now.saturating_sub(then) >= LOOK_EVERY)) else {
        return;
    };
    *looked = Some(now);
    let Ok(free) = OsDisk.free_bytes(&log.options.directory) else { return };
    let size = log.progress.stats.size.load(Ordering::Relaxed);
    if free < keeping::spare(&log) {
        shared.keeping.look_again();
    }
    {
        let mut engine = shared.engine.lock_patiently();
        if let Ok(server) = Server::in_parts(&mut engine.parts) {
            server.rewriting.growth.look(now, size, free);
        }
    }
    reserve::look(shared, &log, free);
}

/// What both ways of writing a base have in common.
struct Draft {
    writing: Arc<Writing>,
    disk: Arc<PacedDisk>,
    rdb: RdbOptions,
}

impl Draft {
    fn new(parts: &mut Parts, settings: &Settings, moment: &Moment) -> Result<Self, CommandError> {
        let mut rdb = saving::options(parts, settings, moment.access, moment.next)?;
        for (name, value) in &mut rdb.fields {
            if *name == "aof-base" {
                *value = "1".to_owned();
            }
        }
        rdb.sync_every = settings.rewrite_sync.then_some(saving::SYNC_EVERY);
        let keys = moment.snapshot.len() as u64;
        let writing = Writing::new("Background AOF rewrite", keys, Arc::clone(&parts.clock));
        writing.set_rate(settings.snapshot_rate);
        let disk = Arc::new(PacedDisk::new(Arc::new(OsDisk), Arc::clone(&writing), Box::new(|_| {})));
        Ok(Self { writing, disk, rdb })
    }
}

fn base_options(log: &RunningLog, lsn: Lsn, rdb: RdbOptions, settings: &Settings, now: UnixMillis) -> BaseOptions {
    BaseOptions {
        log: log.options.clone(),
        position: Position { lineage: log.lineage, lsn },
        rdb,
        as_commands: !settings.rdb_preamble,
        timestamp: settings.log_timestamps.then_some(now.0),
        keep_superseded: settings.keep_superseded || settings.retain.is_on(),
    }
}

/// Has a thread of its own do the work, which tells how it has ended.
fn launch(
    parts: &mut Parts,
    left: u64,
    writing: Arc<Writing>,
    passing: bool,
    work: impl FnOnce(&Arc<Shared>, &Writing) -> Outcome + Send + 'static,
) -> Result<(), CommandError> {
    let shared = Server::in_parts(parts)?.shared()?;
    let (seen, for_thread) = (Arc::clone(&writing), Arc::clone(&shared));
    let thread = Builder::new().name("aof-rewrite".into()).spawn(move || {
        for_thread.settings().cpus.take(Work::Rewriting);
        let outcome = work(&for_thread, &seen);
        finish(&for_thread, outcome);
    });
    let thread = thread.map_err(|error| {
        tracing::warn!("Can't rewrite append only file in background: {error}");
        FAILED
    })?;
    shared.keep_rewrite_thread(thread);
    tracing::info!("Background append only file rewriting started by pid {}", std::process::id());
    let started = parts.clock.monotonic();
    let server = Server::in_parts(parts)?;
    let watched = server.retention.begin(left, Arc::clone(&writing));
    server.rewriting.scheduled = false;
    server.rewriting.running = Some(Running { started, watched, writing, passing });
    Ok(())
}

fn begin(parts: &mut Parts, moment: Moment) -> Result<(), CommandError> {
    let server = Server::in_parts(parts)?;
    if server.rewriting.is_running() {
        return Err(CommandError::fixed("ERR Background append only file rewriting already in progress"));
    }
    let shared = server.shared()?;
    let Some(log) = shared.log() else { return Err(FAILED) };
    let settings = shared.settings();
    let Draft { writing, disk, rdb } = Draft::new(parts, &settings, &moment)?;
    // Nothing can come between the snapshot and the cut: the engine is held.
    let cut = log.buffer.cut();
    let options = base_options(&log, cut.lsn, rdb, &settings, parts.clock.unix_millis());
    log.progress.forget_rebase();
    let compaction = Compaction::new(disk, Arc::clone(&log.buffer), cut, moment.snapshot, options);
    launch(parts, moment.left, writing, false, move |_, writing| run(compaction, writing))
}

/// Begins a log where one is wanted and none is kept: it was switched on, or is to be written once.
fn begin_log_if_wanted(engine: &mut Engine, shared: &Shared, settings: &Settings, now: Duration) {
    let Ok(server) = Server::in_parts(&mut engine.parts) else { return };
    let rewriting = &server.rewriting;
    let wanted = rewriting.scheduled || settings.appendonly && rewriting.may_try_again(now);
    if !wanted || rewriting.is_running() || shared.is_draining() {
        return;
    }
    if let Err(error) = begin_log(engine, shared, settings) {
        tracing::warn!("{}", error.text());
        if let Ok(server) = Server::in_parts(&mut engine.parts) {
            server.rewriting.fail_at_once(error.text().to_owned(), now);
        }
    }
}

fn begin_log(engine: &mut Engine, shared: &Shared, settings: &Settings) -> Result<(), CommandError> {
    let moment = Moment::of(&engine.store, engine.log.next());
    let Draft { writing, disk, rdb } = Draft::new(&mut engine.parts, settings, &moment)?;
    let (log, founding) = switching::begin(engine, shared, settings).ok_or(FAILED)?;
    let options = base_options(&log, founding.position.lsn, rdb, settings, shared.clock.unix_millis());
    let (snapshot, begun) = (moment.snapshot, Arc::clone(&log));
    let work = move |shared: &Arc<Shared>, writing: &Writing| {
        let outcome = found(shared, &begun, founding, writing, |cut| {
            Compaction::new(disk, Arc::clone(&begun.buffer), cut, snapshot, options)
        });
        match &outcome {
            Ok(_) if begun.progress.is_founded() => switching::founded(shared, &begun),
            _ => switching::abandon(shared, &begun),
        }
        outcome
    };
    let launched = launch(&mut engine.parts, moment.left, writing, !settings.appendonly, work);
    if launched.is_err() {
        engine.leave_log();
        shared.set_log(None);
    }
    launched
}

/// Begins the writer of a new log and has the base written that stands in front of it.
fn found(
    shared: &Arc<Shared>,
    log: &Arc<RunningLog>,
    founding: Founding,
    writing: &Writing,
    compaction: impl FnOnce(Cut) -> Compaction,
) -> Outcome {
    let failed = |error| {
        let path = log.options.directory.clone();
        Some(CompactionError::Io { path, doing: "beginning a log in", error })
    };
    let (writer, cut) = switching::found_log(shared, log, founding).map_err(failed)?;
    log_driver::begin_writing(shared, log, writer).map_err(failed)?;
    let mut compaction = compaction(cut);
    loop {
        let trouble = log.progress.trouble();
        // Where the manifest may name it, it has to go on.
        if (writing.is_given_up() || trouble.is_some()) && (compaction.abandon() || shared.is_draining()) {
            return Err(trouble.map(|trouble| CompactionError::Log(format!("{}: {}", trouble.path, trouble.error))));
        }
        match compaction.step() {
            Ok(CompactionStep::Worked) => writing.note(compaction.keys()),
            Ok(CompactionStep::Waits) => compaction.wait(PATIENCE),
            Ok(CompactionStep::Done) => return Ok(compaction.base_bytes()),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// The size of the base, or why there is no new one; nothing where it was given up.
type Outcome = Result<u64, Option<CompactionError>>;

/// Steps a compaction to its end; the snapshot is freed here, away from the engine.
fn run(mut compaction: Compaction, writing: &Writing) -> Outcome {
    loop {
        if writing.is_given_up() {
            // Where the manifest may name the base already, the next start finds out and removes what is superseded.
            return if compaction.abandon() { Err(None) } else { Ok(compaction.base_bytes()) };
        }
        match compaction.step() {
            Ok(CompactionStep::Worked) => writing.note(compaction.keys()),
            Ok(CompactionStep::Waits) => compaction.wait(PATIENCE),
            Ok(CompactionStep::Done) => return Ok(compaction.base_bytes()),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// Notes how a rewrite has ended.
fn finish(shared: &Shared, outcome: Outcome) {
    let full = matches!(&outcome, Err(Some(error)) if error.io().is_some_and(|(_, cause)| is_full(cause)));
    let error = match outcome {
        Ok(bytes) => {
            tracing::info!("Background AOF rewrite terminated with success (base of {bytes} bytes)");
            tracing::info!("Background AOF rewrite finished successfully");
            shared.keeping.look_again();
            None
        }
        Err(None) => {
            tracing::warn!("Background AOF rewrite was given up");
            Some("given up".to_owned())
        }
        Err(Some(error)) => {
            let text = match error.io() {
                Some((path, cause)) => format!("{error}; {}", remedy(path, cause, None)),
                None => error.to_string(),
            };
            tracing::warn!("Background AOF rewrite terminated with error: {text}. The log goes on as it was");
            Some(text)
        }
    };
    let mut engine = shared.engine.lock_patiently();
    let (now, left) = (shared.clock.monotonic(), engine.store.left());
    if let Ok(server) = Server::in_parts(&mut engine.parts) {
        let watched = server.rewriting.running.as_ref().map_or(0, |running| running.watched);
        let retained = server.retention.end(watched, left, error.is_none());
        server.rewriting.end(error, full, retained.bytes, now);
    }
    // A log that was written once is closed now.
    shared.ticker.ring(UnixMillis(i64::MIN));
}

/// Gives up a rewrite that is under way, and waits for its thread.
pub fn cancel(shared: &Shared) {
    let Some(thread) = shared.take_rewrite_thread() else { return };
    {
        let mut engine = shared.engine.lock_patiently();
        if let Ok(server) = Server::in_parts(&mut engine.parts)
            && let Some(running) = &server.rewriting.running
        {
            running.writing.give_up();
        }
    }
    // A thread that panicked has ended the process already.
    let _ = thread.join();
}

/// The thread of a rewrite.
pub type RewriteThread = JoinHandle<()>;

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn case(size: u64, base: u64) -> Case {
        Case { size, base, percentage: 100, min_size: 64 * MB, asked: false }
    }

    #[test]
    fn growth_is_measured_against_the_size_behind_the_last_rewrite() {
        for (size, base, expected) in [
            (64 * MB, 0, None),
            (65 * MB, 0, Some(Reason::Growth(65 * MB * 100 - 100))),
            (65 * MB, 40 * MB, None),
            (79 * MB, 40 * MB, None),
            (80 * MB, 40 * MB, Some(Reason::Growth(100))),
        ] {
            assert_eq!(Rewriting::default().reason(Duration::ZERO, &case(size, base)), expected, "{size} {base}");
        }
        let never = Case { percentage: 0, ..case(900 * MB, MB) };
        assert_eq!(Rewriting::default().reason(Duration::ZERO, &never), None);
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_and_at_once_when_asked() {
        let mut rewriting = Rewriting::default();
        let quiet = case(0, 0);
        for (failures, pause) in [(1, 5), (2, 10), (3, 20), (12, 3600), (40, 3600)] {
            rewriting.failures = failures;
            let (at, took) = (Duration::ZERO, Duration::ZERO);
            rewriting.last = Some(Ended { error: Some("x".into()), full: false, at, took });
            let at = |seconds| Duration::from_secs(seconds);
            assert_eq!(rewriting.reason(at(pause - 1), &quiet), None);
            assert_eq!(rewriting.reason(at(pause), &quiet), Some(Reason::Again));
        }
        rewriting.schedule();
        assert_eq!(rewriting.reason(Duration::ZERO, &quiet), Some(Reason::Scheduled));
    }

    #[test]
    fn a_disk_that_fills_up_is_seen_before_it_is_full() {
        let mut rewriting = Rewriting::default();
        let small = case(30 * MB, 10 * MB);
        for second in 0..100 {
            rewriting.growth.look(Duration::from_secs(second), second * MB, 10_000 * MB);
        }
        assert_eq!(rewriting.reason(Duration::ZERO, &small), None, "room for hours");
        rewriting.growth.look(Duration::from_secs(100), 100 * MB, 500 * MB);
        assert_eq!(rewriting.reason(Duration::ZERO, &small), Some(Reason::Space { free: 500 * MB }));
        assert_eq!(rewriting.reason(Duration::ZERO, &case(19 * MB, 10 * MB)), None, "there is little to gain");
        // Not over and over, unless it gains much.
        let (at, took) = (Duration::from_secs(100), Duration::ZERO);
        rewriting.last = Some(Ended { error: None, full: false, at, took });
        let seconds = Duration::from_secs;
        for (now, size, expected) in [
            (159, 30 * MB, None),
            (160, 30 * MB, Some(Reason::Space { free: 500 * MB })),
            (159, 63 * MB, Some(Reason::Space { free: 500 * MB })),
        ] {
            assert_eq!(rewriting.reason(seconds(now), &case(size, MB / 2)), expected, "{now} {size}");
        }
    }
}
