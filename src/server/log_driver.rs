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

use super::cpus::Work;
use super::io_thread::IoLoop;
use super::knobs::nap;
use super::shared::Shared;
use crate::engine::Gate;
use crate::env::Clock;
use crate::persist::log::{FillDone, FillJob, SyncDone, SyncJob, WriterOptions};
use crate::persist::{Lineage, LogBuffer, LogWriter, Opened, Progress, Step, SyncPolicy, Trouble};

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
    pub writer: SharedWriter,
    /// The gate goes by it.
    gating: AtomicBool,
    /// Switched off: nothing is appended any more.
    ended: AtomicBool,
    /// Switched off and in trouble: whoever waited for it has been told.
    told: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl RunningLog {
    /// A log whose writer begins later.
    pub fn new(buffer: Arc<LogBuffer>, lineage: Lineage, options: WriterOptions) -> Arc<Self> {
        buffer.defer_wakes();
        Arc::new(Self {
            progress: Arc::clone(buffer.progress()),
            buffer,
            lineage,
            options,
            writer: SharedWriter::default(),
            gating: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            told: AtomicBool::new(false),
            threads: Mutex::default(),
        })
    }

    /// Nothing is appended any more. What was is made durable and the log is closed; where that cannot be, it is left as it is.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.buffer.close();
        if self.progress.trouble().is_some() || !self.progress.is_founded() {
            self.buffer.give_up();
        }
    }

    /// Sets the gate as far as this log says; false where it says nothing, because it does not count yet, or no longer.
    pub fn gates(&self, gate: &Gate) -> bool {
        if !self.progress.is_founded() {
            return false;
        }
        let released = self.progress.released();
        if self.ended.load(Ordering::Acquire) {
            let troubled = self.progress.trouble().is_some();
            if troubled {
                self.buffer.give_up();
            }
            let over = if troubled { self.told.load(Ordering::Acquire) } else { self.progress.is_closed() };
            if released >= self.buffer.next() || over {
                if self.gating.swap(false, Ordering::AcqRel) {
                    gate.reset(u64::MAX);
                }
                return false;
            }
        } else if !self.gating.swap(true, Ordering::AcqRel) {
            gate.reset(released.0);
        }
        gate.release(released.0);
        true
    }

    /// Switched off, with replies waiting that it will never be able to keep; why. They have to be told.
    pub fn lost(&self) -> Option<Trouble> {
        let is_lost = self.ended.load(Ordering::Acquire)
            && self.progress.is_founded()
            && !self.told.load(Ordering::Acquire)
            && self.progress.released() < self.buffer.next();
        self.progress.trouble().filter(|_| is_lost)
    }

    /// Whoever waited for what is lost has been told: replies no longer go by this log.
    pub fn note_told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// Waits for its threads, which end when it is closed.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A thread that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

/// The writer, in turn its own thread's and that of io loops which write what they have appended.
#[derive(Default)]
pub struct SharedWriter {
    /// None before it begins.
    writer: Mutex<Option<LogWriter>>,
    /// The loop that is writing, and since when.
    at_work: Mutex<Option<(Arc<IoLoop>, Duration)>>,
    /// Loops have written since the writer's thread last looked.
    used: AtomicBool,
    /// The writer's thread looks again in a while, without being woken.
    watched: AtomicBool,
}

impl SharedWriter {
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
        let done = writer.as_mut().is_some_and(LogWriter::write_at_once);
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

/// Has the engine's server write to an opened log, if there is one, and keeps the directory.
///
/// # Errors
/// The system has no thread to give.
pub fn start(shared: &Arc<Shared>, opened: Opened) -> std::io::Result<()> {
    let Opened { lock, log, .. } = opened;
    shared.keep_directory(&shared.settings().dir, lock);
    let Some(opened) = log else { return Ok(()) };
    let log = RunningLog::new(opened.buffer, opened.lineage, opened.writer.options().clone());
    shared.set_log(Some(Arc::clone(&log)));
    log.gates(&shared.gate);
    begin_writing(shared, &log, opened.writer)
}

/// Starts the threads of a log, and moves the gate with its progress as soon as it counts.
///
/// # Errors
/// The system has no thread to give.
pub fn begin_writing(shared: &Arc<Shared>, log: &Arc<RunningLog>, writer: LogWriter) -> std::io::Result<()> {
    *log.writer.writer.lock() = Some(writer);
    let (publish, moved) = (Arc::downgrade(shared), Arc::downgrade(log));
    log.progress.on_publish(Box::new(move || {
        if let (Some(shared), Some(log)) = (publish.upgrade(), moved.upgrade()) {
            shared.log_moved(&log);
        }
    }));
    let note = Arc::downgrade(shared);
    log.progress.on_waited(Box::new(move |what, time| {
        if let Some(shared) = note.upgrade() {
            shared.waits.note(&shared, what, time);
        }
    }));
    let finished: Arc<Mutex<Finished>> = Arc::default();
    let (jobs, queue) = channel();
    let (driving, driven, syncing) = (Arc::clone(shared), Arc::clone(log), Arc::clone(shared));
    let (done, woken) = (Arc::clone(&finished), Arc::clone(&log.progress));
    let sync = Builder::new().name("aof-sync".into()).spawn(move || sync(&queue, &done, &woken, &syncing))?;
    let write = Builder::new().name("aof-writer".into()).spawn(move || drive(&driving, &driven, &jobs, &finished))?;
    log.threads.lock().extend([sync, write]);
    Ok(())
}

/// What others have done for the writer since it last looked.
#[derive(Default)]
struct Finished {
    syncs: Vec<SyncDone>,
    fills: Vec<FillDone>,
}

/// Steps the writer until its log is sealed.
fn drive(shared: &Arc<Shared>, log: &RunningLog, jobs: &Sender<SyncJob>, finished: &Arc<Mutex<Finished>>) {
    shared.settings().cpus.take(Work::Serving);
    let RunningLog { buffer, progress, writer, .. } = log;
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
        let Some(stepping) = held.as_mut() else { break };
        let done = std::mem::take(&mut *finished.lock());
        done.syncs.into_iter().for_each(|done| stepping.finish_sync(done));
        done.fills.into_iter().for_each(|done| stepping.finish_fill(done));
        if let Some(time) = shared.knobs.flush_sleep() {
            nap(time);
        }
        let step = stepping.step();
        let fill = stepping.fill_job();
        drop(held);
        if let Some(job) = fill {
            begin_filling(shared, log, job, finished);
        }
        match step {
            Step::Worked => {}
            Step::Sync(job) if progress.policy() == SyncPolicy::Always => {
                let done = job.run();
                finished.lock().syncs.push(done);
            }
            Step::Sync(job) => {
                if let Err(refused) = jobs.send(job) {
                    let done = refused.0.run();
                    finished.lock().syncs.push(done);
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

/// Fills a file ahead, on a thread of its own that leaves the disk to others for half of the time.
fn begin_filling(shared: &Arc<Shared>, log: &RunningLog, mut job: FillJob, finished: &Arc<Mutex<Finished>>) {
    let (shared, finished, progress) = (Arc::clone(shared), Arc::clone(finished), Arc::clone(&log.progress));
    let filling = Builder::new().name("aof-fill".into()).spawn(move || {
        shared.settings().cpus.take(Work::Aside);
        loop {
            let began = shared.clock.monotonic();
            if let Some(done) = job.step() {
                finished.lock().fills.push(done);
                return progress.wake_writer();
            }
            nap(shared.clock.monotonic().saturating_sub(began));
        }
    });
    match filling {
        Ok(thread) => {
            let mut threads = log.threads.lock();
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
        Err(error) => tracing::warn!("No segment is filled ahead: {error}"),
    }
}

fn sync(queue: &Receiver<SyncJob>, finished: &Mutex<Finished>, progress: &Progress, shared: &Shared) {
    shared.settings().cpus.take(Work::Aside);
    let gauge = &shared.gauge;
    gauge.report();
    while let Ok(job) = queue.recv() {
        let done = job.run();
        finished.lock().syncs.push(done);
        gauge.report();
        progress.wake_writer();
    }
}

/// Waits until the log is sealed; false when that takes longer than `limit`.
pub fn seal(shared: &Shared, limit: Duration) -> bool {
    let Some(log) = shared.last_log() else { return true };
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
