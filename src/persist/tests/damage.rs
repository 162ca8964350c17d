//! Damage, one named test per kind: what is refused, by which name and offset, and what is loaded all the same.

mod bases;
mod visits;

use super::model::{Db, History, START, State, open_db, options, word_list};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::disk::{Disk, OpenMode, read_file};
use crate::persist::log::format::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::persist::log::{Item, OpenedSegment, SegmentReader};
use crate::persist::{DamageKind, LoadReport, Manifest, OpenError, OpenOptions, SyncPolicy};
use std::path::{Path, PathBuf};
use std::time::Duration;

const IDLE: Duration = Duration::from_millis(200);

fn config() -> OpenOptions {
    options(SyncPolicy::Always)
}

fn segment(number: u32) -> PathBuf {
    format!("/data/appendonlydir/appendonly.aof.{number}.incr.aof").into()
}

fn manifest() -> PathBuf {
    "/data/appendonlydir/appendonly.aof.manifest".into()
}

/// How the process before ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Closed,
    /// Killed long after its last write.
    KilledIdle,
    /// Killed right behind its last write, which no mark follows.
    KilledBusy,
}

/// A directory with `units` units of about 150 bytes in segments of 1,500, and the states after each unit.
fn written(units: usize, end: End) -> (SimDisk, Vec<State>) {
    let disk = SimDisk::new();
    let mut db = open_db(&disk, &config(), 1).expect("a fresh directory opens");
    let mut history = History::from(db.store.state.clone());
    go_on(&mut db, &mut history, 0, units);
    if end != End::KilledBusy {
        db.pump_for(&mut history, IDLE);
    }
    if end == End::Closed {
        db.log.buffer.close();
        assert!(db.pump_for(&mut history, IDLE), "closes");
    }
    drop(db);
    (disk.crash(CrashMode::Kill, 0), history.states.into_iter().map(|(_, state)| state).collect())
}

fn go_on(db: &mut Db, history: &mut History, from: usize, units: usize) {
    for unit in from..from + units {
        let command = word_list(&["SET", &format!("k{unit}"), &"v".repeat(100)]);
        db.submit(unit as u32 % 2, &[command, word_list(&["INCR", "n"])], history);
        db.pump_for(history, Duration::ZERO);
    }
}

fn load(disk: &SimDisk) -> Result<(State, LoadReport), OpenError> {
    load_with(disk, &config())
}

fn load_with(disk: &SimDisk, options: &OpenOptions) -> Result<(State, LoadReport), OpenError> {
    open_db(disk, options, 99).map(|db| (db.store.state.clone(), db.report.clone()))
}

/// Opens, writes, is killed, opens again: what was loaded is still there, and what was written too.
fn lives_on(disk: &SimDisk, expected: &State) {
    let mut db = open_db(disk, &config(), 50).expect("opens");
    assert_eq!(&db.store.state, expected);
    let mut history = History::from(db.store.state.clone());
    go_on(&mut db, &mut history, 1000, 3);
    let after = db.store.state.clone();
    drop(db);
    let disk = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    assert_eq!(load(&disk).expect("opens once more").0, after);
    assert_eq!(load(&disk.crash(CrashMode::Kill, 0)).expect("and again").0, after);
}

/// The kind, file and offset of the damage that a start is refused for.
fn refused(disk: &SimDisk) -> (DamageKind, PathBuf, u64) {
    let before = disk.contents();
    let error = load(disk).expect_err("refused");
    assert_eq!(without_lock(disk), without_lock_of(before), "a refusal changes nothing");
    match error {
        OpenError::Rotten(damage) => (damage.kind, damage.file, damage.offset),
        other => panic!("refused otherwise: {other}"),
    }
}

type Contents = std::collections::BTreeMap<PathBuf, Vec<u8>>;

fn without_lock(disk: &SimDisk) -> Contents {
    without_lock_of(disk.contents())
}

fn without_lock_of(mut contents: Contents) -> Contents {
    contents.remove(Path::new("/data/graven.lock"));
    contents
}

/// The segment that was written last.
fn last_segment(disk: &SimDisk) -> PathBuf {
    (1..9).rev().map(segment).find(|path| disk.exists(path).expect("answers")).expect("some")
}

/// Offsets of the headers of frames with payload.
fn frames(disk: &SimDisk, path: &Path) -> Vec<u64> {
    let file = disk.open(path, OpenMode::Read).expect("is there");
    let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*file).expect("reads") else { panic!("a segment") };
    let mut offsets = Vec::new();
    while let Item::Frame { header, payload } = reader.next().expect("reads") {
        let (payload, bytes) = (header.len > 0, payload.len() as u64);
        if payload {
            offsets.push(reader.offset() - bytes - FRAME_HEADER_BYTES as u64);
        }
    }
    offsets
}

fn len(disk: &SimDisk, path: &Path) -> u64 {
    read_file(disk, path).expect("is there").len() as u64
}

fn put(disk: &SimDisk, path: &Path, content: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).expect("can be written");
    file.write_all_at(content, 0).expect("can be written");
    file.sync_all().expect("can be synced");
    disk.sync_dir(path.parent().expect("has one")).expect("can be synced");
}

fn append(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let mut content = read_file(disk, path).expect("is there");
    content.extend_from_slice(bytes);
    put(disk, path, &content);
}

fn resp(commands: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in *command {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    }
    bytes
}

#[test]
fn an_undamaged_directory_opens() {
    for end in [End::Closed, End::KilledIdle, End::KilledBusy] {
        let (disk, states) = written(28, end);
        assert!(disk.exists(&segment(4)).expect("answers"), "several segments");
        let (state, report) = load(&disk).expect("opens");
        assert_eq!(Some(&state), states.last());
        assert_eq!(report.clean, end == End::Closed);
    }
}

#[test]
fn a_flipped_bit_in_a_value_is_refused_by_offset() {
    let (disk, _) = written(28, End::KilledIdle);
    for number in [1, 2] {
        let (disk, path) = (disk.fork(), segment(number));
        let frame = frames(&disk, &path)[1];
        disk.flip(&path, frame + FRAME_HEADER_BYTES as u64 + 60, 3).expect("flips");
        assert_eq!(refused(&disk), (DamageKind::BadPayload, path, frame));
    }
}

#[test]
fn a_flipped_bit_in_a_frame_header_is_refused_by_offset() {
    let (disk, _) = written(28, End::KilledIdle);
    let path = segment(1);
    let frame = frames(&disk, &path)[1];
    for at in 0..FRAME_HEADER_BYTES as u64 {
        let disk = disk.fork();
        disk.flip(&path, frame + at, (at % 8) as u8).expect("flips");
        assert_eq!(refused(&disk), (DamageKind::BadHeader, path.clone(), frame), "byte {at}");
    }
}

#[test]
fn a_flipped_bit_in_a_segment_header_is_refused() {
    for end in [End::Closed, End::KilledIdle] {
        let (disk, _) = written(28, end);
        for number in [1, 2, 4] {
            for at in (0..SEGMENT_HEADER_BYTES as u64).step_by(5) {
                let (disk, path) = (disk.fork(), segment(number));
                disk.flip(&path, at, (at % 8) as u8).expect("flips");
                assert_eq!(refused(&disk), (DamageKind::BadSegmentHeader, path, 0), "byte {at}");
            }
        }
    }
}

/// Stock servers load four in five flips in silence. Here each either stops the start or changes nothing; behind the last
/// mark of a killed server it may cost what no mark covers.
#[test]
fn no_flipped_bit_anywhere_gives_other_data() {
    for end in [End::Closed, End::KilledIdle, End::KilledBusy] {
        let (disk, states) = written(14, end);
        let (mut refusals, mut harmless) = (0, 0);
        for (path, content) in without_lock(&disk) {
            for at in (0..content.len() as u64).step_by(3) {
                let disk = disk.fork();
                disk.flip(&path, at, (at * 7 % 8) as u8).expect("flips");
                match load(&disk) {
                    Err(_) => refusals += 1,
                    Ok((state, _)) => {
                        let known = states.iter().rposition(|known| *known == state);
                        let allowed = if end == End::KilledBusy { 1 } else { 0 };
                        let lost = known.map(|at| states.len() - 1 - at);
                        let what = format!("{} byte {at}: lost {lost:?}", path.display());
                        assert!(lost.is_some_and(|lost| lost <= allowed), "{what}");
                        harmless += 1;
                    }
                }
            }
        }
        assert!(refusals > 10 * harmless, "{refusals} refusals, {harmless} without effect");
    }
}

#[test]
fn a_zeroed_tail_behind_the_last_mark_is_cut_and_kept_beside() {
    let (disk, states) = written(18, End::KilledBusy);
    let path = last_segment(&disk);
    let last = *frames(&disk, &path).last().expect("has frames");
    let bytes = len(&disk, &path) - last;
    disk.overwrite(&path, last + 20, &vec![0; bytes as usize - 20]).expect("overwrites");
    let (state, report) = load(&disk).expect("starts without help");
    assert_eq!(state, states[states.len() - 2]);
    assert_eq!(report.torn, Some((path.clone(), last, bytes)));
    let kept = format!("{}.{last}.torn", path.display());
    assert_eq!(len(&disk, Path::new(&kept)), bytes);
    assert!(len(&disk, &path) <= last, "cut");
    let disk = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    lives_on(&disk, &state);
}

#[test]
fn a_zeroed_tail_below_a_mark_is_refused() {
    for end in [End::Closed, End::KilledIdle] {
        let (disk, _) = written(18, end);
        let path = last_segment(&disk);
        let last = *frames(&disk, &path).last().expect("has frames");
        disk.overwrite(&path, last + 20, &[0; 60]).expect("overwrites");
        assert_eq!(refused(&disk), (DamageKind::BadHeader, path, last));
    }
}

#[test]
fn garbage_behind_the_end_of_a_killed_server_is_cut_and_behind_a_closed_log_refused() {
    let (disk, states) = written(18, End::KilledIdle);
    append(&disk, &last_segment(&disk), &[0x5a; 700]);
    lives_on(&disk, states.last().expect("some"));
    let (disk, _) = written(18, End::Closed);
    append(&disk, &last_segment(&disk), &[0x5a; 700]);
    assert_eq!(refused(&disk).0, DamageKind::BytesBehindEnd);
}

#[test]
fn a_torn_tail_is_refused_where_the_operator_says_so() {
    let (disk, _) = written(18, End::KilledBusy);
    let path = last_segment(&disk);
    disk.truncate(&path, len(&disk, &path) - 10).expect("truncates");
    let strict = OpenOptions { load_truncated: false, ..config() };
    match load_with(&disk, &strict) {
        Err(OpenError::Truncated(damage)) => assert_eq!((damage.kind, damage.file), (DamageKind::ShortPayload, path)),
        other => panic!("{other:?}"),
    }
    assert!(load(&disk).is_ok());
}

#[test]
fn an_emptied_segment_is_refused_wherever_it_stands() {
    for end in [End::Closed, End::KilledIdle] {
        for (units, number) in [(30, 1), (30, 2), (30, 5), (2, 1)] {
            let (disk, _) = written(units, end);
            if !disk.exists(&segment(number)).expect("answers") {
                continue;
            }
            disk.truncate(&segment(number), 0).expect("truncates");
            assert_eq!(refused(&disk), (DamageKind::EmptyFile, segment(number), 0));
        }
    }
}

#[test]
fn a_missing_segment_is_refused_by_name() {
    let (disk, _) = written(28, End::KilledIdle);
    for number in [1, 2, 4] {
        let disk = disk.fork();
        disk.remove(&segment(number)).expect("removes");
        match load(&disk) {
            Err(OpenError::MissingFile { path }) => assert_eq!(path, segment(number)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn swapped_copied_and_foreign_segments_are_refused() {
    let (disk, _) = written(28, End::Closed);
    let content = |number| read_file(&disk, &segment(number)).expect("is there");
    let swapped = disk.fork();
    put(&swapped, &segment(2), &content(3));
    put(&swapped, &segment(3), &content(2));
    assert_eq!(refused(&swapped).0, DamageKind::NotTheNext);
    let copied = disk.fork();
    put(&copied, &segment(3), &content(2));
    assert_eq!(refused(&copied).0, DamageKind::NotTheNext);
    // The same writes by another server: another timeline, other salts.
    let other = SimDisk::new();
    let mut db = open_db(&other, &config(), 2).expect("opens");
    let mut history = History::from(db.store.state.clone());
    go_on(&mut db, &mut history, 0, 28);
    let foreign = disk.fork();
    put(&foreign, &segment(3), &read_file(&other, &segment(3)).expect("is there"));
    assert_eq!(refused(&foreign).0, DamageKind::NotTheNext);
}

#[test]
fn a_stale_segment_is_refused() {
    let (disk, _) = written(28, End::Closed);
    let middle = disk.fork();
    let cut = frames(&disk, &segment(2))[3];
    middle.truncate(&segment(2), cut).expect("truncates");
    assert_eq!(refused(&middle), (DamageKind::EndsEarly, segment(2), cut));
    let last = last_segment(&disk);
    let cut = *frames(&disk, &last).last().expect("has frames");
    disk.truncate(&last, cut).expect("truncates");
    assert_eq!(refused(&disk), (DamageKind::EndsBeforeClose, last, cut));
}

/// Documented as undecidable: a last segment cut exactly behind a frame looks like one that was never longer.
#[test]
fn a_last_segment_cut_between_frames_after_a_kill_is_a_shorter_log() {
    let (disk, states) = written(18, End::KilledIdle);
    let last = last_segment(&disk);
    let offsets = frames(&disk, &last);
    disk.truncate(&last, offsets[offsets.len() - 1]).expect("truncates");
    let state = load(&disk).expect("opens").0;
    assert_eq!(state, states[states.len() - 2]);
}

#[test]
fn a_stale_manifest_does_not_lose_the_segments_behind_it() {
    let (disk, states) = written(28, End::KilledIdle);
    let mut stale = Manifest::decode(&read_file(&disk, &manifest()).expect("is there")).expect("decodes");
    let first = stale.incremental().next().cloned().expect("some");
    stale.files = vec![first];
    put(&disk, &manifest(), &stale.encode());
    lives_on(&disk, states.last().expect("some"));
}

#[test]
fn a_segment_that_nobody_names_and_that_does_not_continue_the_log_is_refused() {
    let (disk, _) = written(28, End::KilledIdle);
    let content = read_file(&disk, &segment(2)).expect("is there");
    put(&disk, &segment(77), &content);
    match load(&disk) {
        Err(OpenError::Stray { path }) => assert_eq!(path, segment(77)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_or_emptied_manifest_is_refused() {
    let (disk, _) = written(10, End::Closed);
    let missing = disk.fork();
    missing.remove(&manifest()).expect("removes");
    assert!(matches!(load(&missing), Err(OpenError::NoManifest { .. })));
    disk.truncate(&manifest(), 0).expect("truncates");
    assert!(matches!(load(&disk), Err(OpenError::BadManifest { line: 1, reason: "is empty", .. })));
}

#[test]
fn a_second_server_is_turned_away() {
    let disk = SimDisk::new();
    let db = open_db(&disk, &config(), 1).expect("opens");
    assert!(matches!(load(&disk), Err(OpenError::InUse { .. })));
    drop(db);
    assert!(load(&disk).is_ok());
}

#[test]
fn an_unreadable_segment_stops_the_start_and_changes_nothing() {
    let (disk, states) = written(18, End::KilledIdle);
    let before = without_lock(&disk);
    let fault = disk.fail(FaultSpec::new(Op::Read, Fault::Eio).on("aof.2.incr.aof"));
    match load(&disk) {
        Err(OpenError::Io { path, .. }) => assert_eq!(path, segment(2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(without_lock(&disk), before);
    disk.lift(fault);
    assert_eq!(load(&disk).expect("opens").0, *states.last().expect("some"));
}

#[test]
fn a_clock_that_went_back_does_not_stop_anything() {
    let (disk, states) = written(5, End::KilledIdle);
    let mut db = open_db(&disk, &config(), 7).expect("opens");
    db.clock.set_unix(crate::env::UnixMillis(START.0 - 1_000_000));
    let mut history = History::from(db.store.state.clone());
    go_on(&mut db, &mut history, 100, 2);
    drop(db);
    let state = load(&disk.crash(CrashMode::Kill, 0)).expect("opens").0;
    assert!(state.len() > states[states.len() - 1].len());
}
