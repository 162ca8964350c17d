//! What a value of a million elements costs where a small one costs nothing: freezing it, writing to it beside a
//! snapshot, finding a place in it, growing it, and letting go of it.
//!
//! `cargo bench --bench big_values`. Times are processor time of the thread, the worst or the mean of many; bytes are
//! what the allocator was asked for. A figure beyond its bound ends the run with an error.
#![expect(
    unsafe_code,
    reason = "an allocator that counts has to be one, and a thread's processor time is a system call"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use graven::ds::HashSeed;
use graven::engine::{ConnectionInfo, Engine, NoWake, Outbox, families};
use graven::env::{ManualClock, SeededEntropy, UnixMillis};
use graven::keyspace::{Keyspace, Ttl};
use graven::resp::Request;
use graven::value::{End, Hash, Limits, List, Set, Stream, StreamId, Value, Zset};
use tikv_jemallocator::Jemalloc;

const BIG: usize = 1_000_000;
const SMALL: usize = 1000;
/// Writes that each meet a fresh snapshot.
const FROZEN_WRITES: usize = 2000;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the binary's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promises are those that the allocator below asks for.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { Jemalloc.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Processor time of this thread: others that the machine runs in between do not count.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in the structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes allocated and time taken.
fn cost<R>(work: impl FnOnce() -> R) -> (usize, Duration, R) {
    let (before, begun) = (ALLOCATED.with(Cell::get), thread_time());
    let result = work();
    (ALLOCATED.with(Cell::get) - before, thread_time() - begun, result)
}

fn limits() -> Limits {
    Limits { hash_seed: HashSeed(1, 2), ..Limits::default() }
}

fn name(n: usize) -> Vec<u8> {
    format!("member:{n:09}").into_bytes()
}

/// One type: how an element is put into it, how a full one is changed, and what is looked up in it.
struct Kind {
    name: &'static str,
    empty: fn() -> Value,
    put: fn(&mut Value, usize),
    change: fn(&mut Value, usize),
    /// Bytes that a change may copy at most.
    copied_max: usize,
    find: fn(&Value, usize) -> bool,
}

fn entry_id(n: usize) -> StreamId {
    StreamId::new(1_700_000_000_000 + n as u64, 0)
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "hash",
        empty: || Hash::new().into(),
        put: |value, n| {
            let Value::Hash(hash) = value else { unreachable!() };
            hash.set(&name(n), b"sixteen bytes ..", &limits());
        },
        change: |value, n| {
            let Value::Hash(hash) = value else { unreachable!() };
            hash.set(&name(n), &name(n), &limits());
        },
        copied_max: 4096,
        find: |value, n| matches!(value, Value::Hash(hash) if hash.get(&name(n)).is_some()),
    },
    Kind {
        name: "set",
        empty: || Set::new().into(),
        put: |value, n| {
            let Value::Set(set) = value else { unreachable!() };
            set.add(&name(n), &limits());
        },
        change: |value, n| {
            let Value::Set(set) = value else { unreachable!() };
            assert!(set.remove(&name(n)) || set.add(&name(n), &limits()));
        },
        copied_max: 4096,
        find: |value, n| matches!(value, Value::Set(set) if set.contains(&name(n))),
    },
    Kind {
        name: "zset",
        empty: || Zset::new().into(),
        put: |value, n| {
            let Value::Zset(zset) = value else { unreachable!() };
            zset.set(&name(n), (n * 7919 % BIG) as f64, &limits());
        },
        change: |value, n| {
            let Value::Zset(zset) = value else { unreachable!() };
            zset.set(&name(n), (n * 104_723 % BIG) as f64 + 0.5, &limits());
        },
        // Two places in the tree, that of the old score and that of the new one, and one in the table.
        copied_max: 16 * 1024,
        // ZRANK.
        find: |value, n| matches!(value, Value::Zset(zset) if zset.rank(&name(n)).is_some()),
    },
    Kind {
        name: "list",
        empty: || List::new().into(),
        put: |value, n| {
            let Value::List(list) = value else { unreachable!() };
            list.push(End::Back, &name(n), &limits());
        },
        change: |value, n| {
            let Value::List(list) = value else { unreachable!() };
            assert!(list.set(n, &name(n + 1), &limits()));
        },
        copied_max: 6144,
        // LINDEX.
        find: |value, n| matches!(value, Value::List(list) if list.get(n).is_some()),
    },
    Kind {
        name: "stream",
        empty: || Stream::new().into(),
        put: |value, n| {
            let Value::Stream(stream) = value else { unreachable!() };
            stream.add(entry_id(n), &[b"field", b"a value of thirty-two bytes ...."], &limits());
        },
        // XADD and XDEL by turns.
        change: |value, n| {
            let Value::Stream(stream) = value else { unreachable!() };
            if n % 2 == 0 {
                let id = stream.last_id().next().expect("there are more");
                stream.add(id, &[b"field", b"a value of thirty-two bytes ...."], &limits());
            } else {
                assert!(stream.delete(entry_id(n)));
            }
        },
        copied_max: 8192,
        // XRANGE's first entry.
        find: |value, n| match value {
            Value::Stream(stream) => {
                stream.range(entry_id(n), StreamId::MAX).next().is_some_and(|e| e.id == entry_id(n))
            }
            _ => false,
        },
    },
];

fn filled(kind: &Kind, count: usize) -> Value {
    let mut value = (kind.empty)();
    (0..count).for_each(|n| (kind.put)(&mut value, n));
    value
}

#[derive(Default)]
struct Verdict {
    failures: Vec<String>,
}

impl Verdict {
    fn row(&mut self, what: &str, figure: f64, unit: &str, at_most: f64) {
        println!("{what:48} {figure:12.2} {unit:5} (at most {at_most})");
        if figure > at_most {
            self.failures.push(what.to_owned());
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The mean of many calls, in microseconds.
fn mean(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let begun = thread_time();
    (0..calls).for_each(&mut call);
    micros(thread_time() - begun) / calls as f64
}

fn structures(verdict: &mut Verdict) {
    for kind in &KINDS {
        let mut worst = Duration::ZERO;
        let mut big = (kind.empty)();
        for n in 0..BIG {
            worst = worst.max(cost(|| (kind.put)(&mut big, n)).1);
        }
        let small = filled(kind, SMALL);
        verdict.row(&format!("{}: worst insert while growing to 1M", kind.name), micros(worst) / 1e3, "ms", 5.0);
        let (bytes, _, frozen) = cost(|| big.clone());
        verdict.row(&format!("{}: bytes allocated by freezing 1M", kind.name), bytes as f64, "B", 0.0);
        drop(frozen);
        let freeze = |value: &Value| mean(100_000, |_| drop(std::hint::black_box(value.clone())));
        let (of_big, of_small) = (freeze(&big), freeze(&small));
        verdict.row(&format!("{}: freezing 1M / freezing 1k", kind.name), of_big / of_small, "x", 5.0);
        let (mut most, mut all) = (0, 0);
        for write in 0..FROZEN_WRITES {
            let frozen = big.clone();
            let (bytes, ..) = cost(|| (kind.change)(&mut big, write * 104_729 % BIG));
            (most, all) = (most.max(bytes), all + bytes);
            drop(frozen);
        }
        verdict.row(
            &format!("{}: most bytes copied by a write beside a snapshot", kind.name),
            most as f64,
            "B",
            kind.copied_max as f64,
        );
        println!("{:48} {:12.2} B", format!("{}: mean of that", kind.name), all as f64 / FROZEN_WRITES as f64);
        let find = |value: &Value, len: usize| {
            mean(200_000, |n| {
                std::hint::black_box((kind.find)(value, n * 104_729 % len));
            })
        };
        let (in_big, in_small) = (find(&big, BIG), find(&small, SMALL));
        // Twice the depth and every step a cache miss, not a thousand times the elements.
        verdict.row(&format!("{}: finding a place in 1M / in 1k", kind.name), in_big / in_small, "x", 40.0);
    }
}

/// Runs a command; how long it kept the engine.
fn held(engine: &mut Engine, client: graven::command::ClientId, line: &str) -> Duration {
    let words: Vec<&str> = line.split(' ').collect();
    let request = Request::from_args(&words);
    engine.look_at_clock();
    cost(|| engine.execute(client, &request)).1
}

fn letting_go(verdict: &mut Verdict) {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let store = Keyspace::new(2, limits());
    let mut engine = Engine::new(store, &families(), clock.clone(), Box::new(SeededEntropy::new(1)), Box::new(()));
    let client = engine.connect(ConnectionInfo::default(), Arc::new(Outbox::new(Box::new(NoWake))));
    for kind in &KINDS {
        for line in [
            "del big",
            "unlink big",
            "set big x",
            "flushdb",
            "flushall",
            "flushall async",
            "rename small big",
            "copy small big replace",
            "sunionstore big members",
            "sdiffstore big none",
            "zunionstore big 1 small",
            "pexpireat big 1",
            "tick",
        ] {
            engine.store.db_mut(0).set(b"big", filled(kind, BIG), Ttl::Clear, 1);
            let mut ranked = Zset::new();
            ranked.set(b"m", 1.0, &limits());
            engine.store.db_mut(0).set(b"small", Value::Zset(ranked), Ttl::Clear, 1);
            let mut members = Set::new();
            members.add(b"m", &limits());
            engine.store.db_mut(0).set(b"members", Value::Set(members), Ttl::Clear, 1);
            let time = if line == "tick" {
                held(&mut engine, client, "pexpire big 10");
                clock.advance(Duration::from_secs(1));
                cost(|| engine.tick()).1
            } else {
                held(&mut engine, client, line)
            };
            assert!(
                engine.store.db(0).get(b"big", UnixMillis(i64::MIN)).is_none_or(|entry| entry.value().len() < BIG),
                "{line} has replaced or removed the value"
            );
            let garbage = engine.store.take_garbage();
            assert_eq!(garbage.len().min(1), 1, "{line} leaves it to be freed elsewhere");
            drop(garbage);
            verdict.row(&format!("{}: engine held by {line}", kind.name), micros(time) / 1e3, "ms", 1.0);
        }
    }
}

fn main() {
    let mut verdict = Verdict::default();
    structures(&mut verdict);
    letting_go(&mut verdict);
    if !verdict.failures.is_empty() {
        eprintln!("beyond the bound: {}", verdict.failures.join("; "));
        std::process::exit(1);
    }
}
