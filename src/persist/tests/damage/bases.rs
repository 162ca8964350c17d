//! Bases and what may become one: stock's files, dumps, damaged and exchanged ones.

use super::*;
use crate::persist::tests::compaction::{compaction_in_blocks, complete};

const BASE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/base.rdb"));
const EMPTY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/empty.rdb"));

fn directory(files: &[(&str, &[u8])]) -> SimDisk {
    let disk = SimDisk::new();
    for directory in ["/data", "/data/appendonlydir"] {
        let wanted = files.iter().any(|(path, _)| path.starts_with(directory));
        if wanted {
            disk.create_dir(Path::new(directory)).expect("creates");
            disk.sync_dir(Path::new(directory).parent().expect("has one")).expect("syncs");
        }
    }
    files.iter().for_each(|(path, content)| put(&disk, Path::new(path), content));
    disk
}

fn state_of(base: &[u8]) -> State {
    load(&directory(&[("/data/dump.rdb", base)])).expect("opens").0
}

#[test]
fn the_log_of_stock_is_taken_over_and_its_open_transaction_dropped() {
    let set = resp(&[&["SELECT", "0"], &["SET", "stock", "1"]]);
    let open = resp(&[&["MULTI"], &["SET", "half", "1"]]);
    let files: &[(&str, &[u8])] = &[
        ("/data/appendonlydir/appendonly.aof.1.base.rdb", BASE),
        ("/data/appendonlydir/appendonly.aof.1.incr.aof", &[&set[..], &open].concat()),
        (
            "/data/appendonlydir/appendonly.aof.manifest",
            b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
        ),
    ];
    let disk = directory(files);
    let mut expected = state_of(BASE);
    expected.insert((0, "stock".into()), "1".into());
    let strict = OpenOptions { load_truncated: false, ..config() };
    assert!(matches!(load_with(&disk, &strict), Err(OpenError::Truncated(_))));
    lives_on(&disk, &expected);
    let incr = "/data/appendonlydir/appendonly.aof.1.incr.aof";
    let whole = set.len() as u64;
    assert_eq!(len(&disk, Path::new(incr)), whole, "the half transaction cannot come to life at the next start");
    assert_eq!(len(&disk, Path::new(&format!("{incr}.{whole}.torn"))), open.len() as u64);
}

#[test]
fn a_single_file_of_before_redis_7_becomes_the_base_with_and_without_preamble() {
    let tail = resp(&[&["SELECT", "3"], &["SET", "old", "x"], &["MULTI"], &["INCR", "n"], &["EXEC"]]);
    for base in [&b""[..], BASE] {
        let disk = directory(&[("/data/appendonly.aof", &[base, &tail].concat())]);
        let mut expected = if base.is_empty() { State::new() } else { state_of(base) };
        expected.insert((3, "old".into()), "x".into());
        expected.insert((3, "n".into()), "1".into());
        lives_on(&disk, &expected);
        assert!(!disk.exists(Path::new("/data/appendonly.aof")).expect("answers"), "moved into the log");
    }
}

#[test]
fn an_adoption_interrupted_anywhere_is_finished() {
    let content = resp(&[&["SET", "old", "x"]]);
    for source in ["/data/appendonly.aof", "/data/dump.rdb"] {
        let content = if source.ends_with("rdb") { BASE } else { &content[..] };
        let disk = directory(&[(source, content)]);
        let expected = load(&disk.fork()).expect("opens").0;
        let modes = [(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0), (CrashMode::ANY_POWER_CUT, 3)];
        let steps = disk.for_each_crash(
            &modes,
            |disk| drop(load(disk)),
            |(), crashed, point| match load(&crashed) {
                Ok((state, _)) => assert_eq!(state, expected, "{point}"),
                Err(error) => panic!("{point}: {error}"),
            },
        );
        assert!(steps > 5);
    }
}

#[test]
fn a_dump_becomes_the_base_and_later_changes_of_it_do_not_count() {
    let disk = directory(&[("/data/dump.rdb", BASE)]);
    let expected = state_of(BASE);
    lives_on(&disk, &expected);
    put(&disk, Path::new("/data/dump.rdb"), b"not an RDB");
    assert!(load(&disk).expect("the log is loaded").0.len() >= expected.len());
}

#[test]
fn a_base_that_is_not_the_one_named_is_refused() {
    let disk = directory(&[("/data/dump.rdb", BASE)]);
    load(&disk).expect("adopted");
    let base = Path::new("/data/appendonlydir/appendonly.aof.1.base.rdb");
    for other in [&b""[..], EMPTY, &BASE[..BASE.len() - 1]] {
        let disk = disk.fork();
        put(&disk, base, other);
        assert!(matches!(load(&disk), Err(OpenError::BadBase { .. })), "{} bytes", other.len());
    }
    for at in (0..BASE.len() as u64).step_by(3) {
        let disk = disk.fork();
        disk.flip(base, at, 1).expect("flips");
        assert!(matches!(load(&disk), Err(OpenError::BadBase { .. })), "byte {at}");
    }
    disk.remove(base).expect("removes");
    assert!(matches!(load(&disk), Err(OpenError::MissingFile { .. })));
}

#[test]
fn an_empty_log_does_not_hide_a_dump_and_a_missing_dump_does_not_hide_a_log() {
    let disk = SimDisk::new();
    load(&disk).expect("a fresh directory");
    let with_empty = disk.fork();
    put(&with_empty, Path::new("/data/dump.rdb"), EMPTY);
    assert!(load(&with_empty).is_ok(), "an empty dump hides nothing");
    put(&disk, Path::new("/data/dump.rdb"), BASE);
    assert!(matches!(load(&disk), Err(OpenError::EmptyLog { .. })));
    let off = OpenOptions { append_only: false, ..config() };
    assert!(matches!(open_off(&written(3, End::Closed).0, &off), Err(OpenError::DataElsewhere { .. })));
    assert_eq!(open_off(&disk, &off).expect("the dump").len(), state_of(BASE).len());
}

fn open_off(disk: &SimDisk, options: &OpenOptions) -> Result<State, OpenError> {
    crate::persist::tests::model::open_without_log(disk, options)
}

/// A base of commands of more than 20 KB in blocks of 2, and what it holds.
fn commands() -> (SimDisk, PathBuf, State) {
    let disk = SimDisk::new();
    let mut db = open_db(&disk, &config(), 1).expect("a fresh directory opens");
    let mut history = History::from(db.store.state.clone());
    for unit in 0..30 {
        let command = word_list(&["SET", &format!("k{unit}"), &"v".repeat(300 + unit * 40)]);
        db.submit(unit as u32 % 3, &[command], &mut history);
        db.pump_for(&mut history, Duration::ZERO);
    }
    let mut compaction = compaction_in_blocks(&disk, &db, &config(), true, Some(2_000));
    complete(&mut compaction, &mut db, &mut history).expect("an undamaged disk");
    let state = db.store.state.clone();
    drop(db);
    (disk.crash(CrashMode::Kill, 0), "/data/appendonlydir/appendonly.aof.1.base.aof".into(), state)
}

/// The manifest as stock leaves it: without comments.
fn as_stock_leaves_it(disk: &SimDisk) {
    let content = read_file(disk, &manifest()).expect("is there");
    let lines = content.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
    put(disk, &manifest(), &lines.collect::<Vec<_>>().concat());
}

/// In the middle of such a file nothing in the manifest tells of a changed bit; and stock drops what the manifest tells of its ends.
#[test]
fn no_flipped_bit_in_a_base_of_commands_is_loaded_also_behind_a_visit_by_stock() {
    let (disk, base, state) = commands();
    let bare = disk.fork();
    as_stock_leaves_it(&bare);
    let bytes = len(&disk, &base);
    assert!(bytes > 20_000, "{bytes}");
    for disk in [&disk, &bare] {
        assert_eq!(load(&disk.fork()).expect("undamaged").0, state);
        for (turn, at) in (0..bytes).step_by(11).enumerate() {
            let damaged = disk.fork();
            damaged.flip(&base, at, (turn % 8) as u8).expect("flips");
            let refused = load(&damaged).map(|_| ());
            let named =
                matches!(&refused, Err(OpenError::Rotten(damage)) if damage.file == base && damage.offset <= at);
            let first_line = at < 160 && matches!(refused, Err(OpenError::BadBase { .. }));
            assert!(named || first_line, "byte {at}: {refused:?}");
        }
        for at in [1, 100, 200, bytes / 2, bytes - 1] {
            let damaged = disk.fork();
            let content = read_file(&damaged, &base).expect("is there");
            put(&damaged, &base, &content[..at as usize]);
            assert!(load(&damaged).is_err(), "cut at {at}");
            put(&damaged, &base, &[&content[..], &content[200..300]].concat());
            assert!(load(&damaged).is_err(), "bytes behind its end");
        }
    }
}

#[test]
fn a_base_of_commands_of_the_first_version_loads_without_checksum_lines() {
    let (disk, base, state) = commands();
    as_stock_leaves_it(&disk);
    let content = read_file(&disk, &base).expect("is there");
    let mut old: Vec<u8> = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#GRAVEN-SUM ")) {
        if let Some(said) = line.strip_prefix(b"#GRAVEN-BASE 2 ") {
            let said = [b"#GRAVEN-BASE 1 ", &said[..said.len() - 11]].concat();
            old.extend_from_slice(&said);
            old.extend_from_slice(format!(" {:08x}\r\n", crc32fast::hash(&said)).as_bytes());
        } else {
            old.extend_from_slice(line);
        }
    }
    put(&disk, &base, &old);
    lives_on(&disk, &state);
}

/// Whoever takes the file for one of a single part (as servers before Redis 7 do) appends to it.
#[test]
fn a_base_of_commands_with_commands_by_stock_behind_it_is_adopted() {
    let (disk, base, mut state) = commands();
    let content = read_file(&disk, &base).expect("is there");
    let behind = resp(&[&["SELECT", "3"], &["SET", "old", "x"]]);
    let single = directory(&[("/data/appendonly.aof", &[&content[..], &behind].concat())]);
    state.insert((3, "old".into()), "x".into());
    lives_on(&single, &state);
    let damaged = directory(&[("/data/appendonly.aof", &[&content[..], &behind].concat())]);
    damaged.flip(Path::new("/data/appendonly.aof"), 10_000, 2).expect("flips");
    assert!(matches!(load(&damaged), Err(OpenError::Rotten(_))));
}
