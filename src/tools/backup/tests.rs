use std::time::Duration;

use super::*;
use crate::env::disk::read_file;
use crate::env::disk::sim::SimDisk;
use crate::env::{ManualClock, OpenMode};
use crate::persist::SyncPolicy;
use crate::persist::tests::model::{Db, History, Workload, open_db, options};

fn config() -> OpenOptions {
    options(SyncPolicy::Always)
}

fn plain() -> BackupOptions {
    let pace = Pace::new(Arc::new(ManualClock::default()));
    BackupOptions { source: config(), zstd: None, pace, archive: false, asked: None }
}

fn work(db: &mut Db, history: &mut History, workload: &mut Workload, units: usize) {
    for _ in 0..units {
        let (index, unit) = workload.unit();
        db.submit(index, &unit, history);
        db.pump_for(history, Duration::from_millis(10));
    }
}

/// What a start makes of a copy, as a place in the history.
fn restored(disk: &SimDisk, directory: &str, history: &History) -> Option<usize> {
    let copied = OpenOptions { directory: directory.into(), ..config() };
    let db = open_db(disk, &copied, 99).expect("a copy is a data directory");
    history.prefix(&db.store.state)
}

/// Beside a server that writes: everything acknowledged before the call is in the copy, over segment after segment.
#[test]
fn a_copy_holds_what_was_acknowledged() {
    let disk = SimDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut db = open_db(&disk, &config(), 1).expect("an empty directory opens");
    let (mut history, mut workload) = (History::from(db.store.state.clone()), Workload::new(7));
    for copy in 0..12 {
        work(&mut db, &mut history, &mut workload, 7);
        let directory = format!("/copy{copy}");
        let made = backup_to_directory(&as_disk, plain(), Path::new(&directory)).expect("copied");
        assert!(made.files > 1 && made.bytes > 0, "{made}");
        assert_eq!(restored(&disk, &directory, &history), Some(history.durable), "{copy}");
    }
    assert!(matches!(backup_to_directory(&as_disk, plain(), Path::new("/copy1")), Err(BackupError::Taken { .. })));
}

/// A frame that is only half there was not acknowledged: it is left out as a whole.
#[test]
fn what_is_in_flight_is_left_out() {
    let disk = SimDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut db = open_db(&disk, &config(), 1).expect("an empty directory opens");
    let (mut history, mut workload) = (History::from(db.store.state.clone()), Workload::new(8));
    work(&mut db, &mut history, &mut workload, 3);
    let held = Held::hold(&disk, &config()).expect("held");
    let last = held.files.last().expect("a segment");
    let path = config().directory.join(&last.name);
    let file = disk.open(&path, OpenMode::ReadWrite).expect("it is there");
    file.write_all_at(b"#graven half of a fra", last.len).expect("written");
    backup_to_directory(&as_disk, plain(), Path::new("/copy")).expect("copied");
    let copied = read_file(&disk, &Path::new("/copy").join(&last.name)).expect("copied");
    assert_eq!(copied.len() as u64, last.len);
    assert_eq!(restored(&disk, "/copy", &history), Some(history.durable));
}

/// The archive holds the files of a directory's copy, the manifest last, and their checksums.
#[test]
fn an_archive_holds_the_same_files() {
    let disk = SimDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut db = open_db(&disk, &config(), 1).expect("an empty directory opens");
    let (mut history, mut workload) = (History::from(db.store.state.clone()), Workload::new(9));
    work(&mut db, &mut history, &mut workload, 20);
    backup_to_directory(&as_disk, plain(), Path::new("/copy")).expect("copied");
    let mut archive = Vec::new();
    let made = backup_to_stream(&disk, plain(), &mut archive).expect("written");
    let (mut names, mut sums) = (Vec::new(), String::new());
    let mut expected_sums = String::new();
    for entry in tar::Archive::new(&archive[..]).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        assert_eq!(content, read_file(&disk, &Path::new("/copy").join(&name)).expect("copied too"), "{name:?}");
        if name == Path::new(SUMS) {
            sums = String::from_utf8(content).expect("text");
        } else {
            let sum: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            expected_sums.push_str(&format!("{sum}  {}\n", name.display()));
        }
        names.push(name);
    }
    assert_eq!(sums, expected_sums);
    assert_eq!(names.len(), made.files + 1);
    assert!(names.last().is_some_and(|name| name.to_string_lossy().ends_with(".manifest")));
}

/// Compressed, a directory holds what unpacks to the same files, and an archive is the same archive.
#[test]
fn what_is_compressed_unpacks_to_the_same() {
    let disk = SimDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut db = open_db(&disk, &config(), 1).expect("an empty directory opens");
    let (mut history, mut workload) = (History::from(db.store.state.clone()), Workload::new(10));
    work(&mut db, &mut history, &mut workload, 20);
    let zstd = || BackupOptions { zstd: Some(3), ..plain() };
    backup_to_directory(&as_disk, plain(), Path::new("/copy")).expect("copied");
    let made = backup_to_directory(&as_disk, zstd(), Path::new("/packed")).expect("copied");
    let log = Path::new("/copy").join(config().append_directory);
    let names = disk.list(&log).expect("a log").into_iter().map(|name| log.join(name));
    let names: Vec<PathBuf> = names.chain([Path::new("/copy").join(SUMS)]).collect();
    assert_eq!(names.len(), made.files + 1);
    for path in names {
        let name = path.strip_prefix("/copy").expect("it is in there");
        let packed = read_file(&disk, &Path::new("/packed").join(name).with_added_extension("zst")).expect("packed");
        assert_eq!(zstd::decode_all(&packed[..]).expect("whole"), read_file(&disk, &path).expect("plain"), "{name:?}");
    }
    let (mut plainly, mut packed) = (Vec::new(), Vec::new());
    backup_to_stream(&disk, plain(), &mut plainly).expect("written");
    backup_to_stream(&disk, zstd(), &mut packed).expect("written");
    assert!(packed.len() < plainly.len());
    assert_eq!(zstd::decode_all(&packed[..]).expect("whole"), plainly);
}
