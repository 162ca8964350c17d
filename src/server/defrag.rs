//! Active defragmentation: what is in use moves together when the allocator holds many more pages than that needs.
//!
//! The ticker looks at the allocator's figures and decides how much of a processor it is worth, as in stock: from
//! `active-defrag-cycle-min` to `-max` per cent, by how far fragmentation is between `active-defrag-threshold-lower` and
//! `-upper`. A thread of its own then goes over the keyspace in slices, and lets others go first in between.
//!
//! A snapshot leaves holes where most of what it held was replaced. When one has ended that retained much, the memory is
//! brought back by the same means, whatever `activedefrag` says.
//!
//! Invariants
//! - The engine is held for [`SLICE`] at a time, but for one bucket or stretch of a value more.
//! - Nothing moves while a snapshot is being written: what it shares would be there twice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::cpus::Work;
use super::memory::Allocator;
use super::shared::Shared;
use crate::keyspace::{Relocation, RelocationFigures};

/// For so long the engine is held.
const SLICE: Duration = Duration::from_micros(200);
/// A pass that moves fewer than one in so many allocations has left what cannot be helped, until there is more of it:
const LOOKED_AT_PER_MOVE: u64 = 500;
/// so many per cent.
const WORSE: f64 = 1.0;
/// Passes over the keyspace that are tried behind a snapshot.
const PASSES_BEHIND_SNAPSHOT: u32 = 3;

/// The directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefragSettings {
    pub active: bool,
    /// Bytes of fragmentation below which nothing is done.
    pub ignore_bytes: u64,
    /// Per cent of fragmentation: nothing is done below the first, most from the second on.
    pub lower: u64,
    pub upper: u64,
    /// Per cent of a processor.
    pub cycle_min: u64,
    pub cycle_max: u64,
    /// Elements of one value in a step.
    pub elements_max: usize,
}

/// Fragmentation inside of the allocator: pages that hold allocations, against those.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fragmentation {
    per_cent: f64,
    bytes: u64,
}

impl Fragmentation {
    fn of(figures: Allocator) -> Self {
        let bytes = figures.active.saturating_sub(figures.allocated) as u64;
        Self { per_cent: bytes as f64 * 100.0 / figures.allocated.max(1) as f64, bytes }
    }

    /// What it is worth, in per cent of a processor; 0: nothing.
    fn effort(self, settings: &DefragSettings) -> u32 {
        let DefragSettings { lower, upper, cycle_min, cycle_max, .. } = *settings;
        if self.per_cent < lower as f64 || self.bytes < settings.ignore_bytes {
            return 0;
        }
        let part = (self.per_cent - lower as f64) / (upper.saturating_sub(lower).max(1)) as f64;
        let effort = cycle_min as f64 + part * (cycle_max as f64 - cycle_min as f64);
        effort.clamp(cycle_min.min(cycle_max) as f64, cycle_max as f64) as u32
    }
}

/// See the module's header.
#[derive(Default)]
pub struct Defrag {
    /// Per cent of a processor; 0: it rests.
    effort: AtomicU32,
    /// A snapshot is being written.
    held_up: AtomicBool,
    passes_behind_snapshot: AtomicU32,
    /// The fragmentation that a pass has left which found next to nothing to move.
    settled: Mutex<Option<f64>>,
    stopping: AtomicBool,
    asked: Mutex<()>,
    changed: Condvar,
    totals: Mutex<Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    moved: RelocationFigures,
    /// For how long it was at work, breaks included, in runs that are over; and when the present one began.
    worked: Duration,
    since: Option<Duration>,
}

/// The fields of INFO.
pub struct DefragFigures {
    pub moved: RelocationFigures,
    pub total: Duration,
    pub current: Duration,
}

impl Defrag {
    /// Looks at the allocator's figures, and begins, goes on with more effort, or stops where it is switched off.
    /// `snapshots`: one is being written; `retained`: what those kept that have ended since the last call, in bytes.
    pub fn consider(
        &self,
        figures: Allocator,
        settings: &DefragSettings,
        snapshots: bool,
        retained: u64,
        now: Duration,
    ) {
        if retained >= settings.ignore_bytes {
            self.passes_behind_snapshot.store(PASSES_BEHIND_SNAPSHOT, Ordering::Relaxed);
        }
        if self.held_up.swap(snapshots, Ordering::Relaxed) != snapshots {
            self.wake();
        }
        let wanted = settings.active || self.passes_behind_snapshot.load(Ordering::Relaxed) > 0;
        let fragmentation = Fragmentation::of(figures);
        let (before, worth) = (self.effort(), fragmentation.effort(settings));
        if !wanted {
            self.rest(now);
        } else if worth > before && !snapshots && self.is_worse(fragmentation) {
            tracing::debug!(
                "Starting active defrag, frag={:.0}%, frag_bytes={}, cpu={worth}%",
                fragmentation.per_cent,
                fragmentation.bytes
            );
            self.totals.lock().since.get_or_insert(now);
            self.effort.store(worth, Ordering::Relaxed);
            self.wake();
        }
    }

    fn is_worse(&self, fragmentation: Fragmentation) -> bool {
        let mut settled = self.settled.lock();
        *settled = settled.filter(|left| fragmentation.per_cent < left + WORSE);
        settled.is_none()
    }

    /// A pass is over: rests, until it is worth it again.
    fn end_pass(&self, figures: Allocator, moved: RelocationFigures, now: Duration) {
        let in_vain = moved.hits * LOOKED_AT_PER_MOVE < moved.misses;
        *self.settled.lock() = in_vain.then(|| Fragmentation::of(figures).per_cent);
        let passes = &self.passes_behind_snapshot;
        passes.store(passes.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        self.rest(now);
    }

    fn rest(&self, now: Duration) {
        self.effort.store(0, Ordering::Relaxed);
        let mut totals = self.totals.lock();
        if let Some(since) = totals.since.take() {
            totals.worked += now.saturating_sub(since);
        }
    }

    /// Per cent of a processor that it takes; 0: it rests.
    pub fn effort(&self) -> u32 {
        self.effort.load(Ordering::Relaxed)
    }

    pub fn figures(&self, now: Duration) -> DefragFigures {
        let Totals { moved, worked, since } = *self.totals.lock();
        let current = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        DefragFigures { moved, total: worked + current, current }
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&self) {
        let mut totals = self.totals.lock();
        *totals = Totals { since: totals.since, ..Totals::default() };
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        let _asked = self.asked.lock();
        self.changed.notify_all();
    }

    /// Waits until there is something to do and no snapshot is being written; the effort, or none when the server ends.
    fn work(&self) -> Option<u32> {
        let mut asked = self.asked.lock();
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return None;
            }
            match self.effort() {
                effort if effort > 0 && !self.held_up.load(Ordering::Relaxed) => return Some(effort),
                _ => self.changed.wait(&mut asked),
            }
        }
    }

    /// Lets others work for this long; shorter when the server ends.
    fn pause(&self, time: Duration) {
        let mut asked = self.asked.lock();
        if !self.stopping.load(Ordering::Relaxed) {
            self.changed.wait_for(&mut asked, time);
        }
    }
}

/// The thread.
pub fn run(shared: &Shared) {
    shared.settings().cpus.take(Work::Serving);
    let probe = shared.gauge.probe();
    (probe.without_cache)();
    shared.gauge.report();
    let defrag = &shared.defrag;
    let mut pass = Relocation::default();
    let (mut begun, mut moved) = (None, RelocationFigures::default());
    while let Some(effort) = defrag.work() {
        let first = *begun.get_or_insert_with(|| shared.clock.monotonic());
        let (mut goes_on, mut took) = (true, Duration::ZERO);
        let elements_max = shared.settings().defrag.elements_max;
        let mut engine = shared.engine.lock_patiently();
        let since = shared.clock.monotonic();
        while goes_on && took < SLICE {
            goes_on = pass.step(&mut engine.store, elements_max, &mut |place| (probe.is_sparse)(place));
            took = shared.clock.monotonic().saturating_sub(since);
        }
        drop(engine);
        shared.gauge.report();
        let figures = std::mem::take(&mut pass.figures);
        moved += figures;
        defrag.totals.lock().moved += figures;
        if !goes_on {
            // Pages that are free by now go back to the system.
            (probe.purge)();
            let now = shared.clock.monotonic();
            let (took, hits) = (now.saturating_sub(first).as_millis(), moved.hits);
            tracing::debug!("Active defrag done in {took}ms, reallocated={hits}");
            defrag.end_pass(shared.gauge.figures(), moved, now);
            (pass, begun, moved) = (Relocation::default(), None, RelocationFigures::default());
            continue;
        }
        defrag.pause(took.max(SLICE) * (100 - effort.min(99)) / effort.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: DefragSettings = DefragSettings {
        active: true,
        ignore_bytes: 1000,
        lower: 10,
        upper: 100,
        cycle_min: 1,
        cycle_max: 25,
        elements_max: 1000,
    };

    fn figures(allocated: usize, active: usize) -> Allocator {
        Allocator { allocated, cached: 0, active, resident: active }
    }

    /// Ten of them.
    fn moved(misses: u64) -> RelocationFigures {
        RelocationFigures { hits: 10, misses, ..RelocationFigures::default() }
    }

    #[test]
    fn effort_grows_with_fragmentation() {
        let effort = |allocated, active| Fragmentation::of(figures(allocated, active)).effort(&SETTINGS);
        assert_eq!(effort(100_000, 109_000), 0);
        assert_eq!(effort(100_000, 110_000), 1);
        assert_eq!(effort(100_000, 155_000), 13);
        assert_eq!(effort(100_000, 200_000), 25);
        assert_eq!(effort(100_000, 900_000), 25);
        assert_eq!(effort(1000, 1999), 0, "too few bytes");
        assert_eq!(effort(0, 0), 0);
    }

    #[test]
    fn it_begins_where_wanted_and_rests_beside_snapshots() {
        let (off, second) = (DefragSettings { active: false, ..SETTINGS }, Duration::from_secs(1));
        let defrag = Defrag::default();
        let running = Defrag::effort;
        defrag.consider(figures(100_000, 200_000), &off, false, 0, second);
        assert_eq!(running(&defrag), 0);
        defrag.consider(figures(100_000, 200_000), &SETTINGS, true, 0, second);
        assert_eq!(running(&defrag), 0);
        defrag.consider(figures(100_000, 200_000), &SETTINGS, false, 0, second);
        assert_eq!((running(&defrag), defrag.figures(second * 3).current), (25, second * 2));
        defrag.consider(figures(100_000, 120_000), &SETTINGS, false, 0, second * 2);
        assert_eq!(running(&defrag), 25, "a pass goes on as it began");
        defrag.consider(figures(100_000, 200_000), &off, false, 0, second * 3);
        let after = defrag.figures(second * 9);
        assert_eq!((running(&defrag), after.total, after.current), (0, second * 2, Duration::ZERO));
        // Behind a snapshot that retained much, some passes, whatever is configured.
        defrag.consider(figures(100_000, 200_000), &off, false, 1000, second);
        for _ in 0..PASSES_BEHIND_SNAPSHOT {
            defrag.consider(figures(100_000, 200_000), &off, false, 0, second);
            assert_eq!(running(&defrag), 25);
            defrag.end_pass(figures(100_000, 200_000), moved(10), second);
        }
        defrag.consider(figures(100_000, 200_000), &off, false, 0, second);
        assert_eq!(running(&defrag), 0);
        // What a pass could not help is no reason for another.
        let considered = |active| {
            defrag.consider(figures(100_000, active), &SETTINGS, false, 0, second);
            running(&defrag) > 0
        };
        assert!(considered(200_000));
        defrag.end_pass(figures(100_000, 150_000), moved(100_000), second);
        assert!(!considered(150_000) && !considered(149_000) && !considered(150_900) && considered(151_000));
        defrag.stop();
        assert!(defrag.work().is_none());
    }
}
