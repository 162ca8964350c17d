//! Looking ahead: what the next calls of a pipeline will look up is fetched into the processor's caches for all of them
//! together, before the first of them runs.
//!
//! Invariant: nothing is changed, counted or decided here. A call finds what it would have found anyway, only sooner.

use super::Engine;
use crate::command::{ClientId, Group, Resolved};
use crate::keyspace::Entry;
use crate::resp::Request;
use arrayvec::ArrayVec;

/// Calls looked at together. Caches are small: what is fetched too early is gone again when it is needed.
pub const AHEAD_MAX: usize = 16;

/// What one call will look up.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'r> {
    key: &'r [u8],
    /// A field or member of the value: that which the call names first, or, where scores stand between, last.
    element: Option<&'r [u8]>,
}

impl<'r> Wanted<'r> {
    /// What a call of so many words looks up first; `None` when it has no key.
    pub(super) fn by(resolved: Resolved, words: usize, word: impl Fn(usize) -> Option<&'r [u8]>) -> Option<Self> {
        let key = word(resolved.command.first_key()?)?;
        let element = match resolved.command.group {
            Group::Hash | Group::Set => word(2),
            Group::SortedSet => word(words - 1),
            _ => None,
        };
        Some(Self { key, element })
    }
}

/// How far the looking has come for one call.
struct Place<'r, 'e> {
    wanted: Wanted<'r>,
    hash: Option<u64>,
    entry: Option<&'e Entry>,
}

impl Engine {
    /// Looks ahead at up to [`AHEAD_MAX`] calls of a client.
    pub fn look_ahead<'r>(&self, id: ClientId, calls: impl Iterator<Item = (&'r Request, Resolved)>) {
        if let Some(client) = self.parts.clients.get(id) {
            let wanted = calls.filter_map(|(request, call)| Wanted::by(call, request.len(), |at| request.get(at)));
            self.fetch(client.db, wanted);
        }
    }

    /// Fetches what up to [`AHEAD_MAX`] calls look up in a database.
    pub(super) fn fetch<'r>(&self, db: u32, calls: impl Iterator<Item = Wanted<'r>>) {
        let database = self.store.db(db);
        let mut places: ArrayVec<Place<'r, '_>, AHEAD_MAX> = ArrayVec::new();
        for wanted in calls.take(AHEAD_MAX) {
            let hash = match places.last() {
                Some(before) if before.wanted.key == wanted.key => before.hash,
                _ => database.hash_ahead(wanted.key),
            };
            places.push(Place { wanted, hash, entry: None });
        }
        for hash in places.iter().filter_map(|place| place.hash) {
            database.approach(hash);
        }
        for at in 0..places.len() {
            let place = &places[at];
            let entry = match at.checked_sub(1).map(|before| &places[before]) {
                Some(before) if before.wanted.key == place.wanted.key => before.entry,
                _ => match place.hash {
                    Some(hash) => database.arrive(hash),
                    None => place.wanted.element.and_then(|_| database.find(place.wanted.key)),
                },
            };
            places[at].entry = entry;
        }
        let mut elements = ArrayVec::<_, AHEAD_MAX>::new();
        for place in &places {
            if let (Some(entry), Some(element)) = (place.entry, place.wanted.element) {
                let value = entry.value();
                elements.extend(value.hash_ahead(element).map(|hash| (value, hash)));
            }
        }
        for (value, hash) in &elements {
            value.approach(*hash);
        }
        for (value, hash) in &elements {
            value.arrive(*hash);
        }
    }
}
