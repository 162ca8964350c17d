//! What is written reads back; a crash or an error at any step leaves the old file or the new one.

mod blocks;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::env::UnixMillis;
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::disk::{read_file, replace_file};
use crate::keyspace::{AccessPolicy, Keyspace, Ttl};
use crate::persist::rdb::{self, RdbEntry, RdbSink, Refusal, read_bytes};
use crate::persist::{SaveError, SaveStep};
use crate::value::{End, Hash, Limits, List, Set, Str, Value, Zset};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// Keys of every type and form over several databases.
fn keyspace(keys: u32) -> Keyspace {
    let limits = Limits::default();
    let mut store = Keyspace::new(16, limits);
    store.set_access_time(NOW);
    for number in 0..keys {
        let elements = number % 300 + 1;
        let name = format!("key:{number}");
        let text = name.as_bytes();
        let value: Value = match number % 7 {
            0 => Str::encode(text).into(),
            1 => Str::from_int(i64::from(number) << 20).into(),
            2 => {
                let mut list = List::new();
                (0..elements).for_each(|_| list.push(End::Back, &[b'x'; 300], &limits));
                list.into()
            }
            3 => {
                let mut set = Set::new();
                for member in 0..=elements {
                    set.add(format!("m{member}").as_bytes(), &limits);
                }
                set.into()
            }
            4 => {
                let mut hash = Hash::new();
                for field in 0..=elements {
                    hash.set(format!("f{field}").as_bytes(), text, &limits);
                }
                hash.into()
            }
            5 => {
                let mut zset = Zset::new();
                for member in 0..=elements {
                    zset.set(format!("m{member}").as_bytes(), 1.5, &limits);
                }
                zset.into()
            }
            _ => Str::encode(&text.repeat(elements as usize)).into(),
        };
        let ttl = if number.is_multiple_of(3) { Ttl::At(UnixMillis(NOW.0 + i64::from(number))) } else { Ttl::Clear };
        store.db_mut(number % 3 * 5).set(text, value, ttl, 1);
    }
    store
}

fn options(access: SavedAccess) -> RdbOptions {
    RdbOptions {
        path: "/dump.rdb".into(),
        version: 10,
        compression: true,
        checksum: true,
        sync_every: Some(64 * 1024),
        access,
        clock: AccessClock::new(AccessPolicy::Lru, UnixMillis(NOW.0 + 9000)),
        fields: vec![("redis-ver", "7.2.4".into()), ("ctime", "1".into())],
        libraries: vec![b"#!lua name=one".to_vec(), b"#!lua name=two".to_vec()],
        position: None,
        block_bytes: Some(4000),
        helpers: 0,
    }
}

/// A file of many small blocks.
pub(in crate::persist::rdb) fn file_of_blocks() -> Vec<u8> {
    let disk = SimDisk::new();
    save(&disk, &keyspace(120), options(SavedAccess::Nothing)).expect("a disk without faults");
    read_file(&disk, Path::new("/dump.rdb")).expect("written")
}

fn save(disk: &SimDisk, store: &Keyspace, options: RdbOptions) -> Result<DraftWriter, SaveError> {
    let mut writer = rdb::begin(Arc::new(disk.clone()), store.snapshot(), options);
    while writer.step()? == SaveStep::Worked {}
    Ok(writer)
}

#[derive(Default)]
struct Seen {
    keys: BTreeMap<(u32, Vec<u8>), (String, Option<i64>)>,
    aux: Vec<String>,
    libraries: Vec<Vec<u8>>,
    sizes: Vec<(u32, u64, u64)>,
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl RdbSink for Seen {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        (self.idle, self.frequency) = (entry.idle_seconds, entry.frequency);
        let value = (format!("{:?}", describe(&entry.value)), entry.expiry.map(|at| at.0));
        assert!(self.keys.insert((entry.db, entry.key.to_vec()), value).is_none(), "a key occurs twice");
        Ok(())
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.libraries.push(text.to_vec());
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.aux.push(format!("{} {}", name.escape_ascii(), value.escape_ascii()));
        Ok(())
    }

    fn sizes(&mut self, db: u32, keys: u64, expiries: u64) {
        self.sizes.push((db, keys, expiries));
    }
}

/// A value's type, encoding and payload in a fixed order.
fn describe(value: &Value) -> (String, Vec<Vec<u8>>) {
    let mut elements: Vec<Vec<u8>> = match value {
        Value::Str(text) => vec![text.to_vec()],
        Value::List(list) => list.iter().map(|item| item.to_vec()).collect(),
        Value::Set(set) => set.iter().map(|item| item.to_vec()).collect(),
        Value::Hash(hash) => hash.iter().map(|(field, value)| [field.to_vec(), value.to_vec()].concat()).collect(),
        Value::Zset(zset) => zset.iter().map(|(member, score)| format!("{member:?} {score}").into_bytes()).collect(),
        Value::Stream(stream) => vec![stream.to_text().into_bytes()],
    };
    if !matches!(value, Value::List(_)) {
        elements.sort();
    }
    (format!("{} {}", value.kind().name(), value.encoding()), elements)
}

fn read(bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let loaded = read_bytes(bytes, &Limits::default(), &mut seen).unwrap();
    assert_eq!((loaded.version, loaded.end, loaded.empty_keys), (10, bytes.len() as u64, 0));
    seen
}

fn held(store: &Keyspace) -> BTreeMap<(u32, Vec<u8>), (String, Option<i64>)> {
    let databases = (0..).zip(store.databases());
    let entries = databases.flat_map(|(db, database)| database.iter().map(move |entry| (db, entry)));
    entries
        .map(|(db, entry)| {
            let value = format!("{:?}", describe(&entry.to_value()));
            ((db, entry.key().to_vec()), (value, entry.expiry().map(|at| at.0)))
        })
        .collect()
}

#[test]
fn what_is_written_reads_back() {
    for keys in [0, 1, 5, 400, 5000] {
        let (disk, store) = (SimDisk::new(), keyspace(keys));
        let writer = save(&disk, &store, options(SavedAccess::Nothing)).unwrap();
        let bytes = read_file(&disk, Path::new("/dump.rdb")).unwrap();
        assert_eq!((writer.keys(), writer.size()), (u64::from(keys), bytes.len() as u64));
        let seen = read(&bytes);
        assert_eq!(seen.keys, held(&store), "{keys} keys");
        assert_eq!(seen.libraries, options(SavedAccess::Nothing).libraries);
        assert_eq!(seen.aux[..2], ["redis-ver 7.2.4", "ctime 1"]);
        assert!(seen.aux[2..].iter().all(|field| field.starts_with("graven-index") || field.starts_with("graven-end")));
        let sizes: Vec<_> = (0..).zip(store.databases()).filter(|(_, database)| !database.is_empty()).collect();
        let sizes: Vec<_> = sizes.iter().map(|(at, db)| (*at, db.len() as u64, db.expires_len() as u64)).collect();
        assert_eq!(seen.sizes, sizes);
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["dump.rdb"], "no draft is left");
    }
}

#[test]
fn uses_of_keys_are_written_as_the_policy_counts_them() {
    let (disk, store) = (SimDisk::new(), keyspace(1));
    for (access, expected) in [
        (SavedAccess::Nothing, (None, None)),
        (SavedAccess::Idle, (Some(9), None)),
        (SavedAccess::Frequency, (None, Some(0))),
    ] {
        save(&disk, &store, options(access)).unwrap();
        let seen = read(&read_file(&disk, Path::new("/dump.rdb")).unwrap());
        // The counter shares its bits with the clock of the other policy.
        let frequency = expected.1.and(seen.frequency.map(|_| 0));
        assert_eq!((seen.idle, frequency), expected);
    }
}

#[test]
fn without_checksum_the_field_is_zero() {
    let disk = SimDisk::new();
    save(&disk, &keyspace(3), RdbOptions { checksum: false, ..options(SavedAccess::Nothing) }).unwrap();
    let bytes = read_file(&disk, Path::new("/dump.rdb")).unwrap();
    assert_eq!(bytes[bytes.len() - 9..], [0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&bytes).keys.len(), 3);
}

fn crashes() -> Vec<(CrashMode, u64)> {
    let mut crashes = vec![(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0)];
    crashes.extend((0..6).map(|seed| (CrashMode::ANY_POWER_CUT, seed)));
    crashes
}

/// Every write, sync, rename of a save, and of the save after that crash, as the last.
#[test]
fn a_crash_leaves_the_old_file_or_the_new_one() {
    let stores = [keyspace(3), keyspace(60), keyspace(90)];
    let contents = stores.each_ref().map(held);
    let disk = SimDisk::new();
    save(&disk, &stores[0], options(SavedAccess::Nothing)).unwrap();
    let found = |disk: &SimDisk| read(&read_file(disk, Path::new("/dump.rdb")).unwrap()).keys;
    let (mut first, mut second) = (0_u32, 0_u32);
    disk.for_each_crash(
        &crashes(),
        |disk| save(disk, &stores[1], options(SavedAccess::Nothing)).is_ok(),
        |done, crashed, point| {
            let content = found(&crashed);
            assert!(content == contents[1] || !done && content == contents[0], "{point}");
            first += 1;
            if !first.is_multiple_of(7) {
                return;
            }
            crashed.for_each_crash(
                &crashes()[..3],
                |disk| save(disk, &stores[2], options(SavedAccess::Nothing)).is_ok(),
                |done, crashed, again| {
                    let after = found(&crashed);
                    assert!(after == contents[2] || !done && after == content, "{point}, then {again}");
                    second += 1;
                },
            );
        },
    );
    assert!(first > 40 && second > 100, "{first} {second}");
}

#[test]
fn an_error_leaves_the_old_file_and_is_told() {
    let (old, new) = (keyspace(3), keyspace(60));
    for (op, fault, doing) in [
        (Op::Create, Fault::Eio, "writing"),
        (Op::Open, Fault::Eio, "writing"),
        (Op::Write, Fault::Enospc, "finishing"),
        (Op::Sync, Fault::Eio, "finishing"),
        (Op::Rename, Fault::Eio, "replacing"),
    ] {
        let disk = SimDisk::new();
        save(&disk, &old, options(SavedAccess::Nothing)).unwrap();
        let faults = disk.fail(FaultSpec::new(op, fault));
        let plain = RdbOptions { sync_every: None, ..options(SavedAccess::Nothing) };
        let failed = save(&disk, &new, plain.clone());
        if disk.struck(faults) == 0 {
            // Drafts are created, not opened, on this disk.
            assert_eq!(op, Op::Open);
            continue;
        }
        let Err(error) = failed else { panic!("{op:?} fails") };
        assert_eq!(error.doing, doing);
        assert!(error.to_string().contains("/dump.rdb"), "{error}");
        disk.lift_all();
        assert_eq!(read(&read_file(&disk, Path::new("/dump.rdb")).unwrap()).keys, held(&old));
        save(&disk, &new, plain).unwrap();
        assert_eq!(read(&read_file(&disk, Path::new("/dump.rdb")).unwrap()).keys, held(&new));
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["dump.rdb"]);
    }
}

/// A writer that is given up half-way leaves what was there, and no draft.
#[test]
fn an_abandoned_save_leaves_no_trace() {
    let disk = SimDisk::new();
    replace_file(&disk, Path::new("/dump.rdb"), b"old").unwrap();
    let store = keyspace(5000);
    for steps in 0..10 {
        let mut writer = rdb::begin(Arc::new(disk.clone()), store.snapshot(), options(SavedAccess::Nothing));
        let done = (0..steps).any(|_| writer.step().unwrap() == SaveStep::Done);
        writer.abandon();
        assert!(!done);
        assert_eq!(read_file(&disk, Path::new("/dump.rdb")).unwrap(), b"old");
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["dump.rdb"]);
    }
}

/// However many threads encode, the file is the same to the byte; with keys too large to be held as well.
#[test]
fn any_number_of_threads_writes_the_same_file() {
    let mut store = keyspace(9000);
    let mut state = 1_u64;
    let mut noise = |len: usize| {
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        bytes.take(len).collect::<Vec<u8>>()
    };
    for (number, len) in [(1, 3 << 20), (2, 1 << 20), (3, 5 << 20)] {
        let large = Str::encode(&noise(len));
        store.db_mut(5).set(format!("large:{number}").as_bytes(), large, Ttl::Clear, 1);
    }
    let mut files = Vec::new();
    for helpers in [0, 1, 3] {
        let disk = SimDisk::new();
        let options = RdbOptions { helpers, block_bytes: Some(60_000), ..options(SavedAccess::Idle) };
        assert_eq!(save(&disk, &store, options).expect("a disk without faults").keys(), 9003);
        files.push(read_file(&disk, Path::new("/dump.rdb")).expect("written"));
    }
    assert!(files[0].len() > 9 << 20, "large values stay large");
    assert!(files.iter().all(|file| *file == files[0]));
}

/// A disk that fails ends the writing, and the threads that encode for it; so does giving up.
#[test]
fn threads_end_with_the_writing() {
    let store = keyspace(20_000);
    let disk = SimDisk::new();
    disk.fail(FaultSpec::new(Op::Write, Fault::Enospc).starting_at(3));
    let threaded = || RdbOptions { helpers: 2, ..options(SavedAccess::Nothing) };
    assert!(save(&disk, &store, threaded()).is_err());
    let snapshot = store.snapshot();
    let mut writer = rdb::begin(Arc::new(SimDisk::new()), snapshot, threaded());
    for _ in 0..5 {
        writer.step().expect("a disk without faults");
    }
    writer.abandon();
    assert_eq!(writer.step().expect("it has ended"), SaveStep::Done);
}
