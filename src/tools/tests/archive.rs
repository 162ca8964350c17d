//! Damage in an archive, of each kind: a check and a plan tell of it, a repair names again what verifies and sets the rest aside,
//! and a crash at any step of it loses nothing.

use super::crashes::{MODES, repaired, sync_all};
use super::{Contents as Files, checked, put};
use crate::env::disk::sim::SimDisk;
use crate::env::{Disk, Entropy, ManualClock, SeededEntropy};
use crate::persist::archive::{Contents, MANIFEST_NAME, look};
use crate::persist::tests::archive::{ARCHIVE, EVERYTHING, options, restored, rewritten};
use crate::persist::tests::model::{History, START};
use crate::persist::{Lsn, Moment, SyncPolicy};
use crate::tools::{Place, Verdict, repair};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A closed log whose past is in an archive of four bases and the segments between them.
fn archived() -> (SimDisk, History) {
    let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
    let (mut db, archiver, mut history) = rewritten(&disk, &options, EVERYTHING, 4);
    db.log.buffer.close();
    assert!(db.pump_for(&mut history, std::time::Duration::from_secs(5)), "closes");
    drop((db, archiver));
    (disk.crash(crate::env::disk::sim::CrashMode::Kill, 0), history)
}

fn of_archive(disk: &SimDisk) -> Files {
    let counts = |path: &Path| path.starts_with(ARCHIVE) && path.extension().is_some_and(|ending| ending != "tmp");
    disk.contents().into_iter().filter(|(path, _)| counts(path)).collect()
}

fn manifest() -> PathBuf {
    Path::new(ARCHIVE).join(MANIFEST_NAME)
}

/// One thing that must not happen to an archive; what is set aside for it, and what is gone.
fn damage(disk: &SimDisk, kind: usize, chance: &mut SeededEntropy) -> (String, usize, usize) {
    let files = of_archive(disk);
    let names: Vec<PathBuf> = files.keys().filter(|path| **path != manifest()).cloned().collect();
    let one = chance.below(names.len() as u64) as usize;
    let other = (one + 1 + chance.below(names.len() as u64 - 1) as usize) % names.len();
    let (path, content) = (&names[one], &files[&names[one]]);
    let at = chance.below(content.len() as u64) as usize;
    let name = path.display();
    match kind {
        0 => {
            disk.flip(path, at as u64, (at % 8) as u8).expect("flips");
            (format!("a bit of {name} at {at}"), 1, 0)
        }
        1 => {
            put(disk, path, &content[..at]);
            (format!("{name} cut at {at}"), 1, 0)
        }
        2 => {
            disk.remove(path).expect("is there");
            (format!("{name} gone"), 0, 1)
        }
        3 => {
            put(disk, path, &files[&names[other]]);
            put(disk, &names[other], content);
            (format!("{name} and {} swapped", names[other].display()), 0, 0)
        }
        4 => {
            put(disk, path, &files[&names[other]]);
            (format!("{} over {name}", names[other].display()), 1, 0)
        }
        5 => {
            disk.remove(&manifest()).expect("is there");
            ("the manifest gone".into(), 0, 0)
        }
        6 => {
            let at = at % files[&manifest()].len();
            disk.flip(&manifest(), at as u64, 3).expect("flips");
            (format!("a bit of the manifest at {at}"), 0, 0)
        }
        _ => {
            let before = Contents::decode(&files[&manifest()]).expect("is whole");
            let fewer = before.files[..one].to_vec();
            let next = fewer.last().map_or(1, |last| last.label.number + 1);
            put(disk, &manifest(), &Contents { next, files: fewer }.encode());
            (format!("a manifest of the first {one} files"), 0, 0)
        }
    }
}

fn planned(disk: &SimDisk, into: Option<&str>) -> repair::Repaired {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = repair::Options {
        path: "/data".into(),
        apply: into.is_some(),
        into: into.map(Into::into),
        across_gaps: false,
        stop_at_gap: false,
        json: false,
    };
    let place = Place::Directory(Box::new(super::config()));
    repair::repair(&shared, &place, &options, &ManualClock::at(START), &mut SeededEntropy::new(5)).expect("is planned")
}

/// Everything that an archive names verifies, and nothing else lies in it.
fn is_whole(disk: &SimDisk, directory: &Path) -> Contents {
    let contents = Contents::read(disk, directory).expect("can be read").expect("is there").expect("is whole");
    for file in &contents.files {
        assert_eq!(&look(disk, &directory.join(file.file_name())).expect("verifies"), file);
    }
    assert_eq!(disk.list(directory).expect("is there").len(), contents.files.len() + 1);
    contents
}

#[test]
fn what_verifies_in_an_archive_is_named_again_and_what_does_not_is_set_aside() {
    let (undamaged, history) = archived();
    assert!(!planned(&undamaged, None).plan.is_needed(), "nothing to do");
    let whole = is_whole(&undamaged, Path::new(ARCHIVE));
    assert!(whole.files.len() >= 7, "{} files", whole.files.len());
    for seed in 0..80 {
        let (disk, mut chance) = (undamaged.fork(), SeededEntropy::new(seed));
        let (what, aside, missing) = damage(&disk, seed as usize % 8, &mut chance);
        let before = disk.contents();
        let found = checked(&disk);
        assert_ne!(found.to_string(), checked(&undamaged).to_string(), "{what}: a check says what it said before");
        let plan = planned(&disk, None);
        assert_eq!(disk.contents(), before, "{what}: a plan has changed something");
        let told = plan.plan.archive.as_ref().expect("there is one");
        assert_eq!((told.aside.len(), told.missing.len()), (aside, missing), "{what}: {}", plan.to_text());
        assert!(plan.plan.is_needed(), "{what}: {}", plan.to_text());
        let made = planned(&disk, Some("/made"));
        assert_eq!(made.plan.archive.map(|archive| archive.files), Some(told.files));
        let copied = is_whole(&disk, Path::new("/made/archive"));
        let done = repaired(&disk).unwrap_or_else(|failed| panic!("{what}: {failed}"));
        let contents = is_whole(&disk, Path::new(ARCHIVE));
        assert_eq!(copied.files, contents.files);
        assert!(contents.files.iter().all(|file| whole.files.contains(file)), "{what}");
        assert_eq!(contents.files.len() + aside.max(missing), whole.files.len(), "{what}: {}", done.to_text());
        assert_eq!(checked(&disk).verdict, Verdict::Sound, "{what}: {}", checked(&disk));
        assert!(!planned(&disk, None).plan.is_needed(), "{what}: {}", planned(&disk, None).to_text());
        let there = disk.contents();
        assert!(
            before.values().all(|content| there.values().any(|now| now == content)),
            "{what}: something is nowhere"
        );
        if aside + missing == 0 {
            let (lsn, state) = &history.states[history.states.len() / 2];
            let moment = Moment::Lsn(Lsn(*lsn));
            let (then, _) = restored(&disk, &options(SyncPolicy::Always), &moment, "/then").expect("can be gone to");
            assert_eq!(&then, state, "{what}");
        }
    }
}

#[test]
fn a_crash_in_a_repair_of_an_archive_loses_nothing() {
    let (undamaged, _) = archived();
    let mut steps = 0;
    for kind in 0..8 {
        let disk = undamaged.fork();
        let (what, ..) = damage(&disk, kind, &mut SeededEntropy::new(kind as u64));
        sync_all(&disk);
        let originals = of_archive(&disk);
        let once = disk.fork();
        repaired(&once).unwrap_or_else(|failed| panic!("{what}: {failed}"));
        let expected = of_archive(&once);
        disk.for_each_crash(
            &MODES,
            |disk| repaired(disk).is_ok(),
            |_, crashed, point| {
                steps += 1;
                let again = crashed.fork();
                repaired(&again).unwrap_or_else(|failed| panic!("{what}, {point}: {failed}"));
                assert_eq!(of_archive(&again), expected, "{what}, {point}");
                for disk in [&crashed, &again] {
                    let there = disk.contents();
                    let is_there = |content: &Vec<u8>| there.values().any(|now| now == content);
                    assert!(originals.values().all(is_there), "{what}, {point}: something is nowhere");
                }
            },
        );
    }
    assert!(steps > 100, "{steps}");
}
