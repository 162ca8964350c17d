//! Injected faults, held syncs, a full disk, rot.

use std::io::ErrorKind;
use std::time::Duration;

use super::{FILE, content, disk_with, path};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Frozen, Op};
use crate::env::{Disk, DiskFile, OpenMode};

const WAIT: Duration = Duration::from_secs(20);

fn lost(disk: &super::SimDisk) -> Vec<u8> {
    content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap()
}

#[test]
fn any_call_can_be_made_to_fail() {
    let (disk, file) = disk_with(b"x");
    type Attempt<'a> = Box<dyn Fn() -> std::io::Result<()> + 'a>;
    let attempts: Vec<(Op, Attempt<'_>)> = vec![
        (Op::Open, Box::new(|| disk.open(path(FILE), OpenMode::Read).map(drop))),
        (Op::Create, Box::new(|| disk.open(path("/new"), OpenMode::CreateNew).map(drop))),
        (Op::Create, Box::new(|| disk.open(path(FILE), OpenMode::Truncate).map(drop))),
        (Op::Read, Box::new(|| file.read_at(&mut [0], 0).map(drop))),
        (Op::Write, Box::new(|| file.write_at(b"y", 0).map(drop))),
        (Op::Sync, Box::new(|| file.sync_data())),
        (Op::Sync, Box::new(|| file.sync_all())),
        (Op::SetLen, Box::new(|| file.set_len(0))),
        (Op::Rename, Box::new(|| disk.rename(path(FILE), path("/other")))),
        (Op::Remove, Box::new(|| disk.remove(path(FILE)))),
        (Op::CreateDir, Box::new(|| disk.create_dir(path("/dir")))),
        (Op::SyncDir, Box::new(|| disk.sync_dir(path("/")))),
        (Op::List, Box::new(|| disk.list(path("/")).map(drop))),
        (Op::FreeBytes, Box::new(|| disk.free_bytes(path("/")).map(drop))),
    ];
    for (op, attempt) in &attempts {
        for (fault, number) in [(Fault::Eio, libc::EIO), (Fault::Enospc, libc::ENOSPC), (Fault::Errno(24), 24)] {
            let id = disk.fail(FaultSpec::new(*op, fault));
            assert_eq!(attempt().unwrap_err().raw_os_error(), Some(number), "{op:?}");
            assert_eq!(disk.lift(id), 1);
        }
    }
    assert_eq!(disk.contents().into_iter().collect::<Vec<_>>(), [(FILE.into(), b"x".to_vec())], "none took effect");
}

#[test]
fn faults_strike_when_and_where_told() {
    let (disk, file) = disk_with(b"");
    let other = disk.open(path("/other"), OpenMode::CreateNew).unwrap();
    let struck = |spec: FaultSpec| {
        let id = disk.fail(spec);
        let writes = |file: &dyn DiskFile| (0..6).map(|_| file.write_at(b"x", 0).is_err()).collect::<Vec<_>>();
        let result = (writes(&*file), writes(&*other));
        assert_eq!(disk.struck(id), result.0.iter().chain(&result.1).filter(|failed| **failed).count() as u64);
        disk.lift_all();
        result
    };
    let (yes, no) = (true, false);
    let never = vec![no; 6];
    let spec = || FaultSpec::new(Op::Write, Fault::Eio);
    assert_eq!(struck(spec().on("/file")), (vec![yes; 6], never.clone()));
    assert_eq!(struck(spec().on("/file").nth(2)), (vec![no, no, yes, no, no, no], never.clone()));
    assert_eq!(struck(spec().on("/other").starting_at(4)), (never.clone(), vec![no, no, no, no, yes, yes]));
    assert_eq!(struck(spec().nth(7)), (never.clone(), vec![no, yes, no, no, no, no]));
    assert_eq!(struck(spec().random(7, 3)), struck(spec().random(7, 3)));
    let (some, more) = struck(spec().random(7, 3));
    assert!(some.contains(&yes) && more.contains(&no));
    assert_eq!(struck(FaultSpec::new(Op::Read, Fault::Eio)), (never.clone(), never));
}

#[test]
fn a_renamed_file_is_met_under_its_new_name() {
    let (disk, file) = disk_with(b"x");
    disk.create_dir(path("/dir")).unwrap();
    disk.rename(path(FILE), path("/dir/renamed")).unwrap();
    disk.rename(path("/dir"), path("/moved")).unwrap();
    disk.fail(FaultSpec::new(Op::Write, Fault::Eio).on("/moved/renamed"));
    assert!(file.write_at(b"y", 0).is_err());
}

#[test]
fn short_transfers_make_progress_and_say_so() {
    let (disk, file) = disk_with(b"0123456789");
    disk.fail(FaultSpec::new(Op::Write, Fault::Short(3)));
    disk.fail(FaultSpec::new(Op::Read, Fault::Short(0)));
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
    assert_eq!(file.read_at(&mut [0; 9], 0).unwrap(), 1);
    file.write_all_at(b"abcdef", 4).unwrap();
    let mut all = [0; 10];
    file.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(&all, b"abc3abcdef");
}

#[test]
fn after_a_failed_sync_a_later_one_does_not_help() {
    let (disk, file) = disk_with(b"durable");
    file.write_all_at(b"DOUBTED", 0).unwrap();
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).nth(0));
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"DOUBTED", "the page cache still shows it");
    assert_eq!(lost(&disk), b"durable");
    disk.drop_caches();
    assert_eq!(content(&disk, FILE).unwrap(), b"durable");
}

#[test]
fn after_a_failed_sync_what_is_written_again_is_synced_as_a_page() {
    let (disk, file) = disk_with(&[1; 2 * 4096]);
    file.write_all_at(&[2; 2 * 4096], 0).unwrap();
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).nth(0));
    assert!(file.sync_data().is_err());
    file.write_all_at(&[3], 4096 + 7).unwrap();
    file.sync_data().unwrap();
    let left = lost(&disk);
    assert_eq!(left[..4096], [1; 4096]);
    assert_eq!((left[4096], left[4096 + 7], left[8191]), (2, 3, 2));
}

#[test]
fn after_a_failed_sync_the_size_becomes_durable_over_a_hole() {
    let (disk, file) = disk_with(&[1; 4096]);
    file.write_all_at(&[2; 4096], 4096).unwrap();
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).nth(0));
    assert!(file.sync_data().is_err());
    file.write_all_at(&[3; 10], 2 * 4096).unwrap();
    file.sync_data().unwrap();
    let left = lost(&disk);
    assert_eq!((left[4095], left[4096], left[8191], left[8192], left.len()), (1, 0, 0, 3, 8202));
}

#[test]
fn a_cut_after_a_failed_sync_is_durable_when_synced() {
    let (disk, file) = disk_with(&[1; 5_000]);
    file.write_all_at(&[2; 9_000], 0).unwrap();
    disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).nth(0));
    assert!(file.sync_data().is_err());
    file.set_len(100).unwrap();
    file.sync_all().unwrap();
    let left = lost(&disk);
    assert_eq!(left.len(), 100);
    file.set_len(6_000).unwrap();
    file.sync_all().unwrap();
    assert_eq!(lost(&disk)[100..], [0; 5_900]);
}

#[test]
fn names_whose_sync_failed_are_synced_by_the_next() {
    let (disk, _file) = disk_with(b"x");
    disk.rename(path(FILE), path("/renamed")).unwrap();
    disk.fail(FaultSpec::new(Op::SyncDir, Fault::Eio).nth(0));
    assert!(disk.sync_dir(path("/")).is_err());
    assert_eq!(lost(&disk), b"x");
    disk.sync_dir(path("/")).unwrap();
    assert!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), "/renamed").is_some());
}

#[test]
fn a_full_disk_takes_whole_pages_and_then_nothing() {
    let (disk, file) = disk_with(&[1; 100]);
    disk.set_capacity(Some(3 * 4096));
    assert_eq!(disk.free_bytes(path("/")).unwrap(), 2 * 4096);
    assert_eq!(file.write_at(&[2; 5 * 4096], 100).unwrap(), 3 * 4096 - 100);
    assert_eq!(disk.free_bytes(path("/")).unwrap(), 0);
    assert_eq!(file.write_at(&[2; 10], 3 * 4096).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[3; 10], 4096).unwrap(), 10, "space that is there can be written again");
    let other = disk.open(path("/other"), OpenMode::CreateNew).unwrap();
    assert!(other.write_at(b"x", 0).is_err());
    file.set_len(4096).unwrap();
    other.write_all_at(b"x", 0).unwrap();
    disk.remove(path("/other")).unwrap();
    assert_eq!(disk.free_bytes(path("/")).unwrap(), 4096, "open files keep their space");
    drop(other);
    assert_eq!(disk.free_bytes(path("/")).unwrap(), 2 * 4096);
}

#[test]
fn a_held_sync_waits_and_covers_what_was_written_before_it() {
    let (disk, file) = disk_with(b"");
    let hold = disk.hold_syncs("file");
    std::thread::scope(|scope| {
        file.write_all_at(b"before", 0).unwrap();
        let sync = scope.spawn(|| file.sync_data());
        assert!(hold.wait_until_held(WAIT));
        assert_eq!(hold.waiting(), 1);
        file.write_all_at(b" after", 6).unwrap();
        assert_eq!(lost(&disk), b"", "nothing is durable while the sync is held");
        hold.release();
        sync.join().unwrap().unwrap();
    });
    assert_eq!(lost(&disk), b"before");
    assert_eq!(content(&disk, FILE).unwrap(), b"before after");
    file.sync_data().unwrap();
    assert_eq!(lost(&disk), b"before after");
}

#[test]
fn a_held_sync_fails_with_the_machine_or_as_injected_meanwhile() {
    let (disk, file) = disk_with(b"x");
    for frozen in [false, true] {
        let hold = disk.hold_syncs("");
        std::thread::scope(|scope| {
            let sync = scope.spawn(|| file.sync_all());
            assert!(hold.wait_until_held(WAIT));
            if frozen {
                disk.freeze();
            } else {
                disk.fail(FaultSpec::new(Op::Sync, Fault::Eio));
                drop(hold);
            }
            assert_eq!(Frozen::is(&sync.join().unwrap().unwrap_err()), frozen);
        });
    }
}

#[test]
fn rot_is_on_the_platter() {
    let (disk, _file) = disk_with(b"abcdef");
    disk.flip(path(FILE), 1, 0).unwrap();
    disk.overwrite(path(FILE), 3, b"XYZ!").unwrap();
    assert_eq!(lost(&disk), b"accXYZ!");
    disk.truncate(path(FILE), 4).unwrap();
    assert_eq!(lost(&disk), b"accX");
    assert_eq!(content(&disk, FILE).unwrap(), b"accX");
    assert_eq!(disk.flip(path(FILE), 4, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(disk.flip(path("/none"), 0, 0).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn threads_share_one_disk() {
    let (disk, _file) = disk_with(b"");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let disk = disk.clone();
            scope.spawn(move || {
                let name = format!("/{thread}");
                let file = disk.open(path(&name), OpenMode::CreateNew).unwrap();
                for n in 0..200 {
                    file.write_all_at(&[thread], n).unwrap();
                    file.sync_data().unwrap();
                }
            });
        }
    });
    disk.sync_dir(path("/")).unwrap();
    let left = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    for thread in 0..4u8 {
        assert_eq!(content(&left, &format!("/{thread}")).unwrap(), [thread; 200]);
    }
    assert_eq!(disk.steps(), 4 + 4 * 401);
}
