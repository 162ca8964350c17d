//! Client-side caching: which clients have read which keys, and whom a change is told.
//!
//! A client is told of a change of a key that it read, once, or in broadcast mode of every change of keys with its
//! prefixes. What is told enters its outbox like every message: when the turn that made the change has its place in the
//! log, with that tag, and for the client of that turn behind the reply. Changes are broadcast together, in one message
//! for all turns of a pass.
//!
//! Invariants
//! - `items` counts the pairs of key and client in `readers`.
//! - A prefix stands in `prefixes` exactly as long as a client in broadcast mode has it.

use super::NOBODY;
use super::parts::Parts;
use crate::command::{ClientId, Flags, Resolved};
use crate::resp::{Protocol, Reply};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};

/// The channel on which a RESP2 connection hears of changes.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys given up in one turn when more are remembered than allowed; more while that does not help.
const GIVEN_UP_PER_TURN: usize = 100;

/// What CLIENT TRACKING ON asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingOptions {
    pub broadcast: bool,
    pub opt_in: bool,
    pub opt_out: bool,
    /// Its own changes are not told.
    pub no_loop: bool,
}

/// Client-side caching of one client.
#[derive(Debug, Default)]
pub struct Tracked {
    pub options: TrackingOptions,
    /// Who is told instead.
    pub redirect: Option<ClientId>,
    /// Who was to be told instead is gone.
    pub redirect_broken: bool,
    /// CLIENT CACHING was given for the command that follows.
    pub caching: bool,
    pub prefixes: BTreeSet<Vec<u8>>,
}

/// Keys that were read, and by whom.
#[derive(Default)]
pub struct Tracking {
    clients: usize,
    readers: IndexMap<Vec<u8>, BTreeSet<ClientId>>,
    items: usize,
    prefixes: BTreeMap<Vec<u8>, Broadcast>,
    /// Turns in a row that have ended with more keys than allowed.
    turns_over_limit: usize,
}

/// Clients of one prefix, and what this pass has changed of its keys.
#[derive(Default)]
struct Broadcast {
    clients: BTreeSet<ClientId>,
    /// By whom: nobody, where a script did it or the key's time was over.
    changed: BTreeMap<Vec<u8>, ClientId>,
}

impl Tracking {
    /// Clients in tracking mode.
    pub fn client_count(&self) -> usize {
        self.clients
    }

    /// Keys that are remembered.
    pub fn key_count(&self) -> usize {
        self.readers.len()
    }

    /// Pairs of key and client that are remembered.
    pub fn item_count(&self) -> usize {
        self.items
    }

    pub fn prefix_count(&self) -> usize {
        self.prefixes.len()
    }
}

/// What an invalidation says.
#[derive(Clone, Copy)]
enum Content<'k> {
    Keys(&'k [&'k [u8]]),
    /// All keys.
    Everything,
}

impl Parts {
    /// CLIENT TRACKING ON, its options having been found to go together.
    pub fn start_tracking(
        &mut self,
        id: ClientId,
        options: TrackingOptions,
        redirect: Option<ClientId>,
        prefixes: &[&[u8]],
    ) {
        let tracking = &mut self.client_mut(id).tracking;
        let is_new = tracking.is_none();
        let tracked = tracking.get_or_insert_default();
        tracked.options = options;
        tracked.redirect = redirect;
        tracked.redirect_broken = false;
        self.tracking.clients += usize::from(is_new);
        if !options.broadcast {
            return;
        }
        let all: &[&[u8]] = &[b""];
        for prefix in if prefixes.is_empty() { all } else { prefixes } {
            if let Some(tracked) = &mut self.client_mut(id).tracking {
                tracked.prefixes.insert(prefix.to_vec());
            }
            self.tracking.prefixes.entry(prefix.to_vec()).or_default().clients.insert(id);
        }
    }

    /// CLIENT TRACKING OFF, and the end of a connection.
    pub fn stop_tracking(&mut self, id: ClientId) {
        let Some(tracked) = self.clients.get_mut(id).and_then(|client| client.tracking.take()) else { return };
        self.tracking.clients -= 1;
        for prefix in tracked.prefixes {
            if let Some(broadcast) = self.tracking.prefixes.get_mut(&prefix) {
                broadcast.clients.remove(&id);
                if broadcast.clients.is_empty() {
                    self.tracking.prefixes.remove(&prefix);
                }
            }
        }
    }

    /// After a command: CLIENT CACHING holds for one command, or one transaction.
    pub(super) fn end_caching_wish(&mut self, id: ClientId, resolved: Resolved) {
        if self.tracking.clients == 0 || resolved.parent.is_some_and(|parent| parent.name == "client") {
            return;
        }
        if let Some(client) = self.clients.get_mut(id).filter(|client| client.transaction.is_none())
            && let Some(tracked) = &mut client.tracking
        {
            tracked.caching = false;
        }
    }

    /// After a command that reads: its keys are remembered for the client that it ran for.
    pub(super) fn remember_keys(&mut self, id: ClientId, resolved: Resolved, argv: &[&[u8]]) {
        let command = resolved.command;
        if self.tracking.clients == 0
            || !command.flags.has(Flags::READONLY)
            || command.flags.has(Flags::SCRIPT)
            || command.flags.has(Flags::PUBSUB)
        {
            return;
        }
        let Some(tracked) = self.clients.get(id).and_then(|client| client.tracking.as_ref()) else { return };
        let TrackingOptions { broadcast, opt_in, opt_out, .. } = tracked.options;
        if broadcast || (opt_in && !tracked.caching) || (opt_out && tracked.caching) {
            return;
        }
        for (at, _) in command.keys_of_call(argv).unwrap_or_default() {
            let readers = self.tracking.readers.entry(argv[at].to_vec()).or_default();
            self.tracking.items += usize::from(readers.insert(id));
        }
    }

    /// A key was changed or removed, in whichever database.
    pub(super) fn invalidate_key(&mut self, key: &[u8]) {
        if self.tracking.prefixes.is_empty() && self.tracking.readers.is_empty() {
            return;
        }
        if !self.tracking.prefixes.is_empty() {
            let by = if self.scripts.control().is_running() { NOBODY } else { self.acting };
            self.note_change(key, by);
        }
        self.forget_key(key);
    }

    /// A key has gone because its time was over.
    pub(super) fn broadcast_expiry(&mut self, key: &[u8]) {
        if !self.tracking.prefixes.is_empty() {
            self.note_change(key, NOBODY);
        }
    }

    fn note_change(&mut self, key: &[u8], by: ClientId) {
        for (prefix, broadcast) in &mut self.tracking.prefixes {
            if key.starts_with(prefix) {
                broadcast.changed.insert(key.to_vec(), by);
            }
        }
    }

    /// Tells those who have read a key, and forgets them.
    fn forget_key(&mut self, key: &[u8]) {
        let Some(readers) = self.tracking.readers.swap_remove(key) else { return };
        self.tracking.items -= readers.len();
        for id in readers {
            let tracked = self.clients.get(id).and_then(|client| client.tracking.as_ref());
            let told = tracked.is_some_and(|tracked| {
                let its_own = id == self.acting && tracked.options.no_loop;
                !(tracked.options.broadcast || its_own)
            });
            if told {
                self.tell(id, Content::Keys(&[key]));
            }
        }
    }

    /// A database was emptied: everybody forgets everything.
    pub(super) fn invalidate_all(&mut self) {
        if self.tracking.clients > 0 {
            let tracking = |client: &&super::Client| client.tracking.is_some();
            let mut ids: Vec<ClientId> = self.clients.iter().filter(tracking).map(|client| client.id).collect();
            // In the order in which they came.
            ids.sort();
            ids.into_iter().for_each(|id| self.tell(id, Content::Everything));
        }
        self.tracking.readers = IndexMap::new();
        self.tracking.items = 0;
    }

    /// At the end of a turn: keeps to `tracking-table-max-keys`.
    pub(super) fn bound_tracking(&mut self) {
        if self.tracking.readers.is_empty() && self.tracking.turns_over_limit == 0 {
            return;
        }
        let limit = self.settings.tracking_keys_max;
        let effort = GIVEN_UP_PER_TURN * (self.tracking.turns_over_limit + 1);
        for _ in 0..effort {
            if limit == 0 || self.tracking.readers.len() <= limit {
                break;
            }
            let at = self.entropy.below(self.tracking.readers.len() as u64) as usize;
            let Some(key) = self.tracking.readers.get_index(at).map(|(key, _)| key.clone()) else { break };
            self.forget_key(&key);
        }
        let over = limit > 0 && self.tracking.readers.len() > limit;
        self.tracking.turns_over_limit = if over { self.tracking.turns_over_limit + 1 } else { 0 };
    }

    /// At the end of a pass: tells what has changed to those who hear of all changes.
    pub(super) fn broadcast_changes(&mut self) {
        let mut messages: Vec<(ClientId, Vec<Vec<u8>>)> = Vec::new();
        for broadcast in self.tracking.prefixes.values_mut().filter(|broadcast| !broadcast.changed.is_empty()) {
            let changed = std::mem::take(&mut broadcast.changed);
            for id in &broadcast.clients {
                let tracked = self.clients.get(*id).and_then(|client| client.tracking.as_ref());
                let no_loop = tracked.is_some_and(|tracked| tracked.options.no_loop);
                let told = changed.iter().filter(|(_, by)| !(no_loop && *by == id)).map(|(key, _)| key.clone());
                let told: Vec<Vec<u8>> = told.collect();
                if !told.is_empty() {
                    messages.push((*id, told));
                }
            }
        }
        for (id, keys) in messages {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            self.tell(id, Content::Keys(&keys));
        }
    }

    /// Sends an invalidation to a client or to whom it redirects; RESP2 has a place for it in a subscription only.
    fn tell(&mut self, id: ClientId, content: Content<'_>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let own_protocol = client.protocol;
        let Some(tracked) = &mut client.tracking else { return };
        let redirect = tracked.redirect;
        let Some(target) = self.clients.get(redirect.unwrap_or(id)) else {
            self.redirect_is_broken(id);
            return;
        };
        let mut message = Reply::new(target.protocol);
        if target.protocol == Protocol::Resp3 {
            message.push(2);
            message.bulk(b"invalidate");
        } else if redirect.is_some() && target.is_subscriber() {
            message.push(3);
            message.bulk(b"message");
            message.bulk(CHANNEL);
        } else {
            return;
        }
        match content {
            Content::Keys(keys) => {
                message.array(keys.len());
                keys.iter().for_each(|key| message.bulk(key));
            }
            Content::Everything => {
                let mut null = Reply::new(own_protocol);
                null.null();
                message.raw(null.as_bytes());
            }
        }
        // What the client of the turn itself has read is told last, whoever hears of it in its place.
        let messages = if id == self.acting { &mut self.outgoing_last } else { &mut self.outgoing };
        messages.push((target.id, message.into_bytes()));
    }

    fn redirect_is_broken(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(tracked) = &mut client.tracking else { return };
        tracked.redirect_broken = true;
        if let (Protocol::Resp3, Some(redirect)) = (client.protocol, tracked.redirect) {
            let mut message = Reply::new(Protocol::Resp3);
            message.push(2);
            message.bulk(b"tracking-redir-broken");
            message.int(redirect.0 as i64);
            self.outgoing.push((id, message.into_bytes()));
        }
    }
}
