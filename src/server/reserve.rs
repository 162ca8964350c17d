//! The emergency reserve (`emergency-reserve`): room on the log's disk that is given up when the disk is full, so that what
//! frees room still works: DEL, UNLINK, FLUSHALL, reads, and a rewrite of the log.
//!
//! Invariants
//! - From the moment it is given up until it is there again nothing else may be written: what it gave is not eaten up.
//! - The disk is waited for by a thread of its own, never by the ticker.

use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::Settings;
use super::cpus::Work;
use super::log_driver::RunningLog;
use super::shared::Shared;
use super::state::Server;
use crate::env::disk::{OsDisk, parent};
use crate::env::{SystemEntropy, remedy};
use crate::persist::{Restraint, fill_reserve, release_reserve, reserve_bytes, reserve_path};

/// Until it is there again the log is rewritten so often, less and less.
const REWRITE_AGAIN_FIRST: Duration = Duration::from_secs(5);
const REWRITE_AGAIN_MAX: Duration = Duration::from_secs(60);
/// An attempt to make it again that failed is followed by the next one after this time.
const FILL_AGAIN: Duration = Duration::from_secs(10);

/// See the module's header.
#[derive(Default)]
pub struct EmergencyReserve {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// What a process before has left is not known yet, or none is wanted.
    #[default]
    None,
    Held,
    /// Given up: only what frees room may be written.
    Used,
}

#[derive(Default)]
struct State {
    stage: Stage,
    bytes: u64,
    /// A thread is at it.
    busy: bool,
    fill_after: Duration,
    rewrite_after: Duration,
    rewrites: u32,
    times_used: u64,
}

/// The fields of INFO.
pub struct ReserveFigures {
    pub stage: &'static str,
    pub bytes: u64,
    pub times_used: u64,
}

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Fill,
    Release,
}

impl EmergencyReserve {
    pub fn figures(&self) -> ReserveFigures {
        let state = self.state.lock();
        let stage = match state.stage {
            Stage::None => "none",
            Stage::Held => "held",
            Stage::Used => "used",
        };
        ReserveFigures { stage, bytes: state.bytes, times_used: state.times_used }
    }
}

impl State {
    /// What to do next. `full`: the log or a rewrite of it has met a full disk. `free`: bytes free on it.
    fn next(&self, wanted: u64, full: bool, free: u64, now: Duration) -> Option<Task> {
        match self.stage {
            _ if self.busy => None,
            Stage::Held if full || wanted == 0 => Some(Task::Release),
            Stage::Held if self.bytes == wanted => None,
            // Another half of it stays for everybody else.
            _ if wanted > 0 && !full && now >= self.fill_after && free + self.bytes >= wanted + wanted / 2 => {
                Some(Task::Fill)
            }
            _ => None,
        }
    }
}

/// Looks after it; called by the ticker without the engine. `free`: bytes free on the log's disk.
pub fn look(shared: &Arc<Shared>, log: &Arc<RunningLog>, free: u64) {
    let (settings, now) = (shared.settings(), shared.clock.monotonic());
    let wanted = settings.emergency_reserve;
    let full = log.progress.trouble().is_some_and(|trouble| trouble.full)
        || log.progress.is_restricted_by(Restraint::LogReserve)
        || rewrite_met_full_disk(shared);
    let mut state = shared.reserve.state.lock();
    if state.stage == Stage::Used {
        if wanted == 0 {
            state.stage = Stage::None;
            log.progress.restrict(Restraint::EmergencyReserve, None);
        } else {
            restrict(log, &settings, free);
        }
        if !state.busy && now >= state.rewrite_after && log.progress.trouble().is_none() {
            let wait = REWRITE_AGAIN_FIRST.saturating_mul(1 << state.rewrites.min(8)).min(REWRITE_AGAIN_MAX);
            state.rewrite_after = now + wait;
            state.rewrites += 1;
            drop(state);
            schedule_rewrite(shared);
            state = shared.reserve.state.lock();
        }
    }
    let Some(task) = state.next(wanted, full, free, now) else { return };
    state.busy = true;
    if task == Task::Release && wanted > 0 {
        (state.stage, state.rewrites, state.rewrite_after) = (Stage::Used, 0, now);
        state.times_used += 1;
        restrict(log, &settings, free);
    }
    drop(state);
    let (working, of) = (Arc::clone(shared), Arc::clone(log));
    if let Err(error) = Builder::new().name("reserve".into()).spawn(move || work(&working, &of, wanted, task)) {
        tracing::warn!("The emergency reserve cannot be looked after: {error}");
        shared.reserve.state.lock().busy = false;
    }
}

fn restrict(log: &RunningLog, settings: &Settings, free: u64) {
    let wanted = settings.emergency_reserve;
    let text = format!(
        "MISCONF The disk of {} is full ({} MB free), and the emergency reserve is in use: reads, DEL, UNLINK and FLUSH are served, \
         anything else that writes when {} MB are free",
        settings.dir.display(),
        free >> 20,
        (wanted + wanted / 2).div_ceil(1 << 20)
    );
    log.progress.restrict(Restraint::EmergencyReserve, Some(text.into()));
}

fn rewrite_met_full_disk(shared: &Shared) -> bool {
    let mut engine = shared.engine.lock_patiently();
    Server::in_parts(&mut engine.parts).is_ok_and(|server| server.rewriting.met_full_disk())
}

fn schedule_rewrite(shared: &Shared) {
    let mut engine = shared.engine.lock_patiently();
    if let Ok(server) = Server::in_parts(&mut engine.parts)
        && !server.rewriting.is_running()
    {
        server.rewriting.schedule();
    }
}

/// Fills or releases it, on a thread of its own.
fn work(shared: &Shared, log: &RunningLog, wanted: u64, task: Task) {
    shared.settings().cpus.take(Work::Aside);
    let path = reserve_path(parent(&log.options.directory));
    let done = match task {
        Task::Release => release_reserve(&OsDisk, &path).map(|()| 0),
        Task::Fill => fill(&path, wanted).map(|()| wanted),
    };
    let now = shared.clock.monotonic();
    let mut state = shared.reserve.state.lock();
    state.busy = false;
    match (done, task) {
        (Ok(bytes), Task::Fill) => {
            let again = state.stage == Stage::Used;
            (state.stage, state.bytes) = (Stage::Held, bytes);
            log.progress.restrict(Restraint::EmergencyReserve, None);
            if again {
                tracing::warn!("The emergency reserve of {bytes} bytes is there again: writes are served");
            }
        }
        (Ok(_), Task::Release) => {
            state.bytes = 0;
            state.fill_after = now;
            if state.stage == Stage::Used {
                tracing::warn!(
                    "The disk of {} is full: the emergency reserve of {wanted} bytes is given up. Until it can be made again \
                     only what frees room is served; the log is rewritten",
                    path.display()
                );
                log.progress.wake_writer();
            } else {
                state.stage = Stage::None;
            }
        }
        (Err(error), task) => {
            state.fill_after = now + FILL_AGAIN;
            let doing = if task == Task::Fill { "made" } else { "given up" };
            tracing::warn!(
                "The emergency reserve {} cannot be {doing}: {error}; {}",
                path.display(),
                remedy(&path, &error, None)
            );
            if task == Task::Fill && state.stage == Stage::Held {
                (state.stage, state.bytes) = (Stage::None, 0);
            }
        }
    }
}

fn fill(path: &Path, wanted: u64) -> std::io::Result<()> {
    if reserve_bytes(&OsDisk, path)? == wanted {
        return Ok(());
    }
    fill_reserve(&OsDisk, path, wanted, &mut SystemEntropy::new()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn state(stage: Stage, bytes: u64) -> State {
        State { stage, bytes, ..State::default() }
    }

    #[test]
    fn it_is_given_up_on_a_full_disk_and_made_when_there_is_room_for_half_as_much_again() {
        let now = Duration::from_secs(1);
        for (from, wanted, full, free, task) in [
            (state(Stage::None, 0), 0, false, 99 * MB, None),
            (state(Stage::None, 0), 4 * MB, false, 6 * MB, Some(Task::Fill)),
            (state(Stage::None, 0), 4 * MB, false, 5 * MB, None),
            (state(Stage::None, 0), 4 * MB, true, 0, None),
            (state(Stage::Held, 4 * MB), 4 * MB, false, 0, None),
            (state(Stage::Held, 4 * MB), 4 * MB, true, 0, Some(Task::Release)),
            (state(Stage::Held, 4 * MB), 0, false, 9 * MB, Some(Task::Release)),
            (state(Stage::Held, 4 * MB), 8 * MB, false, 8 * MB, Some(Task::Fill)),
            (state(Stage::Used, 0), 4 * MB, true, 9 * MB, None),
            (state(Stage::Used, 0), 4 * MB, false, 5 * MB, None),
            (state(Stage::Used, 0), 4 * MB, false, 6 * MB, Some(Task::Fill)),
            (State { busy: true, ..state(Stage::Held, 4 * MB) }, 4 * MB, true, 0, None),
            (State { fill_after: now * 2, ..state(Stage::Used, 0) }, 4 * MB, false, 9 * MB, None),
        ] {
            assert_eq!(from.next(wanted, full, free, now), task, "{:?} {wanted} {full} {free}", from.stage);
        }
    }
}
