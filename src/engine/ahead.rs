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
struct Place<'r, 'e> {
    key: &'r [u8],
    hash: Option<u64>,
    entry: Option<&'e Entry>,
    /// A field or member of the value.
    element: Option<&'r [u8]>,
}

impl Engine {
    /// Looks ahead at up to [`AHEAD_MAX`] calls of a client.
    pub fn look_ahead<'r>(&self, id: ClientId, calls: impl Iterator<Item = (&'r Request, Resolved)>) {
        let Some(client) = self.parts.clients.get(id) else { return };
        let database = self.store.db(client.db);
        let mut places: ArrayVec<Place<'r, '_>, AHEAD_MAX> = ArrayVec::new();
        for (request, resolved) in calls.take(AHEAD_MAX) {
            let Some(key) = resolved.command.first_key().and_then(|at| request.get(at)) else { continue };
            let hash = match places.last() {
                Some(before) if before.key == key => before.hash,
                _ => database.hash_ahead(key),
            };
            places.push(Place { key, hash, entry: None, element: element(resolved, request) });
        }
        for hash in places.iter().filter_map(|place| place.hash) {
            database.approach(hash);
        }
        for at in 0..places.len() {
            let place = &places[at];
            let entry = match at.checked_sub(1).map(|before| &places[before]) {
                Some(before) if before.key == place.key => before.entry,
                _ => match place.hash {
                    Some(hash) => database.arrive(hash),
                    None => place.element.and_then(|_| database.find(place.key)),
                },
            };
            places[at].entry = entry;
        }
        let mut elements = ArrayVec::<_, AHEAD_MAX>::new();
        for place in &places {
            if let (Some(entry), Some(element)) = (place.entry, place.element) {
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

/// The field or member that a call names first, or, where scores stand between, last.
fn element(resolved: Resolved, request: &Request) -> Option<&[u8]> {
    match resolved.command.group {
        Group::Hash | Group::Set => request.get(2),
        Group::SortedSet => request.get(request.len() - 1),
        _ => None,
    }
}
