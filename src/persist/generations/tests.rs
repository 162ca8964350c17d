//! Earlier dumps through saves, crashes and errors.

use super::*;
use crate::env::SeededEntropy;
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, SimDisk};
use crate::env::disk::{read_file, replace_file};
use crate::persist::tests::crashes::crashes;
use crate::persist::{BaseIdentity, Lineage, Lsn, Position, Timeline, make_way};

const DUMP: &str = "/data/dump.rdb";
const LOG: &str = "/data/appendonlydir";
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn dump() -> &'static Path {
    Path::new(DUMP)
}

/// A data directory with nothing in it.
fn directory() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A save of a server that keeps so many, with this content; `known`: what it found or wrote before.
fn save(disk: &SimDisk, text: &str, known: &mut Option<BaseIdentity>, keep: usize) -> io::Result<Older> {
    let here = Position { lineage: Lineage::root(Timeline::draw(&mut SeededEntropy::new(1))), lsn: Lsn(9) };
    make_way(disk, dump(), *known, &here, keep, NOW)?;
    replace_file(disk, dump(), text.as_bytes())?;
    *known = Some(base_identity(disk, dump())?);
    prune(disk, dump(), Some(Path::new(LOG)), keep)
}

/// What the place and the generations hold, the latest first.
fn held(disk: &SimDisk) -> Vec<String> {
    let earlier = generations(disk, dump()).unwrap().into_iter().rev().map(|(_, path)| path);
    let paths = disk.exists(dump()).unwrap().then(|| dump().to_owned()).into_iter().chain(earlier);
    paths.map(|path| String::from_utf8(read_file(disk, &path).unwrap()).unwrap()).collect()
}

#[test]
fn the_last_generations_are_kept_and_no_more() {
    for links in [true, false] {
        let (disk, mut known) = (directory(), None);
        if !links {
            disk.fail(FaultSpec::new(Op::Link, Fault::Errno(libc::EPERM)));
        }
        for number in 1..=5 {
            save(&disk, &format!("{number}"), &mut known, 3).unwrap();
        }
        assert_eq!(held(&disk), ["5", "4", "3"]);
        let older = prune(&disk, dump(), None, 2).unwrap();
        assert_eq!((older.generations.len(), older.generation_bytes, older.removed.len()), (1, 1, 1));
        save(&disk, "6", &mut known, 4).unwrap();
        assert_eq!(held(&disk), ["6", "5", "4"]);
        save(&disk, "7", &mut known, 1).unwrap();
        assert_eq!(held(&disk), ["7"]);
        save(&disk, "8", &mut known, 2).unwrap();
        assert_eq!(held(&disk), ["8", "7"]);
    }
}

/// A crash in any step of any of five saves, and another one in the start and the save behind it: the last three that were
/// acknowledged are there, in order, and what is left over goes with the next save.
#[test]
fn a_crash_at_any_step_of_a_save_leaves_the_last_generations() {
    const KEEP: usize = 3;
    let saves = |disk: &SimDisk, from: usize, to: usize| {
        let mut known = base_identity(disk, dump()).ok();
        (from..=to).take_while(|number| save(disk, &number.to_string(), &mut known, KEEP).is_ok()).last()
    };
    let judge = |disk: &SimDisk, acked: usize, begun: usize, what: &str| {
        let mut held: Vec<usize> = held(disk).iter().map(|text| text.parse().unwrap()).collect();
        // A save that came no further than to its generation: the dump in place has two names.
        held.dedup();
        let latest = *held.first().unwrap_or(&0);
        assert!((acked..=begun).contains(&latest), "{what}: {held:?} behind {acked}");
        assert!(held.is_sorted_by(|later, earlier| *later == earlier + 1), "{what}: {held:?}");
        assert!(held.len() >= acked.min(KEEP), "{what}: {held:?} behind {acked}");
        latest
    };
    directory().for_each_crash(
        &crashes(),
        |disk| saves(disk, 1, 5).unwrap_or(0),
        |acked, crashed, point| {
            let latest = judge(&crashed, *acked, acked + 1, &point.to_string());
            crashed.for_each_crash(
                &[(CrashMode::Kill, 0), (CrashMode::ALL_UNSYNCED_LOST, 0)],
                |disk| {
                    let started = remove_drafts(disk, dump()).is_ok() && prune(disk, dump(), None, KEEP).is_ok();
                    started.then(|| saves(disk, latest + 1, latest + 1)).flatten().unwrap_or(*acked)
                },
                |acked, crashed, inner| {
                    let what = format!("{point}; then {inner}");
                    let latest = judge(&crashed, *acked, latest + 1, &what);
                    remove_drafts(&crashed, dump()).unwrap();
                    let mut known = base_identity(&crashed, dump()).ok();
                    save(&crashed, &(latest + 1).to_string(), &mut known, KEEP).unwrap();
                    assert_eq!(held(&crashed).len(), (latest + 1).min(KEEP), "{what}");
                    let names = crashed.list(Path::new("/data")).unwrap();
                    assert_eq!(names.len(), (latest + 1).min(KEEP), "{what}: {names:?}");
                },
            );
        },
    );
}

/// Where the one before cannot be kept, it is not replaced.
#[test]
fn an_error_at_any_call_of_a_save_loses_no_generation() {
    for op in [Op::Link, Op::SyncDir, Op::Open, Op::Read, Op::List, Op::Create, Op::Write, Op::Sync, Op::Rename] {
        for nth in 0.. {
            let (disk, mut known) = (directory(), None);
            for number in 1..=3 {
                save(&disk, &number.to_string(), &mut known, 3).unwrap();
            }
            let fault = disk.fail(FaultSpec::new(op, Fault::Eio).nth(nth));
            let saved = save(&disk, "4", &mut known, 3).is_ok();
            let struck = disk.lift(fault);
            let found = held(&disk);
            let contents: Vec<&str> = found.iter().map(String::as_str).filter(|text| *text != "4").collect();
            assert!(
                contents.starts_with(&["3", "2"]) || contents.starts_with(&["3", "3", "2"]),
                "{op:?} {nth}: {found:?}"
            );
            if struck == 0 {
                assert!(saved);
                break;
            }
        }
    }
}

#[test]
fn what_lost_is_kept_as_often_as_a_generation_and_other_names_are_left_alone() {
    let (disk, mut known) = (directory(), None);
    let others =
        ["dump.rdb.superseded-mine", "dump.rdb.generation-07", "dump.rdb.generation-x", "my.dump.rdb.generation-1"];
    for name in others {
        replace_file(&disk, &Path::new("/data").join(name), b"mine").unwrap();
    }
    for round in 0..4 {
        let path = superseded(&disk, Path::new(LOG), NOW).unwrap();
        disk.create_dir(&path).unwrap();
        replace_file(&disk, &path.join("appendonly.aof.manifest"), b"old").unwrap();
        replace_file(&disk, dump(), b"foreign").unwrap();
        known = known.filter(|_| false);
        let older = save(&disk, &round.to_string(), &mut known, 2).unwrap();
        assert_eq!(older.superseded.len(), 2 * (round + 1).min(2));
    }
    let at = "20231114T221320Z";
    let mut expected: Vec<String> = others.map(String::from).to_vec();
    expected.push("dump.rdb".into());
    for number in [3, 4] {
        expected.push(format!("dump.rdb.superseded-{at}-{number}"));
        expected.push(format!("appendonlydir.superseded-{at}-{number}"));
    }
    expected.sort();
    assert_eq!(disk.list(Path::new("/data")).unwrap(), expected);
}

/// The latest one must not look like the oldest because a clock was set back.
#[test]
fn what_is_set_aside_is_later_than_what_was_whatever_the_clock_says() {
    let disk = directory();
    for (now, name) in [
        (NOW, "/data/dump.rdb.superseded-20231114T221320Z"),
        (UnixMillis(0), "/data/dump.rdb.superseded-20231114T221320Z-2"),
        (UnixMillis(NOW.0 + 1000), "/data/dump.rdb.superseded-20231114T221321Z"),
        (NOW, "/data/dump.rdb.superseded-20231114T221321Z-2"),
    ] {
        let path = superseded(&disk, dump(), now).unwrap();
        assert_eq!(path, Path::new(name));
        replace_file(&disk, &path, b"lost").unwrap();
    }
}

#[test]
fn moments_are_written_as_utc() {
    for (millis, text) in
        [(0, "19700101T000000Z"), (951_827_696_000, "20000229T123456Z"), (4_102_444_799_000, "20991231T235959Z")]
    {
        assert_eq!(utc(UnixMillis(millis)), text);
    }
}
