//! What time brings: expiry, the end of waits, eviction that goes on.

use super::execute::{Delivery, WaitEnd};
use super::memory::Room;
use super::{Engine, NOBODY};
use crate::command::{ClientId, Cx};
use crate::env::UnixMillis;

/// Keys that one tick deletes at most; the caller comes back at once for more.
const EXPIRED_PER_TICK: usize = 64;

impl Engine {
    /// Deletes keys that are due and ends waits that are over. Returns when to come again: at once when more is due,
    /// `None` when nothing has a deadline.
    pub fn tick(&mut self) -> Option<UnixMillis> {
        self.look_at_clock();
        let now = self.now;
        while let Some(id) = self.parts.blocking.overdue(now) {
            self.end_wait(id, WaitEnd::Timeout);
        }
        self.end_pause(now);
        let expires =
            self.parts.settings.active_expire && !self.parts.settings.expiry_rests && !self.parts.pause.is_on();
        if expires && self.log.has_room() {
            let started = self.parts.looked;
            self.expire_due(now);
            self.parts.looked = self.parts.clock.monotonic();
            let time = self.parts.looked.saturating_sub(started);
            self.parts.stats.expiry_time += time;
            self.parts.spike("expire-cycle", time);
        }
        let is_evicting = self.parts.settings.memory.max > 0 && self.make_room() == Room::Coming;
        self.finish_pass();
        if is_evicting {
            // While the log is full nothing can be evicted either.
            return Some(UnixMillis(now.0 + i64::from(!self.log.has_room())));
        }
        let expiry = if expires { self.store.next_deadline() } else { None };
        [expiry, self.parts.blocking.next_deadline(), self.parts.pause.deadline()].into_iter().flatten().min()
    }

    fn expire_due(&mut self, now: UnixMillis) {
        let due = self.store.due(now, EXPIRED_PER_TICK);
        self.parts.stats.expiry_broken_off += u64::from(due.len() == EXPIRED_PER_TICK);
        for (db, key) in due {
            self.begin_turn(NOBODY);
            let mut cx = self.nobody(db);
            cx.delete_if_due(&key);
            self.end_turn(NOBODY, false, Delivery::Own);
        }
        self.serve_ready();
    }

    /// Ends the wait of a blocked client: CLIENT UNBLOCK. False when it does not wait.
    pub fn unblock(&mut self, id: ClientId, with_error: bool) -> bool {
        let end =
            if with_error { WaitEnd::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK") } else { WaitEnd::Timeout };
        self.end_wait(id, end)
    }

    /// A call that no connection asked for.
    pub(super) fn nobody(&mut self, db: u32) -> Cx<'_> {
        Cx::new(&mut self.store, &mut self.reply, &mut self.parts, &mut self.turn, NOBODY, db, false)
    }
}
