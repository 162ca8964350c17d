//! What others may see of a running script, and ask of it, without holding the engine.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Shared between the script's thread and everyone who waits for the engine.
#[derive(Default)]
pub struct Control {
    running: AtomicBool,
    /// Past its threshold: others are answered -BUSY.
    busy: AtomicBool,
    wrote: AtomicBool,
    kill: AtomicBool,
    /// Set by SHUTDOWN NOSAVE: the script ends whatever it has done.
    abandon: AtomicBool,
    started_nanos: AtomicU64,
    threshold_nanos: AtomicU64,
    on_busy: Mutex<Option<Box<dyn Fn() + Send>>>,
}

/// The answer to SCRIPT KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillAnswer {
    Killed,
    NotBusy,
    /// It has written: stopping it would leave half of it done.
    Unkillable,
}

impl Control {
    /// Called once each time a script passes its threshold: whoever waits for the engine looks again.
    pub fn on_busy(&self, notify: Box<dyn Fn() + Send>) {
        *self.on_busy.lock() = Some(notify);
    }

    pub(super) fn begin(&self, now: Duration, threshold_millis: u64) {
        self.started_nanos.store(now.as_nanos() as u64, Ordering::Relaxed);
        let threshold = threshold_millis.saturating_mul(1_000_000);
        self.threshold_nanos.store(if threshold == 0 { u64::MAX } else { threshold }, Ordering::Relaxed);
        self.kill.store(false, Ordering::Relaxed);
        self.wrote.store(false, Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
        self.running.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.running.store(false, Ordering::Release);
        self.busy.store(false, Ordering::Release);
    }

    pub(super) fn wrote(&self) {
        self.wrote.store(true, Ordering::Release);
    }

    /// Looked at every few thousand instructions.
    pub(super) fn should_stop(&self, now: Duration) -> bool {
        let spent = (now.as_nanos() as u64).saturating_sub(self.started_nanos.load(Ordering::Relaxed));
        if spent > self.threshold_nanos.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using \
                 the SCRIPT KILL command.",
                spent / 1_000_000
            );
            if let Some(notify) = &*self.on_busy.lock() {
                notify();
            }
        }
        self.kill.load(Ordering::Acquire) || self.abandon.load(Ordering::Acquire)
    }

    /// A script runs for longer than its threshold.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Acquire)
    }

    pub fn kill(&self) -> KillAnswer {
        if !self.running.load(Ordering::Acquire) {
            return KillAnswer::NotBusy;
        }
        if self.has_written() {
            return KillAnswer::Unkillable;
        }
        self.kill.store(true, Ordering::Release);
        KillAnswer::Killed
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandon.load(Ordering::Acquire)
    }

    /// The server ends without saving.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Release);
    }
}
