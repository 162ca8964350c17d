//! A version of all databases that stays as it is.
//!
//! Invariants
//! - Taking one copies a root per database; it shares everything with the live keyspace until that changes.
//! - A walk that wants each key once goes over [`Portions`] and lets go of what lies behind it: memory that the live keyspace
//!   has replaced there is free before the walk is over.
//! - It can be read and dropped on any thread. Dropping it frees what the live keyspace has replaced since, so it is
//!   dropped where time does not matter.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use super::database::Keys;
use super::entry::Entry;
use crate::ds::table::{Iter, Row};

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
    pub(super) viewed: Arc<()>,
}

impl Snapshot {
    /// The databases by themselves, as [`Snapshot::databases`].
    pub fn into_databases(self) -> Vec<DatabaseView> {
        self.databases
    }

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

    /// How many buckets of the table hold how many keys.
    pub fn bucket_lengths(&self) -> BTreeMap<usize, usize> {
        self.keys.bucket_lengths()
    }

    /// The keys in portions, for a walk that lets go of what lies behind it.
    pub fn into_portions(self) -> Portions {
        Portions { viewed: self.viewed, rows: self.keys.into_rows().into_iter() }
    }
}

/// What is left of a database that is walked through: portions of about 700 keys, each held by itself. All portions together hold
/// every key once.
pub struct Portions {
    viewed: Arc<()>,
    rows: std::vec::IntoIter<Row<Entry, u64>>,
}

impl Iterator for Portions {
    type Item = Portion;

    fn next(&mut self) -> Option<Portion> {
        let row = self.rows.next()?;
        Some(Portion { buckets: 0..row.buckets(), row, _viewed: Arc::clone(&self.viewed) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Portions {}

/// Keys of a view that lie together. Dropping the last one of a place frees what the database has replaced there since.
#[derive(Clone)]
pub struct Portion {
    row: Row<Entry, u64>,
    buckets: Range<usize>,
    _viewed: Arc<()>,
}

/// Buckets that are fetched from memory together: one key after the other each waits for its own.
const BUCKETS_TOGETHER: usize = 8;

impl Portion {
    /// Takes the first of its buckets off, each of about a dozen keys: at least one, the rest stays.
    pub fn split(&mut self, buckets: usize) -> Self {
        let at = self.buckets.end.min(self.buckets.start + buckets.max(1));
        let first = Self { buckets: self.buckets.start..at, ..self.clone() };
        self.buckets.start = at;
        first
    }

    /// Number of buckets.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The keys, fetched from memory ahead.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let Range { start, end } = self.buckets;
        (start..end).step_by(BUCKETS_TOGETHER).flat_map(move |from| {
            let together = from..end.min(from + BUCKETS_TOGETHER);
            let entries = together.clone().flat_map(|bucket| self.row.bucket(bucket));
            let seen: usize = together.map(|bucket| self.row.bucket(bucket).len()).sum();
            black_box(entries.clone().fold(seen, |seen, entry| seen + entry.look()));
            entries
        })
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
