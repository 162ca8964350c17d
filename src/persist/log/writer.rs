//! The writer of the log: swaps buffers, writes frames, asks for syncs, publishes positions, rolls and seals segments.
//!
//! A state machine: `step` does what can be done now and says what to wait for; a thread drives it in the server, a
//! seed in a test. A sync is handed out as a job, so that writing can go on beside it.
//!
//! Invariants
//! - Frames are written in order; what is not durable stays in memory.
//! - Segment k is durable before a byte of segment k+1 is written.
//! - After a failed sync a file is never written again: a fresh segment with everything since then is made durable, the
//!   file is cut to what was durable, and only then does the manifest name the fresh one.
//! - While it is in doubt whether the manifest on disk names a segment, neither that one nor the one before is written,
//!   replaced or removed.

mod ahead;
mod rebase;
mod succession;

use self::ahead::Ahead;
use self::rebase::Unstored;
use self::succession::Fresh;
use super::buffer::{Batch, LogBuffer};
use super::format::{FRAME_HEADER_BYTES, FrameHeader};
use super::orders::Promise;
use super::progress::{Progress, SyncPolicy, Trouble, Waited};
use super::segment::Segment;
use crate::env::{Clock, Disk, DiskFile, Entropy};
use crate::persist::manifest::{CloseState, Manifest};
use crate::persist::{Lineage, Lsn};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where the log lives and how it is cut into files.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The directory of the segments.
    pub directory: PathBuf,
    /// `appendfilename`: what the names of its files begin with.
    pub prefix: String,
    /// A segment is closed when it has this many bytes.
    pub segment_bytes_max: u64,
}

impl WriterOptions {
    pub fn manifest_path(&self) -> PathBuf {
        self.directory.join(format!("{}.manifest", self.prefix))
    }

    /// What a dump is called that becomes the first base.
    pub fn first_base_name(&self) -> String {
        self.base_name(1, false)
    }

    pub fn base_name(&self, sequence: u64, as_commands: bool) -> String {
        let form = if as_commands { "aof" } else { "rdb" };
        format!("{}.{sequence}.base.{form}", self.prefix)
    }

    pub fn segment_name(&self, sequence: u64) -> String {
        format!("{}.{sequence}.incr.aof", self.prefix)
    }
}

/// So many bytes are written at once by whoever has appended them; more are worth waking the driver.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;
/// A write that takes longer than this was not quick,
const QUICK_WRITE: Duration = Duration::from_millis(1);
/// and for this time behind it only the driver writes.
const WARY_FOR: Duration = Duration::from_secs(1);
/// Beside a sync many disks make writes wait, others do not: so many writes in a row have to have been quick there, done by
/// the driver, before others write beside one too.
const QUICK_BESIDE_SYNC_MIN: u32 = 256;
/// An idle log notes in a mark that it is durable, at the latest after this time.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// A sync that takes longer is counted as keeping writes waiting, as in stock.
const SYNC_IS_SLOW: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Failed attempts after which waiting clients are told.
const ATTEMPTS_SILENT: u32 = 3;

/// What `step` asks of its driver.
pub enum Step {
    /// Come again at once.
    Worked,
    /// Run the job, here or elsewhere, and hand the result to `finish_sync`.
    Sync(SyncJob),
    /// Nothing to do until woken or until this much time has passed.
    Idle(Option<Duration>),
    /// Sealed; there is nothing more to do.
    Closed,
}

/// A sync of what has been written so far.
pub struct SyncJob {
    file: Arc<dyn DiskFile>,
    segment: u64,
    upto: Lsn,
    batches: usize,
}

/// The outcome of a [`SyncJob`].
pub struct SyncDone {
    segment: u64,
    upto: Lsn,
    batches: usize,
    result: io::Result<()>,
}

impl SyncJob {
    /// Waits for the disk.
    pub fn run(self) -> SyncDone {
        SyncDone { segment: self.segment, upto: self.upto, batches: self.batches, result: self.file.sync_data() }
    }
}

/// A batch that is not durable yet.
struct Pending {
    batch: Batch,
    /// Where it was written: offset and chain value before it.
    place: Option<(u64, u32)>,
}

enum State {
    Healthy,
    /// The last write failed and what it left was cut away.
    WriteFailed {
        retry_at: Duration,
        attempts: u32,
    },
    /// The file must not be written again.
    Poisoned {
        retry_at: Duration,
        attempts: u32,
    },
    /// The manifest that names `fresh` was not stored for certain: nothing else happens until it is.
    Naming {
        fresh: Box<Segment>,
        why: Fresh,
        retry_at: Duration,
        attempts: u32,
    },
    Closed,
}

/// See the module's header.
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    entropy: Box<dyn Entropy>,
    buffer: Arc<LogBuffer>,
    progress: Arc<Progress>,
    options: WriterOptions,
    manifest: Manifest,
    segment: Segment,
    /// Oldest first; the first `written` of them are in the file.
    pending: VecDeque<Pending>,
    written: usize,
    spare: Batch,
    state: State,
    /// The log goes on in a fresh segment as soon as what was taken from the buffer is durable.
    cut: Option<Arc<Promise>>,
    /// A manifest that may or may not be the one on disk.
    unstored: Option<Unstored>,
    /// No manifest on disk names this log yet: it names the base first (see `founding.rs`).
    unfounded: bool,
    syncing: bool,
    sync_started: Duration,
    /// When the oldest byte that is not durable was written.
    unsynced_since: Option<Duration>,
    /// Last position that a frame in the file says is durable.
    marked: Lsn,
    quiet_since: Duration,
    roll_after: Duration,
    rolls_failed: u32,
    /// Writes have not been quick: until then nobody writes but the driver.
    wary_until: Duration,
    /// Writes beside a sync since the last one that was not quick.
    quick_beside_sync: u32,
    time: i64,
    /// The file that the next segment is written into, where segments are filled ahead.
    ahead: Ahead,
}

impl LogWriter {
    /// Takes over a segment that is durable and named in the manifest.
    #[expect(clippy::too_many_arguments, reason = "the parts that recovery hands over, once")]
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Box<dyn Entropy>,
        buffer: Arc<LogBuffer>,
        options: WriterOptions,
        manifest: Manifest,
        segment: Segment,
        time: i64,
    ) -> Self {
        let progress = Arc::clone(buffer.progress());
        let now = clock.monotonic();
        Self {
            disk,
            clock,
            entropy,
            progress,
            options,
            manifest,
            marked: segment.header().first,
            segment,
            pending: VecDeque::new(),
            written: 0,
            spare: Batch::default(),
            state: State::Healthy,
            cut: None,
            unstored: None,
            unfounded: false,
            syncing: false,
            sync_started: now,
            unsynced_since: None,
            quiet_since: now,
            roll_after: now,
            rolls_failed: 0,
            wary_until: now,
            quick_beside_sync: 0,
            time,
            ahead: Ahead::None,
            buffer,
        }
    }

    /// The manifest that it was given is not on disk, and is not stored before a base is named.
    pub fn unfounded(mut self) -> Self {
        self.unfounded = true;
        self
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub fn options(&self) -> &WriterOptions {
        &self.options
    }

    pub fn lineage(&self) -> Lineage {
        self.segment.header().lineage
    }

    /// Does what can be done now.
    pub fn step(&mut self) -> Step {
        let now = self.clock.monotonic();
        if self.buffer.is_given_up() && !matches!(self.state, State::Closed) {
            return self.end();
        }
        if self.obey(now) {
            return Step::Worked;
        }
        let step = self.advance(now);
        let retries = [self.unstored.as_ref().map(|unstored| unstored.retry_at), self.fill_again_at()];
        match (step, retries.into_iter().flatten().min()) {
            (Step::Idle(limit), Some(retry)) => {
                let retry = retry.saturating_sub(now);
                Step::Idle(Some(limit.map_or(retry, |limit| limit.min(retry))))
            }
            (step, _) => step,
        }
    }

    fn advance(&mut self, now: Duration) -> Step {
        match self.state {
            State::Closed => return Step::Closed,
            State::Poisoned { retry_at, attempts } => return self.step_poisoned(now, retry_at, attempts),
            State::Naming { retry_at, .. } if now < retry_at => return Step::Idle(Some(retry_at - now)),
            State::Naming { .. } => {
                self.name_again(now);
                return Step::Worked;
            }
            State::WriteFailed { retry_at, .. } if now < retry_at => {
                return self.sync_if(now, true).unwrap_or(Step::Idle(Some(retry_at - now)));
            }
            State::WriteFailed { .. } | State::Healthy => {}
        }
        self.take_batch();
        let rolling = self.roll_is_due(now) || self.cut.is_some() && self.written == self.pending.len();
        // A roll is no stuck write: replies wait for it, so that the end of the process takes nothing from anybody.
        self.progress.publish_behind(self.written < self.pending.len() && !rolling);
        if self.written < self.pending.len() && !rolling {
            if let Err(error) = self.write_next(now) {
                self.write_failed(now, &error);
                return Step::Worked;
            }
            self.write_recovered();
            self.progress.publish_behind(false);
            return self.sync_if(now, false).unwrap_or(Step::Worked);
        }
        let closing = self.buffer.is_closing() && self.written == self.pending.len() && self.buffer.is_empty();
        if let Some(sync) = self.sync_if(now, rolling || closing) {
            return sync;
        }
        if self.syncing {
            return Step::Idle(None);
        }
        if closing && self.unsynced_payload() == 0 {
            return self.close();
        }
        if rolling {
            self.roll(now);
            return Step::Worked;
        }
        self.rest(now)
    }

    /// Writes what was appended, if nothing else is to be done and the disk is not known to be slow: for whoever has
    /// appended it, which spares the way over the driver. False: something is left to do, and the driver has to come.
    pub fn write_at_once(&mut self) -> bool {
        let now = self.clock.monotonic();
        let unhindered = !self.syncing || self.quick_beside_sync >= QUICK_BESIDE_SYNC_MIN;
        let in_order = matches!(self.state, State::Healthy) && unhindered && self.written == self.pending.len();
        let in_order = in_order && self.cut.is_none() && self.unstored.is_none();
        if !in_order || now < self.wary_until || self.buffer.is_closing() {
            return false;
        }
        if self.progress.policy() == SyncPolicy::Always || self.roll_is_due(now) {
            return false;
        }
        self.take_batch();
        let Some(waiting) = self.pending.get(self.written) else { return self.cut.is_none() };
        if waiting.batch.out.len() > AT_ONCE_BYTES_MAX {
            return false;
        }
        // The driver sleeps until the next sync is due or this one is over, if it knows of one.
        let driver_knows = self.unsynced_since.is_some();
        self.progress.publish_behind(true);
        if let Err(error) = self.write_next(now) {
            self.write_failed(now, &error);
            return false;
        }
        self.progress.publish_behind(false);
        let end = self.clock.monotonic();
        if end.saturating_sub(now) > QUICK_WRITE {
            self.wary_until = end + WARY_FOR;
        }
        driver_knows && self.cut.is_none() && (self.syncing || !self.sync_is_due(end))
    }

    fn take_batch(&mut self) {
        if self.written < self.pending.len() || self.cut.is_some() {
            return;
        }
        self.buffer.swap(&mut self.spare);
        self.cut = self.spare.cut.take();
        if !self.spare.is_empty() {
            let batch = std::mem::take(&mut self.spare);
            self.pending.push_back(Pending { batch, place: None });
        }
    }

    fn set_syncing(&mut self, syncing: bool) {
        self.syncing = syncing;
        self.progress.stats.syncs_pending.store(u64::from(syncing), Ordering::Relaxed);
    }

    fn unsynced_payload(&self) -> u64 {
        self.progress.written().0 - self.progress.durable().0
    }

    /// A sync, when one is due by policy or demanded.
    fn sync_if(&mut self, now: Duration, demanded: bool) -> Option<Step> {
        if self.syncing || self.unsynced_payload() == 0 || !(demanded || self.sync_is_due(now)) {
            return None;
        }
        let align = self.buffer.align();
        if align > 0 {
            match self.segment.pad(align) {
                Ok(bytes) => {
                    self.progress.stats.size.fetch_add(bytes, Ordering::Relaxed);
                }
                Err(error) => {
                    self.write_failed(now, &error);
                    return Some(Step::Worked);
                }
            }
        }
        let upto = self.progress.written();
        self.set_syncing(true);
        self.sync_started = now;
        Some(Step::Sync(SyncJob {
            file: self.segment.file(),
            segment: self.segment.header().number,
            upto,
            batches: self.written,
        }))
    }

    /// Whether what is written has waited for its sync long enough, or is too much to wait.
    fn sync_is_due(&self, now: Duration) -> bool {
        let since = self.unsynced_since.unwrap_or(now);
        now.saturating_sub(since) >= self.progress.policy().interval()
            || self.unsynced_payload() > self.buffer.unsynced_max() / 2
    }

    /// What to wait for when there is nothing to write or sync.
    fn rest(&mut self, now: Duration) -> Step {
        if self.unsynced_payload() > 0 {
            let since = self.unsynced_since.unwrap_or(now);
            let due = since + self.progress.policy().interval();
            return Step::Idle(Some(due.saturating_sub(now)));
        }
        if self.marked >= self.progress.durable() {
            return Step::Idle(None);
        }
        let due = self.quiet_since + MARK_AFTER;
        if now < due {
            return Step::Idle(Some(due - now));
        }
        self.append_mark();
        Step::Worked
    }

    /// Queues a frame without payload that says how far the log is durable.
    fn append_mark(&mut self) {
        let end = self.progress.written();
        let mut batch = Batch::default();
        batch.push_mark(end, self.buffer.next_frame_db(), self.time);
        self.pending.push_back(Pending { batch, place: None });
        // The mark itself says it; nothing else need be written for this.
        self.marked = self.progress.durable();
    }

    fn write_next(&mut self, now: Duration) -> io::Result<()> {
        let durable = self.progress.durable();
        let pending = &mut self.pending[self.written];
        let place = (self.segment.size(), self.segment.chain());
        let chain = encode_headers(&mut pending.batch, &self.segment, durable, &mut self.time);
        let began = self.clock.monotonic();
        let appended = self.segment.append(&pending.batch.out, chain);
        if self.syncing && began.saturating_sub(self.sync_started) > SYNC_IS_SLOW {
            self.progress.stats.delayed.fetch_add(1, Ordering::Relaxed);
        }
        let waited = self.clock.monotonic().saturating_sub(began);
        self.progress.waited(Waited::Write { beside_sync: self.syncing }, waited);
        if waited > QUICK_WRITE {
            self.quick_beside_sync = 0;
        } else if self.syncing {
            self.quick_beside_sync = self.quick_beside_sync.saturating_add(1);
        }
        appended?;
        pending.place = Some(place);
        self.marked = durable;
        self.written += 1;
        self.quiet_since = now;
        let stats = &self.progress.stats;
        stats.writes.fetch_add(1, Ordering::Relaxed);
        stats.frames.fetch_add(pending.batch.frames.len() as u64, Ordering::Relaxed);
        stats.bytes.fetch_add(pending.batch.out.len() as u64, Ordering::Relaxed);
        stats.size.fetch_add(pending.batch.out.len() as u64, Ordering::Relaxed);
        if let Some(end) = pending.batch.end_lsn() {
            if end > self.progress.written() {
                self.unsynced_since.get_or_insert(now);
            }
            self.progress.publish_written(end);
        }
        self.guard_reserve();
        Ok(())
    }

    /// Hands in the outcome of a sync job.
    pub fn finish_sync(&mut self, done: SyncDone) {
        let now = self.clock.monotonic();
        if done.segment != self.segment.header().number
            || !matches!(self.state, State::Healthy | State::WriteFailed { .. })
        {
            return;
        }
        self.set_syncing(false);
        let stats = &self.progress.stats;
        stats.syncs.fetch_add(1, Ordering::Relaxed);
        let micros = now.saturating_sub(self.sync_started).as_micros() as u64;
        stats.sync_micros.fetch_add(micros, Ordering::Relaxed);
        stats.sync_micros_last.store(micros, Ordering::Relaxed);
        self.progress.waited(Waited::Sync, now.saturating_sub(self.sync_started));
        match done.result {
            Ok(()) => {
                self.forget(done.batches);
                self.unsynced_since = (done.upto < self.progress.written()).then_some(self.sync_started);
                self.quiet_since = now;
                self.progress.publish_durable(done.upto);
                if matches!(self.state, State::Healthy) {
                    self.progress.clear_trouble();
                }
            }
            Err(error) => {
                stats.sync_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "The file is given up at LSN {}, because its fsync failed: {}",
                    self.progress.durable(),
                    Trouble::new(self.segment.file_path(), &error)
                );
                self.poison(now, &error, 1);
            }
        }
    }

    /// The oldest batches are durable.
    fn forget(&mut self, batches: usize) {
        for pending in self.pending.drain(..batches) {
            let mut batch = pending.batch;
            self.progress.drop_referred(batch.out.runs.bytes() as u64);
            let room = batch.out.bytes.capacity();
            if room <= 4 << 20 && room > self.spare.out.bytes.capacity() {
                batch.clear();
                self.spare = batch;
            }
        }
        self.written -= batches;
    }

    fn write_failed(&mut self, now: Duration, error: &io::Error) {
        self.progress.stats.write_errors.fetch_add(1, Ordering::Relaxed);
        let attempts = match self.state {
            State::WriteFailed { attempts, .. } => attempts + 1,
            _ => 1,
        };
        if attempts == 1 {
            tracing::warn!("Error writing to the AOF file {}", Trouble::new(self.segment.file_path(), error));
        }
        if let Err(cut) = self.segment.cut_to_size() {
            tracing::warn!("Cutting a partial frame from {} failed: {cut}", self.segment.path());
            self.poison(now, error, attempts);
            return;
        }
        self.state = State::WriteFailed { retry_at: now + backoff(attempts), attempts };
        if attempts > ATTEMPTS_SILENT {
            self.report(error);
        }
    }

    fn write_recovered(&mut self) {
        if let State::WriteFailed { .. } = self.state {
            self.state = State::Healthy;
            tracing::warn!("The AOF file {} can be written again", self.segment.path());
            if self.progress.policy() != SyncPolicy::Always {
                self.progress.clear_trouble();
            }
        }
    }

    fn report(&self, error: &io::Error) {
        self.progress.publish_trouble(Some(Trouble::new(self.segment.file_path(), error)));
    }

    fn poison(&mut self, now: Duration, error: &io::Error, attempts: u32) {
        self.set_syncing(false);
        self.progress.publish_behind(true);
        self.state = State::Poisoned { retry_at: now, attempts };
        if attempts > 1 {
            self.report(error);
        }
    }

    /// Everything is durable and nothing more will come: seals the segment and says so in the manifest.
    fn close(&mut self) -> Step {
        let end = self.progress.durable();
        let sealed = if self.segment.is_empty() {
            self.segment.cut_fill().map(|()| self.segment.size())
        } else {
            self.segment.seal(end)
        };
        let stored = sealed.and_then(|size| {
            let mut manifest = self.manifest.clone();
            manifest.state = CloseState::Closed { end, chain: self.segment.chain(), size };
            Ok(self.store(manifest)?)
        });
        if let Err(error) = stored {
            tracing::warn!("Closing the log in {} failed: {error}; the next start will verify it", self.segment.path());
        }
        self.end()
    }

    fn end(&mut self) -> Step {
        self.state = State::Closed;
        self.give_up_ahead();
        self.refuse_orders();
        self.progress.publish_closed();
        Step::Closed
    }
}

fn backoff(attempts: u32) -> Duration {
    (RETRY_FIRST * 2u32.saturating_pow(attempts.saturating_sub(1).min(10))).min(RETRY_MAX)
}

/// Fills in the headers of a batch for its place at the end of a segment; returns the chain value behind it.
fn encode_headers(batch: &mut Batch, segment: &Segment, durable: Lsn, time: &mut i64) -> u32 {
    let (mut base, salt, mut chain) = (segment.size(), segment.header().salt, segment.chain());
    let Batch { out, frames, .. } = batch;
    let mut runs = out.runs.iter().peekable();
    for frame in frames {
        *time = frame.time.max(*time);
        let mut crc = crc32fast::Hasher::new();
        let mut at = frame.start + FRAME_HEADER_BYTES;
        while let Some((place, run)) = runs.next_if(|(place, _)| *place < frame.end) {
            crc.update(&out.bytes[at..place]);
            run.slices(0).for_each(|slice| crc.update(slice));
            at = place;
        }
        crc.update(&out.bytes[at..frame.end]);
        let header = FrameHeader {
            lsn: frame.lsn,
            len: frame.payload_bytes(),
            db: frame.db,
            time: *time,
            previous: chain,
            payload_crc: crc.finalize(),
            durable,
        };
        let line = &mut out.bytes[frame.start..frame.start + FRAME_HEADER_BYTES];
        let own = header.encode(salt, base + frame.start as u64, line);
        base += frame.run_bytes;
        // A mark is no link: it may be lost although everything that it speaks of is durable.
        chain = if header.len > 0 { own } else { chain };
    }
    chain
}
