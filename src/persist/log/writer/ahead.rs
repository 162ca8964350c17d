//! The file that the next segment is written into, filled ahead (`aof-preallocate`), and what of the fill is kept for those who
//! free room.
//!
//! The file is made by a job that is run away from the writer; it stands as a draft until it becomes a segment, so that a start
//! removes one that was left. Where it cannot be made, the log goes on in segments that are not filled.

use super::LogWriter;
use crate::env::is_full;
use crate::persist::log::fill::{FillDone, FillJob, Spare, discard, filled_bytes};
use crate::persist::log::progress::{Restraint, Trouble};
use crate::persist::log::segment::Segment;
use std::sync::Arc;
use std::time::Duration;

/// A file that could not be filled is tried again after this time.
const FILL_AGAIN: Duration = Duration::from_secs(5);
/// Of a segment's fill, the last fourth and at most so much is left to those who free room while the disk is full.
const LOG_RESERVE_MAX: u64 = 16 << 20;

/// Where the file is.
pub(super) enum Ahead {
    None,
    BeingFilled,
    Ready(Spare),
    Failed { again_at: Duration, full: bool },
}

impl LogWriter {
    /// The filling of a file for the next segment, when there is to be one: to be run elsewhere, and its outcome handed to
    /// `finish_fill`.
    pub fn fill_job(&mut self) -> Option<FillJob> {
        if self.progress.is_closed() || self.buffer.is_closing() {
            return None;
        }
        if !self.buffer.preallocates() {
            if !matches!(self.ahead, Ahead::None | Ahead::BeingFilled) {
                self.give_up_ahead();
            }
            return None;
        }
        let due = match &self.ahead {
            Ahead::None => true,
            Ahead::Failed { again_at, .. } => self.clock.monotonic() >= *again_at,
            Ahead::BeingFilled | Ahead::Ready(_) => false,
        };
        if !due {
            return None;
        }
        self.ahead = Ahead::BeingFilled;
        // No two have the same name, whatever becomes of one before.
        let name = format!("{}.{:016x}.ahead.tmp", self.options.prefix, self.entropy.next_u64());
        let (path, bytes) = (self.options.directory.join(name), filled_bytes(self.options.segment_bytes_max));
        Some(FillJob::new(Arc::clone(&self.disk), Arc::clone(&self.progress), path, bytes))
    }

    /// Hands in the outcome of a fill job.
    pub fn finish_fill(&mut self, done: FillDone) {
        let wanted = self.buffer.preallocates() && !self.progress.is_closed();
        self.ahead = match done.result {
            Ok(spare) if wanted => Ahead::Ready(spare),
            Ok(_) => {
                discard(&*self.disk, &done.path);
                Ahead::None
            }
            Err(_) if !wanted => Ahead::None,
            Err(error) => {
                if !self.restrained() {
                    tracing::warn!(
                        "No segment can be filled ahead: {}. The log goes on without",
                        Trouble::new(&done.path, &error)
                    );
                }
                Ahead::Failed { again_at: self.clock.monotonic() + FILL_AGAIN, full: is_full(&error) }
            }
        };
        self.guard_reserve();
    }

    /// When a file that could not be filled is tried again.
    pub(super) fn fill_again_at(&self) -> Option<Duration> {
        match self.ahead {
            Ahead::Failed { again_at, .. } if self.buffer.preallocates() => Some(again_at),
            _ => None,
        }
    }

    pub(super) fn take_ahead(&mut self) -> Option<Spare> {
        match std::mem::replace(&mut self.ahead, Ahead::None) {
            Ahead::Ready(spare) => Some(spare),
            other => {
                self.ahead = other;
                None
            }
        }
    }

    pub(super) fn give_up_ahead(&mut self) {
        if let Some(spare) = self.take_ahead() {
            discard(&*self.disk, &spare.path);
        }
        self.ahead = Ahead::None;
        self.guard_reserve();
    }

    /// The present segment is not filled, and another one is ready: the log goes on there.
    pub(super) fn wants_filled(&self) -> bool {
        matches!(self.ahead, Ahead::Ready(_)) && !self.segment.is_filled() && !self.segment.is_empty()
    }

    /// No other segment can be begun for want of room: not even so many bytes are free.
    fn is_disk_full(&self, bytes: u64) -> bool {
        let no_file = matches!(self.ahead, Ahead::Failed { full: true, .. });
        let no_roll = self.progress.roll_trouble().is_some_and(|trouble| trouble.full);
        (no_file || no_roll) && self.disk.free_bytes(&self.options.directory).is_ok_and(|free| free < bytes)
    }

    /// The log stays where it is until another segment is filled: what is left here would be given up for one that has no reserve.
    pub(super) fn stays_for_reserve(&self) -> bool {
        self.restrained() && !matches!(self.ahead, Ahead::Ready(_))
    }

    /// A filled segment could not be begun: its room is kept.
    pub(super) fn keep_ahead(&mut self, unused: Segment) {
        if let Some(spare) = unused.into_spare(&*self.disk)
            && matches!(self.ahead, Ahead::None)
        {
            self.ahead = Ahead::Ready(spare);
        }
    }

    pub(super) fn restrained(&self) -> bool {
        self.progress.is_restricted_by(Restraint::LogReserve)
    }

    /// While the disk has no room for another segment, the end of what is filled is for those who free some.
    pub(super) fn guard_reserve(&self) {
        let reserve = (self.options.segment_bytes_max / 4).min(LOG_RESERVE_MAX);
        let low = self.segment.is_filled() && self.segment.filled_left() < reserve && self.is_disk_full(reserve);
        if low == self.restrained() {
            return;
        }
        let text = low.then(|| {
            let text = format!(
                "MISCONF The disk of {} is full: what is left of the AOF's preallocated room serves reads, DEL, UNLINK and FLUSH; \
                 anything else that writes when the next segment can be filled",
                self.options.directory.display()
            );
            tracing::warn!("{}", &text["MISCONF ".len()..]);
            Arc::from(text)
        });
        if text.is_none() {
            tracing::warn!("There is room for the log again: writes are served");
        }
        self.progress.restrict(Restraint::LogReserve, text);
    }
}
