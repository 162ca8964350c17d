//! What DEBUG sets for tests of a server, and nothing else does.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long the peak of a send buffer is remembered, as in stock.
pub const PEAK_RESET_MILLIS: i64 = 5000;

/// See the module's header.
pub struct Knobs {
    /// What the clock does by itself rests: expiry, saves, samples, looking after connections.
    pub cron_paused: AtomicBool,
    /// Slept before each write of the log, microseconds.
    pub flush_sleep: AtomicU64,
    /// How long the peak of a send buffer is remembered, milliseconds; negative: for ever.
    pub peak_reset: AtomicI64,
    /// Buffers of quiet connections are freed.
    pub buffers_shrink: AtomicBool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            cron_paused: AtomicBool::new(false),
            flush_sleep: AtomicU64::new(0),
            peak_reset: AtomicI64::new(PEAK_RESET_MILLIS),
            buffers_shrink: AtomicBool::new(true),
        }
    }
}

impl Knobs {
    pub fn is_cron_paused(&self) -> bool {
        self.cron_paused.load(Ordering::Relaxed)
    }

    pub fn flush_sleep(&self) -> Option<Duration> {
        let micros = self.flush_sleep.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub fn peak_reset(&self) -> Option<Duration> {
        u64::try_from(self.peak_reset.load(Ordering::Relaxed)).ok().map(Duration::from_millis)
    }

    pub fn buffers_shrink(&self) -> bool {
        self.buffers_shrink.load(Ordering::Relaxed)
    }
}

/// Keeps the thread for this long.
pub fn nap(time: Duration) {
    let never = Mutex::new(());
    Condvar::new().wait_for(&mut never.lock(), time);
}
