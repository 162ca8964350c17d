//! Which key goes when memory is short.
//!
//! LRU and LFU are judged by samples: keys drawn one by one, each equally likely. (A whole bucket of the table would be
//! cheaper to look at, but what lies together came together: of equals the newest would go too often.) The best
//! candidates of earlier samples are kept in a small pool, as in stock; unlike there, a candidate that was used since
//! it was sampled is judged anew. The earliest deadline is exact, from the index.
//!
//! Invariants
//! - Nothing is changed here: whoever asks for a victim removes it, and logs that.
//! - The pool names keys by hash and holds no memory of theirs: what was removed, renamed or flushed is simply not found.
//! - Work per victim is bounded by the number of samples, whatever the databases hold.

#[cfg(test)]
mod tests;

use super::database::Database;
use super::entry::Entry;
use crate::env::Entropy;

/// Candidates that are remembered from one victim to the next.
const POOL_SIZE: usize = 16;
/// Draws for one victim under LRU, at least: a look at a clock is cheap beside removing a key, and stock's five find the
/// oldest tenth of the keys only half of the time.
const DRAWS_OF_LRU: usize = 12;

/// Which keys may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionScope {
    All,
    /// Those with a deadline.
    Volatile,
}

/// Which of them goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// The one not used for longest.
    Lru,
    /// The one used least.
    Lfu,
    Random,
    /// The one that expires first.
    Ttl,
}

/// A `maxmemory-policy` that evicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    pub scope: EvictionScope,
    pub order: EvictionOrder,
}

impl EvictionPolicy {
    /// The policy of this name; `None` for `noeviction`, and for a name that means nothing.
    pub fn from_name(name: &str) -> Option<Self> {
        let (scope, order) = name.split_once('-')?;
        let scope = match scope {
            "allkeys" => EvictionScope::All,
            "volatile" => EvictionScope::Volatile,
            _ => return None,
        };
        let order = match order {
            "lru" => EvictionOrder::Lru,
            "lfu" => EvictionOrder::Lfu,
            "random" => EvictionOrder::Random,
            "ttl" if scope == EvictionScope::Volatile => EvictionOrder::Ttl,
            _ => return None,
        };
        Some(Self { scope, order })
    }
}

/// A key worth evicting. Ranks grow with worth: the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    rank: u64,
    db: u32,
    hash: u64,
}

/// The best candidates so far, the best one last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    policy: Option<EvictionPolicy>,
}

impl Pool {
    fn offer(&mut self, new: Candidate) {
        let known = |old: &&mut Candidate| old.hash == new.hash && old.db == new.db;
        if self.candidates.iter_mut().any(|old| known(&old)) {
            return;
        }
        if self.candidates.len() == POOL_SIZE {
            if self.candidates[0].rank <= new.rank {
                return;
            }
            self.candidates.remove(0);
        }
        let place = self.candidates.partition_point(|old| old.rank > new.rank);
        self.candidates.insert(place, new);
    }
}

/// The key that the policy gives up next: its database and name. `None` when no key is in its scope.
pub(super) fn victim(
    databases: &[Database],
    pool: &mut Pool,
    policy: EvictionPolicy,
    samples: usize,
    entropy: &mut dyn Entropy,
) -> Option<(u32, Vec<u8>)> {
    match policy.order {
        EvictionOrder::Ttl => first_to_expire(databases),
        EvictionOrder::Random => {
            let (db, entry) = draw(databases, policy.scope, entropy)?;
            Some((db, entry.key().to_vec()))
        }
        EvictionOrder::Lru | EvictionOrder::Lfu => by_use(databases, pool, policy, samples, entropy),
    }
}

fn first_to_expire(databases: &[Database]) -> Option<(u32, Vec<u8>)> {
    let first = |(db, database): (u32, &Database)| database.first_deadline().map(|deadline| (deadline, db));
    let (_, db) = (0..).zip(databases).filter_map(first).min()?;
    Some((db, databases[db as usize].first_volatile()?.key().to_vec()))
}

fn by_use(
    databases: &[Database],
    pool: &mut Pool,
    policy: EvictionPolicy,
    samples: usize,
    entropy: &mut dyn Entropy,
) -> Option<(u32, Vec<u8>)> {
    if pool.policy != Some(policy) {
        *pool = Pool { policy: Some(policy), ..Pool::default() };
    }
    sample(databases, pool, policy, samples, entropy);
    // Every candidate is looked at twice at most: once as it was sampled, once as it is now.
    for _ in 0..2 * POOL_SIZE {
        let candidate = pool.candidates.pop()?;
        let database = &databases[candidate.db as usize];
        let Some(entry) = database.hashed(candidate.hash).find(|entry| in_scope(policy.scope, entry)) else { continue };
        let rank = rank(database, policy.order, entry);
        if rank <= candidate.rank || pool.candidates.last().is_none_or(|next| rank <= next.rank) {
            return Some((candidate.db, entry.key().to_vec()));
        }
        pool.offer(Candidate { rank, ..candidate });
    }
    None
}

/// Offers so many keys to the pool, or more.
fn sample(databases: &[Database], pool: &mut Pool, policy: EvictionPolicy, samples: usize, entropy: &mut dyn Entropy) {
    let draws = if policy.order == EvictionOrder::Lru { samples.max(DRAWS_OF_LRU) } else { samples };
    for _ in 0..draws {
        let Some((db, entry)) = draw(databases, policy.scope, entropy) else { return };
        let database = &databases[db as usize];
        let rank = rank(database, policy.order, entry);
        if pool.candidates.len() < POOL_SIZE || pool.candidates[0].rank > rank {
            pool.offer(Candidate { rank, db, hash: database.hash_of(entry.key()) });
        }
    }
}

/// One key of all that are in scope, each equally likely.
fn draw<'a>(databases: &'a [Database], scope: EvictionScope, entropy: &mut dyn Entropy) -> Option<(u32, &'a Entry)> {
    let db = weighted(databases, scope, entropy)?;
    let database = &databases[db as usize];
    let entry = match scope {
        EvictionScope::All => database.any(entropy.next_u64()),
        EvictionScope::Volatile => database.nth_volatile(entropy.below(database.expires_len() as u64) as usize),
    };
    entry.map(|entry| (db, entry))
}

/// A database, as likely as it has keys in scope.
fn weighted(databases: &[Database], scope: EvictionScope, entropy: &mut dyn Entropy) -> Option<u32> {
    let weight = |database: &Database| match scope {
        EvictionScope::All => database.len() as u64,
        EvictionScope::Volatile => database.expires_len() as u64,
    };
    let total: u64 = databases.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut place = entropy.below(total);
    for (db, database) in (0..).zip(databases) {
        match place.checked_sub(weight(database)) {
            Some(left) => place = left,
            None => return Some(db),
        }
    }
    None
}

fn in_scope(scope: EvictionScope, entry: &Entry) -> bool {
    scope == EvictionScope::All || entry.expiry().is_some()
}

fn rank(database: &Database, order: EvictionOrder, entry: &Entry) -> u64 {
    let clock = database.access_clock();
    match order {
        EvictionOrder::Lfu => u64::from(clock.frequency(entry.clock())),
        _ => clock.last_use(entry.clock()),
    }
}
