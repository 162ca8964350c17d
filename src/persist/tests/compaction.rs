//! Compaction: what is on disk after each step; every step of it as the last one before a crash, twice over; a fault at
//! every call; and saves beside it.

use super::crashes::{Crashed, Every, crashes, runs};
use super::model::{Db, History, State, Workload, begin_life, open_db, options, word_list};
use crate::env::disk::read_file;
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::{Disk, UnixMillis};
use crate::keyspace::{AccessClock, AccessPolicy, Keyspace, Snapshot, Ttl};
use crate::persist::log::WriterOptions;
use crate::persist::rdb::{self, RdbOptions, SavedAccess};
use crate::persist::{
    BaseOptions, CloseState, Compaction, CompactionStep, DraftWriter, Manifest, OpenOptions, Position, SaveStep, Step,
    SyncPolicy,
};
use crate::value::{Limits, Str};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const DIRECTORY: &str = "/data/appendonlydir";
pub const MANIFEST: &str = "/data/appendonlydir/appendonly.aof.manifest";
pub const PATIENCE: Duration = Duration::from_secs(5);

pub fn snapshot(state: &State) -> Snapshot {
    let mut store = Keyspace::new(16, Limits::default());
    for ((db, key), text) in state {
        store.db_mut(*db).set(key.as_bytes(), Str::encode(text.as_bytes()), Ttl::Clear, 1);
    }
    store.snapshot()
}

pub fn rdb_options(path: &str) -> RdbOptions {
    RdbOptions {
        path: path.into(),
        version: 10,
        compression: true,
        checksum: true,
        sync_every: None,
        access: SavedAccess::Nothing,
        clock: AccessClock::new(AccessPolicy::Lru, UnixMillis(0)),
        fields: vec![("aof-base", "1".into())],
        libraries: Vec::new(),
        position: None,
        block_bytes: None,
        helpers: 0,
    }
}

/// A cut and a snapshot in one hold, as the server makes them.
pub fn compaction(disk: &SimDisk, db: &Db, options: &OpenOptions, as_commands: bool) -> Compaction {
    compaction_in_blocks(disk, db, options, as_commands, None)
}

/// The same, of a base in blocks of so many bytes.
pub fn compaction_in_blocks(
    disk: &SimDisk,
    db: &Db,
    options: &OpenOptions,
    as_commands: bool,
    block_bytes: Option<u64>,
) -> Compaction {
    let (cut, snapshot) = (db.log.buffer.cut(), snapshot(&db.store.state));
    let options = BaseOptions {
        log: WriterOptions {
            directory: DIRECTORY.into(),
            prefix: options.append_file.clone(),
            segment_bytes_max: options.segment_bytes_max,
        },
        position: Position { lineage: db.log.lineage, lsn: cut.lsn },
        rdb: RdbOptions { block_bytes, ..rdb_options("chosen later") },
        as_commands,
        timestamp: as_commands.then_some(1_700_000_000_999),
        keep_superseded: options.keep_superseded,
    };
    Compaction::new(Arc::new(disk.clone()), Arc::clone(&db.log.buffer), cut, snapshot, options)
}

/// Lets compaction and writer take turns until the compaction has ended; whether it has come to its end.
pub fn complete(compaction: &mut Compaction, db: &mut Db, history: &mut History) -> Result<(), String> {
    for _ in 0..1000 {
        match compaction.step() {
            Ok(CompactionStep::Done) => return Ok(()),
            Ok(CompactionStep::Worked | CompactionStep::Waits) => {}
            Err(error) => return Err(error.to_string()),
        }
        db.pump_for(history, Duration::from_millis(50));
    }
    Err("it does not come to an end".into())
}

pub fn files(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new(DIRECTORY)).unwrap().into_iter().map(|name| name.replace("appendonly.aof.", "")).collect()
}

pub fn manifest(disk: &SimDisk) -> Manifest {
    Manifest::decode(&read_file(disk, Path::new(MANIFEST)).unwrap()).unwrap()
}

pub fn write(db: &mut Db, history: &mut History, key: &str) {
    db.submit(0, &[word_list(&["SET", key, &"v".repeat(40)])], history);
    db.pump_for(history, Duration::ZERO);
}

/// The table in format-spec/data-directory.md.
#[test]
fn what_is_on_disk_after_each_step() {
    for as_commands in [false, true] {
        let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
        let mut db = open_db(&disk, &options, 1).unwrap();
        let mut history = History::from(State::new());
        write(&mut db, &mut history, "before");
        let base = if as_commands { "1.base.aof" } else { "1.base.rdb" };
        let mut compaction = compaction(&disk, &db, &options, as_commands);
        let mut seen = vec![files(&disk)];
        let mut look = |disk: &SimDisk| {
            if seen.last() != Some(&files(disk)) {
                seen.push(files(disk));
            }
        };
        db.pump_for(&mut history, Duration::ZERO);
        look(&disk);
        write(&mut db, &mut history, "behind");
        while compaction.step().unwrap() != CompactionStep::Done {
            look(&disk);
            db.pump_for(&mut history, Duration::ZERO);
            look(&disk);
        }
        let expected: [&[&str]; 6] = [
            &["1.incr.aof", "manifest"],
            &["1.incr.aof", "2.incr.aof", "manifest"],
            &["1.base.tmp", "1.incr.aof", "2.incr.aof", "manifest"],
            &["1.base", "1.incr.aof", "2.incr.aof", "manifest"],
            &["1.base", "2.incr.aof", "manifest"],
            &[],
        ];
        let expected: Vec<Vec<String>> =
            expected[..5].iter().map(|names| names.iter().map(|name| name.replace("1.base", base)).collect()).collect();
        assert_eq!(seen, expected);
        let found = manifest(&disk);
        assert_eq!(found.files.iter().map(|file| file.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((found.state, found.segments_from), (CloseState::Open, Some(2)));
        let expected = db.store.state.clone();
        drop(db);
        for mode in [CrashMode::Kill, CrashMode::ALL_UNSYNCED_LOST] {
            assert_eq!(open_db(&disk.crash(mode, 0), &options, 2).unwrap().store.state, expected);
        }
    }
}

#[test]
fn a_base_is_followed_by_the_segment_behind_its_cut_only() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "before");
    let old = disk.fork();
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    for n in 0..40 {
        write(&mut db, &mut history, &format!("{n}"));
    }
    drop(db);
    let mut found = manifest(&disk);
    assert!(found.incremental().count() > 2);
    // Without its first segment; with a base of another log.
    let first = found.files.remove(1);
    found.segments_from = Some(first.sequence + 1);
    let lost = disk.fork();
    found.store(&lost, Path::new(MANIFEST)).unwrap();
    lost.remove(&Path::new(DIRECTORY).join(&first.name)).unwrap();
    assert!(open_db(&lost, &options, 2).is_err());
    let mut other = open_db(&old.crash(CrashMode::Kill, 0), &options, 9).unwrap();
    let elsewhere = SimDisk::new();
    let mut stranger = open_db(&elsewhere, &options, 77).unwrap();
    write(&mut stranger, &mut history, "before");
    complete(&mut compaction(&elsewhere, &stranger, &options, false), &mut stranger, &mut history).unwrap();
    write(&mut other, &mut history, "x");
    let base = Path::new(DIRECTORY).join("appendonly.aof.1.base.rdb");
    let swapped = disk.fork();
    crate::env::disk::replace_file(&swapped, &base, &read_file(&elsewhere, &base).unwrap()).unwrap();
    let mut unnamed = manifest(&disk);
    unnamed.base_identity = None;
    unnamed.store(&swapped, Path::new(MANIFEST)).unwrap();
    assert!(open_db(&swapped, &options, 3).is_err(), "the base stands in another history");
}

#[test]
fn an_empty_data_set_behind_a_base_is_no_empty_log() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "a");
    let mut dump = rdb::begin(Arc::new(disk.clone()), snapshot(&db.store.state), rdb_options("/data/dump.rdb"));
    while dump.step().unwrap() == SaveStep::Worked {}
    db.submit(0, &[word_list(&["DEL", "a"])], &mut history);
    db.pump_for(&mut history, Duration::ZERO);
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    drop(db);
    let db = open_db(&disk, &options, 2).unwrap();
    assert!(db.store.state.is_empty());
    assert!(db.log.buffer.next().0 > 1);
}

#[test]
fn rewrites_follow_each_other_and_lsns_go_on_through_clean_and_unclean_ends() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Everysec));
    let mut last = 0;
    for round in 0..6 {
        let mut db = open_db(&disk, &options, round).unwrap();
        let mut history = History::from(db.store.state.clone());
        assert!(db.log.buffer.next().0 >= last);
        for _ in 0..round % 3 {
            write(&mut db, &mut history, &format!("{round}"));
        }
        complete(&mut compaction(&disk, &db, &options, round % 2 == 1), &mut db, &mut history).unwrap();
        let names = files(&disk);
        assert_eq!(names.len(), 3, "a base, a segment, the manifest: {names:?}");
        last = db.log.buffer.next().0;
        if round % 2 == 0 {
            db.log.buffer.close();
            assert!(db.pump_for(&mut history, PATIENCE));
        }
        let expected = db.store.state.clone();
        drop(db);
        assert_eq!(open_db(&disk.fork(), &options, round + 50).unwrap().store.state, expected);
    }
}

#[test]
fn a_roll_that_fails_gives_the_rewrite_up_and_stays_on_the_segment() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "before");
    let fault = disk.fail(FaultSpec::new(Op::Create, Fault::Errno(libc::EMFILE)).on("incr.aof"));
    let error = complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap_err();
    assert!(error.contains("/data/appendonlydir"), "{error}");
    write(&mut db, &mut history, "behind");
    assert_eq!((history.durable, files(&disk)), (2, vec!["1.incr.aof".to_owned(), "manifest".into()]));
    disk.lift(fault);
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    assert_eq!(files(&disk), ["1.base.rdb", "2.incr.aof", "manifest"]);
}

/// A segment was full when the cut came, and what lay in front of the cut was not written yet: the roll of the full segment
/// counted as the one at the cut, and the base stood inside of the segment behind it. The next start refused.
#[test]
fn a_cut_that_comes_when_a_segment_is_full_is_made_behind_what_lies_in_front_of_it() {
    for policy in [SyncPolicy::Always, SyncPolicy::Everysec] {
        let (disk, options) = (SimDisk::new(), options(policy));
        let mut db = open_db(&disk, &options, 1).unwrap();
        let mut history = History::from(State::new());
        db.submit(0, &[word_list(&["SET", "full", &"v".repeat(1600)])], &mut history);
        let progress = Arc::clone(db.log.buffer.progress());
        while progress.written() < progress.appended() {
            match db.log.writer.step() {
                Step::Sync(job) => db.log.writer.finish_sync(job.run()),
                Step::Worked => {}
                Step::Idle(_) | Step::Closed => panic!("{policy:?}: it is not written"),
            }
        }
        db.submit(0, &[word_list(&["SET", "in front", "1"])], &mut history);
        assert!(progress.written() < progress.appended(), "{policy:?}: the segment is full");
        let mut rewrite = compaction(&disk, &db, &options, false);
        db.submit(0, &[word_list(&["SET", "behind", "1"])], &mut history);
        complete(&mut rewrite, &mut db, &mut history).unwrap();
        db.pump_for(&mut history, PATIENCE);
        let expected = db.store.state.clone();
        drop(db);
        for mode in [CrashMode::Kill, CrashMode::ALL_UNSYNCED_LOST] {
            let db = open_db(&disk.crash(mode, 0), &options, 2).unwrap_or_else(|error| panic!("{policy:?}: {error}"));
            assert_eq!(db.store.state, expected, "{policy:?}");
        }
    }
}

#[test]
fn superseded_files_stay_where_that_is_wanted() {
    let (disk, mut options) = (SimDisk::new(), options(SyncPolicy::Always));
    options.keep_superseded = true;
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    for round in 0..2 {
        write(&mut db, &mut history, &format!("{round}"));
        complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    }
    let all = ["1.base.rdb", "1.incr.aof", "2.base.rdb", "2.incr.aof", "3.incr.aof", "manifest"];
    assert_eq!((files(&disk), manifest(&disk).history().count()), (all.map(String::from).to_vec(), 3));
    drop(db);
    drop(open_db(&disk, &options, 2).unwrap());
    assert_eq!(manifest(&disk).history().count(), 3);
    options.keep_superseded = false;
    drop(open_db(&disk, &options, 3).unwrap());
    assert_eq!(files(&disk), ["2.base.rdb", "3.incr.aof", "manifest"]);
    assert_eq!(manifest(&disk).history().count(), 0);
}

/// Writes, rewrites and a save, in an order that the seed chooses.
fn run(disk: &SimDisk, options: &OpenOptions, seed: u64, rounds: u64) -> Option<History> {
    let mut workload = Workload::new(seed);
    let (mut db, mut history) = begin_life(disk, options, seed)?;
    let (mut rewrite, mut save): (Option<Compaction>, Option<DraftWriter>) = (None, None);
    for round in 0..rounds {
        for _ in 0..=workload.below(2) {
            let (number, commands) = workload.unit();
            db.submit(number, &commands, &mut history);
        }
        if rewrite.is_none() && round % 4 == 1 {
            rewrite = Some(compaction(disk, &db, options, seed.is_multiple_of(3)));
        }
        if save.is_none() && round == 2 {
            let dump = rdb_options("/data/dump.rdb");
            save = Some(rdb::begin(Arc::new(disk.clone()), snapshot(&db.store.state), dump));
        }
        for _ in 0..workload.below(4) {
            rewrite = rewrite.filter_map_step();
            save = save.and_then(|mut save| matches!(save.step(), Ok(SaveStep::Worked)).then_some(save));
            db.pump_for(&mut history, Duration::from_millis(workload.below(2) * 1100));
        }
    }
    if let Some(mut rewrite) = rewrite {
        // Whether or not it comes to its end, the log is whole.
        let _ = complete(&mut rewrite, &mut db, &mut history);
    }
    db.pump_for(&mut history, Duration::from_millis(1100));
    Some(history)
}

trait Stepping: Sized {
    fn filter_map_step(self) -> Self;
}

impl Stepping for Option<Compaction> {
    /// One step; nothing where that was the last.
    fn filter_map_step(self) -> Self {
        self.and_then(|mut rewrite| match rewrite.step() {
            Ok(CompactionStep::Worked | CompactionStep::Waits) => Some(rewrite),
            Ok(CompactionStep::Done) | Err(_) => None,
        })
    }
}

fn enumerate(policy: SyncPolicy, seed: u64) {
    let options = options(policy);
    Every {
        options: &options,
        seed,
        crashes: &crashes(),
        one_in: 61,
        run: &|disk, second| run(disk, &options, seed + u64::from(second), if second { 3 } else { 7 }),
        also: &|crash| nothing_is_left_behind(crash),
    }
    .judge();
}

/// The directory holds what its manifest names, and what recovery sets aside.
fn nothing_is_left_behind(crash: &Crashed<'_>) {
    let left = manifest(crash.recovered);
    for name in files(crash.recovered) {
        let known = name == "manifest" || name.ends_with(".torn");
        let named = left.files.iter().any(|file| file.name == format!("appendonly.aof.{name}"));
        assert!(known || named, "{}: {name} is left behind", crash.what);
    }
    assert_eq!(left.history().count(), 0, "{}", crash.what);
}

#[test]
fn a_crash_at_any_step_of_a_rewrite_loses_nothing_acknowledged() {
    for seed in 0..runs().div_ceil(3) {
        enumerate(SyncPolicy::Always, 300 + seed);
        enumerate(SyncPolicy::Everysec, 400 + seed);
    }
}

/// One fault at the first call of a kind, at the second, and so on, as long as there are that many.
#[test]
fn a_fault_at_any_call_harms_nobody_and_the_next_rewrite_succeeds() {
    let ops = [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::SyncDir, Op::Remove, Op::List];
    for (policy, op) in [SyncPolicy::Always, SyncPolicy::Everysec].into_iter().flat_map(|p| ops.map(|op| (p, op))) {
        let options = options(policy);
        for nth in 0.. {
            let disk = SimDisk::new();
            let mut db = open_db(&disk, &options, 1).unwrap();
            let mut history = History::from(State::new());
            write(&mut db, &mut history, "before");
            let fault = disk.fail(FaultSpec::new(op, Fault::Eio).nth(nth));
            let mut rewrite = Some(compaction(&disk, &db, &options, false));
            for n in 0..12 {
                rewrite = rewrite.filter_map_step();
                write(&mut db, &mut history, &format!("{n}"));
            }
            if let Some(mut rewrite) = rewrite {
                // It may have failed, or not.
                let _ = complete(&mut rewrite, &mut db, &mut history);
            }
            db.pump_for(&mut history, PATIENCE);
            let what = format!("{policy:?}, {op:?} {nth}");
            assert_eq!(history.durable, history.states.len() - 1, "{what}");
            let struck = disk.lift(fault);
            let expected = db.store.state.clone();
            let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, nth);
            let found = open_db(&crashed, &options, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.store.state, expected, "{what}");
            complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(manifest(&disk).history().count(), 0, "{what}");
            drop(db);
            assert_eq!(open_db(&disk, &options, 3).unwrap().store.state, expected, "{what}");
            if struck == 0 {
                assert!(nth > 0, "{op:?} is never called");
                break;
            }
        }
    }
}

/// While it is in doubt whether the manifest is on disk, nothing that either of the two names is removed.
#[test]
fn a_manifest_in_doubt_is_stored_again_before_anything_is_removed() {
    // The writes below stay in one segment: naming another one would be in doubt itself.
    let (disk, options) = (SimDisk::new(), OpenOptions { segment_bytes_max: 1 << 20, ..options(SyncPolicy::Always) });
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "before");
    let mut rewrite = compaction(&disk, &db, &options, false);
    db.pump_for(&mut history, Duration::ZERO);
    let fault = disk.fail(FaultSpec::new(Op::Rename, Fault::Eio).on("manifest"));
    let mut waits = 0;
    for n in 0..1000 {
        let step = rewrite.step().unwrap();
        assert_ne!(step, CompactionStep::Done);
        write(&mut db, &mut history, &format!("{n}"));
        waits += usize::from(step == CompactionStep::Waits);
        if waits == 5 {
            break;
        }
    }
    assert_eq!(waits, 5, "the base is written, and its naming in doubt");
    assert_eq!(files(&disk).iter().filter(|name| !name.ends_with("tmp")).count(), 4, "{:?}", files(&disk));
    assert_eq!(history.durable, history.states.len() - 1, "writes go on");
    assert!(!rewrite.abandon(), "it cannot be given up any more");
    disk.lift(fault);
    complete(&mut rewrite, &mut db, &mut history).unwrap();
    assert_eq!(manifest(&disk).history().count(), 0);
    let expected = db.store.state.clone();
    drop(db);
    assert_eq!(open_db(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), &options, 2).unwrap().store.state, expected);
}

#[test]
fn a_poisoned_file_asks_for_a_rewrite() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "a");
    assert!(!db.log.buffer.progress().is_rebase_asked());
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).on("incr.aof").nth(0));
    write(&mut db, &mut history, "b");
    db.pump_for(&mut history, PATIENCE);
    assert!(db.log.buffer.progress().is_rebase_asked());
}
