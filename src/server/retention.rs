//! Memory that snapshots retain while they are written: counted, bounded, shown.
//!
//! A snapshot holds what has been changed since it was taken. The keyspace counts what changes leave behind; what that count
//! has grown by since a snapshot began is what the snapshot retains. With several alive the oldest retains most, and what
//! they share is counted once.
//!
//! Past the bound (`snapshot-max-retained`) a snapshot is hurried: no rate holds any more, and batches that leave more
//! behind are held back a little. Half as much again, and it is given up, but never before it had been hurried for the time
//! between two counts; the next one may retain twice as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::writing::Writing;

/// For how long a batch is held back at most.
const HELD_BACK: Duration = Duration::from_millis(1);
/// The bound is doubled so often at most.
const DOUBLINGS_MAX: u32 = 16;

/// See the module's header.
pub struct Retention {
    alive: Vec<Alive>,
    begun: u64,
    sampled: Duration,
    size: u64,
    peak: u64,
    /// Bytes that those retained which have ended since somebody asked.
    ended: u64,
    doublings: u32,
    brake: Arc<Brake>,
}

struct Alive {
    number: u64,
    left_before: u64,
    writing: Arc<Writing>,
    over: bool,
}

/// What a snapshot that has ended had retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    pub bytes: u64,
    /// It was given up because that was too much.
    pub too_much: bool,
}

/// The fields of INFO: bytes, and seconds since they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionFigures {
    pub size: u64,
    pub peak: u64,
    pub age: u64,
}

impl Retention {
    pub fn new(brake: Arc<Brake>) -> Self {
        Self { alive: Vec::new(), begun: 0, sampled: Duration::ZERO, size: 0, peak: 0, ended: 0, doublings: 0, brake }
    }

    /// A snapshot was taken. `left`: what changes have left behind so far. Its number.
    pub fn begin(&mut self, left: u64, writing: Arc<Writing>) -> u64 {
        if self.alive.is_empty() {
            (self.size, self.peak) = (0, 0);
            self.sampled = Duration::ZERO;
        }
        self.begun += 1;
        self.alive.push(Alive { number: self.begun, left_before: left, writing, over: false });
        self.begun
    }

    /// A snapshot was dropped; `ok`: it was written whole.
    pub fn end(&mut self, number: u64, left: u64, ok: bool) -> Retained {
        let Some(at) = self.alive.iter().position(|alive| alive.number == number) else {
            return Retained { bytes: 0, too_much: false };
        };
        let ended = self.alive.remove(at);
        let too_much = ended.over && !ok;
        self.doublings = match (too_much, ok) {
            (true, _) => (self.doublings + 1).min(DOUBLINGS_MAX),
            (false, true) => 0,
            (false, false) => self.doublings,
        };
        if self.alive.is_empty() {
            (self.size, self.peak) = (0, 0);
        }
        self.brake();
        self.ended += left - ended.left_before;
        Retained { bytes: left - ended.left_before, too_much }
    }

    /// Whether a snapshot is being written.
    pub fn is_watching(&self) -> bool {
        !self.alive.is_empty()
    }

    /// Bytes that snapshots retained which have ended since the last call.
    pub fn take_ended(&mut self) -> u64 {
        std::mem::take(&mut self.ended)
    }

    /// Called by the ticker: counts, and hurries or gives up what retains more than `bound` bytes (0: any number may be
    /// retained). `rate`: bytes a second that each may write.
    pub fn watch(&mut self, left: u64, now: Duration, bound: u64, rate: u64) {
        self.sampled = now;
        self.size = self.alive.iter().map(|alive| left - alive.left_before).max().unwrap_or(0);
        self.peak = self.peak.max(self.size);
        let bound = bound.saturating_mul(1 << self.doublings);
        for alive in &mut self.alive {
            alive.writing.set_rate(rate);
            let retained = left - alive.left_before;
            if bound == 0 || retained <= bound {
                continue;
            }
            if !alive.writing.is_hurried() {
                tracing::warn!(
                    "A snapshot retains {} MB, more than the {} MB of snapshot-max-retained: it is hurried, and writers are \
                     held back a little",
                    retained >> 20,
                    bound >> 20
                );
                alive.writing.hurry();
            } else if retained > bound.saturating_add(bound / 2) && !alive.over {
                tracing::warn!(
                    "A snapshot that retains {} MB is given up; the next one may retain twice as much. Raise \
                     snapshot-max-retained, or save when less is written",
                    retained >> 20
                );
                alive.over = true;
                alive.writing.give_up();
            }
        }
        self.brake();
    }

    pub fn figures(&self, now: Duration) -> RetentionFigures {
        let age = if self.alive.is_empty() { 0 } else { now.saturating_sub(self.sampled).as_secs() };
        RetentionFigures { size: self.size, peak: self.peak, age }
    }

    fn brake(&self) {
        let on = self.alive.iter().any(|alive| alive.writing.is_hurried() && !alive.writing.is_given_up());
        self.brake.on.store(on, Ordering::Relaxed);
        if !on {
            self.brake.released.notify_all();
        }
    }
}

/// Holds batches of writes back while a snapshot retains too much.
#[derive(Default)]
pub struct Brake {
    on: AtomicBool,
    batches: AtomicU64,
    turn: Mutex<()>,
    released: Condvar,
}

impl Brake {
    /// Called, without the engine, behind a batch that has left something behind.
    pub fn hold_back(&self) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.released.wait_for(&mut self.turn.lock(), HELD_BACK);
    }

    /// Batches that were held back so far.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemClock;

    const SECOND: Duration = Duration::from_secs(1);

    fn writing() -> Arc<Writing> {
        Writing::new("Test", 1, Arc::new(SystemClock::new()))
    }

    #[test]
    fn what_is_left_behind_is_counted_from_each_beginning() {
        let mut retention = Retention::new(Arc::default());
        let first = retention.begin(1000, writing());
        retention.watch(1500, SECOND, 0, 0);
        let second = retention.begin(1500, writing());
        retention.watch(1700, SECOND * 2, 0, 0);
        assert_eq!(retention.figures(SECOND * 5), RetentionFigures { size: 700, peak: 700, age: 3 });
        assert_eq!(retention.end(first, 1800, true), Retained { bytes: 800, too_much: false });
        retention.watch(1800, SECOND * 6, 0, 0);
        assert_eq!(retention.figures(SECOND * 6), RetentionFigures { size: 300, peak: 700, age: 0 });
        assert_eq!(retention.end(second, 1800, false), Retained { bytes: 300, too_much: false });
        assert_eq!(retention.figures(SECOND * 9), RetentionFigures::default());
    }

    #[test]
    fn past_the_bound_it_is_hurried_then_given_up_then_allowed_more() {
        let brake = Arc::<Brake>::default();
        let mut retention = Retention::new(Arc::clone(&brake));
        for (bound, ends_well) in [(100, false), (200, false), (400, true), (100, true)] {
            let writing = writing();
            let number = retention.begin(0, Arc::clone(&writing));
            retention.watch(bound, SECOND, 100, 0);
            brake.hold_back();
            let before = brake.batches();
            assert!(!writing.is_hurried(), "{bound}");
            let past = if ends_well { bound + 1 } else { bound * 3 };
            retention.watch(past, SECOND, 100, 0);
            assert!(writing.is_hurried() && !writing.is_given_up(), "hurried first, however far past the bound it is");
            brake.hold_back();
            assert_eq!(brake.batches(), before + 1);
            if !ends_well {
                retention.watch(past, SECOND, 100, 0);
                assert!(writing.is_given_up());
            }
            let ended = retention.end(number, bound * 4, ends_well);
            assert_eq!(ended, Retained { bytes: bound * 4, too_much: !ends_well });
            brake.hold_back();
            assert_eq!(brake.batches(), before + 1, "nobody is held back any more");
        }
    }
}
