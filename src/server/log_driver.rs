//! Driving the log writer: its thread, the thread that syncs beside it, and what its progress means for replies.
//!
//! Under `always` the writer's thread syncs itself: nobody may be answered before. Otherwise syncs go to a thread of
//! their own, so that writing, which replies wait for, does not wait for them. And where a write need not wait for a
//! sync, the io loop that has just let go of the engine does it itself, as long as that is quick: two changes of threads
//! cost more than a small write. The writer's thread watches over it, and has the loop run by another thread should the
//! write hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::io_thread::IoLoop;
use super::knobs::nap;
use super::memory::Gauge;
use super::shared::Shared;
use crate::env::Clock;
use crate::persist::log::{SyncDone, SyncJob, WriterOptions};
use crate::persist::{Lineage, LogBuffer, LogWriter, Opened, Progress, Step, SyncPolicy};

/// Longest time for which a sync waits for a batch to be completed.
const FILLING_MAX: Duration = Duration::from_millis(1);
/// A loop that has written for so long is in need of a stand-in.
const HANGING_WRITE: Duration = Duration::from_millis(10);

/// The log of a running server.
pub struct RunningLog {
    pub buffer: Arc<LogBuffer>,
    pub progress: Arc<Progress>,
    pub lineage: Lineage,
    /// Where it is, whatever `dir` is set to meanwhile.
    pub options: WriterOptions,
    pub writer: Arc<SharedWriter>,
}

/// The writer, in turn its own thread's and that of io loops which write what they have appended.
pub struct SharedWriter {
    writer: Mutex<LogWriter>,
    /// The loop that is writing, and since when.
    at_work: Mutex<Option<(Arc<IoLoop>, Duration)>>,
    /// Loops have written since the writer's thread last looked.
    used: AtomicBool,
    /// The writer's thread looks again in a while, without being woken.
    watched: AtomicBool,
}

impl SharedWriter {
    fn new(writer: LogWriter) -> Self {
        let (used, watched) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { writer: Mutex::new(writer), at_work: Mutex::new(None), used, watched }
    }

    /// Writes what was appended, on the thread of this loop; false: the writer's thread has to do it.
    pub fn write_at_once(&self, io: Arc<IoLoop>, progress: &Progress, clock: &dyn Clock) -> bool {
        if progress.policy() == SyncPolicy::Always {
            return false;
        }
        let Some(mut writer) = self.writer.try_lock() else { return false };
        *self.at_work.lock() = Some((io, clock.monotonic()));
        self.used.store(true, Ordering::SeqCst);
        if !self.watched.swap(true, Ordering::SeqCst) {
            progress.wake_writer();
        }
        let done = writer.write_at_once();
        *self.at_work.lock() = None;
        done
    }

    /// The writer's thread waits until woken or until this time is over; while loops write, no longer than it takes to
    /// notice that one hangs.
    fn rest(&self, limit: Option<Duration>, progress: &Progress) {
        if !self.used.swap(false, Ordering::SeqCst) {
            self.watched.store(false, Ordering::SeqCst);
            if self.at_work.lock().is_some() {
                self.watched.store(true, Ordering::SeqCst);
            }
        }
        let watching = self.watched.load(Ordering::SeqCst);
        progress.wait(if watching {
            Some(limit.map_or(HANGING_WRITE, |limit| limit.min(HANGING_WRITE)))
        } else {
            limit
        });
    }

    /// A loop whose write hangs is run by another thread until it is back.
    fn relieve(&self, shared: &Arc<Shared>) {
        // Held meanwhile, so that the write cannot end between the look and the call.
        let at_work = self.at_work.lock();
        if let Some((io, since)) = &*at_work
            && shared.clock.monotonic().saturating_sub(*since) >= HANGING_WRITE
        {
            io.stand_in(shared);
        }
    }
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
    let options = log.writer.options().clone();
    let writer = Arc::new(SharedWriter::new(log.writer));
    log.buffer.defer_wakes();
    shared.set_log(RunningLog {
        buffer: Arc::clone(&log.buffer),
        progress: Arc::clone(&progress),
        lineage: log.lineage,
        options,
        writer: Arc::clone(&writer),
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
    let (driving, syncing) = (Arc::clone(shared), Arc::clone(&shared.gauge));
    let (done, woken) = (Arc::clone(&finished), Arc::clone(&progress));
    let buffer = log.buffer;
    Ok(vec![
        Builder::new().name("aof-sync".into()).spawn(move || sync(&queue, &done, &woken, &syncing))?,
        Builder::new().name("aof-writer".into()).spawn(move || {
            drive(&driving, &writer, &buffer, &jobs, &finished);
            // The directory stays locked until its log is sealed.
            drop(lock);
        })?,
    ])
}

/// Steps the writer until its log is sealed.
fn drive(
    shared: &Arc<Shared>,
    writer: &SharedWriter,
    buffer: &LogBuffer,
    jobs: &Sender<SyncJob>,
    finished: &Mutex<Vec<SyncDone>>,
) {
    let progress = buffer.progress();
    loop {
        shared.gauge.report();
        // A sync costs the same for one unit as for a thousand: what an io loop is about to complete goes with it.
        if progress.policy() == SyncPolicy::Always && buffer.is_filling() {
            progress.wait(Some(FILLING_MAX));
        }
        let Some(mut held) = writer.writer.try_lock_for(HANGING_WRITE) else {
            writer.relieve(shared);
            continue;
        };
        let done = std::mem::take(&mut *finished.lock());
        for done in done {
            held.finish_sync(done);
        }
        if let Some(time) = shared.knobs.flush_sleep() {
            nap(time);
        }
        let step = held.step();
        drop(held);
        match step {
            Step::Worked => {}
            Step::Sync(job) if progress.policy() == SyncPolicy::Always => {
                let done = job.run();
                writer.writer.lock().finish_sync(done);
            }
            Step::Sync(job) => {
                if let Err(refused) = jobs.send(job) {
                    let done = refused.0.run();
                    writer.writer.lock().finish_sync(done);
                }
            }
            Step::Idle(limit) => {
                writer.rest(limit, progress);
                writer.relieve(shared);
            }
            Step::Closed => break,
        }
    }
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
