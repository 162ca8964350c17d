//! What the server's threads share: the engine behind its lock, the gate, the settings in force, counters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use super::config::{Settings, ShutdownFlags};
use super::defrag::Defrag;
use super::io_thread::IoLoop;
use super::keeping::Keeping;
use super::knobs::Knobs;
use super::loading::Loading;
use super::lock::{Busy, Fair, FairLock};
use super::log_driver::RunningLog;
use super::memory::Gauge;
use super::reserve::EmergencyReserve;
use super::retention::Brake;
use super::rewriting::RewriteThread;
use super::saving::SaveThread;
use super::standing::Standing;
use super::waits::Waits;
use crate::command::CommandTable;
use crate::engine::{ClientIds, Control, Engine, Gate, Users, in_doubt};
use crate::env::disk::DiskLock;
use crate::env::{Clock, Disk, UnixMillis};
use crate::persist::Older;

/// See the module's header.
pub struct Shared {
    pub engine: FairLock<Engine>,
    pub gate: Arc<Gate>,
    pub table: Arc<CommandTable>,
    /// Users, readable without the engine.
    pub users: Users,
    pub client_ids: ClientIds,
    /// The running script, reachable without the engine.
    pub script: Arc<Control>,
    pub clock: Arc<dyn Clock>,
    pub counters: Counters,
    pub gauge: Arc<Gauge>,
    pub brake: Arc<Brake>,
    pub ticker: Alarm,
    pub loading: Arc<Loading>,
    pub waits: Waits,
    pub knobs: Knobs,
    pub defrag: Defrag,
    pub keeping: Keeping,
    log: RwLock<Option<Arc<RunningLog>>>,
    /// The log that was switched off last; it may not be closed yet.
    ended_log: Mutex<Option<Arc<RunningLog>>>,
    /// Held while the manifest of a log that nobody has open is changed.
    pub manifest: Mutex<()>,
    /// None before the data is loaded.
    pub standing: Mutex<Option<Standing>>,
    /// What was kept of earlier dumps and of what lost against others, when that was last looked at.
    pub older: Mutex<Older>,
    /// Held while what is too old is removed.
    pub pruning: Mutex<()>,
    pub reserve: EmergencyReserve,
    /// The locks of the directories that logs and dumps are in.
    directories: Mutex<Vec<(PathBuf, Box<dyn DiskLock>)>>,
    /// What a client is told whose write is applied and not durable, while the log is in trouble (RESP).
    in_doubt: Mutex<Option<Arc<[u8]>>>,
    log_changed: Condvar,
    log_turn: Mutex<()>,
    draining: AtomicBool,
    /// Lowest position that a WAITAOF waits for.
    lowest_awaited: AtomicU64,
    settings: RwLock<Arc<Settings>>,
    settings_generation: AtomicU64,
    loops: OnceLock<Vec<Arc<IoLoop>>>,
    /// Held while files that a command asked for are read or written.
    pub errand: Mutex<()>,
    /// The thread of the last save, which may have ended.
    save_thread: Mutex<Option<SaveThread>>,
    /// The thread of the last rewrite, which may have ended.
    rewrite_thread: Mutex<Option<RewriteThread>>,
    shutdown: Mutex<Option<ShutdownFlags>>,
    shutdown_asked: Condvar,
    stopping: AtomicBool,
}

/// Counters that io threads keep without the engine.
#[derive(Debug, Default)]
pub struct Counters {
    pub connected: AtomicUsize,
    pub accepted: AtomicU64,
    pub rejected: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    /// Those of them on threads beside the first.
    pub threaded_reads: AtomicU64,
    pub threaded_writes: AtomicU64,
    /// How often the buffer of a connection's replies was made larger, and smaller.
    pub buffer_expands: AtomicU64,
    pub buffer_shrinks: AtomicU64,
    /// Passes of the io loops.
    pub turns: AtomicU64,
    /// Time that they were at work, microseconds.
    pub busy_micros: AtomicU64,
    pub output_limit_disconnections: AtomicU64,
    pub query_limit_disconnections: AtomicU64,
}

impl Counters {
    pub fn reset(&self) {
        for counter in [
            &self.accepted,
            &self.rejected,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
            &self.threaded_reads,
            &self.threaded_writes,
            &self.buffer_expands,
            &self.buffer_shrinks,
            &self.turns,
            &self.busy_micros,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

impl Shared {
    pub fn new(engine: Engine, gate: Arc<Gate>, clock: Arc<dyn Clock>, settings: Settings, gauge: Arc<Gauge>) -> Self {
        Self {
            table: Arc::clone(&engine.parts.table),
            users: engine.parts.access.users.clone(),
            client_ids: engine.parts.clients.ids().clone(),
            script: engine.parts.scripts.control(),
            engine: FairLock::new(engine),
            gate,
            counters: Counters::default(),
            gauge,
            brake: Arc::default(),
            ticker: Alarm::default(),
            loading: Arc::new(Loading::new(Arc::clone(&clock))),
            waits: Waits::default(),
            knobs: Knobs::default(),
            defrag: Defrag::default(),
            keeping: Keeping::new(&clock),
            log: RwLock::new(None),
            ended_log: Mutex::new(None),
            manifest: Mutex::new(()),
            standing: Mutex::new(None),
            older: Mutex::default(),
            pruning: Mutex::default(),
            reserve: EmergencyReserve::default(),
            directories: Mutex::default(),
            in_doubt: Mutex::new(None),
            log_changed: Condvar::new(),
            log_turn: Mutex::new(()),
            draining: AtomicBool::new(false),
            lowest_awaited: AtomicU64::new(u64::MAX),
            clock,
            settings: RwLock::new(Arc::new(settings)),
            settings_generation: AtomicU64::new(0),
            loops: OnceLock::new(),
            errand: Mutex::new(()),
            save_thread: Mutex::new(None),
            rewrite_thread: Mutex::new(None),
            shutdown: Mutex::new(None),
            shutdown_asked: Condvar::new(),
            stopping: AtomicBool::new(false),
        }
    }

    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Waits for the engine.
    ///
    /// # Errors
    /// [`Busy`] while a script runs past its time.
    pub fn lock(&self) -> Result<Fair<'_, Engine>, Busy> {
        self.engine.lock(|| self.script.is_busy())
    }

    /// Grows with every change of the settings.
    pub fn settings_generation(&self) -> u64 {
        self.settings_generation.load(Ordering::Acquire)
    }

    pub fn set_settings(&self, settings: Settings) {
        let after = Arc::new(settings);
        let before = std::mem::replace(&mut *self.settings.write(), Arc::clone(&after));
        self.settings_generation.fetch_add(1, Ordering::Release);
        self.keeping.apply(&before, &after);
    }

    /// Called once, before the io threads start.
    pub fn set_loops(&self, loops: Vec<Arc<IoLoop>>) {
        // A second call would be a mistake in `start`; the first one stays in force.
        let _ = self.loops.set(loops);
    }

    pub fn loops(&self) -> &[Arc<IoLoop>] {
        self.loops.get().map_or(&[], Vec::as_slice)
    }

    /// The engine logs here from now on; or nowhere, and the log before is about to be closed.
    pub fn set_log(&self, log: Option<Arc<RunningLog>>) {
        self.gauge.set_log(log.as_ref().map(|log| Arc::clone(&log.progress)));
        let before = std::mem::replace(&mut *self.log.write(), log);
        if let Some(before) = before {
            before.end();
            if before.progress.is_founded() {
                *self.ended_log.lock() = Some(Arc::clone(&before));
            }
            self.log_moved(&before);
        }
    }

    /// The log that the engine writes to, if it does; it may not count yet.
    pub fn log(&self) -> Option<Arc<RunningLog>> {
        self.log.read().clone()
    }

    /// The log that a start would load.
    pub fn founded_log(&self) -> Option<Arc<RunningLog>> {
        self.log().filter(|log| log.progress.is_founded())
    }

    /// The log that the engine writes to, or the one that it left last.
    pub fn last_log(&self) -> Option<Arc<RunningLog>> {
        self.log().or_else(|| self.ended_log())
    }

    /// The log that was switched off last; it may not be closed yet.
    pub fn ended_log(&self) -> Option<Arc<RunningLog>> {
        self.ended_log.lock().clone()
    }

    /// Waits until a log that was switched off is closed.
    pub fn wait_for_ended_log(&self) {
        let ended = self.ended_log();
        while let Some(log) = &ended
            && !log.progress.is_closed()
            && !self.is_stopping()
        {
            self.wait_for_log(std::time::Duration::from_millis(100));
        }
    }

    /// Called behind holds of the engine in which something may have been logged: the writer gets to work on it.
    pub fn settle_log(&self) {
        if let Some(log) = self.log() {
            log.buffer.settle();
        }
    }

    pub fn keep_directory(&self, path: &Path, lock: Box<dyn DiskLock>) {
        self.directories.lock().push((path.to_owned(), lock));
    }

    /// Keeps others out of a directory, if that is not done already.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn hold_directory(&self, disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
        let mut held = self.directories.lock();
        if !held.iter().any(|(known, _)| known == path) {
            held.push((path.to_owned(), disk.lock(&path.join("graven.lock"))?));
        }
        Ok(())
    }

    /// A log has advanced, or is in trouble, or is out of it: connections that waited for that go on.
    pub fn log_moved(&self, log: &RunningLog) {
        if log.lost().is_some() {
            // Those who wait are told with the engine held, so that nobody joins them meanwhile.
            self.ticker.ring(UnixMillis(i64::MIN));
        }
        if !log.gates(&self.gate) {
            let released = self.gate.released();
            self.loops().iter().for_each(|io| io.gate_moved(released));
            self.log_changed.notify_all();
            return;
        }
        let trouble = log.progress.trouble();
        let text = trouble.as_ref().map(|trouble| format!("-{}\r\n", in_doubt(trouble)).into_bytes().into());
        let is_news = {
            let mut shown = self.in_doubt.lock();
            let is_news = *shown != text;
            *shown = text;
            is_news
        };
        let released = self.gate.released();
        for io in self.loops() {
            if is_news {
                io.trouble_changed();
            } else {
                io.gate_moved(released);
            }
        }
        self.log_changed.notify_all();
        if log.progress.durable().0 >= self.lowest_awaited.load(Ordering::SeqCst) {
            self.lowest_awaited.store(u64::MAX, Ordering::SeqCst);
            self.ticker.ring(UnixMillis(i64::MIN));
        }
    }

    /// The error that replaces replies whose writes are in doubt; `None` while the log is healthy.
    pub fn in_doubt(&self) -> Option<Arc<[u8]>> {
        self.founded_log()?.progress.trouble()?;
        self.in_doubt.lock().clone()
    }

    /// Waits for the log to move, at most this long.
    pub fn wait_for_log(&self, at_most: std::time::Duration) {
        self.log_changed.wait_for(&mut self.log_turn.lock(), at_most);
    }

    /// Somebody waits in WAITAOF for this position to be durable.
    pub fn await_sync(&self, position: u64) {
        self.lowest_awaited.fetch_min(position, Ordering::SeqCst);
    }

    /// From now on nothing is read or executed; what is under way is still answered.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Asks the server to end; the first who asks decides how.
    pub fn request_shutdown(&self, flags: ShutdownFlags) {
        self.shutdown.lock().get_or_insert(flags);
        self.shutdown_asked.notify_all();
    }

    /// Withdraws a request that is not being carried out yet. False when there is none.
    pub fn abort_shutdown(&self) -> bool {
        self.shutdown.lock().take().is_some()
    }

    pub fn keep_save_thread(&self, thread: SaveThread) {
        *self.save_thread.lock() = Some(thread);
    }

    pub fn keep_rewrite_thread(&self, thread: RewriteThread) {
        *self.rewrite_thread.lock() = Some(thread);
    }

    pub fn take_rewrite_thread(&self) -> Option<RewriteThread> {
        self.rewrite_thread.lock().take()
    }

    /// Whether a snapshot is being written, of whatever kind.
    pub fn is_saving(&self) -> bool {
        self.save_thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
            || self.rewrite_thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    pub fn take_save_thread(&self) -> Option<SaveThread> {
        self.save_thread.lock().take()
    }

    /// Waits until somebody asks the server to end.
    pub fn wait_for_shutdown(&self) -> ShutdownFlags {
        let mut asked = self.shutdown.lock();
        loop {
            match *asked {
                Some(flags) => return flags,
                None => self.shutdown_asked.wait(&mut asked),
            }
        }
    }

    /// Tells all threads to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.keeping.end();
        self.ticker.ring(UnixMillis(i64::MIN));
        self.defrag.stop();
        for io in self.loops() {
            io.wake();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// When the ticker comes next, and a way to call it earlier.
#[derive(Debug, Default)]
pub struct Alarm {
    /// Milliseconds since the epoch for which it is set.
    set_for: Mutex<i64>,
    earlier: Condvar,
}

impl Alarm {
    /// Makes the ticker come at `deadline` unless it comes earlier anyway.
    pub fn ring(&self, deadline: UnixMillis) {
        let mut set_for = self.set_for.lock();
        if deadline.0 < *set_for {
            *set_for = deadline.0;
            self.earlier.notify_all();
        }
    }

    /// Sleeps until `deadline`, or an earlier one that somebody rings for.
    pub fn sleep_until(&self, deadline: UnixMillis, clock: &dyn Clock) {
        let mut set_for = self.set_for.lock();
        *set_for = deadline.0;
        loop {
            let left = set_for.saturating_sub(clock.unix_millis().0);
            if left <= 0 {
                *set_for = i64::MIN;
                return;
            }
            self.earlier.wait_for(&mut set_for, std::time::Duration::from_millis(left as u64));
        }
    }
}
