//! Which of log and dump is loaded: the later one of one history, the configured one of two; and nothing that is not loaded
//! is lost.

use super::compaction::{MANIFEST, PATIENCE, compaction, complete, manifest, rdb_options, snapshot, write};
use super::crashes::crashes;
use super::model::{Db, History, START, State, Store, open_db, options};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::disk::{read_file, replace_file};
use crate::env::{Disk, ManualClock, SeededEntropy};
use crate::persist::log::Order;
use crate::persist::{
    Lsn, MadeWay, NotLoaded, OpenError, OpenOptions, Opened, Position, SaveStep, SyncPolicy, World, make_way,
    note_saved, open, rdb, saved_dump,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const DUMP: &str = "/data/dump.rdb";

fn dump() -> &'static Path {
    Path::new(DUMP)
}

pub fn state(text: &str) -> State {
    [((0, "k".to_owned()), text.to_owned())].into()
}

/// A start with the log switched off: what it loaded, and where that stands.
pub fn open_off(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Result<(State, Opened), OpenError> {
    let mut store = Store::default();
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(START)),
        entropy: Box::new(SeededEntropy::new(seed)),
    };
    let opened = open(world, &OpenOptions { append_only: false, ..options.clone() }, &mut store)?;
    Ok((store.state, opened))
}

pub fn save(disk: &SimDisk, state: &State, position: Position) {
    let mut options = rdb_options(DUMP);
    options.position = Some(position);
    options.block_bytes = Some(300);
    let mut writer = rdb::begin(Arc::new(disk.clone()), snapshot(state), options);
    while writer.step().unwrap() == SaveStep::Worked {}
}

/// A save of a server without a log, `behind` bytes after its start.
pub fn save_off(disk: &SimDisk, opened: &Opened, state: &State, behind: u64) {
    let position = Position { lineage: opened.lineage, lsn: opened.report.end.plus(behind) };
    save(disk, state, position);
    if let Some(timeline) = opened.log_below {
        let saved = saved_dump(disk, dump(), timeline, &position).unwrap();
        note_saved(disk, Path::new(MANIFEST), saved).unwrap();
    }
}

/// A save beside the log.
pub fn save_beside(disk: &SimDisk, db: &mut Db, history: &mut History) {
    let position = Position { lineage: db.log.lineage, lsn: db.log.buffer.next() };
    save(disk, &db.store.state, position);
    let saved = saved_dump(disk, dump(), db.log.lineage.timeline, &position).unwrap();
    db.log.buffer.order(Order::Saved(saved));
    db.pump_for(history, PATIENCE);
}

pub fn superseded(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(Path::new("/data")).unwrap_or_default();
    names.into_iter().filter(|name| name.contains(".superseded-")).collect()
}

/// A log that was closed, with one write, and nothing beside it.
pub fn with_log(text: &str) -> (SimDisk, OpenOptions) {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    set(&mut db, &mut history, text);
    db.log.buffer.close();
    assert!(db.pump_for(&mut history, PATIENCE));
    (disk, options)
}

pub fn set(db: &mut Db, history: &mut History, text: &str) {
    db.submit(0, &[super::model::word_list(&["SET", "k", text])], history);
    db.pump_for(history, PATIENCE);
}

#[test]
fn the_log_is_loaded_without_aof_where_it_stands_behind_its_own_dump() {
    for ends in ["clean", "killed", "killed again and again"] {
        let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
        let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
        set(&mut db, &mut history, "saved");
        save_beside(&disk, &mut db, &mut history);
        let (saved, _) = open_off(&disk.crash(CrashMode::Kill, 0), &options, 2).unwrap();
        assert_eq!(saved, state("saved"));
        set(&mut db, &mut history, "behind it");
        if ends == "clean" {
            db.log.buffer.close();
            assert!(db.pump_for(&mut history, PATIENCE));
        }
        drop(db);
        let mut disk = disk.crash(CrashMode::Kill, 0);
        for seed in 0..if ends == "killed again and again" { 4 } else { 0 } {
            // Each opens a timeline of its own; some write.
            let mut db = open_db(&disk, &options, 10 + seed).unwrap();
            if seed % 2 == 1 {
                set(&mut db, &mut history, "behind it");
            }
            drop(db);
            disk = disk.crash(CrashMode::ALL_UNSYNCED_LOST, seed);
        }
        let (found, opened) = open_off(&disk, &options, 3).unwrap();
        assert_eq!(found, state("behind it"), "{ends}");
        assert!(opened.log_below.is_some() && opened.known_dump.is_some() && opened.report.not_loaded.is_none());
        // It goes on without a log: its saves are the later ones, whoever starts next.
        save_off(&disk, &opened, &state("off"), 9);
        drop(opened);
        assert_eq!(open_db(&disk.fork(), &options, 4).unwrap().store.state, state("off"), "{ends}");
        assert_eq!(open_off(&disk, &options, 4).unwrap().0, state("off"), "{ends}");
    }
}

#[test]
fn what_was_saved_without_a_log_is_later_than_the_log_however_often_that_was() {
    let (disk, options) = with_log("in the log");
    // There is no dump yet: what only the log holds is not passed over.
    assert!(matches!(open_off(&disk, &options, 2), Err(OpenError::DataElsewhere { .. })));
    let (mut db, mut history) = (open_db(&disk, &options, 2).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    drop(db);
    for start in 0..4 {
        let (_, opened) = open_off(&disk, &options, 10 + start).unwrap();
        save_off(&disk, &opened, &state(&format!("off {start}")), 7 * (start % 3));
    }
    let db = open_db(&disk, &options, 3).unwrap();
    assert_eq!(db.store.state, state("off 3"));
    assert_eq!(superseded(&disk), ["appendonlydir.superseded-20231114T221320Z"]);
    drop(db);
    assert_eq!(superseded(&disk).len(), 1);
    // The dump is the base of the new log, and known to it.
    let (mut db, mut history) = (open_db(&disk, &options, 4).unwrap(), History::from(State::new()));
    set(&mut db, &mut history, "on again");
    drop(db);
    let (found, opened) = open_off(&disk, &options, 5).unwrap();
    assert_eq!((found, opened.report.not_loaded), (state("on again"), None));
}

#[test]
fn a_dump_that_replaces_the_log_does_so_whatever_step_a_crash_picks() {
    let (disk, options) = with_log("in the log");
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    drop(db);
    let (_, opened) = open_off(&disk, &options, 2).unwrap();
    save_off(&disk, &opened, &state("later"), 10);
    let end = opened.report.end;
    drop(opened);
    disk.for_each_crash(
        &crashes(),
        |disk| open_db(disk, &options, 2).is_ok(),
        |_, crashed, point| {
            crashed.for_each_crash(
                &[(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0)],
                |disk| open_db(disk, &options, 3).is_ok(),
                |_, crashed, inner| {
                    let what = format!("{point}; then {inner}");
                    for seed in 4..6 {
                        let db = open_db(&crashed, &options, seed).unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert_eq!(db.store.state, state("later"), "{what}");
                        assert!(db.log.buffer.next() >= end.plus(10), "{what}");
                    }
                    assert_eq!(superseded(&crashed).len(), 1, "{what}");
                },
            );
        },
    );
    for op in [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::SyncDir, Op::Read, Op::List] {
        for nth in 0.. {
            let disk = disk.fork();
            let fault = disk.fail(FaultSpec::new(op, Fault::Eio).nth(nth));
            let opened = open_db(&disk, &options, 2).map(|db| db.store.state);
            assert!(opened.as_ref().map_or(true, |found| *found == state("later")), "{op:?} {nth}: {opened:?}");
            drop(opened);
            let struck = disk.lift(fault);
            assert_eq!(open_db(&disk, &options, 3).unwrap().store.state, state("later"), "{op:?} {nth}");
            if struck == 0 {
                break;
            }
        }
    }
}

/// A note of a save that a crash keeps from the manifest makes the dump one that nobody knows: it stays.
#[test]
fn a_crash_while_a_save_is_noted_loses_neither() {
    let (disk, options) = with_log("in the log");
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    drop(db);
    disk.for_each_crash(
        &crashes(),
        |disk| {
            if let Ok((_, opened)) = open_off(disk, &options, 2) {
                let position = Position { lineage: opened.lineage, lsn: opened.report.end.plus(9) };
                let mut wanted = rdb_options(DUMP);
                wanted.position = Some(position);
                let mut writer = rdb::begin(Arc::new(disk.clone()), snapshot(&state("later")), wanted);
                while matches!(writer.step(), Ok(SaveStep::Worked)) {}
                let Ok(saved) = saved_dump(disk, dump(), opened.log_below.unwrap(), &position) else { return false };
                return note_saved(disk, Path::new(MANIFEST), saved).is_ok();
            }
            false
        },
        |noted, crashed, point| {
            let (found, _) = open_off(&crashed, &options, 3).unwrap_or_else(|error| panic!("{point}: {error}"));
            assert!(found == state("later") || !noted && found == state("in the log"), "{point}: {found:?}");
            let db = open_db(&crashed, &options, 4).unwrap_or_else(|error| panic!("{point}: {error}"));
            let chosen = db.store.state.clone();
            assert!(chosen == state("later") || !noted && chosen == state("in the log"), "{point}: {chosen:?}");
            // Where the dump was passed over, it is there for whoever wants it.
            let dumped = db.report.not_loaded.is_some();
            assert!(!dumped || chosen == state("in the log"), "{point}");
        },
    );
}

#[test]
fn a_dump_from_elsewhere_is_never_guessed_about() {
    let (disk, options) = with_log("in the log");
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    let old = read_file(&disk, dump()).unwrap();
    set(&mut db, &mut history, "later");
    save_beside(&disk, &mut db, &mut history);
    set(&mut db, &mut history, "latest");
    drop(db);
    let elsewhere = with_log("foreign").0;
    let (mut stranger, mut history) = (open_db(&elsewhere, &options, 55).unwrap(), History::from(State::new()));
    for _ in 0..50 {
        set(&mut stranger, &mut history, "foreign");
    }
    save_beside(&elsewhere, &mut stranger, &mut history);
    let foreign = read_file(&elsewhere, dump()).unwrap();
    for (content, text, passed) in [(&old, "in the log", true), (&foreign, "foreign", false)] {
        let disk = disk.fork();
        replace_file(&disk, dump(), content).unwrap();
        // Off: the dump, and the log is named. What is saved then says nothing about the log.
        let (found, opened) = open_off(&disk.fork(), &options, 3).unwrap();
        assert_eq!(found, state(text));
        assert_eq!(opened.report.not_loaded, Some(NotLoaded::Log(PathBuf::from("/data/appendonlydir"))));
        assert!(opened.log_below.is_none() && opened.known_dump.is_some());
        drop(opened);
        // On: the log; a dump that its history has passed need not be kept.
        let mut db = open_db(&disk, &options, 4).unwrap();
        assert_eq!(db.store.state, state("latest"));
        assert_eq!(db.report.not_loaded, (!passed).then(|| NotLoaded::Dump(dump().to_owned())));
        assert_eq!(manifest(&disk).saved_dump, None);
        let here = Position { lineage: db.log.lineage, lsn: db.log.buffer.next() };
        let kept = make_way(&disk, dump(), None, &here, 1, START).unwrap();
        // The old one stands before two starts of this history: it cannot be told any more, and is kept.
        if let Some(MadeWay::Foreign(kept)) = &kept {
            assert_eq!(&read_file(&disk, kept).unwrap(), content);
        }
        assert!(kept.is_some() || passed);
        save_beside(&disk, &mut db, &mut History::from(State::new()));
        drop(db);
        assert_eq!(open_off(&disk, &options, 6).unwrap().0, state("latest"));
    }
}

#[test]
fn a_dump_that_is_put_back_behind_the_log_is_no_longer_its_own() {
    let (disk, options) = with_log("in the log");
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    drop(db);
    let (_, opened) = open_off(&disk, &options, 2).unwrap();
    save_off(&disk, &opened, &state("off"), 9);
    drop(opened);
    let moved = read_file(&disk, dump()).unwrap();
    disk.remove(dump()).unwrap();
    // Somebody took it away: the log goes on, past where it stood.
    let (mut db, mut history) = (open_db(&disk, &options, 3).unwrap(), History::from(State::new()));
    assert_eq!(db.store.state, state("in the log"));
    for _ in 0..9 {
        set(&mut db, &mut history, "another story");
    }
    drop(db);
    replace_file(&disk, dump(), &moved).unwrap();
    let (found, opened) = open_off(&disk.fork(), &options, 4).unwrap();
    assert_eq!((found, opened.log_below), (state("off"), None), "put there on purpose");
    let db = open_db(&disk, &options, 4).unwrap();
    assert_eq!(db.store.state, state("another story"));
    assert!(db.report.not_loaded.is_some());
}

#[test]
fn a_dump_that_became_the_base_is_known_to_its_log() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    disk.create_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut stock = rdb::begin(Arc::new(disk.clone()), snapshot(&state("stock's")), rdb_options(DUMP));
    while stock.step().unwrap() == SaveStep::Worked {}
    disk.for_each_crash(
        &[(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0)],
        |disk| open_db(disk, &options, 1).is_ok(),
        |_, disk, point| {
            let (mut db, mut history) = (open_db(&disk, &options, 2).unwrap(), History::from(State::new()));
            assert_eq!(db.store.state, state("stock's"), "{point}");
            set(&mut db, &mut history, "in the log");
            drop(db);
            let (found, opened) = open_off(&disk, &options, 3).unwrap();
            assert_eq!(found, state("in the log"), "{point}");
            assert!(opened.log_below.is_some(), "{point}");
        },
    );
}

#[test]
fn what_never_held_anything_does_not_win() {
    let (disk, options) = with_log("in the log");
    let empty = disk.fork();
    let mut nothing = rdb::begin(Arc::new(empty.clone()), snapshot(&State::new()), rdb_options(DUMP));
    while nothing.step().unwrap() == SaveStep::Worked {}
    assert!(matches!(open_off(&empty, &options, 2), Err(OpenError::DataElsewhere { .. })));
    assert_eq!(open_db(&empty, &options, 2).unwrap().store.state, state("in the log"));
    // A manifest that is gone makes no empty directory of one with a log.
    let lost = disk.fork();
    lost.remove(Path::new(MANIFEST)).unwrap();
    assert!(matches!(open_off(&lost, &options, 2), Err(OpenError::DataElsewhere { .. })));
    assert!(matches!(open_db(&lost, &options, 2), Err(OpenError::NoManifest { .. })));
    // All keys have gone in the course of things: that is the truth.
    let (mut db, mut history) = (open_db(&disk, &options, 3).unwrap(), History::from(State::new()));
    db.submit(0, &[super::model::word_list(&["DEL", "k"])], &mut history);
    save_beside(&disk, &mut db, &mut history);
    drop(db);
    let (found, opened) = open_off(&disk, &options, 4).unwrap();
    assert!(found.is_empty());
    save_off(&disk, &opened, &State::new(), 5);
    drop(opened);
    assert!(open_off(&disk.fork(), &options, 5).unwrap().0.is_empty());
    assert!(open_db(&disk, &options, 5).unwrap().store.state.is_empty());
}

#[test]
fn an_empty_log_without_a_dump_is_descended_from() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    drop(open_db(&disk, &options, 1).unwrap());
    let (found, opened) = open_off(&disk, &options, 2).unwrap();
    assert!(found.is_empty() && opened.log_below.is_some() && opened.report.end == Lsn::FIRST);
    save_off(&disk, &opened, &state("off"), 9);
    drop(opened);
    assert_eq!(open_db(&disk, &options, 3).unwrap().store.state, state("off"));
}

/// A rewrite has a new base take the place of the segments that the dump was saved beside.
#[test]
fn a_dump_stays_the_logs_own_through_rewrites() {
    let (disk, options) = with_log("in the log");
    let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
    save_beside(&disk, &mut db, &mut history);
    for text in ["one", "two"] {
        write(&mut db, &mut history, text);
        complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    }
    let expected = db.store.state.clone();
    drop(db);
    let (found, opened) = open_off(&disk, &options, 2).unwrap();
    assert_eq!((found, opened.log_below.is_some()), (expected, true));
}
