//! The gate: how far replies may show the log.
//!
//! One number, published by whoever follows the log writer: under `always` what is durable, under `everysec` and `no`
//! what is written (or, where a write has been stuck, what has been appended). It never moves back.

use std::sync::atomic::{AtomicU64, Ordering};

/// The log position up to which bytes may leave.
#[derive(Debug)]
pub struct Gate {
    released: AtomicU64,
}

impl Gate {
    /// A gate that releases everything: no log is kept.
    pub fn open() -> Self {
        Self { released: AtomicU64::new(u64::MAX) }
    }

    /// A gate whose first position is the end of the recovered log.
    pub fn at(position: u64) -> Self {
        Self { released: AtomicU64::new(position) }
    }

    pub fn reached(&self, tag: u64) -> bool {
        self.released.load(Ordering::Acquire) >= tag
    }

    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    /// Lets everything up to `position` leave; true when that is news.
    pub fn release(&self, position: u64) -> bool {
        self.released.fetch_max(position, Ordering::AcqRel) < position
    }

    /// A log begins (AOF switched on): from here on positions count.
    pub fn reset(&self, position: u64) {
        self.released.store(position, Ordering::Release);
    }
}
