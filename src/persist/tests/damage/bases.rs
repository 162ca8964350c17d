//! Bases and what may become one: stock's files, dumps, damaged and exchanged ones.

use super::*;

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
