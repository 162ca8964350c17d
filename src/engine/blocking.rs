//! Commands that wait for a key, and their turn when it is ready.
//!
//! Invariants
//! - Clients blocked on one key are served in the order in which they came.
//! - A client is served by running its command again: what it gets is what a fresh call would have got.

use super::client::Blocked;
use crate::command::{BlockRequest, ClientId, TimeoutReply};
use crate::env::UnixMillis;
use crate::resp::Request;
use crate::value::Type;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

type Place = (u32, Vec<u8>);

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub client: ClientId,
    /// The type that the key is to hold.
    pub kind: Type,
    /// That it holds none is of interest too.
    pub or_gone: bool,
}

/// A key that may be of interest to those who wait for it.
pub struct Ready {
    pub place: Place,
    /// It was written to; otherwise it may be gone.
    pub written: bool,
}

/// Waiting clients by key and by deadline, and the keys that became ready in this turn.
#[derive(Default)]
pub struct Blocking {
    waiting: BTreeMap<Place, BTreeMap<u64, Wanted>>,
    deadlines: BTreeSet<(UnixMillis, ClientId)>,
    ready: VecDeque<Place>,
    /// Of the ready ones, whether they were written to.
    written: HashMap<Place, bool>,
    tickets: u64,
    blocked: usize,
}

impl Blocking {
    /// Registers a client; `kept` is its place in the queues when it has been waiting already.
    pub fn block(&mut self, id: ClientId, db: u32, request: BlockRequest, call: Request) -> Blocked {
        self.tickets += 1;
        let blocked = Blocked {
            call,
            db,
            keys: request.keys,
            kind: request.kind,
            deadline: request.deadline,
            on_timeout: request.on_timeout,
            ticket: self.tickets,
        };
        let wanted = Wanted { client: id, kind: blocked.kind, or_gone: request.wakes_when_gone };
        for key in &blocked.keys {
            self.waiting.entry((db, key.clone())).or_default().insert(blocked.ticket, wanted);
        }
        if let Some(deadline) = blocked.deadline {
            self.deadlines.insert((deadline, id));
        }
        self.blocked += 1;
        blocked
    }

    /// Forgets a client that was served, timed out or left.
    pub fn unblock(&mut self, id: ClientId, blocked: &Blocked) {
        for key in &blocked.keys {
            let place = (blocked.db, key.clone());
            if let Some(queue) = self.waiting.get_mut(&place) {
                queue.remove(&blocked.ticket);
                if queue.is_empty() {
                    self.waiting.remove(&place);
                }
            }
        }
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.blocked -= 1;
    }

    /// A key holds a value of this type, and more of it than before.
    pub fn key_ready(&mut self, db: u32, key: &[u8], kind: Type) {
        self.look(db, key, true, |wanted| wanted.kind == kind);
    }

    /// A key was changed, and may be gone.
    pub fn key_modified(&mut self, db: u32, key: &[u8]) {
        self.look(db, key, false, |wanted| wanted.or_gone);
    }

    fn look(&mut self, db: u32, key: &[u8], written: bool, of_interest: impl Fn(&Wanted) -> bool) {
        if self.waiting.is_empty() {
            return;
        }
        let place = (db, key.to_vec());
        if !self.waiting.get(&place).is_some_and(|queue| queue.values().any(of_interest)) {
            return;
        }
        match self.written.get_mut(&place) {
            Some(before) => *before |= written,
            None => {
                self.written.insert(place.clone(), written);
                self.ready.push_back(place);
            }
        }
    }

    /// Keys of one database that somebody waits for (after SWAPDB any of them may be ready).
    pub fn keys_of(&self, db: u32) -> Vec<Vec<u8>> {
        self.waiting
            .range((db, Vec::new())..)
            .take_while(|((at, _), _)| *at == db)
            .map(|((_, key), _)| key.clone())
            .collect()
    }

    /// The next ready key.
    pub fn next_ready(&mut self) -> Option<Ready> {
        let place = self.ready.pop_front()?;
        let written = self.written.remove(&place).unwrap_or_default();
        Some(Ready { place, written })
    }

    /// Who waits for a key, first come first.
    pub fn waiting_for(&self, place: &Place) -> Vec<Wanted> {
        self.waiting.get(place).map(|queue| queue.values().copied().collect()).unwrap_or_default()
    }

    /// A client whose time is over.
    pub fn overdue(&self, now: UnixMillis) -> Option<ClientId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Blocked clients.
    pub fn len(&self) -> usize {
        self.blocked
    }

    pub fn is_empty(&self) -> bool {
        self.blocked == 0
    }

    /// Keys that somebody waits for.
    pub fn key_count(&self) -> usize {
        self.waiting.len()
    }

    /// Clients with a deadline.
    pub fn deadline_count(&self) -> usize {
        self.deadlines.len()
    }
}

/// The reply to a client whose time is over.
pub fn timeout_reply(kind: TimeoutReply, reply: &mut crate::resp::Reply) {
    match kind {
        TimeoutReply::NullArray => reply.null_array(),
        TimeoutReply::Null => reply.null(),
        TimeoutReply::Again => {}
    }
}
