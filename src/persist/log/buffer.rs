//! What has been appended and not written yet: frames under construction, header space included.
//!
//! Invariants
//! - A unit is never split over frames; a frame holds one database's beginning and whole units only.
//! - `append` never waits and never allocates more than the unit needs: room was asked for before. Long arguments are
//!   not copied.
//! - A timestamp line stands before a frame, where the second differs from that of the line before.
//! - No batch reaches over a cut: what was appended before it and what is appended behind it are in different segments.

use super::format::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, select, timestamp};
use super::orders::{Orders, Promise};
use super::progress::Progress;
use crate::persist::Lsn;
use crate::resp::{Woven, WovenSlice};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One frame in a batch: its bytes in the batch (header space first), and what its header will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Places in the batch's own bytes.
    pub start: usize,
    pub end: usize,
    /// Bytes of the runs between them.
    pub run_bytes: u64,
    pub lsn: Lsn,
    pub db: u32,
    pub time: i64,
}

impl FrameSpan {
    pub fn payload_bytes(&self) -> u64 {
        (self.end - self.start - FRAME_HEADER_BYTES) as u64 + self.run_bytes
    }

    pub fn end_lsn(&self) -> Lsn {
        self.lsn.plus(self.payload_bytes())
    }
}

/// Frames that are written together.
#[derive(Debug, Default)]
pub struct Batch {
    pub out: Woven,
    pub frames: Vec<FrameSpan>,
    /// The log goes on in another segment behind these frames; who is told when it does.
    pub cut: Option<Arc<Promise>>,
}

/// A place in the log where one segment ends and another begins.
#[derive(Clone, Debug)]
pub struct Cut {
    pub lsn: Lsn,
    /// Kept when the log goes on in the other segment.
    pub rolled: Arc<Promise>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn clear(&mut self) {
        self.out.clear();
        self.frames.clear();
        self.cut = None;
    }

    pub fn end_lsn(&self) -> Option<Lsn> {
        self.frames.last().map(FrameSpan::end_lsn)
    }

    /// A frame without payload.
    pub fn push_mark(&mut self, lsn: Lsn, db: u32, time: i64) {
        let start = self.out.bytes.len();
        self.out.bytes.resize(start + FRAME_HEADER_BYTES, b'#');
        self.frames.push(FrameSpan { start, end: self.out.bytes.len(), run_bytes: 0, lsn, db, time });
    }

    /// `annotated`: a line says which second begins.
    fn append(&mut self, lsn: Lsn, db: u32, time: i64, annotated: bool, prefix: &[u8], unit: WovenSlice<'_>) {
        let len = prefix.len() + unit.len();
        if annotated {
            self.out.bytes.extend_from_slice(&timestamp(time));
        }
        let fits = self.frames.last().is_some_and(|frame| frame.payload_bytes() as usize + len <= FRAME_BYTES_MAX);
        let fits = fits && !annotated;
        if !fits {
            self.push_mark(lsn, db, time);
        }
        self.out.bytes.extend_from_slice(prefix);
        self.out.append_slice(unit);
        if let Some(frame) = self.frames.last_mut() {
            frame.end = self.out.bytes.len();
            frame.run_bytes += unit.run_bytes() as u64;
        }
    }
}

struct Filling {
    /// Batches that end at a cut, oldest first.
    cut_off: VecDeque<Batch>,
    batch: Batch,
    next: Lsn,
    /// Database that the log has selected after what was appended.
    db: u32,
    time: i64,
    /// Second of the last timestamp line.
    annotated: Option<i64>,
    closing: bool,
    given_up: bool,
}

/// The end of the log that the engine appends to; shared with the writer.
pub struct LogBuffer {
    filling: Mutex<Filling>,
    progress: Arc<Progress>,
    /// Bytes that may wait to be durable before writers are asked to wait.
    unsynced_max: AtomicU64,
    /// `aof-timestamp-enabled`.
    timestamps: AtomicBool,
    /// `aof-preallocate`, `aof-align`.
    preallocate: AtomicBool,
    align: AtomicU64,
    defers_wakes: AtomicBool,
    owes_wake: AtomicBool,
    orders: Orders,
}

impl LogBuffer {
    pub fn new(next: Lsn, db: u32, time: i64, unsynced_max: u64, progress: Arc<Progress>) -> Self {
        Self {
            filling: Mutex::new(Filling {
                cut_off: VecDeque::new(),
                batch: Batch::default(),
                next,
                db,
                time,
                annotated: None,
                closing: false,
                given_up: false,
            }),
            progress,
            unsynced_max: AtomicU64::new(unsynced_max),
            timestamps: AtomicBool::new(false),
            preallocate: AtomicBool::new(false),
            align: AtomicU64::new(0),
            defers_wakes: AtomicBool::new(false),
            owes_wake: AtomicBool::new(false),
            orders: Orders::default(),
        }
    }

    /// What is asked of the writer.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Cuts the log at its present end: what is appended from now on goes to another segment, of which no byte is written
    /// before everything in front of the cut is durable.
    pub fn cut(&self) -> Cut {
        let mut filling = self.filling.lock();
        let rolled = Arc::new(Promise::default());
        let mut batch = std::mem::take(&mut filling.batch);
        batch.cut = Some(Arc::clone(&rolled));
        filling.cut_off.push_back(batch);
        let lsn = filling.next;
        drop(filling);
        self.progress.wake_writer();
        Cut { lsn, rolled }
    }

    /// Asks something of the writer.
    pub fn order(&self, order: super::orders::Order) -> Arc<Promise> {
        let promise = self.orders.give(order);
        self.progress.wake_writer();
        promise
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Position at which the next unit will start (its `select`, if it needs one, included).
    pub fn next(&self) -> Lsn {
        self.progress.appended()
    }

    /// Appends one unit: RESP commands that begin and end with `db` selected. `time`: milliseconds since the epoch.
    pub fn append(&self, db: u32, unit: WovenSlice<'_>, time: i64) {
        let mut filling = self.filling.lock();
        let was_empty = filling.batch.is_empty();
        let prefix = if filling.db == db { Vec::new() } else { select(db) };
        let (lsn, before) = (filling.next, filling.db);
        filling.time = filling.time.max(time);
        let time = filling.time;
        let second = time.div_euclid(1000);
        let annotated = self.timestamps.load(Ordering::Relaxed) && filling.annotated != Some(second);
        if annotated {
            filling.annotated = Some(second);
        }
        filling.batch.append(lsn, before, time, annotated, &prefix, unit);
        self.progress.add_referred(unit.run_bytes() as u64);
        filling.next = lsn.plus((prefix.len() + unit.len()) as u64);
        filling.db = db;
        self.progress.publish_appended(filling.next);
        drop(filling);
        if was_empty {
            if self.defers_wakes.load(Ordering::Relaxed) {
                self.owes_wake.store(true, Ordering::Release);
            } else {
                self.progress.wake_writer();
            }
        }
    }

    /// From now on whoever appends a batch of units calls `settle` behind it: the writer is woken once for all of them,
    /// and finds them together.
    pub fn defer_wakes(&self) {
        self.defers_wakes.store(true, Ordering::Relaxed);
    }

    /// Wakes the writer if something was appended since the last time.
    pub fn settle(&self) {
        if self.take_wake() {
            self.progress.wake_writer();
        }
    }

    /// Whether something was appended since the last time; if so, it is the caller who sees to its being written.
    pub fn take_wake(&self) -> bool {
        self.owes_wake.load(Ordering::Acquire) && self.owes_wake.swap(false, Ordering::AcqRel)
    }

    /// Whether somebody is appending units and will `settle` behind them.
    pub fn is_filling(&self) -> bool {
        self.owes_wake.load(Ordering::Acquire)
    }

    /// Whether a write may start: what is not durable yet stays within its bound.
    pub fn has_room(&self) -> bool {
        self.progress.appended().0 - self.progress.durable().0.min(self.progress.appended().0)
            <= self.unsynced_max.load(Ordering::Relaxed)
    }

    pub fn unsynced_max(&self) -> u64 {
        self.unsynced_max.load(Ordering::Relaxed)
    }

    pub fn set_unsynced_max(&self, bytes: u64) {
        self.unsynced_max.store(bytes.max(1), Ordering::Relaxed);
    }

    /// Whether a line before the first frame of each second says which it is, for stock's tools.
    pub fn set_timestamps(&self, on: bool) {
        self.timestamps.store(on, Ordering::Relaxed);
    }

    /// Whether segments are filled ahead, and the border (in bytes; 0: none) at which each synced write ends.
    pub fn set_layout(&self, preallocate: bool, align: u64) {
        self.align.store(align, Ordering::Relaxed);
        if self.preallocate.swap(preallocate, Ordering::Relaxed) != preallocate {
            self.progress.wake_writer();
        }
    }

    pub(super) fn preallocates(&self) -> bool {
        self.preallocate.load(Ordering::Relaxed)
    }

    pub(super) fn align(&self) -> u64 {
        self.align.load(Ordering::Relaxed)
    }

    /// Takes what was appended, leaving `empty` to be filled.
    pub fn swap(&self, empty: &mut Batch) {
        let mut filling = self.filling.lock();
        match filling.cut_off.pop_front() {
            Some(batch) => *empty = batch,
            None => std::mem::swap(&mut filling.batch, empty),
        }
    }

    /// Nothing waits to be taken, no cut either.
    pub fn is_empty(&self) -> bool {
        let filling = self.filling.lock();
        filling.cut_off.is_empty() && filling.batch.is_empty()
    }

    /// The database that the next frame to be taken begins with.
    pub fn next_frame_db(&self) -> u32 {
        let filling = self.filling.lock();
        let mut waiting = filling.cut_off.iter().chain([&filling.batch]).flat_map(|batch| &batch.frames);
        waiting.next().map_or(filling.db, |frame| frame.db)
    }

    /// Asks the writer to seal the log once everything appended is durable.
    pub fn close(&self) {
        self.filling.lock().closing = true;
        self.progress.wake_writer();
    }

    /// Has the writer end at once, whatever is not written: nobody waits for this log any more.
    pub fn give_up(&self) {
        self.filling.lock().given_up = true;
        self.progress.wake_writer();
    }

    pub fn is_given_up(&self) -> bool {
        self.filling.lock().given_up
    }

    pub fn is_closing(&self) -> bool {
        self.filling.lock().closing
    }
}
