//! Driving the log writer: its thread, the thread that syncs beside it, and what its progress means for replies.
//!
//! Under `always` the writer's thread syncs itself: nobody may be answered before. Otherwise syncs go to a thread of
//! their own, so that writing, which replies wait for, does not wait for them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::memory::Gauge;
use super::shared::Shared;
use crate::env::disk::DiskLock;
use crate::persist::log::{SyncDone, SyncJob, WriterOptions};
use crate::persist::{Lineage, LogBuffer, LogWriter, Opened, Progress, Step, SyncPolicy};

/// Longest time for which a sync waits for a batch to be completed.
const FILLING_MAX: Duration = Duration::from_millis(1);

/// The log of a running server.
pub struct RunningLog {
    pub buffer: Arc<LogBuffer>,
    pub progress: Arc<Progress>,
    pub lineage: Lineage,
    /// Where it is, whatever `dir` is set to meanwhile.
    pub options: WriterOptions,
}

/// Starts the threads of an opened log, and moves the gate with its progress.
///
/// # Errors
/// The system has no thread to give.
pub fn start(shared: &Arc<Shared>, opened: Opened) -> std::io::Result<Vec<JoinHandle<()>>> {
    let Opened { lock, log, .. } = opened;
    let Some(log) = log else {
        shared.keep_directory(lock);
        return Ok(Vec::new());
    };
    let progress = Arc::clone(log.writer.progress());
    log.buffer.defer_wakes();
    shared.set_log(RunningLog {
        buffer: Arc::clone(&log.buffer),
        progress: Arc::clone(&progress),
        lineage: log.lineage,
        options: log.writer.options().clone(),
    });
    shared.gate.reset(progress.released().0);
    let publish = Arc::downgrade(shared);
    progress.on_publish(Box::new(move || {
        if let Some(shared) = publish.upgrade() {
            shared.log_moved();
        }
    }));
    let note = Arc::downgrade(shared);
    progress.on_waited(Box::new(move |what, time| {
        if let Some(shared) = note.upgrade() {
            shared.waits.note(&shared, what, time);
        }
    }));
    let finished: Arc<Mutex<Vec<SyncDone>>> = Arc::default();
    let (jobs, queue) = channel();
    let (writing, syncing) = (Arc::clone(&shared.gauge), Arc::clone(&shared.gauge));
    let (done, woken) = (Arc::clone(&finished), Arc::clone(&progress));
    let buffer = log.buffer;
    Ok(vec![
        Builder::new().name("aof-sync".into()).spawn(move || sync(&queue, &done, &woken, &syncing))?,
        Builder::new().name("aof-writer".into()).spawn(move || {
            drive(log.writer, &buffer, &jobs, &finished, lock, &writing);
        })?,
    ])
}

/// Steps the writer until its log is sealed. The directory stays locked until then.
fn drive(
    mut writer: LogWriter,
    buffer: &LogBuffer,
    jobs: &Sender<SyncJob>,
    finished: &Mutex<Vec<SyncDone>>,
    lock: Box<dyn DiskLock>,
    gauge: &Gauge,
) {
    let progress = Arc::clone(writer.progress());
    loop {
        gauge.report();
        let done = std::mem::take(&mut *finished.lock());
        for done in done {
            writer.finish_sync(done);
        }
        // A sync costs the same for one unit as for a thousand: what an io loop is about to complete goes with it.
        if progress.policy() == SyncPolicy::Always && buffer.is_filling() {
            progress.wait(Some(FILLING_MAX));
        }
        match writer.step() {
            Step::Worked => {}
            Step::Sync(job) if progress.policy() == SyncPolicy::Always => writer.finish_sync(job.run()),
            Step::Sync(job) => {
                if let Err(refused) = jobs.send(job) {
                    writer.finish_sync(refused.0.run());
                }
            }
            Step::Idle(limit) => progress.wait(limit),
            Step::Closed => break,
        }
    }
    drop(lock);
}

fn sync(queue: &Receiver<SyncJob>, finished: &Mutex<Vec<SyncDone>>, progress: &Progress, gauge: &Gauge) {
    gauge.report();
    while let Ok(job) = queue.recv() {
        let done = job.run();
        finished.lock().push(done);
        gauge.report();
        progress.wake_writer();
    }
}

/// Waits until the log is sealed; false when that takes longer than `limit`.
pub fn seal(shared: &Shared, limit: Duration) -> bool {
    let Some(log) = shared.log() else { return true };
    log.buffer.close();
    let deadline = shared.clock.monotonic() + limit;
    while !log.progress.is_closed() {
        let left = deadline.saturating_sub(shared.clock.monotonic());
        if left.is_zero() {
            return false;
        }
        shared.wait_for_log(left.min(Duration::from_millis(100)));
    }
    true
}
