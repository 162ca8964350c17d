//! Write and sync failures: what the log does while they last, that it goes on by itself afterwards, and that a crash at
//! any step among them loses nothing.

use super::crashes::{crashes, judge, runs};
use super::model::{Db, History, State, Workload, open_db, options, word_list};
use crate::env::disk::read_file;
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::{Disk, SeededEntropy};
use crate::persist::{OpenOptions, SyncPolicy, fill_reserve, release_reserve, reserve_path};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const FIRST: &str = "/data/appendonlydir/appendonly.aof.1.incr.aof";

fn opened(policy: SyncPolicy) -> (SimDisk, Db, History) {
    let disk = SimDisk::new();
    let db = open_db(&disk, &options(policy), 1).expect("a fresh directory opens");
    let history = History::from(db.store.state.clone());
    (disk, db, history)
}

fn write(db: &mut Db, history: &mut History, key: &str) {
    db.submit(0, &[word_list(&["SET", key, &"v".repeat(40)])], history);
}

/// Everything is durable, nothing is in doubt, and a power cut takes nothing.
fn is_whole(disk: &SimDisk, db: Db, history: &History) {
    let progress = db.log.buffer.progress();
    assert_eq!(progress.durable(), progress.appended());
    assert_eq!(progress.trouble(), None);
    let expected = db.store.state.clone();
    assert_eq!(history.durable, history.states.len() - 1);
    drop(db);
    for mode in [CrashMode::Kill, CrashMode::ALL_UNSYNCED_LOST] {
        let crashed = disk.crash(mode, 0);
        let db = open_db(&crashed, &options(SyncPolicy::Always), 2).expect("opens");
        assert_eq!(db.store.state, expected);
    }
}

#[test]
fn a_full_disk_is_waited_for_and_said() {
    for fault in [Fault::Enospc, Fault::Eio] {
        let (disk, mut db, mut history) = opened(SyncPolicy::Always);
        write(&mut db, &mut history, "before");
        db.pump_for(&mut history, Duration::ZERO);
        let fault = disk.fail(FaultSpec::new(Op::Write, fault).on("incr.aof"));
        write(&mut db, &mut history, "during");
        db.pump_for(&mut history, PATIENCE);
        assert_eq!(history.durable, 1, "not acknowledged");
        let trouble = db.log.buffer.progress().trouble().expect("said");
        assert!(trouble.path.contains("incr.aof") && !trouble.error.is_empty());
        disk.lift(fault);
        db.pump_for(&mut history, PATIENCE);
        is_whole(&disk, db, &history);
    }
}

#[test]
fn half_a_frame_is_cut_away_before_the_next_attempt() {
    let (disk, mut db, mut history) = opened(SyncPolicy::Always);
    write(&mut db, &mut history, "before");
    db.pump_for(&mut history, Duration::ZERO);
    let whole = read_file(&disk, Path::new(FIRST)).expect("is there");
    disk.fail(FaultSpec::new(Op::Write, Fault::Short(30)).on("incr.aof").nth(0));
    let full = disk.fail(FaultSpec::new(Op::Write, Fault::Enospc).on("incr.aof").starting_at(1));
    write(&mut db, &mut history, "during");
    db.pump_for(&mut history, Duration::from_millis(1));
    assert_eq!(read_file(&disk, Path::new(FIRST)).expect("is there"), whole);
    disk.lift(full);
    db.pump_for(&mut history, PATIENCE);
    is_whole(&disk, db, &history);
}

#[test]
fn what_was_written_before_the_disk_was_full_is_still_synced() {
    let (disk, mut db, mut history) = opened(SyncPolicy::Everysec);
    write(&mut db, &mut history, "before");
    db.pump_for(&mut history, Duration::ZERO);
    assert_eq!((history.written, history.durable), (1, 0));
    disk.fail(FaultSpec::new(Op::Write, Fault::Enospc).on("incr.aof"));
    write(&mut db, &mut history, "during");
    db.pump_for(&mut history, Duration::from_secs(2));
    assert_eq!(history.durable, 1);
}

#[test]
fn a_failed_sync_moves_the_log_to_a_fresh_segment_and_replays_nothing_twice() {
    for policy in [SyncPolicy::Always, SyncPolicy::Everysec] {
        let (disk, mut db, mut history) = opened(policy);
        db.submit(0, &[word_list(&["INCR", "n"])], &mut history);
        db.pump_for(&mut history, PATIENCE);
        let durable = read_file(&disk, Path::new(FIRST)).expect("is there").len();
        disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).on("incr.aof").nth(0));
        for _ in 0..3 {
            db.submit(0, &[word_list(&["INCR", "n"])], &mut history);
            db.pump_for(&mut history, Duration::ZERO);
        }
        db.pump_for(&mut history, PATIENCE);
        let cut = read_file(&disk, Path::new(FIRST)).expect("is there").len();
        assert!(cut <= durable, "the poisoned file ends at its durable LSN");
        disk.drop_caches();
        is_whole(&disk, db, &history);
    }
}

#[test]
fn where_the_poisoned_file_cannot_be_cut_a_copy_takes_its_place() {
    let (disk, mut db, mut history) = opened(SyncPolicy::Always);
    write(&mut db, &mut history, "before");
    db.pump_for(&mut history, PATIENCE);
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).on("aof.1.incr.aof").nth(0));
    disk.fail(FaultSpec::new(Op::SetLen, Fault::Eio).on("aof.1.incr.aof"));
    write(&mut db, &mut history, "after");
    db.pump_for(&mut history, PATIENCE);
    disk.drop_caches();
    is_whole(&disk, db, &history);
}

#[test]
fn a_log_that_cannot_go_on_anywhere_is_in_doubt_until_it_can() {
    for op in [Op::Create, Op::Rename, Op::SyncDir] {
        let (disk, mut db, mut history) = opened(SyncPolicy::Always);
        write(&mut db, &mut history, "before");
        db.pump_for(&mut history, Duration::ZERO);
        disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).on("aof.1.incr.aof").nth(0));
        let fault = disk.fail(FaultSpec::new(op, Fault::Enospc));
        write(&mut db, &mut history, "during");
        db.pump_for(&mut history, PATIENCE);
        assert_eq!(history.durable, 1);
        assert!(db.log.buffer.progress().trouble().is_some(), "{op:?}: said");
        write(&mut db, &mut history, "later");
        disk.lift(fault);
        db.pump_for(&mut history, PATIENCE);
        is_whole(&disk, db, &history);
    }
}

#[test]
fn a_roll_that_fails_stays_on_the_segment() {
    let (disk, mut db, mut history) = opened(SyncPolicy::Always);
    let fault = disk.fail(FaultSpec::new(Op::Create, Fault::Errno(libc::EMFILE)));
    for n in 0..30 {
        write(&mut db, &mut history, &format!("k{n}"));
        db.pump_for(&mut history, Duration::ZERO);
    }
    assert_eq!(history.durable, 30, "writes go on");
    assert!(read_file(&disk, Path::new(FIRST)).expect("is there").len() > 3000);
    let progress = Arc::clone(db.log.buffer.progress());
    let said = progress.roll_trouble().expect("said").to_string();
    assert!(
        said.contains("/data/appendonlydir/appendonly.aof.2.incr.aof") && said.contains("limit of open files"),
        "{said}"
    );
    assert_eq!(progress.trouble(), None, "nobody waits for it");
    // It is tried again, later and later: 1, 2, 4, 8 seconds and so on.
    let struck = disk.struck(fault);
    for (seconds, tried) in [(1, 1), (1, 1), (1, 2), (1, 2), (1, 2), (1, 2), (1, 3), (7, 3), (1, 4)] {
        db.clock.advance(Duration::from_secs(seconds));
        write(&mut db, &mut history, "again");
        db.pump_for(&mut history, Duration::ZERO);
        assert_eq!(disk.struck(fault) - struck, tried);
    }
    disk.lift(fault);
    db.clock.advance(Duration::from_secs(60));
    write(&mut db, &mut history, "rolled");
    db.pump_for(&mut history, PATIENCE);
    assert!(disk.exists(Path::new("/data/appendonlydir/appendonly.aof.2.incr.aof")).expect("answers"));
    assert_eq!(progress.roll_trouble(), None);
    is_whole(&disk, db, &history);
}

/// The disk has no room for the log: writes in flight are in doubt, and durable as soon as the reserve is given up; a roll that
/// finds no room stays on its segment.
#[test]
fn a_full_disk_is_survived_on_the_reserve() {
    for policy in [SyncPolicy::Always, SyncPolicy::Everysec] {
        let (disk, mut db, mut history) = opened(policy);
        let path = reserve_path(Path::new("/data"));
        let free = || disk.free_bytes(Path::new("/")).unwrap();
        disk.set_capacity(Some(1 << 20));
        fill_reserve(&disk, &path, 64 << 10, &mut SeededEntropy::new(5)).expect("there is room");
        disk.set_capacity(Some((1 << 20) - free()));
        for n in 0..1000 {
            write(&mut db, &mut history, &format!("k{n}"));
            db.pump_for(&mut history, Duration::from_secs(2));
            if db.log.buffer.progress().trouble().is_some() {
                break;
            }
        }
        let trouble = db.log.buffer.progress().trouble().expect("it is full");
        assert!(trouble.full && trouble.remedy.contains("is full: free some room"), "{trouble}");
        assert!(free() < 4096 && history.durable < history.states.len() - 1, "what did not fit is not acknowledged");
        release_reserve(&disk, &path).expect("it can be removed");
        db.pump_for(&mut history, PATIENCE);
        assert_eq!(db.log.buffer.progress().trouble(), None);
        is_whole(&disk, db, &history);
    }
}

#[test]
fn the_policy_can_be_changed_while_running() {
    let (_, mut db, mut history) = opened(SyncPolicy::No);
    write(&mut db, &mut history, "a");
    db.pump_for(&mut history, PATIENCE);
    assert_eq!((history.written, history.durable), (1, 0));
    db.log.buffer.progress().set_policy(SyncPolicy::Always);
    db.pump_for(&mut history, Duration::ZERO);
    assert_eq!(history.durable, 1);
}

#[test]
fn an_idle_log_says_in_a_mark_that_it_is_durable() {
    let (disk, mut db, mut history) = opened(SyncPolicy::Always);
    write(&mut db, &mut history, "a");
    db.pump_for(&mut history, Duration::ZERO);
    let busy = read_file(&disk, Path::new(FIRST)).expect("is there").len();
    db.pump_for(&mut history, Duration::from_millis(100));
    let idle = read_file(&disk, Path::new(FIRST)).expect("is there").len();
    assert_eq!(idle - busy, crate::persist::log::format::FRAME_HEADER_BYTES);
    db.pump_for(&mut history, PATIENCE);
    assert_eq!(read_file(&disk, Path::new(FIRST)).expect("is there").len(), idle, "one mark is enough");
}

/// Like a run of the crash tests, on a disk that fails now and then. The faults end before the last writes.
fn run(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Option<History> {
    let mut workload = Workload::new(seed);
    let mut db = open_db(disk, options, seed).ok()?;
    let mut history = History::from(db.store.state.clone());
    for (at, op) in [Op::Write, Op::Sync, Op::SetLen, Op::Create, Op::Rename, Op::SyncDir].into_iter().enumerate() {
        if (seed >> at) & 1 == 0 {
            let fault = [Fault::Eio, Fault::Enospc, Fault::Short(70)]
                [workload.below(if op == Op::Write { 3 } else { 2 }) as usize];
            disk.fail(FaultSpec::new(op, fault).random(seed * 31 + at as u64, 4));
        }
    }
    for unit in 0..8 {
        if unit == 6 {
            disk.lift_all();
        }
        let (number, commands) = workload.unit();
        db.submit(number, &commands, &mut history);
        let patience = [0, 5, 50, 1500][workload.below(4) as usize];
        db.pump_for(&mut history, Duration::from_millis(patience));
    }
    db.pump_for(&mut history, PATIENCE);
    Some(history)
}

fn enumerate(policy: SyncPolicy, seed: u64) {
    let options = options(policy);
    let before = State::new();
    let mut ended = 0;
    SimDisk::new().for_each_crash(
        &crashes(),
        |disk| run(disk, &options, seed),
        |history, crashed, point| {
            let what = format!("{policy:?}, workload {seed}, {point}");
            let db = open_db(&crashed, &options, seed + 1000).unwrap_or_else(|error| panic!("{what}: {error}"));
            judge(history, &before, &db.store.state, point.mode, policy, &what);
            if let (Some(history), None) = (history, &point.in_flight) {
                assert_eq!(history.durable, history.states.len() - 1, "{what}: goes on by itself");
                ended += 1;
            }
        },
    );
    assert!(ended > 0);
}

#[test]
fn a_crash_among_failures_loses_nothing_acknowledged() {
    for seed in 0..runs() * 4 {
        enumerate(SyncPolicy::Always, seed);
        enumerate(SyncPolicy::Everysec, seed + 64);
    }
}
