//! What the process uses of memory and processor time.
//!
//! Asking jemalloc for all it has allocated takes tens of microseconds: too long to do before every command. It counts
//! per thread for nothing, though, so the [`Gauge`] adds up what the threads report, and the ticker sets it right against
//! the full figures ten times a second.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::engine::MemoryMeter;
use crate::keyspace::Garbage;
use crate::persist::Progress;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use parking_lot::RwLock;

/// The allocator's own figures, in bytes. The binary provides them; a library user may have any allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    pub allocated: usize,
    /// Of that: freed, and kept by a thread for what it allocates next.
    pub cached: usize,
    pub active: usize,
    pub resident: usize,
}

impl Allocator {
    /// What somebody holds.
    pub fn in_use(&self) -> usize {
        self.allocated.saturating_sub(self.cached)
    }
}

/// Asks the allocator; `None` where it cannot tell.
#[derive(Clone, Copy)]
pub struct AllocatorProbe {
    /// All threads together; slow.
    pub figures: fn() -> Option<Allocator>,
    /// What the calling thread has allocated and not freed, less what it freed of others; quick.
    pub by_thread: fn() -> Option<i64>,
    /// Its statistics in its own words; empty where it has none.
    pub report: fn() -> String,
    /// Gives free pages back to the system; false when it cannot.
    pub purge: fn() -> bool,
    /// Whether an allocation lies where little else is in use, so that a new one for its content would do better.
    pub is_sparse: fn(*const u8) -> bool,
    /// From now on this thread allocates and frees without a cache of its own.
    pub without_cache: fn(),
    /// One of its figures or settings by name; given a value, sets it and returns the one of before, where there is one to
    /// be read. The error is the system's text.
    pub setting: fn(&str, Option<i64>) -> Result<Option<i64>, &'static str>,
    /// The same of those that are text, for reading.
    pub text: fn(&str) -> Result<String, &'static str>,
}

/// No figure of this name.
const NO_SETTING: &str = "No such file or directory";

impl AllocatorProbe {
    /// For programs whose allocator tells nothing.
    pub const NONE: Self = Self {
        figures: || None,
        by_thread: || None,
        report: String::new,
        purge: || true,
        is_sparse: |_| false,
        without_cache: || (),
        setting: |_, _| Err(NO_SETTING),
        text: |_| Err(NO_SETTING),
    };

    /// The figures; where the allocator has none, the pages of the process stand for all of them.
    pub fn figures_or_pages(&self) -> Allocator {
        (self.figures)().unwrap_or_else(|| {
            let resident = resident_bytes();
            Allocator { allocated: resident, cached: 0, active: resident, resident }
        })
    }
}

thread_local! {
    /// What this thread has reported to the process's one gauge.
    static REPORTED: Cell<Option<i64>> = const { Cell::new(None) };
}

/// How many calibrations it takes to follow the allocator, more or less.
const CALIBRATIONS: i64 = 8;
/// Bytes that no thread has in hand without having reported them: such an error is made good at once.
const LARGE_ERROR: u64 = 16 << 20;

/// Memory in use, at the price of a few additions.
///
/// Invariant: `base + reported` is what was in use when the allocator was asked last, and what the threads that report
/// have added since. A thread that never reports is seen at the next calibration.
pub struct Gauge {
    probe: AllocatorProbe,
    base: AtomicI64,
    reported: AtomicI64,
    /// On its way to be freed, or being freed: bytes as estimated, and values.
    doomed_bytes: AtomicUsize,
    doomed: AtomicUsize,
    freed: AtomicU64,
    peak: AtomicUsize,
    log: RwLock<Option<Arc<Progress>>>,
}

impl Gauge {
    pub fn new(probe: AllocatorProbe) -> Self {
        let gauge = Self {
            probe,
            base: AtomicI64::new(0),
            reported: AtomicI64::new(0),
            doomed_bytes: AtomicUsize::new(0),
            doomed: AtomicUsize::new(0),
            freed: AtomicU64::new(0),
            peak: AtomicUsize::new(0),
            log: RwLock::new(None),
        };
        gauge.base.store(gauge.figures().in_use() as i64, Ordering::Relaxed);
        gauge
    }

    pub fn probe(&self) -> AllocatorProbe {
        self.probe
    }

    /// The log whose unwritten bytes are not counted against `maxmemory`.
    pub fn set_log(&self, progress: Option<Arc<Progress>>) {
        *self.log.write() = progress;
    }

    /// Adds what this thread has allocated and freed since it last reported. Its first report only begins the count.
    pub fn report(&self) {
        let Some(now) = (self.probe.by_thread)() else { return };
        if let Some(before) = REPORTED.replace(Some(now)) {
            self.reported.fetch_add(now - before, Ordering::Relaxed);
        }
    }

    /// Asks the allocator for everything, and moves towards what it says. By steps: it also counts what threads in the
    /// middle of their work will report later. Nothing is learned while much is being freed: what is gone of it is not
    /// told apart from what is to come.
    pub fn calibrate(&self) -> Allocator {
        let figures = self.figures();
        if self.doomed.load(Ordering::Acquire) == 0 {
            let base = self.base.load(Ordering::Relaxed);
            let error = figures.in_use() as i64 - self.reported.load(Ordering::Relaxed) - base;
            let step = if error.unsigned_abs() > LARGE_ERROR { error } else { error / CALIBRATIONS };
            self.base.store(base + step, Ordering::Relaxed);
        }
        figures
    }

    /// Asks the allocator for everything.
    pub fn figures(&self) -> Allocator {
        let figures = self.probe.figures_or_pages();
        self.peak.fetch_max(figures.in_use(), Ordering::Relaxed);
        figures
    }

    /// Most that was in use whenever the allocator was asked, in bytes.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes in use, those doomed not counted.
    pub fn used(&self) -> u64 {
        let all = self.base.load(Ordering::Relaxed) + self.reported.load(Ordering::Relaxed);
        u64::try_from(all).unwrap_or(0).saturating_sub(self.doomed_bytes.load(Ordering::Relaxed) as u64)
    }

    /// Bytes of the log that wait to be durable: they go by themselves, so nothing is evicted for them.
    pub fn log_bytes(&self) -> u64 {
        self.log.read().as_ref().map_or(0, |progress| progress.held_bytes())
    }

    /// Something is about to be freed by another thread.
    pub fn doom(&self, garbage: &Garbage) {
        self.doomed_bytes.fetch_add(garbage.bytes(), Ordering::Relaxed);
        self.doomed.fetch_add(garbage.len(), Ordering::Release);
    }

    /// Frees it, and says so piece by piece.
    pub fn free(&self, garbage: Garbage) {
        for piece in garbage.pieces() {
            let bytes = piece.bytes();
            drop(piece);
            self.report();
            self.doomed_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.doomed.fetch_sub(1, Ordering::Release);
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Values on their way to be freed, and those that have been.
    pub fn reaped(&self) -> (usize, u64) {
        (self.doomed.load(Ordering::Relaxed), self.freed.load(Ordering::Relaxed))
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }
}

/// The gauge as the engine asks it.
pub struct ServerMeter(pub Arc<Gauge>);

impl MemoryMeter for ServerMeter {
    fn used(&mut self) -> u64 {
        self.0.report();
        self.0.used().saturating_sub(self.0.log_bytes())
    }
}

/// Pages of this process in memory, in bytes; 0 where the system does not tell.
#[expect(clippy::disallowed_methods, reason = "the kernel's figures about this process, no file of ours")]
pub fn resident_bytes() -> usize {
    let pages = std::fs::read("/proc/self/statm").ok().and_then(|text| {
        let text = String::from_utf8(text).ok()?;
        text.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    pages.unwrap_or(0) * page_bytes()
}

/// Memory of the machine, in bytes; 0 where the system does not tell.
pub fn system_bytes() -> usize {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten().unwrap_or(0);
    usize::try_from(pages).unwrap_or(0) * page_bytes()
}

fn page_bytes() -> usize {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    usize::try_from(bytes).unwrap_or(4096)
}

/// Processor seconds in the kernel and in user space: of the process, of children that have ended, and of the thread
/// that asks.
pub fn cpu_seconds() -> [f64; 6] {
    let mut seconds = [0.0; 6];
    for (who, at) in [(UsageWho::RUSAGE_SELF, 0), (UsageWho::RUSAGE_CHILDREN, 2), (UsageWho::RUSAGE_THREAD, 4)] {
        if let Ok(usage) = getrusage(who) {
            seconds[at] = usage.system_time().num_microseconds() as f64 / 1e6;
            seconds[at + 1] = usage.user_time().num_microseconds() as f64 / 1e6;
        }
    }
    seconds
}

/// Bytes as people read them: `1.50M`.
pub fn human(bytes: usize) -> String {
    let value = bytes as f64;
    for (unit, letter) in [(1u64 << 10, 'B'), (1 << 20, 'K'), (1 << 30, 'M'), (1 << 40, 'G'), (1 << 50, 'T')] {
        if (bytes as u64) < unit {
            return if letter == 'B' {
                format!("{bytes}B")
            } else {
                format!("{:.2}{letter}", value / (unit >> 10) as f64)
            };
        }
    }
    format!("{:.2}P", value / (1u64 << 50) as f64)
}

#[cfg(test)]
mod tests {
    use super::{cpu_seconds, human, resident_bytes, system_bytes};

    #[test]
    fn figures_are_there() {
        assert!(resident_bytes() > 1 << 20);
        assert!(system_bytes() > resident_bytes());
        assert!(cpu_seconds()[0] + cpu_seconds()[1] > 0.0);
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536 << 10, "1.50M"), (5 << 30, "5.00G")] {
            assert_eq!(human(bytes), text);
        }
    }
}
