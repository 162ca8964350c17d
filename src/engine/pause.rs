//! CLIENT PAUSE: for a while clients wait with what they ask, all of it or what writes.
//!
//! Invariants
//! - A command that waits here has not begun; its connection gives it again when the pause is over.
//! - While a pause lasts nothing changes by itself either: nothing expires, nothing is evicted.

use std::collections::BTreeSet;

use super::Engine;
use super::client::Client;
use super::parts::Parts;
use crate::command::{ClientId, Flags, Resolved};
use crate::env::UnixMillis;

/// See the module's header.
#[derive(Default)]
pub struct Pause {
    /// When it ends, and whether everything waits.
    present: Option<(UnixMillis, bool)>,
    waiting: BTreeSet<ClientId>,
}

impl Pause {
    pub fn is_on(&self) -> bool {
        self.present.is_some()
    }

    pub fn deadline(&self) -> Option<UnixMillis> {
        self.present.map(|(until, _)| until)
    }

    /// Clients that wait for its end.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn holds(&self, id: ClientId) -> bool {
        self.waiting.contains(&id)
    }
}

impl Parts {
    /// Begins a pause. One that is under way is only ever made longer, and stricter.
    pub fn pause(&mut self, until: UnixMillis, everything: bool) {
        let (before, strict) = self.pause.present.unwrap_or((until, everything));
        self.pause.present = Some((until.max(before), everything || strict));
    }

    /// Ends the pause; whoever waited goes on.
    pub fn unpause(&mut self) {
        self.pause.present = None;
        for id in std::mem::take(&mut self.pause.waiting) {
            if let Some(client) = self.clients.get(id) {
                client.outbox.wake();
            }
        }
    }

    /// A client leaves.
    pub(super) fn forget_pause(&mut self, id: ClientId) {
        self.pause.waiting.remove(&id);
    }

    /// Whether a command must wait; then its client is known to.
    pub(super) fn waits_for_pause(&mut self, id: ClientId, resolved: &Resolved, now: UnixMillis) -> bool {
        let Some((until, everything)) = self.pause.present else { return false };
        if until <= now {
            self.unpause();
            return false;
        }
        let waits = everything || self.may_write(id, resolved);
        if waits {
            self.pause.waiting.insert(id);
        }
        waits
    }

    fn may_write(&self, id: ClientId, resolved: &Resolved) -> bool {
        let writes = |flags: Flags| flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        let queued = |client: &Client| {
            let queued = client.transaction.iter().flat_map(|transaction| &transaction.queued);
            let commands = queued.filter_map(|request| self.table.named(&request.args().collect::<Vec<_>>()));
            commands.map(|resolved| resolved.command.flags).any(writes)
        };
        writes(resolved.command.flags) || (resolved.command.name == "exec" && self.clients.get(id).is_some_and(queued))
    }
}

impl Engine {
    /// Ends a pause whose time is over.
    pub(super) fn end_pause(&mut self, now: UnixMillis) {
        if self.parts.pause.deadline().is_some_and(|until| until <= now) {
            self.parts.unpause();
        }
    }
}
