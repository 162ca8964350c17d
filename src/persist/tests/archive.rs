//! The archive on a simulated disk: what is on disk, every crash and every fault of archiving and pruning, and that what it holds
//! can be gone back to.

use super::compaction::{DIRECTORY, compaction, complete, files, manifest, write};
use super::crashes::{Every, crashes, runs};
use super::model::{Db, History, State, Workload, begin_life, open_db, options as plain_options};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::disk::{DiskLayer, read_file};
use crate::env::{Clock, Disk, OpenMode, SeededEntropy, UnixMillis};
use crate::persist::archive::{
    ArchiveError, ArchiveStep, ArchivedKind, Archiver, ArchiverOptions, Contents, Packing, Retain, Unpacked,
    UnpackingDisk,
};
use crate::persist::log::WriterOptions;
use crate::persist::{Lsn, Moment, OpenOptions, Reached, RestoreError, SyncPolicy, Target, restore_plan};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const ARCHIVE: &str = "/data/archive";
/// Nothing is ever too old or too much.
pub const EVERYTHING: Retain = Retain { time: Some(Duration::from_secs(u32::MAX as u64)), bytes: None };

/// Superseded files stay for the archiver.
pub fn options(policy: SyncPolicy) -> OpenOptions {
    OpenOptions { keep_superseded: true, ..plain_options(policy) }
}

pub fn archiver(disk: &SimDisk, db: &Db, options: &OpenOptions, retain: Retain) -> Archiver {
    let log = WriterOptions {
        directory: DIRECTORY.into(),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    };
    let archiving = ArchiverOptions { log, directory: ARCHIVE.into(), retain, spare: 0 };
    let clock = Arc::clone(&db.clock) as Arc<dyn Clock>;
    Archiver::new(Arc::new(disk.clone()), clock, Arc::clone(&db.log.buffer), archiving)
}

pub fn keep_everything(disk: &SimDisk, db: &Db, options: &OpenOptions) -> Archiver {
    archiver(disk, db, options, EVERYTHING)
}

/// Lets archiver and writer take turns until there is nothing left to do.
pub fn settle(archiver: &mut Archiver, db: &mut Db, history: &mut History) -> Result<(), ArchiveError> {
    archiver.look_again();
    let mut waits = 0;
    for _ in 0..100_000 {
        match archiver.step()? {
            ArchiveStep::Worked => waits = 0,
            // On a disk that is cut off the writer never answers.
            ArchiveStep::Waits if waits > 100 => return Err(ArchiveError::Log("there is no answer".into())),
            ArchiveStep::Waits => {
                waits += 1;
                db.pump_for(history, Duration::from_millis(50));
            }
            ArchiveStep::Rests(_) => return Ok(()),
        }
    }
    panic!("it does not come to an end");
}

pub fn contents(disk: &SimDisk) -> Contents {
    match Contents::read(disk, Path::new(ARCHIVE)).unwrap() {
        Some(contents) => contents.unwrap(),
        None => Contents::default(),
    }
}

/// Names of the archive's files, as short as those of [`files`].
fn archived(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(Path::new(ARCHIVE)).unwrap_or_default();
    names.into_iter().map(|name| name.replace("appendonly.aof.", "")).collect()
}

/// What a directory holds that is restored to a moment.
pub fn restored(
    disk: &SimDisk,
    options: &OpenOptions,
    moment: &Moment<'_>,
    into: &str,
) -> Result<(State, Reached), RestoreError> {
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    let unpacking = UnpackingDisk::new(Arc::clone(&below));
    let (plan, reached) = restore_plan(&unpacking, &*below, options, moment)?;
    let target = Target::Into(into.into());
    plan.apply(&unpacking, options, &target, &mut SeededEntropy::new(5)).expect("a directory is made");
    let made = OpenOptions { directory: into.into(), ..options.clone() };
    let db = open_db(disk, &made, 77).unwrap_or_else(|error| panic!("{into}: {error}"));
    Ok((db.store.state.clone(), reached))
}

/// A log of some rewrites, each of which was archived.
pub fn rewritten(disk: &SimDisk, options: &OpenOptions, retain: Retain, rounds: u64) -> (Db, Archiver, History) {
    let mut db = open_db(disk, options, 1).unwrap();
    let mut history = History::from(State::new());
    history.states[0].0 = 1;
    let mut archiver = archiver(disk, &db, options, retain);
    for round in 0..rounds {
        write(&mut db, &mut history, &format!("{round}"));
        complete(&mut compaction(disk, &db, options, round % 2 == 1), &mut db, &mut history).unwrap();
        settle(&mut archiver, &mut db, &mut history).unwrap();
    }
    (db, archiver, history)
}

/// The table in format-spec/archive.md.
#[test]
fn what_is_in_the_archive_after_each_step() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let mut db = open_db(&disk, &options, 1).unwrap();
    let mut history = History::from(State::new());
    write(&mut db, &mut history, "before");
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    let mut archiver = archiver(&disk, &db, &options, EVERYTHING);
    let state = |disk: &SimDisk| {
        let history = manifest(disk).history().count();
        (files(disk).contains(&"1.incr.aof".to_owned()), archived(disk), contents(disk).files.len(), history)
    };
    let mut seen = vec![state(&disk)];
    loop {
        let step = archiver.step().unwrap();
        for (before, now) in [(seen.last().cloned().unwrap(), state(&disk))] {
            if before != now {
                seen.push(now);
            }
        }
        match step {
            ArchiveStep::Worked => {}
            ArchiveStep::Waits => {
                db.pump_for(&mut history, Duration::ZERO);
            }
            ArchiveStep::Rests(_) => break,
        }
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = [
        (true, names(&[]), 0, 1),
        (true, names(&["1.1.incr.aof.zst.tmp"]), 0, 1),
        (false, names(&["1.1.incr.aof.zst", "archive.contents"]), 1, 1),
        (false, names(&["1.1.incr.aof.zst", "archive.contents"]), 1, 0),
    ];
    assert_eq!(seen, expected);
    let figures = archiver.figures();
    assert_eq!((figures.files, figures.pending, figures.oldest), (1, 0, Some(Lsn(1))));
}

#[test]
fn what_was_archived_reads_as_what_it_was() {
    let disk = SimDisk::new();
    let sizes = [0, 1, 1000, super::super::archive::BLOCK_BYTES, super::super::archive::BLOCK_BYTES * 2 + 17];
    for (at, size) in sizes.into_iter().enumerate() {
        let mut content = vec![0; size];
        crate::env::Entropy::fill(&mut SeededEntropy::new(size as u64), &mut content[..size / 2]);
        let (from, to) = (format!("/from-{at}"), format!("/{at}.x.zst"));
        crate::env::disk::replace_file(&disk, Path::new(&from), &content).unwrap();
        let label = super::super::archive::Label {
            number: at as u64 + 1,
            kind: ArchivedKind::Incremental,
            original: "x".into(),
            superseded: UnixMillis(7),
        };
        let mut packing = Packing::begin(&disk, Path::new(&from), Path::new(&to), &label).unwrap();
        let packed = loop {
            if let Some(packed) = packing.step().unwrap() {
                break packed;
            }
        };
        let open = || Unpacked::open(disk.open(Path::new(&to), OpenMode::Read).unwrap());
        let file = open().unwrap();
        file.verify().unwrap();
        assert_eq!((&file.label, file.packed), (&label, packed));
        let unpacking = UnpackingDisk::new(Arc::new(disk.clone()));
        assert!(read_file(&unpacking, Path::new(&to)).unwrap() == content, "{size} bytes");
        assert!(read_file(unpacking.below(), Path::new(&from)).unwrap() == content);
        // A block with its neighbours, and what lies behind the end.
        let mut some = vec![0; size.min(3000)];
        let offset = size as u64 / 2 - some.len() as u64 / 2;
        crate::env::DiskFile::read_exact_at(&file, &mut some, offset).unwrap();
        assert_eq!(some, content[offset as usize..][..some.len()]);
        assert_eq!(crate::env::DiskFile::read_at(&file, &mut [0; 5], size as u64).unwrap(), 0);
        // Every byte is covered: of a flipped bit either nothing is believed or the content is the same.
        let bytes = packed.bytes;
        for offset in (0..bytes).step_by(1 + bytes as usize / 150).chain(bytes.saturating_sub(40)..bytes) {
            disk.flip(Path::new(&to), offset, (offset % 8) as u8).unwrap();
            let verified = open().and_then(|file| file.verify());
            if verified.is_ok() {
                assert!(read_file(&unpacking, Path::new(&to)).unwrap() == content, "{size} bytes, at {offset}");
            }
            disk.flip(Path::new(&to), offset, (offset % 8) as u8).unwrap();
        }
    }
}

#[test]
fn the_archive_holds_every_moment_of_several_rewrites() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (db, _, history) = rewritten(&disk, &options, EVERYTHING, 4);
    let kinds: Vec<char> = contents(&disk)
        .files
        .iter()
        .map(|file| if file.label.kind == ArchivedKind::Base { 'b' } else { 'i' })
        .collect();
    assert_eq!(kinds, ['i', 'b', 'i', 'b', 'i', 'b', 'i']);
    assert_eq!(files(&disk), ["4.base.aof", "5.incr.aof", "manifest"]);
    drop(db);
    for (at, (end, state)) in history.states.iter().enumerate() {
        let found = restored(&disk, &options, &Moment::Lsn(Lsn(*end)), &format!("/restored-{at}")).unwrap();
        assert_eq!(&found.0, state, "LSN {end}");
    }
}

#[test]
fn what_is_too_much_or_too_old_leaves_the_archive_from_its_oldest_base_on() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (mut db, mut archiver, mut history) = rewritten(&disk, &options, EVERYTHING, 4);
    let all = contents(&disk);
    let last_run: u64 = all.files[5..].iter().map(|file| file.packed).sum();
    archiver.set(Retain { time: None, bytes: Some(last_run + 1) }, 0);
    settle(&mut archiver, &mut db, &mut history).unwrap();
    assert_eq!(contents(&disk).files, all.files[5..]);
    assert_eq!(archived(&disk).len(), 3, "files that have left the manifest are gone: {:?}", archived(&disk));
    assert_eq!(archiver.figures().oldest, Some(Lsn(history.states[3].0)));
    let refused = restored(&disk, &options, &Moment::Lsn(Lsn(history.states[2].0)), "/none").unwrap_err();
    let RestoreError::Outside(there) = refused else { panic!("{refused}") };
    let at = |state: usize| Some(Lsn(history.states[state].0));
    assert_eq!(there.ranges.iter().map(|range| (range.first, range.end)).collect::<Vec<_>>(), [(at(3), at(4))]);
    // By age: nothing goes before its time, and the archiver says when that is.
    archiver.set(Retain { time: Some(Duration::from_secs(60)), bytes: None }, 0);
    settle(&mut archiver, &mut db, &mut history).unwrap();
    assert_eq!(contents(&disk).files.len(), 2);
    archiver.look_again();
    let rests = loop {
        match archiver.step().unwrap() {
            ArchiveStep::Rests(rests) => break rests.unwrap(),
            _ => db.pump_for(&mut history, Duration::ZERO),
        };
    };
    db.clock.advance(rests);
    settle(&mut archiver, &mut db, &mut history).unwrap();
    assert!(contents(&disk).files.is_empty());
    // Numbers are not given again.
    assert_eq!(contents(&disk).next, all.next);
    write(&mut db, &mut history, "again");
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    settle(&mut archiver, &mut db, &mut history).unwrap();
    assert_eq!(contents(&disk).files[0].label.number, all.next);
}

#[test]
fn without_room_archiving_gives_up_before_the_log_does() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (mut db, mut archiver, mut history) = rewritten(&disk, &options, EVERYTHING, 2);
    write(&mut db, &mut history, "more");
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    // The disk has no room for a copy: what is oldest goes, then what is superseded.
    let full = disk.fail(FaultSpec::new(Op::Write, Fault::Enospc).on(".zst"));
    settle(&mut archiver, &mut db, &mut history).unwrap();
    disk.lift(full);
    assert!(contents(&disk).files.is_empty());
    assert_eq!((files(&disk).len(), archiver.figures().dropped), (3, 2), "{:?}", files(&disk));
    // With room it goes on at the next base.
    write(&mut db, &mut history, "again");
    complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
    settle(&mut archiver, &mut db, &mut history).unwrap();
    assert_eq!(contents(&disk).files[0].label.kind, ArchivedKind::Base);
    let held = history.states[3].clone();
    drop(db);
    assert_eq!(restored(&disk, &options, &Moment::Lsn(Lsn(held.0)), "/restored").unwrap().0, held.1);
}

#[test]
fn room_that_the_log_needs_is_made_by_the_archive() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (_db, mut archiver, _) = rewritten(&disk, &options, EVERYTHING, 3);
    const ALL: u64 = 1 << 30;
    disk.set_capacity(Some(ALL));
    let used = ALL - disk.free_bytes(Path::new("/data")).unwrap();
    // Not one byte more, not even for a manifest.
    disk.set_capacity(Some(used));
    archiver.set(EVERYTHING, 1);
    archiver.look_again();
    // The log's writer, for want of room, answers nothing.
    while archiver.step().unwrap() != ArchiveStep::Waits {}
    let left = contents(&disk).files;
    assert!(left.len() < 5 && left.first().is_none_or(|first| first.label.kind == ArchivedKind::Base), "{left:?}");
}

#[test]
fn an_archive_without_its_manifest_is_named_again() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (mut db, first, mut history) = rewritten(&disk, &options, EVERYTHING, 3);
    drop(first);
    let all = contents(&disk);
    for damage in ["lost", "damaged"] {
        let path = Path::new(ARCHIVE).join("archive.contents");
        match damage {
            "lost" => disk.remove(&path).unwrap(),
            _ => disk.flip(&path, 30, 2).unwrap(),
        }
        // Whoever restores finds all of it, and says so.
        let below: Arc<dyn Disk> = Arc::new(disk.clone());
        let unpacking = UnpackingDisk::new(Arc::clone(&below));
        let (plan, _) = restore_plan(&unpacking, &*below, &options, &Moment::Lsn(Lsn(1))).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("is not named by the manifest")), "{:?}", plan.notes);
        let mut archiver = archiver(&disk, &db, &options, EVERYTHING);
        settle(&mut archiver, &mut db, &mut history).unwrap();
        assert_eq!(contents(&disk), all, "{damage}");
    }
}

#[test]
fn a_hole_in_the_archive_costs_the_moments_in_it_and_no_others() {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (db, _, history) = rewritten(&disk, &options, EVERYTHING, 4);
    drop(db);
    // The segment between the first base and the second.
    let lost = &contents(&disk).files[2];
    assert_eq!(lost.span.map(|span| (span.first.0, span.end.0)), Some((history.states[1].0, history.states[2].0)));
    disk.remove(&Path::new(ARCHIVE).join(lost.file_name())).unwrap();
    for (at, (end, state)) in history.states.iter().enumerate() {
        let found = restored(&disk, &options, &Moment::Lsn(Lsn(*end)), &format!("/restored-{at}"));
        assert_eq!(found.unwrap_or_else(|error| panic!("LSN {end}: {error}")).0, *state, "LSN {end}");
    }
    let inside = Lsn(history.states[1].0 + 1);
    let refused = restored(&disk, &options, &Moment::Lsn(inside), "/none").unwrap_err();
    let RestoreError::Outside(there) = refused else { panic!("{refused}") };
    let at = |state: usize| Some(Lsn(history.states[state].0));
    let ranges: Vec<_> = there.ranges.iter().map(|range| (range.first, range.end)).collect();
    assert_eq!(ranges, [(Some(Lsn(1)), at(1)), (at(2), at(4))], "what there is on both sides of the hole");
    let set = |key: &'static [u8]| move |words: &[&[u8]]| words.len() == 3 && words[0] == b"SET" && words[1] == key;
    for (key, at) in [(b"0", 0), (b"2", 2), (b"3", 3)] {
        let (found, _) = restored(&disk, &options, &Moment::Before(&set(key)), &format!("/before-{at}")).unwrap();
        assert_eq!(found, history.states[at].1);
    }
    // It stands in bases of commands, too, where nobody logged it.
    let gone = restored(&disk, &options, &Moment::Before(&set(b"1")), "/none").unwrap_err();
    assert!(matches!(gone, RestoreError::NoCommand(_)), "{gone}");
}

/// Writes, rewrites and archiving, in an order that the seed chooses.
fn run(disk: &SimDisk, options: &OpenOptions, retain: Retain, seed: u64, rounds: u64) -> Option<History> {
    let mut workload = Workload::new(seed);
    let (mut db, mut history) = begin_life(disk, options, seed)?;
    history.states[0].0 = db.log.buffer.next().0;
    let mut archiver = archiver(disk, &db, options, retain);
    for round in 0..rounds {
        for _ in 0..=workload.below(2) {
            let (number, commands) = workload.unit();
            db.submit(number, &commands, &mut history);
        }
        db.pump_for(&mut history, Duration::from_millis(workload.below(2) * 1100));
        if round % 2 == 1 {
            let as_commands = workload.below(2) == 0;
            let _ = complete(&mut compaction(disk, &db, options, as_commands), &mut db, &mut history);
            archiver.look_again();
        }
        for _ in 0..workload.below(12) {
            if archiver.step().is_err() {
                break;
            }
            db.pump_for(&mut history, Duration::ZERO);
        }
    }
    // Cut off or not, the log is whole.
    let _ = settle(&mut archiver, &mut db, &mut history);
    db.pump_for(&mut history, Duration::from_millis(1100));
    Some(history)
}

/// Everything that the archive says it holds can be gone back to, and is what it was.
fn holds_what_it_says(disk: &SimDisk, options: &OpenOptions, history: &History, found: &State, seed: u64, what: &str) {
    let mut db = open_db(disk, options, seed + 1000).unwrap_or_else(|error| panic!("{what}: {error}"));
    let end = db.log.buffer.next();
    let mut archiver = archiver(disk, &db, options, EVERYTHING);
    settle(&mut archiver, &mut db, &mut History::from(State::new())).unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(db);
    let left = contents(disk);
    let first = left.files.first();
    assert!(
        first.is_none_or(|f| f.label.kind == ArchivedKind::Base || f.span.is_some_and(|span| span.first == Lsn(1))),
        "{what}"
    );
    for name in archived(disk).iter().filter(|name| *name != "archive.contents") {
        let named = left.files.iter().any(|file| file.file_name().replace("appendonly.aof.", "") == *name);
        assert!(named, "{what}: {name} is left behind");
    }
    assert_eq!(manifest(disk).history().count(), 0, "{what}");
    let oldest = first.and_then(|file| file.span).map_or(end, |span| span.first);
    let prefix = history.prefix(found).unwrap_or(0);
    let held: Vec<_> = history.states[..=prefix].iter().filter(|(at, _)| (oldest.0..=end.0).contains(at)).collect();
    for index in BTreeSet::from([0, held.len() / 2]) {
        let Some((at, state)) = held.get(index) else { continue };
        let restored = restored(disk, options, &Moment::Lsn(Lsn(*at)), &format!("/restored-{index}"));
        let (restored, _) = restored.unwrap_or_else(|error| panic!("{what}: LSN {at} of {oldest} to {end}: {error}"));
        assert_eq!(restored, *state, "{what}: LSN {at}");
    }
}

fn enumerate(retain: Retain, seed: u64) {
    let options = options(SyncPolicy::Always);
    Every {
        options: &options,
        seed,
        crashes: &crashes().into_iter().skip(1).step_by(2).collect::<Vec<_>>(),
        one_in: 67,
        run: &|disk, second| run(disk, &options, retain, seed + u64::from(second), if second { 1 } else { 4 }),
        also: &|crash| {
            if let Some(history) = crash.history {
                holds_what_it_says(crash.recovered, &options, history, crash.found, seed, crash.what);
            }
        },
    }
    .judge();
}

#[test]
fn a_crash_at_any_step_of_archiving_loses_nothing() {
    (0..runs().div_ceil(4)).for_each(|seed| enumerate(EVERYTHING, seed));
}

#[test]
fn a_crash_at_any_step_of_pruning_leaves_what_begins_with_a_base() {
    (0..runs().div_ceil(4)).for_each(|seed| enumerate(Retain { time: None, bytes: Some(1500) }, 100 + seed));
}

#[test]
fn a_fault_of_any_call_of_the_archive_does_not_touch_the_log() {
    let options = options(SyncPolicy::Always);
    for seed in 0..runs() * 4 {
        let disk = SimDisk::new();
        let fault = if seed % 3 == 0 { Fault::Enospc } else { Fault::Eio };
        for op in [Op::Open, Op::Create, Op::Read, Op::Write, Op::Sync, Op::Rename, Op::Remove, Op::SyncDir, Op::List] {
            disk.fail(FaultSpec::new(op, fault).on("/archive").random(seed, 6));
        }
        let history = run(&disk, &options, EVERYTHING, seed, 6).expect("the log opens");
        assert_eq!(history.durable, history.states.len() - 1, "seed {seed}: all of it is acknowledged");
        disk.lift_all();
        let found = history.states.last().expect("states").1.clone();
        let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, seed);
        holds_what_it_says(&crashed, &options, &history, &found, seed, &format!("seed {seed}"));
    }
}
