//! A version of all databases that stays as it is.
//!
//! Invariants
//! - Taking one copies a root per database; it shares everything with the live keyspace until that changes.
//! - It can be read and dropped on any thread. Dropping it frees what the live keyspace has replaced since, so it is
//!   dropped where time does not matter.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use super::database::Keys;
use super::entry::Entry;
use crate::ds::table::Iter;

/// All databases, at one moment.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) databases: Vec<DatabaseView>,
}

/// One database, at one moment.
#[derive(Clone)]
pub struct DatabaseView {
    pub(super) keys: Keys,
    pub(super) expiring: usize,
    /// Tells the database that it is viewed.
    pub(super) _viewed: Arc<()>,
}

impl Snapshot {
    /// The databases in order of their numbers, empty ones included.
    pub fn databases(&self) -> &[DatabaseView] {
        &self.databases
    }

    /// Number of keys in all databases.
    pub fn len(&self) -> usize {
        self.databases.iter().map(DatabaseView::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl DatabaseView {
    /// Number of keys, expired ones that were not yet removed included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys with a deadline.
    pub fn expires_len(&self) -> usize {
        self.expiring
    }

    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key)
    }

    pub fn iter(&self) -> Iter<'_, Entry, u64> {
        self.keys.iter()
    }

    /// Number of portions that a walk in steps is made of; each holds about a dozen keys.
    pub fn portions(&self) -> usize {
        self.keys.buckets()
    }

    /// How many portions hold how many keys.
    pub fn portion_lengths(&self) -> BTreeMap<usize, usize> {
        self.keys.bucket_lengths()
    }

    /// The keys of one portion. All portions together hold every key once.
    pub fn portion(&self, portion: usize) -> &[Entry] {
        self.keys.bucket(portion)
    }

    /// Fetches what a walk over these portions will read into the caches: all keys at a time, where the walk itself would
    /// wait for each.
    pub fn look_ahead(&self, portions: Range<usize>) {
        let seen: usize = portions.clone().map(|portion| self.portion(portion).len()).sum();
        let entries = portions.flat_map(|portion| self.portion(portion));
        black_box(entries.fold(seen, |seen, entry| seen + entry.look()));
    }
}

impl<'a> IntoIterator for &'a DatabaseView {
    type Item = &'a Entry;
    type IntoIter = Iter<'a, Entry, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

const _: fn() = || {
    fn shareable<T: Send + Sync>() {}
    shareable::<Snapshot>();
};
