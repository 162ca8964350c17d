use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::{Entry, HashSeed, Table};

const SEED: HashSeed = HashSeed(0x0123_4567_89ab_cdef, 42);

#[derive(Clone, Debug, PartialEq)]
struct Pair(Arc<(Vec<u8>, u64)>);

impl Pair {
    fn new(key: u16, value: u64) -> Self {
        Self(Arc::new((bytes(key), value)))
    }
}

impl Entry for Pair {
    fn key(&self) -> &[u8] {
        &self.0.0
    }
}

fn bytes(key: u16) -> Vec<u8> {
    key.to_string().into_bytes()
}

fn contents<S: super::Stamp>(table: &Table<Pair, S>) -> BTreeMap<Vec<u8>, u64> {
    table.iter().map(|pair| (pair.0.0.clone(), pair.0.1)).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u64),
    Remove(u16),
    Change(u16, u64),
    Get(u16),
    /// Inserts a whole range, so that the table grows far beyond what single operations reach.
    Fill(u16),
    /// Removes a whole range, so that it shrinks.
    Drain(u16),
    Freeze,
    Thaw,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let key = u16::arbitrary(g) % 3000;
        match u8::arbitrary(g) % 16 {
            0..4 => Self::Insert(key, u64::arbitrary(g)),
            4..7 => Self::Remove(key),
            7..9 => Self::Change(key, u64::arbitrary(g)),
            9..11 => Self::Get(key),
            11..13 => Self::Fill(key),
            13 => Self::Drain(key),
            14 => Self::Freeze,
            _ => Self::Thaw,
        }
    }
}

quickcheck! {
    /// Live table and every frozen version equal a std map through growth and shrink.
    fn behaves_as_a_map(ops: Vec<Op>) -> bool {
        let mut table = Table::<Pair>::with_seed(SEED);
        let mut model = BTreeMap::new();
        let mut frozen = Vec::new();
        for op in ops {
            match op {
                Op::Insert(key, value) => {
                    let old = table.insert(Pair::new(key, value)).map(|pair| pair.0.1);
                    assert_eq!(old, model.insert(bytes(key), value));
                }
                Op::Remove(key) => {
                    assert_eq!(table.remove(&bytes(key)).map(|pair| pair.0.1), model.remove(&bytes(key)));
                }
                Op::Change(key, value) => {
                    let ours = table.get_mut(&bytes(key));
                    assert_eq!(ours.is_some(), model.contains_key(&bytes(key)));
                    if let Some(entry) = ours {
                        *entry = Pair::new(key, value);
                        model.insert(bytes(key), value);
                    }
                }
                Op::Get(key) => {
                    let hash = table.hash_of(&bytes(key));
                    assert_eq!(table.get_hashed(hash).count(), usize::from(model.contains_key(&bytes(key))));
                    assert_eq!(table.get(&bytes(key)).map(|pair| pair.0.1), model.get(&bytes(key)).copied());
                }
                Op::Fill(from) => for key in from..from + 400 {
                    table.insert(Pair::new(key, 1));
                    model.insert(bytes(key), 1);
                },
                Op::Drain(from) => for key in from..from + 1500 {
                    table.remove(&bytes(key));
                    model.remove(&bytes(key));
                },
                Op::Freeze => frozen.push((table.clone(), model.clone())),
                Op::Thaw => if frozen.len() > 1 { frozen.remove(0); },
            }
            assert_eq!(table.len(), model.len());
        }
        frozen.push((table, model));
        frozen.iter().all(|(table, model)| contents(table) == *model && table.iter().len() == model.len())
    }

    /// What is present during a whole scan is reported, whatever comes and goes between two calls.
    fn scans_miss_nothing(stay: BTreeSet<u16>, steps: Vec<Op>, freeze: bool) -> bool {
        let mut table = Table::<Pair>::with_seed(SEED);
        for &key in &stay {
            table.insert(Pair::new(key, 0));
        }
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut steps = steps.into_iter();
        let mut kept = Vec::new();
        loop {
            cursor = table.scan(cursor, |pair| { seen.insert(pair.0.0.clone()); });
            if cursor == 0 {
                break;
            }
            if freeze && kept.len() < 8 {
                kept.push(table.clone());
            }
            let gone = |key: &u16| !stay.contains(key);
            match steps.next() {
                Some(Op::Fill(from) | Op::Insert(from, _)) => for key in (from..from + 400).filter(gone) {
                    table.insert(Pair::new(key, 1));
                },
                Some(Op::Drain(from) | Op::Remove(from)) => for key in (from..from + 1500).filter(gone) {
                    table.remove(&bytes(key));
                },
                _ => {}
            }
        }
        stay.iter().all(|&key| seen.contains(&bytes(key)))
    }

    /// A stamp never lags behind a change to a key that is or was in its bucket.
    fn stamps_never_lag(ops: Vec<(u16, bool)>) -> bool {
        let mut table = Table::<Pair, u64>::with_seed(SEED);
        let mut changed = BTreeMap::new();
        let mut clock = 0;
        for (from, insert) in ops {
            for key in from % 2000..from % 2000 + 100 {
                clock += 1;
                let done = if insert {
                    table.insert_stamped(Pair::new(key, clock), clock);
                    true
                } else {
                    table.remove_stamped(&bytes(key), clock).is_some()
                };
                if done {
                    changed.insert(key, clock);
                }
            }
        }
        let frozen = table.clone();
        table.touch(b"0", clock + 1);
        assert_eq!((table.stamp_max(), frozen.stamp_max() <= clock), (clock + 1, true));
        changed.iter().all(|(&key, &at)| frozen.get_stamped(&bytes(key)).1 >= at)
    }
}

/// Random choice must not favour entries of sparse buckets.
#[test]
fn random_is_fair() {
    for size in [1_u16, 100, 1000] {
        let mut table = Table::<Pair>::with_seed(SEED);
        for key in 0..size {
            table.insert(Pair::new(key, 0));
        }
        let mut counts = BTreeMap::<Vec<u8>, u64>::new();
        let rounds = 400 * u64::from(size);
        for round in 0..rounds {
            let chosen = table.random(round.wrapping_mul(0xd129_0d3a_7ef1_9ba3)).expect("the table is not empty");
            *counts.entry(chosen.0.0.clone()).or_default() += 1;
        }
        assert_eq!(counts.len(), usize::from(size));
        // Twelve standard deviations of 400 expected hits would be 240.
        assert!(counts.values().all(|&count| size == 1 || (280..520).contains(&count)), "{counts:?}");
    }
    assert_eq!(Table::<Pair>::with_seed(SEED).random(1), None);
}

/// A scan of a quiet table reports everything exactly once and returns to zero.
#[test]
fn a_quiet_scan_reports_once() {
    let mut table = Table::<Pair>::with_seed(SEED);
    for key in 0..5000 {
        table.insert(Pair::new(key, 0));
    }
    let (mut seen, mut cursor, mut calls) = (Vec::new(), 0, 0);
    loop {
        cursor = table.scan(cursor, |pair| seen.push(pair.0.0.clone()));
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!((seen.len(), calls), (5000, table.buckets()));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 5000);
}

/// Removing everything returns to a small table without losing the stamp.
#[test]
fn empties_and_keeps_its_stamp() {
    let mut table = Table::<Pair, u64>::with_seed(SEED);
    for key in 0..5000 {
        table.insert_stamped(Pair::new(key, 0), 5);
    }
    assert!(table.buckets() > 400);
    for key in 0..5000 {
        assert!(table.remove_stamped(&bytes(key), 6 + u64::from(key)).is_some());
    }
    assert_eq!((table.len(), table.buckets(), table.iter().count()), (0, 1, 0));
    assert_eq!(table.get_stamped(b"1").1, 5005);
}

/// Snapshots are read on other threads while the original changes.
#[test]
fn frozen_versions_are_read_elsewhere() {
    let mut table = Table::<Pair>::with_seed(SEED);
    for key in 0..2000 {
        table.insert(Pair::new(key, 1));
    }
    let frozen = table.clone();
    let reader = std::thread::spawn(move || frozen.iter().map(|pair| pair.0.1).sum::<u64>());
    for key in 0..2000 {
        table.insert(Pair::new(key, 2));
    }
    assert_eq!(reader.join().ok(), Some(2000));
    assert_eq!(table.iter().map(|pair| pair.0.1).sum::<u64>(), 4000);
}

/// A load into a table that was sized for it, for less or for more, ends as single inserts do; a key that comes twice is
/// given back.
#[test]
fn a_load_in_bulk_is_one_insert_after_the_other() {
    for expected in [0, 1, 100, 5000, 40_000] {
        let mut one_by_one = Table::<Pair>::with_seed(SEED);
        let mut bulk = Table::<Pair>::with_seed(SEED);
        bulk.reserve(expected);
        bulk.reserve(7);
        let pairs: Vec<Pair> = (0..5000).map(|key| Pair::new(key, u64::from(key) * 3)).collect();
        pairs.iter().for_each(|pair| assert!(one_by_one.insert(pair.clone()).is_none()));
        let hashed = |pairs: &[Pair]| pairs.iter().map(|pair| (SEED.hash(pair.key()), pair.clone())).collect();
        for part in pairs.chunks(700) {
            bulk.insert_all(hashed(part), ()).expect("no key occurs twice");
        }
        assert_eq!(contents(&bulk), contents(&one_by_one), "{expected}");
        let twice = [Pair::new(6000, 1), Pair::new(17, 2), Pair::new(6001, 3)];
        assert_eq!(bulk.insert_all(hashed(&twice), ()), Err(Pair::new(17, 2)));
        assert_eq!(bulk.len(), 5001);
        for key in 0..5000 {
            assert_eq!(bulk.remove(&bytes(key)).map(|pair| pair.0.1), Some(u64::from(key) * 3), "{expected} {key}");
        }
        assert_eq!(contents(&bulk), BTreeMap::from([(bytes(6000), 1)]));
    }
}

/// What is fetched ahead is what a lookup finds later, but for keys that share a bucket and a fingerprint.
#[test]
fn looking_ahead_leads_to_the_entry() {
    let mut table = Table::with_seed(SEED);
    table.approach(7);
    assert!(table.hash_ahead(b"1").is_none() && table.arrive(7).is_none());
    (0..20_000).for_each(|key| drop(table.insert(Pair::new(key, 0))));
    let ahead = |key: u16| {
        let hash = table.hash_ahead(&bytes(key)).expect("a large table");
        table.approach(hash);
        table.arrive(hash)
    };
    let right = (0..20_000).filter(|&key| ahead(key).expect("its fingerprint is there").key() == bytes(key));
    assert!(right.count() > 19_000);
    assert!((20_000..40_000).filter(|&key| ahead(key).is_some()).count() < 2_000);
}
