//! What is shown of directories with known content: every command once, in order, behind damage and while it grows.

use super::*;
use crate::env::disk::sim::{CrashMode, SimDisk};
use crate::env::{Entropy, OpenMode, SeededEntropy};
use crate::persist::tests::model::{Db, History, Store, Workload, open_db, options};
use crate::persist::{Gap, OpenOptions, Spot, SyncPolicy, log::format::FrameHeader};
use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

fn config() -> OpenOptions {
    options(SyncPolicy::Always)
}

/// Applies what it is shown, and counts.
#[derive(Default)]
struct Seen {
    store: Store,
    commands: u64,
    frames: u64,
    gaps: Vec<(u64, u64, bool)>,
    /// Enough when so many commands were seen.
    enough: Option<u64>,
}

impl Visitor for Seen {
    fn frame(&mut self, _: &Path, _: u64, header: &FrameHeader) -> Flow {
        self.frames += u64::from(header.len > 0);
        Continue(())
    }

    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        self.store.apply(&[b"SELECT", spot.db.to_string().as_bytes()]);
        self.store.apply(words);
        self.commands += 1;
        if Some(self.commands) == self.enough { Break(()) } else { Continue(()) }
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        self.gaps.push((gap.from, gap.to, gap.torn));
        Continue(())
    }
}

fn work(db: &mut Db, history: &mut History, workload: &mut Workload, units: usize) {
    for _ in 0..units {
        let (index, unit) = workload.unit();
        db.submit(index, &unit, history);
        db.pump_for(history, Duration::from_millis(10));
    }
}

/// A few lives of a server, each ended in its way, and the state that they left.
fn lives(seed: u64) -> (SimDisk, Store) {
    let (mut disk, mut workload, mut last) = (SimDisk::new(), Workload::new(seed), Store::default());
    for life in 0..3 {
        let mut db = open_db(&disk, &config(), life + 1).expect("an undamaged directory opens");
        let mut history = History::from(db.store.state.clone());
        work(&mut db, &mut history, &mut workload, 12);
        if seed.is_multiple_of(2) {
            db.log.buffer.close();
            assert!(db.pump_for(&mut history, Duration::from_millis(200)), "closes");
        }
        last = std::mem::take(&mut db.store);
        drop(db);
        disk = disk.crash(CrashMode::Kill, 0);
    }
    (disk, last)
}

#[test]
fn a_walk_shows_what_a_start_loads() {
    for seed in 0..20 {
        let (disk, last) = lives(seed);
        let mut seen = Seen::default();
        assert!(walk_log(&disk, &config(), &mut seen).expect("walks").is_continue());
        assert_eq!((seen.gaps, seen.store.state), (Vec::new(), last.state), "seed {seed}");
    }
}

#[test]
fn a_walk_ends_when_enough_was_seen() {
    let (disk, _) = lives(1);
    let mut seen = Seen { enough: Some(5), ..Seen::default() };
    assert!(walk_log(&disk, &config(), &mut seen).expect("walks").is_break());
    assert_eq!(seen.commands, 5);
}

/// One damaged byte costs one frame, and the gap lies around it.
#[test]
fn a_damaged_frame_is_a_gap_and_the_others_are_shown() {
    for seed in 0..40 {
        let (disk, _) = lives(seed);
        let mut whole = Seen::default();
        let _ = walk_log(&disk, &config(), &mut whole).expect("walks");
        let mut chance = SeededEntropy::new(seed);
        let segments: Vec<_> = disk
            .contents()
            .into_iter()
            .filter(|(path, content)| path.to_string_lossy().ends_with(".incr.aof") && content.len() > 500)
            .collect();
        let (path, mut content) = segments[chance.below(segments.len() as u64) as usize].clone();
        let at = 300 + chance.below(content.len() as u64 - 400) as usize;
        content[at] ^= 1;
        disk.open(&path, OpenMode::ReadWrite).expect("opens").write_all_at(&content, 0).expect("can be written");
        let mut seen = Seen::default();
        let _ = walk_log(&disk, &config(), &mut seen).expect("walks");
        let (at, touched) = (at as u64, |&(from, to, _): &(u64, u64, bool)| from <= at as u64 && (at as u64) < to);
        // A mark, or a byte that the next segment says does not count, costs nothing.
        assert!(seen.frames + 1 >= whole.frames, "seed {seed}: {} of {} frames", seen.frames, whole.frames);
        let lost = whole.frames - seen.frames;
        assert!(lost == 0 || seen.gaps.iter().any(touched), "seed {seed}: {at} is in none of {:?}", seen.gaps);
    }
}

/// Over segments that end, a kill and a clean end: each command once, in order, as soon as it is written.
#[test]
fn who_follows_sees_every_command_once() {
    for seed in 0..10 {
        let mut disk = SimDisk::new();
        let (mut workload, mut life) = (Workload::new(seed), 1);
        let mut db = Some(open_db(&disk, &config(), life).expect("an empty directory opens"));
        let mut history = History::from(Default::default());
        work(db.as_mut().expect("open"), &mut history, &mut workload, 3);
        let shared = disk.clone();
        let mut seen = Seen::default();
        let mut waits = 0;
        let mut last = Store::default();
        follow_log(&shared, &config(), &mut seen, &mut || {
            waits += 1;
            let here = db.as_mut().expect("open");
            if waits == 30 {
                last.state = here.store.state.clone();
                return Ok(Break(()));
            }
            work(here, &mut history, &mut workload, 1 + waits % 3);
            if waits % 8 == 0 {
                if waits % 16 == 0 {
                    here.log.buffer.close();
                    assert!(here.pump_for(&mut history, Duration::from_millis(200)), "closes");
                }
                db = None;
                life += 1;
                db = Some(open_db(&disk, &config(), life).expect("opens again"));
            }
            Ok(Continue(()))
        })
        .expect("follows");
        assert_eq!((seen.gaps.len(), &seen.store.state), (0, &last.state), "seed {seed}");
        disk = SimDisk::new();
        drop(disk);
    }
}
