//! How far the log has come, for everyone who follows it.
//!
//! Invariants
//! - `durable <= written <= appended`, each only ever grows.
//! - Whoever learned a position learned it after it was true.

use crate::env::{is_full, remedy};
use crate::persist::Lsn;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    Always,
    Everysec,
    No,
}

impl SyncPolicy {
    /// Longest time that something written may stay unsynced.
    pub fn interval(self) -> Duration {
        match self {
            Self::Always => Duration::ZERO,
            Self::Everysec => Duration::from_secs(1),
            Self::No => Duration::from_secs(30),
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Always,
            1 => Self::Everysec,
            _ => Self::No,
        }
    }
}

/// Why the log does not advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub path: String,
    /// The operating system's words.
    pub error: String,
    /// What an operator can do about it.
    pub remedy: String,
    /// There is no room.
    pub full: bool,
}

impl Trouble {
    pub fn new(path: &Path, error: &io::Error) -> Self {
        let (path_shown, remedy) = (path.display().to_string(), remedy(path, error, None));
        Self { path: path_shown, error: error.to_string(), remedy, full: is_full(error) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.error, self.remedy)
    }
}

/// Why only what frees room may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restraint {
    /// The emergency reserve is in use.
    EmergencyReserve,
    /// The disk is full, and what the log has filled ahead is nearly used up.
    LogReserve,
}

type OnPublish = Box<dyn Fn() + Send + Sync>;

/// What the writer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A write, perhaps while a sync was under way.
    Write {
        beside_sync: bool,
    },
    Sync,
}

type OnWaited = Box<dyn Fn(Waited, Duration) + Send + Sync>;

/// Positions and state of one log.
pub struct Progress {
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    behind: AtomicBool,
    /// Bytes that wait to be durable and lie where the values lie.
    referred: AtomicU64,
    policy: AtomicU8,
    troubled: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    /// Why the log could not go on in a new segment, when that was last tried.
    roll_trouble: Mutex<Option<Trouble>>,
    /// Only what frees room may be written, for either reason; what whoever else writes is told.
    restricted: Mutex<[Option<Arc<str>>; 2]>,
    is_restricted: AtomicBool,
    closed: AtomicBool,
    rebase_asked: AtomicBool,
    founded: AtomicBool,
    on_publish: Mutex<Option<OnPublish>>,
    on_waited: Mutex<Option<OnWaited>>,
    wake: Mutex<bool>,
    wake_changed: Condvar,
    pub stats: LogStats,
}

/// Counters of the log writer.
#[derive(Debug, Default)]
pub struct LogStats {
    pub writes: AtomicU64,
    pub syncs: AtomicU64,
    /// Syncs under way.
    pub syncs_pending: AtomicU64,
    /// Writes that found a sync under way for longer than the disk should take.
    pub delayed: AtomicU64,
    pub sync_micros: AtomicU64,
    pub sync_micros_last: AtomicU64,
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub segments: AtomicU64,
    pub write_errors: AtomicU64,
    pub sync_errors: AtomicU64,
    /// Bytes in all segments and the base.
    pub size: AtomicU64,
    pub base_size: AtomicU64,
}

impl Progress {
    /// A log of which everything before `end` is durable.
    pub fn new(end: Lsn, policy: SyncPolicy) -> Self {
        Self {
            appended: AtomicU64::new(end.0),
            written: AtomicU64::new(end.0),
            durable: AtomicU64::new(end.0),
            behind: AtomicBool::new(false),
            referred: AtomicU64::new(0),
            policy: AtomicU8::new(policy as u8),
            troubled: AtomicBool::new(false),
            trouble: Mutex::new(None),
            roll_trouble: Mutex::new(None),
            restricted: Mutex::default(),
            is_restricted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            rebase_asked: AtomicBool::new(false),
            founded: AtomicBool::new(true),
            on_publish: Mutex::new(None),
            on_waited: Mutex::new(None),
            wake: Mutex::new(false),
            wake_changed: Condvar::new(),
            stats: LogStats::default(),
        }
    }

    /// A log that begins at `end` and that no manifest names yet: it does not count.
    pub fn unfounded(end: Lsn, policy: SyncPolicy) -> Self {
        Self { founded: AtomicBool::new(false), ..Self::new(end, policy) }
    }

    /// The manifest names the log, durably: what it holds is what a start will load.
    pub fn is_founded(&self) -> bool {
        self.founded.load(Ordering::Acquire)
    }

    pub(super) fn publish_founded(&self) {
        if !self.founded.swap(true, Ordering::AcqRel) {
            self.notify();
        }
    }

    pub fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }

    pub fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Bytes that the log keeps in memory, for itself alone, until they are durable.
    pub fn held_bytes(&self) -> u64 {
        let waiting = self.appended().0.saturating_sub(self.durable().0);
        waiting.saturating_sub(self.referred.load(Ordering::Relaxed))
    }

    pub(super) fn add_referred(&self, bytes: u64) {
        self.referred.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn drop_referred(&self, bytes: u64) {
        self.referred.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn policy(&self) -> SyncPolicy {
        SyncPolicy::from_code(self.policy.load(Ordering::Acquire))
    }

    pub fn set_policy(&self, policy: SyncPolicy) {
        self.policy.store(policy as u8, Ordering::Release);
        self.wake_writer();
        self.notify();
    }

    /// How far replies may show the log: what is durable under `always`, what is written otherwise.
    pub fn released(&self) -> Lsn {
        match self.policy() {
            SyncPolicy::Always => self.durable(),
            SyncPolicy::Everysec | SyncPolicy::No => self.written(),
        }
    }

    pub fn trouble(&self) -> Option<Trouble> {
        if !self.troubled.load(Ordering::Acquire) {
            return None;
        }
        self.trouble.lock().clone()
    }

    /// Why the log could not go on in a new segment, when that was last tried: it goes on in the one before.
    pub fn roll_trouble(&self) -> Option<Trouble> {
        self.roll_trouble.lock().clone()
    }

    pub(super) fn note_roll(&self, trouble: Option<Trouble>) {
        *self.roll_trouble.lock() = trouble;
    }

    /// From now on only what frees room may be written, and whoever wants to write anything else is told this; or anything
    /// again.
    pub fn restrict(&self, why: Restraint, text: Option<Arc<str>>) {
        let mut restricted = self.restricted.lock();
        restricted[why as usize] = text;
        self.is_restricted.store(restricted.iter().any(Option::is_some), Ordering::Release);
    }

    /// The log is restricted for this reason.
    pub fn is_restricted_by(&self, why: Restraint) -> bool {
        self.is_restricted.load(Ordering::Acquire) && self.restricted.lock()[why as usize].is_some()
    }

    pub fn restricted(&self) -> Option<Arc<str>> {
        if !self.is_restricted.load(Ordering::Acquire) {
            return None;
        }
        self.restricted.lock().iter().flatten().next().cloned()
    }

    /// The log holds bytes that no checksum of ours covers, or a file whose disk has lied: a new base should follow.
    pub fn is_rebase_asked(&self) -> bool {
        self.rebase_asked.load(Ordering::Acquire)
    }

    pub fn ask_rebase(&self) {
        self.rebase_asked.store(true, Ordering::Release);
    }

    /// A new base is under way that covers everything written so far. Should it fail, that is tried again.
    pub fn forget_rebase(&self) {
        self.rebase_asked.store(false, Ordering::Release);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Called after each change that followers may want to see, from the writer's thread.
    pub fn on_publish(&self, notify: OnPublish) {
        *self.on_publish.lock() = Some(notify);
    }

    /// Whether the writer has taken something in hand and not written it yet: what waits for it longer than a write takes waits
    /// for the disk, not for the writer's turn on a processor.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    pub(super) fn publish_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Release);
    }

    /// Called with the time of each write and each sync, from the writer's thread.
    pub fn on_waited(&self, note: OnWaited) {
        *self.on_waited.lock() = Some(note);
    }

    pub(super) fn waited(&self, what: Waited, time: Duration) {
        if let Some(note) = &*self.on_waited.lock() {
            note(what, time);
        }
    }

    pub(super) fn publish_appended(&self, end: Lsn) {
        self.appended.store(end.0, Ordering::Release);
    }

    pub(super) fn publish_written(&self, end: Lsn) {
        self.written.fetch_max(end.0, Ordering::AcqRel);
        if self.policy() != SyncPolicy::Always {
            self.notify();
        }
    }

    pub(super) fn publish_durable(&self, end: Lsn) {
        self.written.fetch_max(end.0, Ordering::AcqRel);
        self.durable.fetch_max(end.0, Ordering::AcqRel);
        self.notify();
    }

    pub(super) fn publish_trouble(&self, trouble: Option<Trouble>) {
        self.troubled.store(trouble.is_some(), Ordering::Release);
        *self.trouble.lock() = trouble;
        self.notify();
    }

    pub(super) fn clear_trouble(&self) {
        if self.troubled.load(Ordering::Acquire) {
            self.publish_trouble(None);
        }
    }

    pub(super) fn publish_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify();
    }

    fn notify(&self) {
        if let Some(notify) = &*self.on_publish.lock() {
            notify();
        }
    }

    /// There is something for the writer to look at.
    pub fn wake_writer(&self) {
        let mut woken = self.wake.lock();
        if !*woken {
            *woken = true;
            self.wake_changed.notify_all();
        }
    }

    /// Waits until woken or until the time is over; for the writer's thread.
    pub fn wait(&self, at_most: Option<Duration>) {
        let mut woken = self.wake.lock();
        while !*woken {
            match at_most {
                Some(limit) => {
                    if self.wake_changed.wait_for(&mut woken, limit).timed_out() {
                        break;
                    }
                }
                None => self.wake_changed.wait(&mut woken),
            }
        }
        *woken = false;
    }
}
