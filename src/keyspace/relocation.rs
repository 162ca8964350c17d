//! A pass over everything in the keyspace that moves allocations, in small steps between which anything may happen.
//!
//! Invariants
//! - Nothing changes but addresses: no stamp, no clock, nothing that a command or a snapshot could see.
//! - A step is bounded: a bucket of about a dozen keys, or a stretch of one large value.
//! - What comes, goes or changes its place during a pass may be visited twice or not at all.

use std::ops::AddAssign;

use super::database::Database;
use super::store::Keyspace;
use crate::ds::Mover;
use crate::value::Stretch;

/// Marks of deadlines in one step.
const MARKS_PER_STEP: usize = 1000;

/// Where a pass stands.
#[derive(Debug, Default)]
pub struct Relocation {
    db: u32,
    stage: Stage,
    /// Values that go on: database, key, place.
    large: Vec<(u32, Vec<u8>, usize)>,
    pub figures: RelocationFigures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The next bucket.
    Keys(usize),
    /// The next mark.
    Marks(usize),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Keys(0)
    }
}

/// Allocations that were moved (hits) or looked at only (misses), and keys of which something was moved, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelocationFigures {
    pub hits: u64,
    pub misses: u64,
    pub key_hits: u64,
    pub key_misses: u64,
}

impl AddAssign for RelocationFigures {
    fn add_assign(&mut self, more: Self) {
        self.hits += more.hits;
        self.misses += more.misses;
        self.key_hits += more.key_hits;
        self.key_misses += more.key_misses;
    }
}

impl Relocation {
    /// Goes on with the pass; false when it is over. Of one value about `elements_max` elements are visited in a step.
    pub fn step(
        &mut self,
        store: &mut Keyspace,
        elements_max: usize,
        wanted: &mut dyn FnMut(*const u8) -> bool,
    ) -> bool {
        let mut mover = Mover::new(wanted);
        let goes_on = self.go_on(store, elements_max, &mut mover);
        self.figures.hits += mover.hits;
        self.figures.misses += mover.misses;
        goes_on
    }

    fn go_on(&mut self, store: &mut Keyspace, count: usize, mover: &mut Mover<'_>) -> bool {
        if let Some((db, key, from)) = self.large.pop() {
            let next = store.db_mut(db).relocate_value(&key, Stretch { from, count }, mover);
            self.large.extend(next.map(|next| (db, key, next)));
            return true;
        }
        if self.db >= store.len() {
            return false;
        }
        let database = store.db_mut(self.db);
        self.stage = match self.stage {
            Stage::Keys(bucket) if bucket < database.buckets() => {
                self.bucket(bucket, database, count, mover);
                Stage::Keys(bucket + 1)
            }
            Stage::Keys(_) => Stage::Marks(0),
            Stage::Marks(from) => match database.relocate_marks(from, MARKS_PER_STEP, mover) {
                Some(next) => Stage::Marks(next),
                None => {
                    self.db += 1;
                    Stage::default()
                }
            },
        };
        true
    }

    fn bucket(&mut self, bucket: usize, database: &mut Database, count: usize, mover: &mut Mover<'_>) {
        let Self { db, large, figures, .. } = self;
        database.relocate_bucket(bucket, mover, |entry, mover| {
            let before = mover.hits;
            if let Some(next) = entry.relocate(Stretch { from: 0, count }, mover) {
                large.push((*db, entry.key().to_vec(), next));
            }
            *(if mover.hits > before { &mut figures.key_hits } else { &mut figures.key_misses }) += 1;
        });
    }
}
