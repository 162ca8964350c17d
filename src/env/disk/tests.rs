//! What every `Disk` promises, asked of both.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::{Disk, DiskFile, OpenMode, OsDisk, SimDisk, read_file, replace_file};

/// Runs one check in an empty directory of the real and of the simulated disk.
fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&OsDisk, directory.path());
    check(&SimDisk::new(), Path::new("/"));
}

fn write(disk: &dyn Disk, path: &Path, content: &[u8]) {
    disk.open(path, OpenMode::Truncate).unwrap().write_all_at(content, 0).unwrap();
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

#[test]
fn open_modes_ask_for_and_make_what_they_say() {
    on_both(|disk, dir| {
        let path = &dir.join("file");
        assert_eq!(kind(disk.open(path, OpenMode::Read)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open(path, OpenMode::ReadWrite)), Some(ErrorKind::NotFound));
        disk.open(path, OpenMode::CreateNew).unwrap().write_all_at(b"one", 0).unwrap();
        assert_eq!(kind(disk.open(path, OpenMode::CreateNew)), Some(ErrorKind::AlreadyExists));
        disk.open(path, OpenMode::ReadWrite).unwrap().write_all_at(b"two", 2).unwrap();
        assert_eq!(read_file(disk, path).unwrap(), b"ontwo");
        assert!(disk.open(path, OpenMode::Truncate).unwrap().is_empty().unwrap());
        let readable = disk.open(path, OpenMode::Read).unwrap();
        assert!(readable.write_at(b"x", 0).is_err());
        assert!(readable.set_len(9).is_err());
        assert_eq!(readable.len().unwrap(), 0);
    });
}

#[test]
fn errors_are_of_one_kind_on_both_disks() {
    on_both(|disk, dir| {
        let (file, sub, none) = (&dir.join("file"), &dir.join("sub"), &dir.join("none"));
        write(disk, file, b"x");
        disk.create_dir(sub).unwrap();
        assert_eq!(kind(disk.create_dir(sub)), Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.create_dir(file)), Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.create_dir(&none.join("deep"))), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove(sub)), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.remove(none)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.rename(none, file)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.rename(file, sub)), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.rename(sub, file)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.list(none)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.list(file)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.sync_dir(none)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.free_bytes(none)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open(&file.join("below"), OpenMode::Read)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.exists(&file.join("below"))), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.open(sub, OpenMode::ReadWrite)), Some(ErrorKind::IsADirectory));
    });
}

#[test]
fn names_come_sorted_and_follow_renames() {
    on_both(|disk, dir| {
        for name in ["b", "a", "c"] {
            write(disk, &dir.join(name), name.as_bytes());
        }
        disk.create_dir(&dir.join("aa")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["a", "aa", "b", "c"]);
        disk.rename(&dir.join("a"), &dir.join("c")).unwrap();
        disk.rename(&dir.join("b"), &dir.join("aa/moved")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["aa", "c"]);
        assert_eq!(read_file(disk, &dir.join("c")).unwrap(), b"a");
        assert_eq!(read_file(disk, &dir.join("aa/moved")).unwrap(), b"b");
        disk.remove(&dir.join("c")).unwrap();
        assert!(!disk.exists(&dir.join("c")).unwrap());
        assert!(disk.exists(&dir.join("aa")).unwrap());
        disk.sync_dir(dir).unwrap();
        assert!(disk.free_bytes(dir).unwrap() > 0);
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    on_both(|disk, dir| {
        let path = &dir.join("file");
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        file.write_all_at(b"still", 0).unwrap();
        disk.remove(path).unwrap();
        write(disk, path, b"another");
        file.write_all_at(b" here", 5).unwrap();
        let mut content = [0; 10];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"still here");
        assert_eq!(read_file(disk, path).unwrap(), b"another");
    });
}

#[test]
fn reads_end_at_the_end() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("file"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        let mut buf = [9; 8];
        assert_eq!(file.read_at(&mut buf, 1).unwrap(), 2);
        assert_eq!(file.read_at(&mut buf, 3).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        assert_eq!(kind(file.read_exact_at(&mut buf, 0)), Some(ErrorKind::UnexpectedEof));
        file.sync_data().unwrap();
        file.sync_all().unwrap();
    });
}

#[test]
fn one_holder_of_the_lock_at_a_time() {
    on_both(|disk, dir| {
        let path = &dir.join("lock");
        let held = disk.lock(path).unwrap();
        let refused = disk.lock(path).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert!(refused.to_string().contains(&*path.to_string_lossy()), "{refused}");
        drop(held);
        drop(disk.lock(path).unwrap());
        assert!(disk.exists(path).unwrap());
    });
}

#[test]
fn replace_file_leaves_no_other_name() {
    on_both(|disk, dir| {
        let path = &dir.join("file");
        for content in [b"first".as_slice(), b"the second, longer", b""] {
            replace_file(disk, path, content).unwrap();
            assert_eq!(read_file(disk, path).unwrap(), content);
            assert_eq!(disk.list(dir).unwrap(), ["file"]);
        }
    });
}

#[test]
fn a_file_that_is_replaced_as_it_was_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    OsDisk.replace_as_it_was(&path, b"new").unwrap();
    for mode in [0o600, 0o640, 0o444] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        write(&OsDisk, &directory.path().join("file.tmp"), b"left by a crash");
        OsDisk.replace_as_it_was(&path, b"changed").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(read_file(&OsDisk, &path).unwrap(), b"changed");
        assert_eq!(OsDisk.list(directory.path()).unwrap(), ["file"]);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Open(u8, u8),
    Write(u8, u16, u16),
    SetLen(u8, u16),
    Read(u8, u16, u16),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let name = u8::arbitrary(g) % 4;
        let (a, b) = (u16::arbitrary(g) % 12_000, u16::arbitrary(g) % 6_000);
        match u8::arbitrary(g) % 10 {
            0 | 1 => Op::Open(name, u8::arbitrary(g) % 4),
            2..=4 => Op::Write(name, a, b),
            5 => Op::SetLen(name, a),
            6 => Op::Read(name, a, b),
            7 => Op::Rename(name, u8::arbitrary(g) % 4),
            8 => Op::Remove(name),
            _ => Op::Sync(name),
        }
    }
}

/// What an operation shows: the kind of its error, or what it read.
fn apply(disk: &dyn Disk, dir: &Path, n: usize, op: &Op) -> Result<Vec<u8>, ErrorKind> {
    let path = |name: u8| -> PathBuf { dir.join(name.to_string()) };
    let open = |name: u8| disk.open(&path(name), OpenMode::ReadWrite);
    let shown = match *op {
        Op::Open(name, mode) => {
            let mode = [OpenMode::Read, OpenMode::ReadWrite, OpenMode::CreateNew, OpenMode::Truncate][mode as usize];
            disk.open(&path(name), mode).map(|_| Vec::new())
        }
        Op::Write(name, offset, len) => open(name).and_then(|file| {
            file.write_all_at(&vec![n as u8 | 1; len.into()], offset.into())?;
            Ok(Vec::new())
        }),
        Op::SetLen(name, len) => open(name).and_then(|file| file.set_len(len.into())).map(|()| Vec::new()),
        Op::Read(name, offset, len) => open(name).and_then(|file: Box<dyn DiskFile>| {
            let mut buf = vec![0; len.into()];
            let count = file.read_at(&mut buf, offset.into())?;
            buf.truncate(count);
            Ok(buf)
        }),
        Op::Rename(from, to) => disk.rename(&path(from), &path(to)).map(|()| Vec::new()),
        Op::Remove(name) => disk.remove(&path(name)).map(|()| Vec::new()),
        Op::Sync(name) => open(name).and_then(|file| file.sync_all()).map(|()| Vec::new()),
    };
    shown.map_err(|e| e.kind())
}

quickcheck! {
    /// The simulated disk answers as the real one does.
    fn both_disks_answer_alike(ops: Vec<Op>) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let sim = SimDisk::new();
        let same = ops.iter().enumerate().all(|(n, op)| {
            apply(&OsDisk, directory.path(), n, op) == apply(&sim, Path::new("/"), n, op)
        });
        let names = OsDisk.list(directory.path()).unwrap();
        same && names == sim.list(Path::new("/")).unwrap()
            && names.iter().all(|name| {
                read_file(&OsDisk, &directory.path().join(name)).unwrap() == read_file(&sim, Path::new(name)).unwrap()
            })
    }
}
