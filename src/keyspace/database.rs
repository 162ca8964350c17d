//! One database: keys, their values and deadlines.
//!
//! Invariants
//! - A key whose deadline has passed counts as absent for every read that is given the time, and stays until somebody
//!   removes it: reads change nothing but access clocks.
//! - The expiry index holds exactly the keys with a deadline.
//! - Whatever a read returned, later changes to it carry stamps not below those of [`Database::get_stamped`]: a change
//!   raises its bucket's stamp, a change of the whole database its floor.
//! - Nothing big is freed here: it collects in [`Garbage`], which the owner takes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::access::{AccessClock, AccessPolicy};
use super::batch::Batch;
use super::entry::{Content, Entry, TABLE_SHARE};
use super::expire::{ExpiryIndex, MARK_SHARE, Mark};
use super::garbage::Garbage;
use super::snapshot::DatabaseView;
use crate::ds::{HashSeed, Mover, table::Table};
use crate::env::{Entropy, UnixMillis};
use crate::value::{Str, Stretch, Type, Value, ValueRef};

pub(super) type Keys = Table<Entry, u64>;

/// How often a random choice that met an expired key is repeated.
const RANDOM_TRIES: usize = 100;
/// Buckets that one SCAN call visits at most for each key that it wants, as stock does.
const BUCKETS_PER_KEY: usize = 10;

/// What becomes of a key's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Stays what it is.
    Keep,
    Clear,
    At(UnixMillis),
}

impl From<Option<UnixMillis>> for Ttl {
    fn from(expiry: Option<UnixMillis>) -> Self {
        expiry.map_or(Self::Clear, Self::At)
    }
}

/// What a change by type has met.
pub enum Found<R> {
    Changed(R),
    /// A value of another type, left as it was.
    OtherType,
    Nothing,
}

/// A database. Positions in the log (`stamp`) are those where the unit of the change begins.
pub struct Database {
    keys: Keys,
    expiry: ExpiryIndex,
    floor: u64,
    clock: AccessClock,
    noise: AtomicU64,
    garbage: Garbage,
    /// Held by every view of this database too.
    viewed: Arc<()>,
}

impl Database {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self {
            keys: Table::with_seed(seed),
            expiry: ExpiryIndex::default(),
            floor: 0,
            clock: AccessClock::new(AccessPolicy::Lru, UnixMillis(0)),
            noise: AtomicU64::new(seed.0),
            garbage: Garbage::default(),
            viewed: Arc::default(),
        }
    }

    /// Number of keys, expired ones that were not yet removed included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys with a deadline.
    pub fn expires_len(&self) -> usize {
        self.expiry.len()
    }

    /// Mean time to live of the keys with a deadline, in milliseconds; 0 without any.
    pub fn average_ttl(&self, now: UnixMillis) -> u64 {
        self.expiry.mean().map_or(0, |mean| u64::try_from(mean.0.saturating_sub(now.0)).unwrap_or(0))
    }

    /// The key, unless it is absent or expired at `now`.
    pub fn get(&self, key: &[u8], now: UnixMillis) -> Option<&Entry> {
        self.get_stamped(key, now).0
    }

    /// As [`Database::get`], with the position at which the last unit starts that may have changed the answer: the
    /// stamp of the key's bucket or the floor, whichever is later. A reader depends on the log up to one byte more.
    pub fn get_stamped(&self, key: &[u8], now: UnixMillis) -> (Option<&Entry>, u64) {
        let (entry, stamp) = self.keys.get_stamped(key);
        (entry.filter(|entry| !entry.is_expired(now)), stamp.max(self.floor))
    }

    /// The key, expired or not.
    pub fn find(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key)
    }

    /// See [`Table::hash_ahead`].
    pub fn hash_ahead(&self, key: &[u8]) -> Option<u64> {
        self.keys.hash_ahead(key)
    }

    /// See [`Table::approach`].
    pub fn approach(&self, hash: u64) {
        self.keys.approach(hash);
    }

    /// See [`Table::arrive`].
    pub fn arrive(&self, hash: u64) -> Option<&Entry> {
        self.keys.arrive(hash)
    }

    pub fn contains(&self, key: &[u8], now: UnixMillis) -> bool {
        self.get(key, now).is_some()
    }

    /// Whether the key is there although its deadline has passed.
    pub fn is_due(&self, key: &[u8], now: UnixMillis) -> bool {
        // Every write asks this, and nearly always nothing at all is due.
        self.expiry.first().is_some_and(|first| now > first)
            && self.keys.get(key).is_some_and(|entry| entry.is_expired(now))
    }

    /// Notes a use of the key in its access clock.
    pub fn touch(&self, entry: &Entry) {
        use_entry(entry, self.clock, self.chance());
    }

    pub fn access_clock(&self) -> AccessClock {
        self.clock
    }

    /// Stores a value under the key, new or in place of another. True when a key was replaced, an expired one included.
    pub fn set<'a>(&mut self, key: &[u8], content: impl Into<Content<'a>>, ttl: Ttl, stamp: u64) -> bool {
        let clock = self.clock;
        let random = self.chance();
        let change = |content: Content<'a>, entry: &mut Entry| {
            let before = entry.expiry();
            let after = match ttl {
                Ttl::Keep => before,
                Ttl::Clear => None,
                Ttl::At(deadline) => Some(deadline),
            };
            let used = match clock.policy() {
                AccessPolicy::Lru => clock.fresh(),
                // As in stock, a new value is one more use and does not make a key less popular.
                AccessPolicy::Lfu { .. } => clock.used(entry.clock(), random),
            };
            let old = match entry.overwrite(content, after, used) {
                Ok(()) => None,
                Err(content) => Some(std::mem::replace(entry, Entry::new(key, content, after, used))),
            };
            (before, after, old, true)
        };
        let make = |content: Content<'a>| {
            let after = if let Ttl::At(deadline) = ttl { Some(deadline) } else { None };
            (Entry::new(key, content, after, clock.fresh()), (None, after, None, false))
        };
        let (before, after, old, replaced) = self.keys.upsert_stamped(key, stamp, content.into(), change, make);
        self.remark(key, before, after);
        if let Some(old) = old {
            self.garbage.dispose(old);
        }
        replaced
    }

    /// Puts an entry in that was made elsewhere; true when it replaced another.
    pub fn insert(&mut self, entry: Entry, stamp: u64) -> bool {
        if let Some(deadline) = entry.expiry() {
            self.expiry.insert(deadline, self.keys.hash_of(entry.key()));
        }
        let Some(old) = self.keys.insert_stamped(entry, stamp) else { return false };
        self.unmark(&old);
        self.garbage.dispose(old);
        true
    }

    /// Makes room for so many keys before they come, in a database that is empty.
    pub fn reserve(&mut self, keys: usize) {
        self.keys.reserve(keys);
    }

    /// Adds keys that a loader has made, until one is there already.
    ///
    /// # Errors
    /// The entry whose key is there already; what stands behind it was not added.
    pub fn load(&mut self, batch: Batch, stamp: u64) -> Result<(), Entry> {
        let Batch { entries, deadlines, .. } = batch;
        self.keys.insert_all(entries, stamp)?;
        deadlines.into_iter().for_each(|(deadline, hash)| self.expiry.insert(deadline, hash));
        Ok(())
    }

    /// Changes the value; `None` when the key is absent or expired at `now`, which changes nothing.
    ///
    /// A value that a snapshot shares is shared no longer afterwards.
    pub fn edit<R>(
        &mut self,
        key: &[u8],
        now: UnixMillis,
        stamp: u64,
        change: impl FnOnce(&mut Value) -> R,
    ) -> Option<R> {
        let entry = self.keys.get_mut_if(key, stamp, |entry| !entry.is_expired(now))?;
        Some(entry.edit(change))
    }

    /// Changes the value if it is of this type, by one lookup; the key is touched, whatever it holds. Also the position
    /// that [`Database::get_stamped`] would have given before.
    pub fn edit_kind<R>(
        &mut self,
        key: &[u8],
        (now, stamp): (UnixMillis, u64),
        kind: Type,
        touch: bool,
        change: impl FnOnce(&mut Value) -> R,
    ) -> (Found<R>, u64) {
        let (clock, random) = (self.clock, self.chance());
        let mut there = false;
        let wanted = |entry: &Entry| {
            there = !entry.is_expired(now);
            if there && touch {
                use_entry(entry, clock, random);
            }
            there && entry.value().kind() == kind
        };
        let (entry, seen) = self.keys.get_mut_seen(key, stamp, wanted);
        let found = match entry {
            Some(entry) => Found::Changed(entry.edit(change)),
            None if there => Found::OtherType,
            None => Found::Nothing,
        };
        (found, seen.max(self.floor))
    }

    /// The string for change in place, long ones without a copy; the deadline stays. `None` when the key is absent,
    /// expired at `now` or no string, which changes nothing.
    pub fn edit_string<R>(
        &mut self,
        key: &[u8],
        now: UnixMillis,
        stamp: u64,
        change: impl FnOnce(&mut Str) -> R,
    ) -> Option<R> {
        let live_string = |entry: &Entry| !entry.is_expired(now) && matches!(entry.value(), ValueRef::Str(_));
        Some(self.keys.get_mut_if(key, stamp, live_string)?.edit_string(change))
    }

    /// Removes the key, expired or not. False when there is none.
    pub fn remove(&mut self, key: &[u8], stamp: u64) -> bool {
        let Some(entry) = self.keys.remove_stamped(key, stamp) else { return false };
        self.unmark(&entry);
        self.garbage.dispose(entry);
        true
    }

    /// Removes the key, expired or not, and hands out its value and deadline. Copies no collection.
    pub fn take(&mut self, key: &[u8], stamp: u64) -> Option<(Value, Option<UnixMillis>)> {
        let entry = self.keys.remove_stamped(key, stamp)?;
        self.unmark(&entry);
        entry.leave_shell();
        Some((entry.to_value(), entry.expiry()))
    }

    /// Sets or clears the deadline. False when the key is absent or expired at `now`.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Option<UnixMillis>, now: UnixMillis, stamp: u64) -> bool {
        let Some(entry) = self.keys.get_mut_if(key, stamp, |entry| !entry.is_expired(now)) else { return false };
        let before = entry.expiry();
        entry.set_expiry(expiry);
        self.remark(key, before, expiry);
        true
    }

    /// Moves value, deadline and access clock to another key, whose own value goes. False when `from` is absent or
    /// expired at `now`, which changes nothing.
    pub fn rename(&mut self, from: &[u8], to: &[u8], now: UnixMillis, stamp: u64) -> bool {
        if self.get(from, now).is_none() {
            return false;
        }
        let Some(entry) = self.keys.remove_stamped(from, stamp) else { return false };
        self.unmark(&entry);
        entry.leave_shell();
        let moved = Entry::new(to, entry.to_value(), entry.expiry(), entry.clock());
        drop(entry);
        self.insert(moved, stamp);
        true
    }

    /// A key that is not expired, each equally likely; `None` when there seems to be none.
    pub fn random_key(&self, now: UnixMillis, entropy: &mut dyn Entropy) -> Option<&Entry> {
        let mut draws = (0..RANDOM_TRIES).map_while(|_| self.keys.random(entropy.next_u64()));
        draws.find(|entry| !entry.is_expired(now))
    }

    /// Reports about `count` keys and returns the cursor for the next call; 0 starts a scan and ends it. What is
    /// present during the whole scan is reported at least once. Expired keys are left out.
    pub fn scan(&self, mut cursor: u64, count: usize, now: UnixMillis, mut found: impl FnMut(&Entry)) -> u64 {
        let mut visited = 0;
        for _ in 0..count.saturating_mul(BUCKETS_PER_KEY).max(1) {
            cursor = self.keys.scan(cursor, |entry| {
                visited += 1;
                if !entry.is_expired(now) {
                    found(entry);
                }
            });
            if cursor == 0 || visited >= count {
                break;
            }
        }
        cursor
    }

    /// All keys, expired ones that were not yet removed included.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.keys.iter()
    }

    /// Removes all keys.
    pub fn flush(&mut self, stamp: u64) {
        let empty = Table::with_seed(self.keys.seed());
        let keys = std::mem::replace(&mut self.keys, empty);
        let expiry = std::mem::take(&mut self.expiry);
        self.garbage.push_database(keys, expiry, Arc::strong_count(&self.viewed) > 1);
        self.raise_floor(stamp);
    }

    /// What every read of this database depends on, whichever key it asks for.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    pub fn raise_floor(&mut self, stamp: u64) {
        self.floor = self.floor.max(stamp);
    }

    /// A version that stays as it is. O(1).
    pub(super) fn buckets(&self) -> usize {
        self.keys.buckets()
    }

    /// Moves the allocations of a bucket; see [`super::Relocation`].
    pub(super) fn relocate_bucket(
        &mut self,
        bucket: usize,
        mover: &mut Mover<'_>,
        each: impl FnMut(&mut Entry, &mut Mover<'_>),
    ) {
        self.keys.relocate_bucket(bucket, mover, each);
    }

    /// Moves a stretch of a value; the place where that goes on.
    pub(super) fn relocate_value(&mut self, key: &[u8], stretch: Stretch, mover: &mut Mover<'_>) -> Option<usize> {
        // The stamp stays: nothing that a reader could see changes.
        self.keys.get_mut_stamped(key, 0)?.relocate(stretch, mover)
    }

    pub(super) fn relocate_marks(&mut self, from: usize, count: usize, mover: &mut Mover<'_>) -> Option<usize> {
        self.expiry.relocate(from, count, mover)
    }

    pub fn snapshot(&self) -> DatabaseView {
        DatabaseView { keys: self.keys.clone(), expiring: self.expiry.len(), viewed: Arc::clone(&self.viewed) }
    }

    /// The first moment at which some key is expired.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.expiry.first().map(|deadline| UnixMillis(deadline.0.saturating_add(1)))
    }

    /// Up to `count` keys that are expired at `now`, the earliest first.
    pub fn due(&self, now: UnixMillis, count: usize) -> Vec<Vec<u8>> {
        let marks = self.expiry.due(now).flat_map(|mark| self.marked(mark));
        marks.take(count).map(|entry| entry.key().to_vec()).collect()
    }

    /// Number of keys that are expired at `now`. O(their number).
    pub fn due_len(&self, now: UnixMillis) -> usize {
        self.expiry.due(now).map(|mark| self.marked(mark).count()).sum()
    }

    // For eviction.

    /// The hash that places a key.
    pub(super) fn hash_of(&self, key: &[u8]) -> u64 {
        self.keys.hash_of(key)
    }

    /// The keys of this hash: one, but for collisions of 64 bits.
    pub(super) fn hashed(&self, hash: u64) -> impl Iterator<Item = &Entry> {
        self.keys.get_hashed(hash)
    }

    /// One key, expired or not, each equally likely; `random` is uniform over all numbers.
    pub(super) fn any(&self, random: u64) -> Option<&Entry> {
        self.keys.random(random)
    }

    /// The key with the deadline at this place in their order.
    pub(super) fn nth_volatile(&self, place: usize) -> Option<&Entry> {
        let mark = self.expiry.nth(place).or_else(|| self.expiry.nth(0))?;
        self.marked(mark).next()
    }

    /// The keys that a mark stands for: one, but for collisions.
    fn marked(&self, mark: Mark) -> impl Iterator<Item = &Entry> {
        let all = self.keys.bucket_of_hash(mark.hash).iter();
        let due = all.filter(move |entry| entry.expiry() == Some(mark.deadline()));
        due.filter(move |entry| self.keys.hash_of(entry.key()) as u32 == mark.hash)
    }

    /// The key that expires first.
    pub(super) fn first_volatile(&self) -> Option<&Entry> {
        self.nth_volatile(0)
    }

    pub(super) fn first_deadline(&self) -> Option<UnixMillis> {
        self.expiry.first()
    }

    /// Bytes of the structures that find keys, keys and values not counted; estimated from their numbers.
    pub fn overhead_bytes(&self) -> usize {
        self.keys.len() * TABLE_SHARE + self.expiry.len() * MARK_SHARE
    }

    /// Values and databases in the garbage not taken yet.
    pub fn garbage_len(&self) -> usize {
        self.garbage.len()
    }

    /// Bytes that the garbage not taken yet will free, estimated.
    pub fn garbage_bytes(&self) -> usize {
        self.garbage.bytes()
    }

    /// What was removed and is big, to be dropped elsewhere.
    pub fn take_garbage(&mut self) -> Garbage {
        std::mem::take(&mut self.garbage)
    }

    pub(super) fn set_access_clock(&mut self, clock: AccessClock) {
        self.clock = clock;
    }

    fn remark(&mut self, key: &[u8], before: Option<UnixMillis>, after: Option<UnixMillis>) {
        if before != after {
            let hash = self.keys.hash_of(key);
            before.inspect(|&deadline| self.expiry.remove(deadline, hash));
            after.inspect(|&deadline| self.expiry.insert(deadline, hash));
        }
    }

    fn unmark(&mut self, entry: &Entry) {
        if let Some(deadline) = entry.expiry() {
            self.expiry.remove(deadline, self.keys.hash_of(entry.key()));
        }
    }

    /// Quick numbers for the odds of the LFU counter; they decide nothing that matters.
    fn chance(&self) -> u64 {
        if self.clock.policy() == AccessPolicy::Lru {
            return 0;
        }
        let state = self.noise.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("len", &self.len())
            .field("expires", &self.expires_len())
            .finish_non_exhaustive()
    }
}

fn use_entry(entry: &Entry, clock: AccessClock, random: u64) {
    let used = clock.used(entry.clock(), random);
    // Most uses fall into a second that the clock already shows: spare the cache line.
    if used != entry.clock() {
        entry.set_clock(used);
    }
}
