//! Kinds of crashes, one promise each.

use std::collections::BTreeSet;

use super::{FILE, content, disk_with, path};
use crate::env::disk::sim::{CrashMode, Frozen, Op, PowerCut, SimDisk, Survival};
use crate::env::disk::{read_file, replace_file};
use crate::env::{Disk, OpenMode};

const SEEDS: u64 = 300;

fn cut(data: Survival, sizes: Survival, names: Survival) -> CrashMode {
    CrashMode::PowerCut(PowerCut { data, sizes, names, ..PowerCut::NOTHING_KEPT })
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let (disk, file) = disk_with(b"durable");
    file.write_all_at(b"WRITTEN, NOT SYNCED", 0).unwrap();
    assert_eq!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap(), b"durable");
    file.sync_data().unwrap();
    assert_eq!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap(), b"WRITTEN, NOT SYNCED");
}

#[test]
fn every_kind_of_loss_occurs() {
    // A weak simulation would let bad recovery code pass.
    let (disk, file) = disk_with(&[1; 4096]);
    file.write_all_at(&[2; 3 * 4096], 4096).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let left = content(&disk.crash(CrashMode::ANY_POWER_CUT, seed), FILE).unwrap();
        assert_eq!(left[..4096], [1; 4096], "the synced page, seed {seed}");
        let fresh = |page: usize| left.get(page * 4096..).unwrap_or_default().iter().take(4096);
        let is_full = |page: usize| fresh(page).clone().count() == 4096 && fresh(page).all(|byte| *byte == 2);
        let is_zero = |page: usize| fresh(page).clone().count() == 4096 && fresh(page).all(|byte| *byte == 0);
        let torn_at = (4096..left.len()).find(|at| left[at - 1] == 2 && left[*at] == 0);
        let kinds = [
            ("all lost", left.len() == 4096),
            ("all kept", left.len() == 4 * 4096 && (1..4).all(is_full)),
            ("zero-filled", left.len() == 4 * 4096 && (1..4).all(is_zero)),
            ("reordered", (1..3).any(|page| is_zero(page) && is_full(page + 1))),
            ("size torn at a byte", !left.len().is_multiple_of(512)),
            ("size torn at a sector", left.len().is_multiple_of(512) && !left.len().is_multiple_of(4096)),
            ("size torn at a page", left.len() == 2 * 4096),
            ("data torn at a byte", torn_at.is_some_and(|at| at % 512 != 0)),
            ("data torn at a sector", torn_at.is_some_and(|at| at % 512 == 0 && at % 4096 != 0)),
            ("stale bytes", left[4096..].contains(&1)),
        ];
        seen.extend(kinds.into_iter().filter(|(_, occurs)| *occurs).map(|(kind, _)| kind));
    }
    assert_eq!(seen.len(), 10, "only {seen:?}");
}

#[test]
fn an_older_state_of_a_page_may_be_what_is_left() {
    let (disk, file) = disk_with(b"000");
    for state in [b"111", b"222", b"333"] {
        file.write_all_at(state, 0).unwrap();
    }
    let left: BTreeSet<_> =
        (0..SEEDS).filter_map(|seed| content(&disk.crash(CrashMode::ANY_POWER_CUT, seed), FILE)).collect();
    for state in ["000", "111", "222", "333"] {
        assert!(left.contains(state.as_bytes()), "{state} not in {left:?}");
    }
}

#[test]
fn a_file_without_a_durable_name_may_be_gone_however_well_synced() {
    let disk = SimDisk::new();
    replace_file(&disk, path("/whole"), b"named and synced").unwrap();
    let file = disk.open(path("/nameless"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_all().unwrap();
    for seed in 0..SEEDS {
        let left = disk.crash(CrashMode::ANY_POWER_CUT, seed);
        assert_eq!(content(&left, "/whole").unwrap(), b"named and synced");
        let nameless = content(&left, "/nameless");
        assert!(nameless.is_none() || nameless.unwrap() == b"synced");
    }
    assert!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), "/nameless").is_none());
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), "/nameless").unwrap(), b"synced");
}

#[test]
fn a_synced_name_says_nothing_of_the_content() {
    let disk = SimDisk::new();
    disk.open(path(FILE), OpenMode::CreateNew).unwrap().write_all_at(b"unsynced", 0).unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap(), b"");
}

#[test]
fn names_are_kept_independently_of_each_other() {
    let disk = SimDisk::new();
    for name in ["/a", "/b"] {
        disk.open(path(name), OpenMode::CreateNew).unwrap();
    }
    let left: BTreeSet<_> =
        (0..SEEDS).map(|seed| disk.crash(CrashMode::ANY_POWER_CUT, seed).list(path("/")).unwrap()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_remove_and_a_rename_may_come_undone() {
    let (disk, _file) = disk_with(b"old");
    replace_file(&disk, path("/next"), b"new").unwrap();
    disk.rename(path("/next"), path(FILE)).unwrap();
    let left: BTreeSet<_> = (0..SEEDS)
        .map(|seed| {
            let left = disk.crash(CrashMode::ANY_POWER_CUT, seed);
            (content(&left, FILE).unwrap(), content(&left, "/next"))
        })
        .collect();
    let (old, new) = (b"old".to_vec(), b"new".to_vec());
    assert_eq!(left, BTreeSet::from([(new.clone(), None), (old, Some(new))]));
    disk.remove(path(FILE)).unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert!(disk.crash(CrashMode::ANY_POWER_CUT, 1).contents().is_empty());
}

#[test]
fn a_directory_without_a_durable_name_takes_its_files_along() {
    let disk = SimDisk::new();
    disk.create_dir(path("/sub")).unwrap();
    replace_file(&disk, path("/sub/file"), b"synced, and named in /sub").unwrap();
    let left = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    assert!(left.list(path("/")).unwrap().is_empty());
    disk.sync_dir(path("/")).unwrap();
    let left = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
    assert_eq!(content(&left, "/sub/file").unwrap(), b"synced, and named in /sub");
}

#[test]
fn a_file_moved_into_a_directory_that_is_lost_stays_where_it_was() {
    let (disk, _file) = disk_with(b"moved");
    disk.create_dir(path("/sub")).unwrap();
    disk.rename(path(FILE), path("/sub/file")).unwrap();
    for seed in 0..SEEDS {
        let left: Vec<_> = disk.crash(CrashMode::ANY_POWER_CUT, seed).contents().into_values().collect();
        assert_eq!(left, [b"moved"], "seed {seed}");
    }
}

#[test]
fn a_cut_that_is_kept_never_brings_old_bytes_back() {
    let (disk, file) = disk_with(&[1; 10_000]);
    file.set_len(5_000).unwrap();
    file.set_len(9_000).unwrap();
    let mode = cut(Survival::Lost, Survival::Kept, Survival::Lost);
    let left = content(&disk.crash(mode, 0), FILE).unwrap();
    assert_eq!(left[..5_000], [1; 5_000]);
    assert_eq!(left[5_000..], [0; 4_000]);
    let undone = content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap();
    assert_eq!(undone, [1; 10_000]);
}

#[test]
fn only_a_ruined_sector_harms_its_durable_neighbours() {
    let (disk, file) = disk_with(&[1; 4096]);
    file.write_all_at(&[2; 10], 1000).unwrap();
    let mode = |ruined_sector| CrashMode::PowerCut(PowerCut { ruined_sector, ..PowerCut::ANY });
    let harmed = |mode, seed| {
        let left = content(&disk.crash(mode, seed), FILE).unwrap();
        let outside = (0..4096).filter(|at| !(1000..1010).contains(at));
        outside.filter(|at| left[*at] != 1).collect::<Vec<_>>()
    };
    let ruined: BTreeSet<_> = (0..SEEDS).flat_map(|seed| harmed(mode(true), seed)).collect();
    assert!(!ruined.is_empty() && ruined.iter().all(|at| (512..1024).contains(at)), "{ruined:?}");
    assert!((0..SEEDS).all(|seed| harmed(mode(false), seed).is_empty()));
}

#[test]
fn a_frozen_disk_fails_every_call_and_frees_its_lock() {
    let (disk, file) = disk_with(b"x");
    let lock = disk.lock(path("/lock")).unwrap();
    disk.freeze_at(disk.steps());
    file.read_exact_at(&mut [0], 0).unwrap();
    let errors = [
        file.write_at(b"y", 0).err(),
        file.write_at(b"y", 0).err(),
        file.sync_data().err(),
        file.set_len(0).err(),
        file.len().err(),
        file.read_at(&mut [0], 0).err(),
        disk.open(path("/new"), OpenMode::CreateNew).err(),
        disk.open(path(FILE), OpenMode::Read).err(),
        disk.rename(path(FILE), path("/b")).err(),
        disk.remove(path(FILE)).err(),
        disk.create_dir(path("/d")).err(),
        disk.sync_dir(path("/")).err(),
        disk.list(path("/")).err(),
        disk.exists(path(FILE)).err(),
        disk.free_bytes(path("/")).err(),
        disk.lock(path("/other")).err(),
    ];
    for error in errors {
        assert!(error.as_ref().is_some_and(Frozen::is), "{error:?}");
    }
    assert!(disk.is_frozen());
    let restarted = disk.crash(CrashMode::Kill, 0);
    restarted.lock(path("/lock")).unwrap();
    drop(lock);
    assert_eq!(restarted.steps(), 0);
}

#[test]
fn steps_are_the_mutating_calls_in_order() {
    let (disk, file) = disk_with(b"x");
    read_file(&disk, path(FILE)).unwrap();
    disk.list(path("/")).unwrap();
    file.set_len(0).unwrap();
    assert!(disk.remove(path("/none")).is_err());
    let history: Vec<_> = disk.history().iter().map(ToString::to_string).collect();
    assert_eq!(history, ["Create /file", "Write /file", "Sync /file", "SyncDir /", "SetLen /file", "Remove /none"]);
    assert_eq!(disk.steps(), 6);
    assert_eq!(disk.history()[0].op, Op::Create);
}

#[test]
fn of_the_write_in_flight_any_prefix_may_be_there_after_a_kill() {
    let (disk, file) = disk_with(b"");
    file.write_all_at(b"before ", 0).unwrap();
    disk.freeze_at(disk.steps());
    assert!(file.write_at(&[b'x'; 100], 7).is_err());
    let lengths: BTreeSet<_> = (0..SEEDS)
        .map(|seed| {
            let left = content(&disk.crash(CrashMode::Kill, seed), FILE).unwrap();
            assert!(left.starts_with(b"before ") && left[7..].iter().all(|byte| *byte == b'x'));
            left.len() - 7
        })
        .collect();
    assert!(lengths.contains(&0) && lengths.contains(&100) && lengths.len() > 20, "{lengths:?}");
}

#[test]
fn a_rename_in_flight_is_done_or_not_after_a_kill() {
    let (disk, _file) = disk_with(b"old");
    replace_file(&disk, path("/next"), b"new").unwrap();
    disk.freeze_at(disk.steps());
    assert!(disk.rename(path("/next"), path(FILE)).is_err());
    let left: BTreeSet<_> =
        (0..SEEDS).map(|seed| disk.crash(CrashMode::Kill, seed).contents().into_values().collect::<Vec<_>>()).collect();
    assert_eq!(left, BTreeSet::from([vec![b"new".to_vec()], vec![b"old".to_vec(), b"new".to_vec()]]));
}

#[test]
fn what_a_kill_left_unsynced_a_later_power_cut_takes() {
    let (disk, file) = disk_with(b"durable");
    file.write_all_at(b" and not", 7).unwrap();
    let restarted = disk.crash(CrashMode::Kill, 0);
    assert_eq!(content(&restarted, FILE).unwrap(), b"durable and not");
    assert_eq!(content(&restarted.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap(), b"durable");
}

#[test]
fn a_fork_lives_its_own_life() {
    let (disk, file) = disk_with(b"common");
    let _lock = disk.lock(path("/lock")).unwrap();
    let fork = disk.fork();
    fork.lock(path("/lock")).unwrap();
    fork.open(path(FILE), OpenMode::Truncate).unwrap().write_all_at(b"fork", 0).unwrap();
    file.write_all_at(b"origin", 0).unwrap();
    assert_eq!(content(&fork, FILE).unwrap(), b"fork");
    assert_eq!(content(&disk, FILE).unwrap(), b"origin");
    assert_eq!(disk.clone().steps(), disk.steps());
}

#[test]
fn enumeration_ends_a_run_in_each_of_its_steps_and_after_them() {
    let (disk, _file) = disk_with(b"old");
    let mut points = Vec::new();
    let steps = disk.for_each_crash(
        &[(CrashMode::ALL_UNSYNCED_LOST, 0), (CrashMode::Kill, 7)],
        |disk| replace_file(disk, path(FILE), b"new").map_err(|e| assert!(Frozen::is(&e))).is_ok(),
        |acknowledged, left, point| {
            let found = content(&left, FILE).unwrap();
            points.push((point.to_string(), found == b"new", *acknowledged));
        },
    );
    assert_eq!(steps, 5);
    assert_eq!(points.len(), 2 * 6);
    assert!(points[0].0.ends_with("with seed 0 in step 0 (Create /file.tmp)"), "{}", points[0].0);
    assert!(points[11].0.ends_with("Kill with seed 7 after all 5 steps"), "{}", points[11].0);
    let after_power_cuts: Vec<_> =
        points.iter().step_by(2).map(|(_, new, acknowledged)| (*new, *acknowledged)).collect();
    assert_eq!(after_power_cuts, [[(false, false); 5].as_slice(), &[(true, true)]].concat());
}
