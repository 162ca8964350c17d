//! Every write, sync, rename and cut of a run as its last; then recovery, more writes, and the same again.

use super::model::{History, State, Workload, begin_life, open_db, options};
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::persist::{OpenOptions, Scanned, SyncPolicy, scan};
use std::time::Duration;

/// Runs of longer tests: `GRAVEN_CRASH_RUNS` workloads instead of a few.
pub fn runs() -> u64 {
    std::env::var("GRAVEN_CRASH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

pub fn crashes() -> Vec<(CrashMode, u64)> {
    let mut crashes = vec![(CrashMode::Kill, 0), (CrashMode::Kill, 1), (CrashMode::ALL_UNSYNCED_LOST, 0)];
    crashes.extend((0..5).map(|seed| (CrashMode::ANY_POWER_CUT, seed)));
    crashes
}

/// Opens, writes, perhaps closes; what was acknowledged when it ended. `None` where opening was cut off.
fn run(disk: &SimDisk, options: &OpenOptions, seed: u64, units: u64, close: bool) -> Option<History> {
    let mut workload = Workload::new(seed);
    let (mut db, mut history) = begin_life(disk, options, seed)?;
    for _ in 0..units {
        for _ in 0..=workload.below(3) {
            let (number, commands) = workload.unit();
            db.submit(number, &commands, &mut history);
        }
        let patience = if workload.below(4) == 0 { Duration::from_millis(1100) } else { Duration::ZERO };
        db.pump_for(&mut history, patience);
    }
    if close {
        db.log.buffer.close();
        assert!(db.pump_for(&mut history, Duration::from_secs(2)) || disk.is_frozen(), "closes");
    }
    Some(history)
}

/// What recovery finds is a prefix that holds everything acknowledged.
pub fn judge(
    history: &Option<History>,
    before: &State,
    found: &State,
    mode: CrashMode,
    policy: SyncPolicy,
    what: &str,
) {
    let Some(history) = history else {
        assert_eq!(found, before, "{what}: opening alone changes nothing");
        return;
    };
    let Some(prefix) = history.prefix(found) else {
        panic!("{what}: not a prefix: {found:?}");
    };
    let acknowledged = match (mode, policy) {
        (CrashMode::Kill, SyncPolicy::Always) => history.durable,
        (CrashMode::Kill, _) => history.written,
        (CrashMode::PowerCut(_), _) => history.durable,
    };
    assert!(prefix >= acknowledged, "{what}: {prefix} units of {acknowledged} acknowledged");
}

fn enumerate(policy: SyncPolicy, seed: u64) {
    enumerate_with(OpenOptions { timestamps: seed.is_multiple_of(3), ..options(policy) }, seed);
}

/// What a killed process leaves in the page cache of a segment, whole or torn by nobody, is lines and commands to stock.
fn is_for_stock(disk: &SimDisk, what: &str) {
    for (path, content) in disk.contents().into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(".incr.aof"))
    {
        let mut at = 0;
        while at < content.len() {
            at = match scan(&content, at) {
                Scanned::Command { end, .. } | Scanned::Comment { end } => end,
                // Half an end annotation: stock takes it for a comment.
                Scanned::Incomplete if content[at] == b'#' => break,
                Scanned::Incomplete | Scanned::Garbage => panic!("{what}: {} offset {at}", path.display()),
            };
        }
    }
}

fn enumerate_with(options: OpenOptions, seed: u64) {
    Every {
        options: &options,
        seed,
        crashes: &crashes(),
        one_in: 23,
        run: &|disk, second| match second {
            false => run(disk, &options, seed, 6, seed.is_multiple_of(2)),
            true => run(disk, &options, seed + 1, 2, false),
        },
        also: &|crash| {
            // Behind a second crash what the first one tore may not be cut away yet.
            if crash.life == 1 && crash.mode == CrashMode::Kill && !crash.torn {
                is_for_stock(crash.disk, crash.what);
            }
        },
    }
    .judge();
}

/// Every crash of a run; of some of them every crash of the recovery and of what is written after it.
pub struct Every<'r> {
    pub options: &'r OpenOptions,
    pub seed: u64,
    pub crashes: &'r [(CrashMode, u64)],
    /// One in so many crashes is followed through.
    pub one_in: u64,
    /// The first life, and the second; what was acknowledged when it ended.
    pub run: &'r dyn Fn(&SimDisk, bool) -> Option<History>,
    /// What else holds.
    pub also: &'r dyn Fn(&Crashed<'_>),
}

/// What a crash left, and what a start made of it.
pub struct Crashed<'c> {
    /// Which life it ended: the first or the second.
    pub life: u8,
    pub mode: CrashMode,
    pub disk: &'c SimDisk,
    pub recovered: &'c SimDisk,
    pub history: Option<&'c History>,
    pub found: &'c State,
    /// A torn frame was cut away.
    pub torn: bool,
    pub what: &'c str,
}

impl Every<'_> {
    pub fn judge(&self) {
        let (policy, seed, before) = (self.options.policy, self.seed, State::new());
        let mut second = 0;
        let start = |disk: &SimDisk, life: u8, mode, history: &Option<History>, what: &str| {
            let recovered = disk.fork();
            let db = open_db(&recovered, self.options, seed + 1000 * u64::from(life))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let (found, torn) = (db.store.state.clone(), db.report.torn.is_some());
            drop(db);
            let (history, found_ref) = (history.as_ref(), &found);
            (self.also)(&Crashed { life, mode, disk, recovered: &recovered, history, found: found_ref, torn, what });
            found
        };
        SimDisk::new().for_each_crash(
            self.crashes,
            |disk| (self.run)(disk, false),
            |history, crashed, point| {
                let what = format!("{policy:?}, workload {seed}, {point}");
                let found = start(&crashed, 1, point.mode, history, &what);
                judge(history, &before, &found, point.mode, policy, &what);
                second += 1;
                if second % self.one_in != 0 {
                    return;
                }
                let modes = [(CrashMode::Kill, 0), (CrashMode::ANY_POWER_CUT, seed), (CrashMode::ALL_UNSYNCED_LOST, 0)];
                crashed.for_each_crash(
                    &modes,
                    |disk| (self.run)(disk, true),
                    |again, crashed, inner| {
                        let what = format!("{what}; then {inner}");
                        let lost_before = matches!(inner.mode, CrashMode::PowerCut(_)) && again.is_none();
                        let twice = lost_before && point.mode == CrashMode::Kill;
                        // The first crash left what was not synced in the page cache, the second may take it.
                        let (history, before) = if twice { (history, &before) } else { (again, &found) };
                        let state = start(&crashed, 2, inner.mode, again, &what);
                        judge(history, before, &state, inner.mode, policy, &what);
                    },
                );
            },
        );
    }
}

#[test]
fn nothing_acknowledged_is_lost_under_always() {
    (0..runs()).for_each(|seed| enumerate(SyncPolicy::Always, seed));
}

#[test]
fn nothing_synced_is_lost_under_everysec() {
    (0..runs()).for_each(|seed| enumerate(SyncPolicy::Everysec, 100 + seed));
}

#[test]
fn nothing_synced_is_lost_under_no() {
    (0..runs().div_ceil(2)).for_each(|seed| enumerate(SyncPolicy::No, 200 + seed));
}

/// The same, in segments that are filled ahead: crashes while one is filled, named, overwritten, sealed; with sectors of the fill
/// among those of frames.
#[test]
fn nothing_acknowledged_is_lost_in_segments_that_are_filled_ahead() {
    for seed in 0..runs() {
        let policy = [SyncPolicy::Always, SyncPolicy::Everysec, SyncPolicy::No][(seed % 3) as usize];
        let align = [0, 512, 4096, 0][(seed % 4) as usize];
        enumerate_with(OpenOptions { preallocate: true, align, ..options(policy) }, 300 + seed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_aligned_writes() {
    for seed in 0..runs().div_ceil(3) {
        let policy = [SyncPolicy::Always, SyncPolicy::Everysec][(seed % 2) as usize];
        enumerate_with(OpenOptions { align: [512, 4096][(seed % 2) as usize], ..options(policy) }, 400 + seed);
    }
}

#[test]
fn one_seed_is_one_run() {
    let run_once = |seed| {
        let disk = SimDisk::new();
        run(&disk, &options(SyncPolicy::Always), seed, 8, true);
        disk.contents()
    };
    assert_eq!(run_once(7), run_once(7));
    assert_ne!(run_once(7), run_once(8));
}

#[test]
fn a_clean_close_keeps_its_timeline_and_an_unclean_end_opens_another() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let first = open_db(&disk, &options, 1).expect("fresh").log.lineage;
    let mut history = History::from(State::new());
    let mut db = open_db(&disk, &options, 2).expect("again");
    db.submit(0, &[vec!["SET".into(), "a".into(), "1".into()]], &mut history);
    db.log.buffer.close();
    assert!(db.pump_for(&mut history, Duration::from_secs(1)));
    let lineage = db.log.lineage;
    drop(db);
    assert_ne!(lineage.timeline, first.timeline, "the first was never closed");
    let db = open_db(&disk, &options, 3).expect("after a clean close");
    assert!(db.report.clean);
    assert_eq!(db.log.lineage.timeline, lineage.timeline);
    drop(db);
    let db = open_db(&disk, &options, 4).expect("after an unclean end");
    assert!(!db.report.clean);
    assert_eq!((db.log.lineage.parent, db.store.state.len()), (lineage.timeline, 1));
}

#[test]
fn starts_that_write_nothing_leave_one_segment() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Everysec));
    for seed in 0..5 {
        let mut db = open_db(&disk, &options, seed).expect("opens");
        db.pump_for(&mut History::from(State::new()), Duration::from_secs(3));
    }
    let segments = disk.contents().into_keys().filter(|path| path.to_string_lossy().ends_with(".incr.aof")).count();
    assert_eq!(segments, 1);
}
