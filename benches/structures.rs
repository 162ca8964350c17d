//! What the keyspace costs per key, against the map of the standard library: one workload through one trait.
//!
//! `cargo bench --bench structures`; a million keys of 16 bytes with strings of 32, keys drawn at random.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use graven::ds::HashSeed;
use graven::env::{Entropy, SeededEntropy, UnixMillis};
use graven::keyspace::{DatabaseView, Keyspace, Ttl};
use graven::value::{Limits, StrRef};

const KEYS: u64 = 1_000_000;
const VALUE: [u8; 32] = [b'v'; 32];

trait Store {
    const NAME: &'static str;
    fn new() -> Self;
    fn put(&mut self, key: &[u8; 16]);
    fn holds(&self, key: &[u8; 16]) -> bool;
}

struct Graven(Keyspace);

impl Graven {
    fn freeze(&self) -> DatabaseView {
        self.0.db(0).snapshot()
    }
}

impl Store for Graven {
    const NAME: &'static str = "keyspace";

    fn new() -> Self {
        Self(Keyspace::new(1, Limits { hash_seed: HashSeed(1, 2), ..Limits::default() }))
    }

    fn put(&mut self, key: &[u8; 16]) {
        self.0.db_mut(0).set(key, StrRef::encode(&VALUE), Ttl::Clear, 1);
    }

    fn holds(&self, key: &[u8; 16]) -> bool {
        self.0.db(0).contains(key, UnixMillis(0))
    }
}

/// Can neither be frozen nor grow without a pause; here as the ceiling of plain lookups.
struct Std(HashMap<Box<[u8]>, Box<[u8]>>);

impl Store for Std {
    const NAME: &'static str = "std";

    fn new() -> Self {
        Self(HashMap::new())
    }

    fn put(&mut self, key: &[u8; 16]) {
        self.0.insert(Box::from(&key[..]), Box::from(&VALUE[..]));
    }

    fn holds(&self, key: &[u8; 16]) -> bool {
        self.0.contains_key(&key[..])
    }
}

fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let digits = itoa::Buffer::new().format(n).to_owned();
    key[16 - digits.len()..].copy_from_slice(digits.as_bytes());
    key
}

fn filled<S: Store>() -> S {
    let mut store = S::new();
    (0..KEYS).for_each(|n| store.put(&key(n)));
    store
}

fn point_operations<S: Store>(c: &mut Criterion) {
    let mut random = SeededEntropy::new(7);
    let mut store = filled::<S>();
    c.bench_function(&format!("{}/readrandom", S::NAME), |b| {
        b.iter_batched(|| key(random.below(KEYS)), |key| black_box(store.holds(&key)), BatchSize::SmallInput);
    });
    c.bench_function(&format!("{}/readmissing", S::NAME), |b| {
        b.iter_batched(|| key(KEYS + random.below(KEYS)), |key| black_box(store.holds(&key)), BatchSize::SmallInput);
    });
    c.bench_function(&format!("{}/overwrite", S::NAME), |b| {
        b.iter_batched(|| key(random.below(KEYS)), |key| store.put(&key), BatchSize::SmallInput);
    });
    let mut next = KEYS;
    c.bench_function(&format!("{}/fillseq", S::NAME), |b| {
        b.iter(|| {
            next += 1;
            store.put(&key(next));
        });
    });
}

fn freezing(c: &mut Criterion) {
    let mut random = SeededEntropy::new(7);
    let mut store = filled::<Graven>();
    c.bench_function("keyspace/freeze", |b| b.iter(|| black_box(store.freeze())));
    let mut frozen = store.freeze();
    c.bench_function("keyspace/overwrite_frozen", |b| {
        // Each thousand writes meets a fresh snapshot, so that most of them copy what they touch.
        let mut writes = 0;
        b.iter_batched(
            || key(random.below(KEYS)),
            |key| {
                writes += 1;
                if writes % 1000 == 0 {
                    frozen = store.freeze();
                }
                store.put(&key);
            },
            BatchSize::SmallInput,
        );
    });
    black_box(frozen.len());
}

/// A string of 100 MB: what one changed byte costs, alone and beside a snapshot, and what freezing it costs.
fn long_string(c: &mut Criterion) {
    const LEN: u64 = 100 << 20;
    let mut random = SeededEntropy::new(7);
    let mut store = Keyspace::new(1, Limits::default());
    let content = vec![b'x'; LEN as usize];
    c.bench_function("long_string/set", |b| {
        b.iter(|| store.db_mut(0).set(b"long", StrRef::encode(&content), Ttl::Clear, 1));
    });
    let write = |store: &mut Keyspace, at: u64| {
        let change = |text: &mut graven::value::Str| text.set_range(at as usize, b"y");
        black_box(store.db_mut(0).edit_string(b"long", UnixMillis(0), 1, change));
    };
    c.bench_function("long_string/setrange", |b| {
        b.iter_batched(|| random.below(LEN), |at| write(&mut store, at), BatchSize::SmallInput);
    });
    c.bench_function("long_string/freeze", |b| b.iter(|| black_box(store.db(0).snapshot())));
    c.bench_function("long_string/setrange_frozen", |b| {
        b.iter_batched(
            || random.below(LEN),
            |at| {
                let frozen = store.db(0).snapshot();
                write(&mut store, at);
                frozen
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = point_operations::<Graven>, point_operations::<Std>, freezing, long_string
}
criterion_main!(benches);
