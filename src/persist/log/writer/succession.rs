//! How the log goes on in a fresh segment: a roll behind a full one, a new home for what a poisoned one did not keep.
//!
//! Both make the fresh segment durable under its name, and then name it in the manifest. While it is in doubt whether
//! that manifest is the one on disk, nothing else happens.

use super::{LogWriter, State, Step, backoff, encode_headers};
use crate::persist::Lsn;
use crate::persist::log::fill::discard;
use crate::persist::log::progress::Trouble;
use crate::persist::log::segment::{Segment, SegmentPlace};
use crate::persist::manifest::{CloseState, StoreError};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ROLL_RETRY_FIRST: Duration = Duration::from_secs(1);
const ROLL_RETRY_MAX: Duration = Duration::from_secs(60);

/// How long the next attempt waits behind so many that failed.
fn roll_backoff(failed: u32) -> Duration {
    (ROLL_RETRY_FIRST * 2u32.saturating_pow(failed.min(10))).min(ROLL_RETRY_MAX)
}

/// Why the log goes on in a fresh segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// The one before is full, and durable.
    Roll,
    /// The one before is poisoned; the fresh one holds everything since its durable end.
    Rehome,
}

impl LogWriter {
    pub(super) fn step_poisoned(&mut self, now: Duration, retry_at: Duration, attempts: u32) -> Step {
        if now < retry_at {
            return Step::Idle(Some(retry_at - now));
        }
        if let Err(error) = self.rehome(now) {
            if attempts == 1 {
                let trouble = Trouble::new(&self.options.directory.join(&self.options.prefix), &error);
                tracing::warn!("The log cannot be continued in a new segment: {trouble}");
            }
            self.report(&error);
            self.state = State::Poisoned { retry_at: now + backoff(attempts), attempts: attempts + 1 };
        }
        Step::Worked
    }

    /// Makes everything since the durable end of the poisoned file durable in a fresh segment, then cuts that file to
    /// its durable end, then names the fresh one. A crash before the cut leaves the frames in the old file, one after it
    /// leaves a whole segment that continues the log exactly, which the next start takes in.
    fn rehome(&mut self, now: Duration) -> io::Result<()> {
        let durable = self.progress.durable();
        let (size, chain) = match self.pending.front().and_then(|first| first.place) {
            Some(place) => place,
            None => (self.segment.size(), self.segment.chain()),
        };
        let mut fresh = self.draft_segment(durable, chain)?;
        let (disk, directory, time) = (&*self.disk, &self.options.directory, &mut self.time);
        let mut move_to = |fresh: &mut Segment| {
            for pending in &mut self.pending {
                let chain = encode_headers(&mut pending.batch, fresh, durable, time);
                fresh.append(&pending.batch.out, chain)?;
            }
            fresh.publish(disk, directory)
        };
        if let Err(error) = move_to(&mut fresh) {
            fresh.discard(disk);
            return Err(error);
        }
        self.segment.cut_for_good(&*self.disk, size)?;
        self.name(fresh, Fresh::Rehome, now)
    }

    /// A new segment behind the present one, not published yet.
    fn draft_segment(&mut self, first: Lsn, chain: u32) -> io::Result<Segment> {
        let sequence = self.manifest.next_sequence();
        let place = SegmentPlace {
            lineage: self.segment.header().lineage,
            number: self.segment.header().number + 1,
            first,
            db: self.next_db(),
            previous_end: first,
            previous_chain: chain,
        };
        let (name, salt) = (self.options.segment_name(sequence), self.entropy.next_u64());
        match self.take_ahead() {
            Some(spare) => {
                let path = spare.path.clone();
                Segment::draft_over(spare, name, sequence, place, salt).inspect_err(|_| discard(&*self.disk, &path))
            }
            None => Segment::draft(&*self.disk, &self.options.directory, name, sequence, place, salt),
        }
    }

    /// The database that the next frame to be written begins with.
    fn next_db(&self) -> u32 {
        let waiting = self.pending.iter().find_map(|pending| pending.batch.frames.first());
        waiting.map_or_else(|| self.buffer.next_frame_db(), |frame| frame.db)
    }

    /// Names a published segment in the manifest and goes on in it. An error: it is certain that the manifest does not
    /// name it.
    fn name(&mut self, fresh: Segment, why: Fresh, now: Duration) -> io::Result<()> {
        match self.store_with(&fresh) {
            Ok(()) => {
                self.go_on_in(fresh, why, now);
                Ok(())
            }
            Err(failed) if failed.in_doubt => {
                tracing::warn!("Naming {} in the manifest failed: {}", fresh.path(), failed.error);
                let retry_at = now + backoff(1);
                self.state = State::Naming { fresh: Box::new(fresh), why, retry_at, attempts: 2 };
                Ok(())
            }
            Err(failed) => {
                if why == Fresh::Roll {
                    self.keep_ahead(fresh);
                }
                Err(failed.error)
            }
        }
    }

    fn store_with(&mut self, fresh: &Segment) -> Result<(), StoreError> {
        let mut manifest = self.manifest.clone();
        manifest.add_incremental(fresh.name().to_owned(), fresh.sequence());
        manifest.state = CloseState::Open;
        self.store(manifest)
    }

    /// Stores the manifest again whose first attempt may or may not have come to the disk.
    pub(super) fn name_again(&mut self, now: Duration) {
        let State::Naming { fresh, why, attempts, .. } = std::mem::replace(&mut self.state, State::Healthy) else {
            return;
        };
        // An earlier attempt may have taken effect: whatever the failure of this one, it stays in doubt.
        match self.store_with(&fresh) {
            Ok(()) => self.go_on_in(*fresh, why, now),
            Err(failed) => {
                self.report(&failed.error);
                let retry_at = now + backoff(attempts);
                self.state = State::Naming { fresh, why, retry_at, attempts: attempts + 1 };
            }
        }
    }

    /// The fresh segment is named: it is the log's last from now on.
    fn go_on_in(&mut self, fresh: Segment, why: Fresh, now: Duration) {
        self.state = State::Healthy;
        self.rolls_failed = 0;
        self.progress.note_roll(None);
        self.progress.stats.segments.fetch_add(1, Ordering::Relaxed);
        let end = self.progress.durable();
        let mut before = std::mem::replace(&mut self.segment, fresh);
        self.guard_reserve();
        self.marked = end;
        match why {
            Fresh::Roll => {
                if let Err(error) = before.seal(end) {
                    tracing::warn!("Sealing {} failed: {error}; the next header says where it ends", before.path());
                }
                // What is left lies in front of the cut, if there is one: it belongs into this segment, and the cut behind it.
                if self.pending.is_empty() {
                    self.settle_cut(Ok(()));
                }
            }
            Fresh::Rehome => {
                tracing::warn!("The log goes on in {}", self.segment.path());
                // What a disk has lied about once is not relied on for longer than it takes to write it anew.
                self.progress.ask_rebase();
                let end = self.pending.iter().rev().find_map(|pending| pending.batch.end_lsn()).unwrap_or(end).max(end);
                for pending in self.pending.drain(..) {
                    self.progress.drop_referred(pending.batch.out.runs.bytes() as u64);
                }
                self.written = 0;
                self.unsynced_since = None;
                self.quiet_since = now;
                self.progress.publish_durable(end);
            }
        }
        self.progress.clear_trouble();
    }

    pub(super) fn roll_is_due(&self, now: Duration) -> bool {
        let is_full = self.segment.size() >= self.options.segment_bytes_max && !self.stays_for_reserve();
        (is_full || self.wants_filled()) && now >= self.roll_after
    }

    /// Everything is durable: goes on in a new segment. If that fails, stays on the present one for a while.
    pub(super) fn roll(&mut self, now: Duration) {
        if self.cut.is_some() && self.segment.is_empty() {
            // What lies before the cut is in other segments already.
            return self.settle_cut(Ok(()));
        }
        let (end, chain) = (self.progress.durable(), self.segment.chain());
        // What was written is durable; marks of the full segment have no place in the next one.
        for pending in self.pending.drain(..self.written) {
            self.progress.drop_referred(pending.batch.out.runs.bytes() as u64);
        }
        self.written = 0;
        let rolled = self.draft_segment(end, chain).and_then(|mut fresh| {
            if let Err(error) = fresh.publish(&*self.disk, &self.options.directory) {
                self.keep_ahead(fresh);
                return Err(error);
            }
            self.name(fresh, Fresh::Roll, now)
        });
        if let Err(error) = rolled {
            let path = self.options.directory.join(self.options.segment_name(self.manifest.next_sequence()));
            let (trouble, wait) = (Trouble::new(&path, &error), roll_backoff(self.rolls_failed));
            tracing::warn!(
                "No new AOF segment could be opened: {trouble}. The log goes on in {}, and tries again in {} seconds",
                self.segment.path(),
                wait.as_secs()
            );
            self.rolls_failed += 1;
            self.roll_after = now + wait;
            self.settle_cut(Err(format!("no segment could be begun: {trouble}")));
            self.progress.note_roll(Some(trouble));
            self.guard_reserve();
        }
    }
}
