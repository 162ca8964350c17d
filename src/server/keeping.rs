//! What happens to files of the log that nobody writes to any more: the archiver's thread and the scrubber's, and what INFO says
//! of them.
//!
//! Invariant: nobody waits for either. Both read at a bounded rate, and what fails is told and tried again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::config::Settings;
use super::cpus::Work;
use super::log_driver::RunningLog;
use super::shared::Shared;
use crate::env::disk::{OsDisk, Pace, PacedReads, parent};
use crate::env::{Clock, Disk, UnixMillis};
use crate::persist::archive::{ArchiveFigures, ArchiveStep, Archiver, ArchiverOptions, Retain, beside};
use crate::persist::{Finding, OpenOptions, ScrubStep, Scrubber};

/// After a failure the archiver tries again this much later.
const RETRY: Duration = Duration::from_secs(10);
/// Longest time for which the archiver waits for the log's writer before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(100);
/// The first pass of the scrubber begins this much behind the start at the latest.
const FIRST_PASS: Duration = Duration::from_secs(3600);
/// Free bytes that archiving leaves to the log beside a base of the present size.
const SPARE: u64 = 32 << 20;

/// See the module's header.
pub struct Keeping {
    archiver: Bell,
    scrubber: Bell,
    pub archive_pace: Arc<Pace>,
    pub scrub_pace: Arc<Pace>,
    archived: Mutex<Archived>,
    scrubbed: Mutex<Scrubbed>,
}

/// What INFO shows of the archive.
#[derive(Clone, Debug, Default)]
pub struct Archived {
    pub figures: ArchiveFigures,
    pub busy: bool,
    pub last_error: Option<String>,
}

/// What INFO shows of the scrubber.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    pub busy: bool,
    pub files_left: u64,
    pub bytes: u64,
    pub passes: u64,
    pub errors: u64,
    pub last_error: Option<Finding>,
    /// When the last full pass ended, and how long it took.
    pub last_pass: Option<(UnixMillis, Duration)>,
}

/// Somebody sleeps here until there is something to do.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    woken: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.woken.notify_all();
    }

    /// Until it rings, or this time is over.
    fn sleep(&self, at_most: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            match at_most {
                Some(time) => {
                    self.woken.wait_for(&mut rung, time);
                }
                None => self.woken.wait(&mut rung),
            }
        }
        *rung = false;
    }
}

impl Keeping {
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            archiver: Bell::default(),
            scrubber: Bell::default(),
            archive_pace: Pace::new(Arc::clone(clock)),
            scrub_pace: Pace::new(Arc::clone(clock)),
            archived: Mutex::default(),
            scrubbed: Mutex::default(),
        }
    }

    /// Files were superseded, or what is to be kept of them has changed, or room has.
    pub fn look_again(&self) {
        self.archiver.ring();
    }

    /// The settings have changed.
    pub fn apply(&self, before: &Settings, after: &Settings) {
        self.archive_pace.set_rate(after.archive_rate);
        self.scrub_pace.set_rate(after.scrub_rate);
        if before.retain != after.retain || before.keep_superseded != after.keep_superseded {
            self.archiver.ring();
        }
        if before.scrub_period != after.scrub_period {
            self.scrubber.ring();
        }
    }

    /// The server ends.
    pub fn end(&self) {
        self.archive_pace.end();
        self.scrub_pace.end();
        self.archiver.ring();
        self.scrubber.ring();
    }

    pub fn archived(&self) -> Archived {
        self.archived.lock().clone()
    }

    pub fn scrubbed(&self) -> Scrubbed {
        self.scrubbed.lock().clone()
    }
}

/// Starts both threads.
///
/// # Errors
/// The system has no thread to give.
pub fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let (archives, scrubs) = (Arc::clone(shared), Arc::clone(shared));
    let settings = shared.settings();
    shared.keeping.apply(&settings, &settings);
    Ok(vec![
        Builder::new().name("archiver".into()).spawn(move || archive(&archives))?,
        Builder::new().name("scrubber".into()).spawn(move || scrub(&scrubs))?,
    ])
}

/// What is kept of superseded files; with `aof-disable-auto-gc` all of them stay where they are.
fn retain(settings: &Settings) -> Retain {
    if settings.keep_superseded { Retain::default() } else { settings.retain }
}

/// Free bytes below which archiving stands back.
pub fn spare(log: &RunningLog) -> u64 {
    SPARE + log.progress.stats.base_size.load(Ordering::Relaxed)
}

fn archive(shared: &Arc<Shared>) {
    shared.settings().cpus.take(Work::Aside);
    let keeping = &shared.keeping;
    let mut current: Option<(Arc<RunningLog>, Archiver)> = None;
    while !shared.is_stopping() {
        let log = shared.founded_log();
        let is_same = matches!((&current, &log), (Some((one, _)), Some(other)) if Arc::ptr_eq(one, other));
        if !is_same {
            current = log.map(|log| (Arc::clone(&log), archiver(shared, &log)));
        }
        let mut rest = None;
        if let Some((log, archiver)) = &mut current {
            archiver.set(retain(&shared.settings()), spare(log));
            archiver.look_again();
            rest = run(shared, archiver);
        }
        if !shared.is_stopping() {
            keeping.archiver.sleep(rest);
        }
    }
}

fn archiver(shared: &Shared, log: &RunningLog) -> Archiver {
    let options = ArchiverOptions {
        log: log.options.clone(),
        directory: beside(&log.options.directory),
        retain: retain(&shared.settings()),
        spare: spare(log),
    };
    let disk = PacedReads::new(Arc::new(OsDisk), Arc::clone(&shared.keeping.archive_pace));
    Archiver::new(Arc::new(disk), Arc::clone(&shared.clock), Arc::clone(&log.buffer), options)
}

/// Lets the archiver work until it rests; for how long.
fn run(shared: &Shared, archiver: &mut Archiver) -> Option<Duration> {
    let keeping = &shared.keeping;
    loop {
        let step = archiver.step();
        let mut archived = keeping.archived.lock();
        archived.figures = archiver.figures();
        archived.busy = matches!(step, Ok(ArchiveStep::Worked | ArchiveStep::Waits));
        match step {
            Ok(ArchiveStep::Rests(rest)) => {
                archived.last_error = None;
                return rest;
            }
            // The server ends, or the log was switched off: whoever begins one rings.
            Err(_) if shared.is_draining() || shared.founded_log().is_none() => return None,
            Err(error) => {
                tracing::warn!("Archiving failed: {error}. What is superseded stays where it is; it is tried again");
                archived.last_error = Some(error.to_string());
                return Some(RETRY);
            }
            Ok(_) if shared.is_stopping() => return None,
            Ok(ArchiveStep::Worked) => {}
            Ok(ArchiveStep::Waits) => {
                drop(archived);
                archiver.wait(PATIENCE);
            }
        }
    }
}

fn scrub(shared: &Arc<Shared>) {
    shared.settings().cpus.take(Work::Aside);
    let keeping = &shared.keeping;
    let mut last = shared.clock.monotonic();
    let mut first = true;
    while !shared.is_stopping() {
        let period = shared.settings().scrub_period;
        let wait = period.map(|period| if first { period.min(FIRST_PASS) } else { period });
        let left = wait.map(|wait| wait.saturating_sub(shared.clock.monotonic().saturating_sub(last)));
        match left {
            Some(Duration::ZERO) => {
                if let Err(error) = pass(shared)
                    && !shared.is_stopping()
                {
                    tracing::warn!("A pass of the scrubber was broken off: {error}");
                }
                (last, first) = (shared.clock.monotonic(), false);
                keeping.scrubbed.lock().busy = false;
            }
            left => keeping.scrubber.sleep(left),
        }
    }
}

/// Verifies every file that nobody writes to.
fn pass(shared: &Shared) -> io::Result<()> {
    let settings = shared.settings();
    let log = shared.founded_log();
    // A log stays where it is, whatever `dir` is set to meanwhile.
    let directory = log.as_ref().map_or(settings.dir.as_path(), |log| parent(&log.options.directory));
    let options = OpenOptions {
        directory: directory.to_owned(),
        append_only: log.is_some(),
        append_directory: settings.append_dirname.clone(),
        append_file: settings.append_filename.clone(),
        dump_file: settings.dump_filename.clone(),
        ..OpenOptions::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(PacedReads::new(Arc::new(OsDisk), Arc::clone(&shared.keeping.scrub_pace)));
    let began = shared.clock.monotonic();
    let mut scrubber = Scrubber::begin(disk, options)?;
    let (mut files, mut bytes, mut errors) = (0u64, 0u64, 0u64);
    loop {
        {
            let mut scrubbed = shared.keeping.scrubbed.lock();
            (scrubbed.busy, scrubbed.files_left) = (true, scrubber.left() as u64);
        }
        let step = scrubber.step()?;
        let mut scrubbed = shared.keeping.scrubbed.lock();
        match step {
            ScrubStep::Verified(size) => {
                (files, bytes) = (files + 1, bytes + size);
                scrubbed.bytes += size;
            }
            ScrubStep::Damaged(found) => {
                errors += 1;
                scrubbed.errors += 1;
                tracing::warn!(
                    "DAMAGED: {} at offset {}: {}. The data in memory is whole: BGREWRITEAOF writes a new base, BGSAVE a \
                     new dump; `graven check` tells more",
                    found.path.display(),
                    found.offset,
                    found.reason
                );
                scrubbed.last_error = Some(found);
            }
            ScrubStep::Gone => {}
            ScrubStep::Over => {
                let took = shared.clock.monotonic().saturating_sub(began);
                scrubbed.passes += 1;
                scrubbed.last_pass = Some((shared.clock.unix_millis(), took));
                tracing::info!(
                    "Scrubbed {files} files, {bytes} bytes, in {:.1} s: {errors} damaged",
                    took.as_secs_f64()
                );
                return Ok(());
            }
        }
    }
}
