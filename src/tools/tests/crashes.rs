//! Every write, sync, rename and removal of a repair in place as its last: the next start refuses for the reason that it had, or
//! loads what it would have loaded, or what the repair makes; and the next repair makes the same.

use super::{checked, config, damage, in_parallel, known};
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::env::{Disk, ManualClock, OpenMode, SeededEntropy};
use crate::persist::tests::model::{START, State, open_db};
use crate::tools::{Place, repair};
use std::path::Path;
use std::sync::Arc;

pub const MODES: [(CrashMode, u64); 3] =
    [(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0), (CrashMode::ANY_POWER_CUT, 1)];

/// Everything that is there is durable.
pub fn sync_all(disk: &SimDisk) {
    for path in disk.contents().into_keys() {
        disk.open(&path, OpenMode::ReadWrite).and_then(|file| file.sync_all()).expect("can be synced");
        for directory in path.ancestors().skip(1) {
            disk.sync_dir(directory).expect("can be synced");
        }
    }
}

pub fn repaired(disk: &SimDisk) -> Result<repair::Repaired, repair::Failed> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = repair::Options {
        path: "/data".into(),
        apply: true,
        into: None,
        across_gaps: true,
        stop_at_gap: false,
        json: false,
    };
    let place = Place::Directory(Box::new(config()));
    repair::repair(&shared, &place, &options, &ManualClock::at(START), &mut SeededEntropy::new(5))
}

/// What a start on it loads, or why there is none.
fn started(disk: &SimDisk) -> Result<State, String> {
    open_db(&disk.fork(), &config(), 99).map(|db| db.store.state).map_err(|error| error.to_string())
}

/// A damaged directory that can be repaired, and what comes of it.
fn damaged(seed: u64) -> Option<(SimDisk, String, State)> {
    let (known, mut chance) = (known(seed), SeededEntropy::new(seed));
    let what = damage(&known, &known.disk, &mut chance);
    sync_all(&known.disk);
    let whole = known.disk.fork();
    let done = repaired(&whole).ok()?;
    done.applied.as_ref()?;
    let state = started(&whole).unwrap_or_else(|error| panic!("seed {seed}, {what}: {error}"));
    Some((known.disk, what, state))
}

fn enumerate(seed: u64) -> bool {
    let Some((disk, what, expected)) = damaged(seed) else { return false };
    let (before, originals) = (started(&disk), disk.contents());
    let nothing_is_gone = |crashed: &SimDisk, what: &str| {
        let there = crashed.contents();
        for (path, content) in originals.iter().filter(|(path, _)| path.to_string_lossy().contains("appendonly")) {
            let kept = content.is_empty() || there.values().any(|other| other == content);
            assert!(kept, "{what}: {} is nowhere any more", path.display());
        }
    };
    let judge = |crashed: &SimDisk, what: &str| {
        nothing_is_gone(crashed, what);
        let now = started(crashed);
        assert!(now == before || now.as_ref() == Ok(&expected), "{what}: before {before:?}, now {now:?}");
        let again = crashed.fork();
        if let Err(failed) = repaired(&again) {
            panic!("{what}: not repaired by another run: {failed}\n{}", checked(crashed));
        }
        nothing_is_gone(&again, what);
        assert_eq!(started(&again).as_ref(), Ok(&expected), "{what}: another repair");
        // A start between the two.
        let between = crashed.fork();
        if let Ok(db) = open_db(&between, &config(), 98) {
            drop(db);
            assert!(!between.exists(Path::new("/data/appendonlydir/appendonly.aof.repair")).expect("can be seen"));
            let _ = repaired(&between);
            let state = started(&between);
            assert!(state == before || state.as_ref() == Ok(&expected), "{what}: repaired behind a start: {state:?}");
        }
    };
    let mut steps = 0;
    disk.for_each_crash(
        &MODES,
        |disk| repaired(disk).is_ok(),
        |finished, crashed, point| {
            let what = format!("seed {seed}, {what}, {point}");
            judge(&crashed, &what);
            if *finished {
                assert_eq!(started(&crashed).as_ref(), Ok(&expected), "{what}: told, and durable");
            }
            steps += 1;
            // One in some crashes is followed through: every step of the repair behind it.
            if steps % 29 == 0 {
                crashed.for_each_crash(
                    &[MODES[(steps / 29) % MODES.len()]],
                    |disk| repaired(disk).is_ok(),
                    |_, crashed, inner| judge(&crashed, &format!("{what}; then {inner}")),
                );
            }
        },
    );
    true
}

#[test]
fn a_crash_in_a_repair_loses_nothing_that_verifies() {
    let more = std::env::var("GRAVEN_CRASH_RUNS").ok().and_then(|text| text.parse().ok());
    let met = in_parallel(0..more.unwrap_or(14), enumerate).into_iter().filter(|met| *met).count();
    assert!(met >= 5, "{met} directories were repaired");
}
