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
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

type Place = (u32, Vec<u8>);

/// Waiting clients by key and by deadline, and the keys that became ready in this turn.
#[derive(Default)]
pub struct Blocking {
    waiting: BTreeMap<Place, BTreeMap<u64, (ClientId, Type)>>,
    deadlines: BTreeSet<(UnixMillis, ClientId)>,
    ready: VecDeque<Place>,
    ready_set: HashSet<Place>,
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
        for key in &blocked.keys {
            self.waiting.entry((db, key.clone())).or_default().insert(blocked.ticket, (id, blocked.kind));
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

    pub fn key_ready(&mut self, db: u32, key: &[u8], kind: Type) {
        if self.waiting.is_empty() {
            return;
        }
        let place = (db, key.to_vec());
        let wanted = self.waiting.get(&place).is_some_and(|queue| queue.values().any(|(_, wants)| *wants == kind));
        if wanted && self.ready_set.insert(place.clone()) {
            self.ready.push_back(place);
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
    pub fn next_ready(&mut self) -> Option<Place> {
        let place = self.ready.pop_front()?;
        self.ready_set.remove(&place);
        Some(place)
    }

    /// Who waits for a key, first come first.
    pub fn waiting_for(&self, place: &Place) -> Vec<(ClientId, Type)> {
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
