//! A log that is begun while its server runs: what is on disk after each step, every step of it as the last one before a crash,
//! twice over, a fault at every call; over nothing, over a log that the data descends from, over one of another history.

use super::compaction::{DIRECTORY, PATIENCE, files, manifest, rdb_options, snapshot};
use super::crashes::{crashes, judge};
use super::lineage::{DUMP, open_off, save, save_beside, save_off, set, state, superseded, with_log};
use super::model::{Db, History, START, State, Workload, open_db, options};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::{Clock, ManualClock, SeededEntropy};
use crate::persist::log::WriterOptions;
use crate::persist::{
    BaseOptions, CloseState, Compaction, CompactionStep, Founding, LogBuffer, OpenOptions, OpenedLog, Position,
    Progress, SavedDump, SyncPolicy, clear_unnamed, found,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn log_options(options: &OpenOptions) -> WriterOptions {
    WriterOptions {
        directory: DIRECTORY.into(),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    }
}

/// Starts without a log and begins one at once; nothing where that failed.
fn begin(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Option<(Db, Compaction)> {
    let (state, opened) = open_off(disk, options, seed).ok()?;
    let (clock, position) =
        (Arc::new(ManualClock::at(START)), Position { lineage: opened.lineage, lsn: opened.report.end.plus(100) });
    let progress = Arc::new(Progress::unfounded(position.lsn, options.policy));
    let buffer = Arc::new(LogBuffer::new(position.lsn, 0, START.0, options.unsynced_bytes_max, progress));
    let founding = Founding {
        options: log_options(options),
        position,
        descends: opened.log_below.is_some(),
        saved_dump: opened.known_dump.map(|identity| SavedDump {
            timeline: position.lineage.timeline,
            lsn: crate::persist::Lsn::FIRST,
            identity,
        }),
    };
    let snapshot = snapshot(&state);
    let (writer, cut) = found(
        Arc::new(disk.clone()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Box::new(SeededEntropy::new(seed + 77)),
        Arc::clone(&buffer),
        founding,
    )
    .ok()?;
    let base = BaseOptions {
        log: log_options(options),
        position,
        rdb: rdb_options("chosen later"),
        as_commands: seed.is_multiple_of(2),
        timestamp: None,
        keep_superseded: false,
    };
    let compaction = Compaction::new(Arc::new(disk.clone()), Arc::clone(&buffer), cut, snapshot, base);
    let log = OpenedLog { writer, buffer, lineage: position.lineage };
    Some((Db::over(log, clock, state, opened), compaction))
}

/// What lay in the directory before, by name.
fn before(name: &str) -> (SimDisk, OpenOptions) {
    match name {
        "nothing" => (SimDisk::new(), options(SyncPolicy::Always)),
        "a dump" => {
            let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
            let (_, opened) = open_off(&disk, &options, 1).expect("a fresh directory");
            save(&disk, &state("saved"), Position { lineage: opened.lineage, lsn: opened.report.end.plus(9) });
            (disk, options)
        }
        "a log descended from" | "a log of another history" => {
            let (disk, options) = with_log("in the log");
            let (mut db, mut history) = (open_db(&disk, &options, 1).unwrap(), History::from(State::new()));
            save_beside(&disk, &mut db, &mut history);
            drop(db);
            let (_, opened) = open_off(&disk, &options, 2).unwrap();
            if name == "a log descended from" {
                save_off(&disk, &opened, &state("saved"), 10);
            } else {
                let stranger = open_off(&SimDisk::new(), &options, 99).unwrap().1;
                save(
                    &disk,
                    &state("saved"),
                    Position { lineage: stranger.lineage, lsn: stranger.report.end.plus(500) },
                );
            }
            (disk, options)
        }
        other => panic!("{other}"),
    }
}

const PLACES: [&str; 4] = ["nothing", "a dump", "a log descended from", "a log of another history"];

/// The table in format-spec/data-directory.md.
#[test]
fn what_is_on_disk_after_each_step_of_switching_on_and_off() {
    let (disk, options) = before("a log descended from");
    let old = files(&disk);
    assert_eq!(old, ["1.incr.aof", "2.incr.aof", "manifest"]);
    let (mut db, mut compaction) = begin(&disk, &options, 3).unwrap();
    let mut seen = vec![files(&disk)];
    let mut history = History::from(db.store.state.clone());
    let progress = Arc::clone(db.log.buffer.progress());
    loop {
        assert_eq!(progress.is_founded(), manifest(&disk).files.iter().any(|file| file.name.contains("base")));
        let step = compaction.step().unwrap();
        if seen.last() != Some(&files(&disk)) {
            seen.push(files(&disk));
        }
        if step == CompactionStep::Done {
            break;
        }
        db.pump_for(&mut history, Duration::ZERO);
    }
    let expected: [&[&str]; 4] = [
        &["1.incr.aof", "2.incr.aof", "3.incr.aof", "founding", "manifest"],
        &["1.base.rdb.tmp", "1.incr.aof", "2.incr.aof", "3.incr.aof", "founding", "manifest"],
        &["1.base.rdb", "1.incr.aof", "2.incr.aof", "3.incr.aof", "founding", "manifest"],
        &["1.base.rdb", "3.incr.aof", "founding", "manifest"],
    ];
    seen.retain(|names| names.len() != 5 || names.contains(&"founding".to_owned()) && names[0] != "1.base.rdb");
    assert_eq!(seen, expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()));
    crate::persist::remove_mark(&disk, &log_options(&options)).unwrap();
    set(&mut db, &mut history, "on");
    // Off: as at the end of a server.
    db.log.buffer.close();
    assert!(db.pump_for(&mut history, PATIENCE));
    assert_eq!(files(&disk), ["1.base.rdb", "3.incr.aof", "manifest"]);
    assert!(matches!(manifest(&disk).state, CloseState::Closed { .. }));
    drop(db);
    let (found, opened) = open_off(&disk, &options, 4).unwrap();
    assert_eq!((found, opened.log_below.is_some()), (state("on"), true));
}

/// Begins a log, writes beside it and behind it; nothing where it could not be begun.
fn run(disk: &SimDisk, options: &OpenOptions, seed: u64) -> Option<(History, bool)> {
    let mut workload = Workload::new(seed);
    let (mut db, mut compaction) = begin(disk, options, seed)?;
    let mut history = History::from(db.store.state.clone());
    let mut ended = false;
    for round in 0..9 {
        for _ in 0..=workload.below(2) {
            let (number, commands) = workload.unit();
            db.submit(number, &commands, &mut history);
        }
        for _ in 0..3 {
            ended = ended || !matches!(compaction.step(), Ok(CompactionStep::Worked | CompactionStep::Waits));
            db.pump_for(&mut history, Duration::ZERO);
        }
        if ended && round == 7 && db.log.buffer.progress().is_founded() {
            // It fails only where the disk is frozen.
            let _ = crate::persist::remove_mark(disk, &log_options(options));
        }
    }
    db.pump_for(&mut history, PATIENCE);
    Some((history, db.log.buffer.progress().is_founded()))
}

#[test]
fn a_crash_at_any_step_leaves_the_log_of_before_or_the_new_one() {
    for (number, place) in PLACES.into_iter().enumerate() {
        let (disk, options) = before(place);
        let old = open_off(&disk.fork(), &options, 50).unwrap().0;
        let mut second = 0;
        disk.for_each_crash(
            &crashes(),
            |disk| run(disk, &options, 20 + number as u64),
            |ran, crashed, point| {
                let what = format!("{place}, {point}");
                let check = |disk: &SimDisk, seed: u64, what: &str| -> State {
                    let db = open_db(disk, &options, seed).unwrap_or_else(|error| panic!("{what}: {error}"));
                    db.store.state.clone()
                };
                let found = check(&crashed.fork(), 30, &what);
                let others = superseded(&crashed).len();
                assert!(others <= usize::from(place == "a log of another history"), "{what}");
                match ran {
                    Some((history, true)) => {
                        judge(&Some(history.clone()), &old, &found, point.mode, options.policy, &what);
                    }
                    // It never counted; where its manifest was on its way, it may.
                    Some((history, false)) if history.prefix(&found).is_some() => {}
                    _ => {
                        let kept = place == "a log of another history" && found == state("in the log");
                        assert!(found == old || kept, "{what}: {found:?}");
                    }
                }
                let left = crashed.fork();
                drop(open_db(&left, &options, 31).unwrap());
                let named = manifest(&left);
                for name in files(&left) {
                    let known = name == "manifest" || name.ends_with(".torn");
                    let is_named = named.files.iter().any(|file| file.name == format!("appendonly.aof.{name}"));
                    assert!(known || is_named, "{what}: {name} is left behind");
                }
                second += 1;
                if second % 41 != 0 {
                    return;
                }
                // The next attempt meets what this one left, and a crash of its own.
                let before_it = open_off(&crashed.fork(), &options, 32).map(|(state, _)| state);
                crashed.for_each_crash(
                    &[(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0)],
                    |disk| run(disk, &options, 40),
                    |second, again, inner| {
                        let what = format!("{what}; then {inner}");
                        let found = check(&again, 33, &what);
                        match second {
                            Some((history, true)) => {
                                judge(&Some(history.clone()), &old, &found, inner.mode, options.policy, &what);
                            }
                            Some((history, false)) if history.prefix(&found).is_some() => {}
                            _ if ran.as_ref().is_some_and(|(history, _)| history.prefix(&found).is_some()) => {
                                let (first, counted) = ran.as_ref().expect("just seen");
                                if *counted {
                                    judge(&Some(first.clone()), &old, &found, inner.mode, options.policy, &what);
                                }
                            }
                            _ => assert!(
                                before_it.as_ref().is_ok_and(|before| *before == found)
                                    || found == old
                                    || found == state("in the log")
                                    || before_it.is_err(),
                                "{what}: {found:?}"
                            ),
                        }
                    },
                );
            },
        );
    }
}

#[test]
fn a_fault_at_any_call_leaves_what_was_there_and_the_next_attempt_succeeds() {
    let ops = [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::SyncDir, Op::Remove, Op::List];
    for (place, op) in PLACES.into_iter().flat_map(|place| ops.map(|op| (place, op))) {
        for nth in 0.. {
            let (disk, options) = before(place);
            let old = open_off(&disk.fork(), &options, 50).unwrap().0;
            let (state_then, opened) = open_off(&disk, &options, 2).unwrap();
            drop(opened);
            let what = format!("{place}, {op:?} {nth}");
            let fault = disk.fail(FaultSpec::new(op, Fault::Eio).nth(nth));
            let mut founded = None;
            if let Some((mut db, mut compaction)) = begin(&disk, &options, 3) {
                let mut history = History::from(db.store.state.clone());
                let progress = Arc::clone(db.log.buffer.progress());
                for n in 0..40 {
                    if progress.trouble().is_some() && compaction.abandon() {
                        break;
                    }
                    if !matches!(compaction.step(), Ok(CompactionStep::Worked | CompactionStep::Waits)) {
                        break;
                    }
                    if n % 5 == 0 {
                        db.submit(0, &[super::model::word_list(&["SET", "k", &n.to_string()])], &mut history);
                    }
                    db.pump_for(&mut history, Duration::from_millis(50));
                }
                db.pump_for(&mut history, PATIENCE);
                if progress.is_founded() {
                    assert_eq!(history.durable, history.states.len() - 1, "{what}");
                    founded = Some(db.store.state.clone());
                } else {
                    // As the server does: the writer is given up, and what it wrote is removed.
                    db.log.buffer.give_up();
                    assert!(db.pump_for(&mut history, PATIENCE), "{what}");
                    let _ = clear_unnamed(&disk, &log_options(&options));
                }
            }
            let struck = disk.lift(fault);
            let found = open_db(&disk.fork(), &options, 5).unwrap_or_else(|error| panic!("{what}: {error}"));
            match &founded {
                Some(state) => assert_eq!(&found.store.state, state, "{what}"),
                None => {
                    let kept = place == "a log of another history" && found.store.state == state("in the log");
                    assert!(found.store.state == old || kept, "{what}: {:?}", found.store.state);
                }
            }
            drop(found);
            assert_eq!(state_then, old, "{what}");
            if founded.is_some() {
                if struck == 0 {
                    assert!(nth > 0 || op == Op::Remove, "{op:?} is never called");
                    break;
                }
                continue;
            }
            let (mut db, mut compaction) = begin(&disk, &options, 6).unwrap_or_else(|| panic!("{what}: again"));
            let mut history = History::from(db.store.state.clone());
            super::compaction::complete(&mut compaction, &mut db, &mut history)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            set(&mut db, &mut history, "at last");
            drop(db);
            let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
            assert_eq!(open_db(&crashed, &options, 7).unwrap().store.state[&(0, "k".to_owned())], "at last", "{what}");
            assert_ne!(struck, 0, "{what}: nothing failed, and yet it was not begun");
        }
    }
}

/// What never counted gates nobody; a log that is whole and given up at once is as if it had never been.
#[test]
fn a_log_that_is_given_up_leaves_nothing() {
    for place in PLACES {
        let (disk, options) = before(place);
        let (mut db, mut compaction) = begin(&disk, &options, 3).unwrap();
        let mut history = History::from(db.store.state.clone());
        set(&mut db, &mut history, "never promised");
        for _ in 0..4 {
            compaction.step().unwrap();
        }
        assert!(!db.log.buffer.progress().is_founded() && compaction.abandon());
        db.log.buffer.give_up();
        assert!(db.pump_for(&mut history, PATIENCE));
        clear_unnamed(&disk, &log_options(&options)).unwrap();
        drop(db);
        let left = files(&disk).into_iter().filter(|name| name != "manifest" && !name.starts_with("1."));
        let allowed: &[&str] = if place == "a log descended from" { &["2.incr.aof"] } else { &[] };
        assert_eq!(left.collect::<Vec<_>>(), allowed, "{place}");
        let dumped = place != "nothing";
        let (found, _) = open_off(&disk, &options, 4).unwrap();
        assert_eq!(found, if dumped { state("saved") } else { State::new() }, "{place}");
        assert!(disk_has_dump(&disk) == dumped);
    }
}

fn disk_has_dump(disk: &SimDisk) -> bool {
    crate::env::Disk::exists(disk, Path::new(DUMP)).unwrap()
}
