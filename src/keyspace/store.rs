//! All databases together.

use super::access::{AccessClock, AccessPolicy};
use super::database::Database;
use super::evict::{self, EvictionPolicy, Pool};
use super::garbage::Garbage;
use super::snapshot::Snapshot;
use crate::ds::take_left;
use crate::env::{Entropy, UnixMillis};
use crate::value::{Limits, Type};

/// The keyspace of a server: a fixed number of databases.
#[derive(Debug)]
pub struct Keyspace {
    databases: Vec<Database>,
    pub limits: Limits,
    policy: AccessPolicy,
    candidates: Pool,
    left: u64,
}

impl Keyspace {
    /// Empty databases. Their tables hash with `limits.hash_seed`, which is drawn from entropy once.
    pub fn new(databases: u32, limits: Limits) -> Self {
        let databases = (0..databases.max(1)).map(|_| Database::new(limits.hash_seed)).collect();
        Self { databases, limits, policy: AccessPolicy::Lru, candidates: Pool::default(), left: 0 }
    }

    /// Number of databases.
    pub fn len(&self) -> u32 {
        self.databases.len() as u32
    }

    /// There is always one.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// # Panics
    /// When there is no such database: SELECT checks.
    pub fn db(&self, index: u32) -> &Database {
        &self.databases[index as usize]
    }

    /// # Panics
    /// When there is no such database: SELECT checks.
    pub fn db_mut(&mut self, index: u32) -> &mut Database {
        &mut self.databases[index as usize]
    }

    /// A database for change together with the limits that changes of its values ask for.
    ///
    /// # Panics
    /// When there is no such database: SELECT checks.
    pub fn parts_mut(&mut self, index: u32) -> (&mut Database, &Limits) {
        (&mut self.databases[index as usize], &self.limits)
    }

    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// Number of keys in all databases.
    pub fn key_count(&self) -> usize {
        self.databases.iter().map(Database::len).sum()
    }

    /// Whether the key is there, expired or not, with a value of this type.
    pub fn holds(&self, db: u32, key: &[u8], kind: Type) -> bool {
        let before_all_deadlines = UnixMillis(i64::MIN);
        self.db(db).get(key, before_all_deadlines).is_some_and(|entry| entry.value().kind() == kind)
    }

    /// Moves a key with its deadline. False, and nothing done, when it is absent or expired in `from`, or present in
    /// `to`.
    pub fn move_key(&mut self, from: u32, to: u32, key: &[u8], now: UnixMillis, stamp: u64) -> bool {
        if from == to || !self.db(from).contains(key, now) || self.db(to).contains(key, now) {
            return false;
        }
        let Some((value, expiry)) = self.db_mut(from).take(key, stamp) else { return false };
        self.db_mut(to).set(key, value, expiry.into(), stamp);
        true
    }

    /// Exchanges the contents of two databases.
    pub fn swap(&mut self, a: u32, b: u32, stamp: u64) {
        self.databases.swap(a as usize, b as usize);
        let floor = self.db(a).floor().max(self.db(b).floor()).max(stamp);
        self.db_mut(a).raise_floor(floor);
        self.db_mut(b).raise_floor(floor);
    }

    pub fn flush_all(&mut self, stamp: u64) {
        self.databases.iter_mut().for_each(|database| database.flush(stamp));
    }

    /// A version of all databases that stays as it is. O(databases), whatever they hold.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { databases: self.databases.iter().map(Database::snapshot).collect() }
    }

    /// Adds what this thread's changes have left behind for snapshots. Called behind each turn.
    pub fn count_left(&mut self) {
        self.left += take_left();
    }

    /// Bytes that changes have left behind because a snapshot (or another key) held them too, since the beginning. What it
    /// grows by while a snapshot is alive is what that snapshot retains.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Number of keys that are expired at `now` and not yet removed. O(their number).
    pub fn due_len(&self, now: UnixMillis) -> usize {
        self.databases.iter().map(|database| database.due_len(now)).sum()
    }

    /// The first moment at which some key is expired.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.databases.iter().filter_map(Database::next_deadline).min()
    }

    /// Up to `count` keys that are expired at `now`, with their databases.
    pub fn due(&self, now: UnixMillis, count: usize) -> Vec<(u32, Vec<u8>)> {
        let mut due = Vec::new();
        for (index, database) in (0..).zip(&self.databases) {
            due.extend(database.due(now, count - due.len()).into_iter().map(|key| (index, key)));
        }
        due
    }

    /// What was removed and is big, to be dropped elsewhere.
    pub fn take_garbage(&mut self) -> Garbage {
        let mut all = Garbage::default();
        self.databases.iter_mut().for_each(|database| all.append(database.take_garbage()));
        all
    }

    /// Values and databases in the garbage not taken yet.
    pub fn garbage_len(&self) -> usize {
        self.databases.iter().map(Database::garbage_len).sum()
    }

    /// Bytes that the garbage not taken yet will free, estimated.
    pub fn garbage_bytes(&self) -> usize {
        self.databases.iter().map(Database::garbage_bytes).sum()
    }

    /// The key to remove next when memory is short, and its database; `None` when the policy has none to give. At least
    /// `samples` keys are looked at where the policy goes by use.
    pub fn victim(
        &mut self,
        policy: EvictionPolicy,
        samples: usize,
        entropy: &mut dyn Entropy,
    ) -> Option<(u32, Vec<u8>)> {
        evict::victim(&self.databases, &mut self.candidates, policy, samples, entropy)
    }

    /// Tells the access clocks what time it is; once a second is often enough.
    pub fn set_access_time(&mut self, now: UnixMillis) {
        let clock = AccessClock::new(self.policy, now);
        self.databases.iter_mut().for_each(|database| database.set_access_clock(clock));
    }

    /// What access clocks mean from now on; those of existing keys keep their bits, as in stock.
    pub fn set_access_policy(&mut self, policy: AccessPolicy, now: UnixMillis) {
        self.policy = policy;
        self.set_access_time(now);
    }
}
