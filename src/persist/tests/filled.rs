//! Segments that are filled ahead, and aligned writes: what lies in the files, what a full disk does, who reads it.

use super::model::{Db, History, State, open_db, options, word_list};
use crate::env::Disk;
use crate::env::disk::read_file;
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::persist::{
    Flow, Held, OpenOptions, Restraint, Scanned, Spot, SyncPolicy, Visitor, follow, scan, survey_segment,
};
use std::ops::ControlFlow::{Break, Continue};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIRECTORY: &str = "/data/appendonlydir";

fn filled(policy: SyncPolicy) -> OpenOptions {
    OpenOptions { preallocate: true, segment_bytes_max: 8192, ..options(policy) }
}

fn write(db: &mut Db, history: &mut History, key: &str) {
    db.submit(0, &[word_list(&["SET", key, &"v".repeat(100)])], history);
    db.pump_for(history, Duration::ZERO);
}

fn opened(options: &OpenOptions) -> (SimDisk, Db, History) {
    let disk = SimDisk::new();
    let mut db = open_db(&disk, options, 1).expect("a fresh directory opens");
    let mut history = History::from(db.store.state.clone());
    db.pump_for(&mut history, Duration::ZERO);
    (disk, db, history)
}

/// Segments in order, with their contents.
fn segments(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> =
        disk.contents().into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(".incr.aof")).collect();
    found.sort_by_key(|(path, _)| path.to_string_lossy().split('.').rev().nth(2).and_then(|n| n.parse::<u64>().ok()));
    found
}

fn drafts(disk: &SimDisk) -> usize {
    disk.contents().keys().filter(|path| path.to_string_lossy().ends_with("ahead.tmp")).count()
}

fn fill_behind(content: &[u8]) -> usize {
    let lines = content.rsplit(|byte| *byte == b'\n').skip(1);
    lines.take_while(|line| line.iter().all(|byte| matches!(byte, b'#' | b'\r'))).map(|line| line.len() + 1).sum()
}

#[test]
fn the_log_goes_on_in_a_filled_segment_and_a_sealed_one_is_cut_to_its_content() {
    let options = filled(SyncPolicy::Always);
    let (disk, mut db, mut history) = opened(&options);
    assert_eq!((segments(&disk).len(), drafts(&disk)), (1, 1), "the next one is made ahead");
    write(&mut db, &mut history, "first");
    write(&mut db, &mut history, "second");
    let found = segments(&disk);
    assert_eq!(
        (found.len(), drafts(&disk)),
        (2, 1),
        "the one that was not filled has ended, another one is made ahead"
    );
    assert_eq!((fill_behind(&found[0].1), found[1].1.len()), (0, 10_240));
    assert!(fill_behind(&found[1].1) > 9_000);
    for key in 0..60 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    let found = segments(&disk);
    assert!(found.len() >= 3);
    for (path, content) in &found[..found.len() - 1] {
        assert_eq!(fill_behind(content), 0, "{}", path.display());
    }
    let size = db.log.buffer.progress().stats.size.load(std::sync::atomic::Ordering::Relaxed);
    let fill = fill_behind(&found[found.len() - 1].1) as u64;
    let all: u64 = found.iter().map(|(_, content)| content.len() as u64).sum();
    assert!(size <= all - fill, "{size} of {all}, {fill} of them filled ahead: what is filled is not written");
    let expected = db.store.state.clone();
    db.log.buffer.close();
    assert!(db.pump_for(&mut history, Duration::from_secs(1)), "closes");
    drop(db);
    assert_eq!((fill_behind(&segments(&disk).last().expect("one").1), drafts(&disk)), (0, 0));
    let db = open_db(&disk, &options, 2).expect("opens");
    assert!(db.report.clean);
    assert_eq!(db.store.state, expected);
}

/// A last file of nothing but fill behind its header is a log that ends there.
#[test]
fn what_is_filled_is_no_damage_and_the_next_start_cuts_it_off() {
    let options = filled(SyncPolicy::Everysec);
    let (disk, mut db, mut history) = opened(&options);
    for key in 0..5 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    db.pump_for(&mut history, Duration::from_secs(2));
    let expected = db.store.state.clone();
    drop(db);
    let killed = disk.crash(CrashMode::Kill, 0);
    let (path, content) = segments(&killed).pop().expect("one");
    let fill = fill_behind(&content);
    assert!(fill > 5_000);
    let file = killed.open(&path, crate::env::OpenMode::Read).expect("opens");
    let survey = survey_segment(&*file, &path).expect("readable").expect("a segment");
    assert_eq!((survey.damage, survey.sealed), (None, false));
    let short = content.len() as u64 - survey.offset - fill as u64;
    assert!(short <= 511, "the rest of a line");
    let held = Held::hold(&killed, &options).expect("can be held");
    assert_eq!(held.files.last().expect("one").len, survey.offset, "a backup takes what was written");
    drop(held);
    let db = open_db(&killed, &options, 2).expect("opens");
    assert_eq!((&db.store.state, &db.report.torn), (&expected, &None));
    assert_eq!(read_file(&killed, &path).expect("is there").len() as u64, survey.offset);
    drop(db);
    let twice = killed.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    assert_eq!(open_db(&twice, &options, 3).expect("opens again").store.state, expected);
}

#[test]
fn what_stock_appends_behind_the_fill_is_loaded() {
    let options = filled(SyncPolicy::Always);
    let (disk, mut db, mut history) = opened(&options);
    for key in 0..5 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    let mut expected = db.store.state.clone();
    drop(db);
    let killed = disk.crash(CrashMode::Kill, 0);
    let (path, content) = segments(&killed).pop().expect("one");
    let by_stock = b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*3\r\n$3\r\nSET\r\n$3\r\nold\r\n$1\r\nx\r\n";
    let file = killed.open(&path, crate::env::OpenMode::ReadWrite).expect("opens");
    file.write_all_at(by_stock, content.len() as u64).expect("written");
    file.sync_all().expect("synced");
    expected.insert((3, "old".into()), "x".into());
    for seed in 2..4 {
        let db = open_db(&killed, &options, seed).expect("opens");
        assert_eq!((&db.store.state, db.report.visited), (&expected, Some(2)));
    }
}

/// Bytes that were durable, and are the fill again: a disk that lost a write.
#[test]
fn fill_in_the_place_of_durable_frames_is_refused() {
    let options = filled(SyncPolicy::Always);
    let (disk, mut db, mut history) = opened(&options);
    for key in 0..20 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    drop(db);
    let (path, content) = segments(&disk).pop().expect("one");
    for at in [512, 1024, 2048] {
        let lost = disk.crash(CrashMode::Kill, 0);
        let mut line = vec![b'#'; 510];
        line.extend_from_slice(b"\r\n");
        lost.overwrite(&path, at, &line).expect("overwritten");
        assert!(open_db(&lost, &options, 2).is_err(), "at {at} of {}", content.len());
    }
}

#[test]
fn a_disk_that_is_full_is_met_where_a_segment_is_filled() {
    let options = filled(SyncPolicy::Always);
    let (disk, mut db, mut history) = opened(&options);
    write(&mut db, &mut history, "first");
    let full = disk.fail(FaultSpec::new(Op::Create, Fault::Enospc).on("ahead.tmp"));
    for key in 0..200 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    let progress = std::sync::Arc::clone(db.log.buffer.progress());
    assert_eq!((progress.trouble(), history.durable), (None, history.states.len() - 1), "without fill");
    assert!(segments(&disk).len() >= 3 && !progress.is_restricted_by(Restraint::LogReserve));
    disk.lift(full);
    db.pump_for(&mut history, Duration::from_secs(10));
    write(&mut db, &mut history, "again");
    write(&mut db, &mut history, "and again");
    assert!(fill_behind(&segments(&disk).last().expect("one").1) > 5_000);
}

/// The end of the fill is for who frees room: with nothing free on the disk no write fails before it is used up.
#[test]
fn on_a_full_disk_the_last_of_the_fill_is_left_to_deletions() {
    let options = OpenOptions { segment_bytes_max: 65_536, ..filled(SyncPolicy::Always) };
    let (disk, mut db, mut history) = opened(&options);
    write(&mut db, &mut history, "first");
    write(&mut db, &mut history, "second");
    assert_eq!(drafts(&disk), 1, "the next one is filled, too");
    // What is there now has its room, and nothing else, not even another manifest.
    let pages: u64 = disk.contents().values().map(|content| content.len().div_ceil(4096) as u64).sum();
    disk.set_capacity(Some(pages * 4096));
    assert_eq!(disk.free_bytes(Path::new("/data")).expect("told"), 0);
    let progress = std::sync::Arc::clone(db.log.buffer.progress());
    let mut written = 0;
    while progress.restricted().is_none() {
        write(&mut db, &mut history, &format!("k{written}"));
        written += 1;
        assert_eq!(progress.trouble(), None, "after {written}");
        assert!(written < 2_000, "it is restricted before the fill is used up");
    }
    assert!(written > 250, "all of the segment but its end was for everybody: {written}");
    assert_eq!(drafts(&disk), 1, "what is filled is kept");
    assert!(progress.is_restricted_by(Restraint::LogReserve));
    // As the engine refuses everything else now.
    for key in 0..60 {
        db.submit(0, &[word_list(&["DEL", &format!("k{key}")])], &mut history);
        db.pump_for(&mut history, Duration::ZERO);
    }
    assert_eq!((progress.trouble(), history.durable), (None, history.states.len() - 1), "they are durable");
    disk.set_capacity(None);
    db.pump_for(&mut history, Duration::from_secs(10));
    assert_eq!(progress.restricted(), None, "there is room again");
    let expected = db.store.state.clone();
    drop(db);
    let db = open_db(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), &options, 2).expect("opens");
    assert_eq!(db.store.state, expected);
}

#[test]
fn switched_while_it_runs_it_begins_and_ends_with_the_next_segment() {
    let (disk, mut db, mut history) = opened(&OpenOptions { preallocate: false, ..filled(SyncPolicy::Always) });
    write(&mut db, &mut history, "a");
    assert_eq!(drafts(&disk), 0);
    db.log.buffer.set_layout(true, 512);
    write(&mut db, &mut history, "b");
    write(&mut db, &mut history, "c");
    assert_eq!((drafts(&disk), segments(&disk).len()), (1, 2));
    db.log.buffer.set_layout(false, 0);
    write(&mut db, &mut history, "d");
    assert_eq!(drafts(&disk), 0, "what nobody needs is gone");
    for key in 0..80 {
        write(&mut db, &mut history, &format!("k{key}"));
    }
    assert_eq!(fill_behind(&segments(&disk).last().expect("one").1), 0);
    let expected = db.store.state.clone();
    drop(db);
    assert_eq!(open_db(&disk, &options(SyncPolicy::Always), 2).expect("opens").store.state, expected);
}

#[test]
fn a_synced_write_ends_at_a_border() {
    for (align, preallocate) in [(512, false), (4096, false), (512, true), (4096, true)] {
        let options = OpenOptions { align, preallocate, segment_bytes_max: 1 << 20, ..filled(SyncPolicy::Always) };
        let (disk, mut db, mut history) = opened(&options);
        for key in 0..10 {
            write(&mut db, &mut history, &format!("k{key}"));
        }
        let (path, content) = segments(&disk).pop().expect("one");
        let mut frames = 0;
        for found in memchr::memmem::find_iter(&content, b"#F1 ").skip(1) {
            frames += 1;
            assert_eq!(found as u64 % align, 0, "{} at {found}", path.display());
        }
        assert!(frames >= 7, "{frames}");
        let mut at = 0;
        while at < content.len() {
            at = match scan(&content, at) {
                Scanned::Command { end, .. } | Scanned::Comment { end } => end,
                other => panic!("{other:?} at {at}"),
            };
        }
        let expected = db.store.state.clone();
        drop(db);
        let db = open_db(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), &options, 2).expect("opens");
        assert_eq!((&db.store.state, &db.report.torn), (&expected, &None));
    }
}

#[test]
fn whoever_follows_a_log_sees_each_command_once_whatever_is_filled() {
    struct Seen(Vec<String>);
    impl Visitor for Seen {
        fn command(&mut self, _: &Spot<'_>, words: &[&[u8]]) -> Flow {
            if words[0] == b"SET" {
                self.0.push(String::from_utf8_lossy(words[1]).into_owned());
            }
            Continue(())
        }
    }
    let options = OpenOptions { align: 512, ..filled(SyncPolicy::Always) };
    let (disk, mut db, mut history) = opened(&options);
    write(&mut db, &mut history, "k0");
    let (mut seen, mut written) = (Seen(Vec::new()), 1);
    follow(&disk.clone(), &options, &mut seen, &mut || {
        if written == 100 {
            return Ok(Break(()));
        }
        for _ in 0..3 {
            write(&mut db, &mut history, &format!("k{written}"));
            written += 1;
        }
        Ok(Continue(()))
    })
    .expect("readable");
    assert_eq!(seen.0, (0..100).map(|key| format!("k{key}")).collect::<Vec<_>>());
    assert!(segments(&disk).len() > 2, "{:?}", disk.list(Path::new(DIRECTORY)));
    let _: State = db.store.state;
}
