//! Time as a parameter: wall time for deadlines, monotonic time for intervals.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock, microseconds since the Unix epoch. May step backwards, as the system's does.
    fn unix_micros(&self) -> i64;

    /// Time since an arbitrary fixed moment; never steps backwards.
    fn monotonic(&self) -> Duration;

    /// Wall clock in milliseconds.
    fn unix_millis(&self) -> UnixMillis {
        UnixMillis(self.unix_micros().div_euclid(1000))
    }
}

/// The operating system's clocks.
#[derive(Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn unix_micros(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        }
    }

    /// Since the system's start. Every call of a command ends with this: no difference to an own start is formed.
    fn monotonic(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    unix_micros: AtomicI64,
    monotonic_nanos: AtomicU64,
}

impl ManualClock {
    pub fn at(start: UnixMillis) -> Self {
        Self { unix_micros: AtomicI64::new(start.0 * 1000), monotonic_nanos: AtomicU64::new(0) }
    }

    /// Moves wall and monotonic time forward together.
    pub fn advance(&self, by: Duration) {
        self.unix_micros.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
        self.monotonic_nanos.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, forwards or backwards.
    pub fn set_unix(&self, now: UnixMillis) {
        self.unix_micros.store(now.0 * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_micros(&self) -> i64 {
        self.unix_micros.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_nanos.load(Ordering::SeqCst))
    }
}
