//! Where the engine meets the log: it appends a turn's unit and receives positions.

use crate::env::UnixMillis;
use crate::resp::WovenSlice;

/// The log as the engine sees it. Positions are LSNs; see persist.
pub trait Log: Send {
    /// Position at which the next unit will start.
    fn next(&self) -> u64;

    /// Appends one unit that begins and ends in `db`. Never blocks; room was asked for before.
    fn append(&mut self, db: u32, unit: WovenSlice<'_>, now: UnixMillis);

    /// Whether a write may start now; if not, its connection waits until there is room.
    fn has_room(&self) -> bool;

    /// Why the log cannot be made durable at present: a path and an error, as MISCONF tells it.
    fn doubt(&self) -> Option<String>;
}

/// No log is kept; positions advance all the same, so that they never repeat when one begins.
#[derive(Debug)]
pub struct NoLog {
    next: u64,
}

impl NoLog {
    pub fn at(next: u64) -> Self {
        Self { next }
    }
}

impl Log for NoLog {
    fn next(&self) -> u64 {
        self.next
    }

    fn append(&mut self, _: u32, unit: WovenSlice<'_>, _: UnixMillis) {
        self.next += unit.len() as u64;
    }

    fn has_room(&self) -> bool {
        true
    }

    fn doubt(&self) -> Option<String> {
        None
    }
}
