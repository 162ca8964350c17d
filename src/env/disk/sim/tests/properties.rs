//! Random runs against models of what a crash may leave.

use std::collections::{BTreeMap, BTreeSet};

use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

use super::{FILE, content, disk_with, path};
use crate::env::disk::sim::{CrashMode, Fault, FaultSpec, Op, PowerCut, SimDisk};
use crate::env::{Disk, OpenMode};

const NO_STALE: CrashMode = CrashMode::PowerCut(PowerCut { stale: false, ..PowerCut::ANY });

#[derive(Clone, Debug)]
enum FileOp {
    Write { offset: u16, len: u16 },
    SetLen(u16),
    Sync,
    FailedSync,
}

impl Arbitrary for FileOp {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 8 {
            0..=4 => Self::Write { offset: u16::arbitrary(g) % 12_000, len: u16::arbitrary(g) % 9_000 },
            5 => Self::SetLen(u16::arbitrary(g) % 20_000),
            6 => Self::Sync,
            _ => Self::FailedSync,
        }
    }
}

/// Each byte's values since it was last surely synced, and each size since the last sync.
#[derive(Clone)]
struct Model {
    bytes: Vec<u8>,
    possible: Vec<BTreeSet<u8>>,
    sizes: Vec<usize>,
    failed: bool,
}

impl Model {
    fn resize(&mut self, len: usize) {
        let most = len.max(self.possible.len());
        self.possible.resize(most, BTreeSet::from([0]));
        if len < self.bytes.len() {
            for values in &mut self.possible[len..] {
                values.insert(0);
            }
        }
        self.bytes.resize(len, 0);
        self.sizes.push(len);
    }

    fn apply(&mut self, n: usize, op: &FileOp) {
        match *op {
            FileOp::Write { offset, len } => {
                let (offset, end) = (usize::from(offset), usize::from(offset) + usize::from(len));
                if end > self.bytes.len() && len > 0 {
                    self.resize(end);
                }
                for at in offset..end {
                    self.bytes[at] = n as u8;
                    self.possible[at].insert(n as u8);
                }
            }
            FileOp::SetLen(len) => self.resize(len.into()),
            FileOp::Sync => {
                self.sizes = vec![self.bytes.len()];
                if !self.failed {
                    self.possible = self.bytes.iter().map(|byte| BTreeSet::from([*byte])).collect();
                }
            }
            FileOp::FailedSync => self.failed = true,
        }
    }

    fn allows(&self, left: &[u8]) -> bool {
        let grown = self.sizes.windows(2).any(|step| (step[0]..=step[1]).contains(&left.len()));
        (grown || self.sizes.contains(&left.len()))
            && left.iter().zip(&self.possible).all(|(byte, possible)| possible.contains(byte))
    }
}

fn run(ops: &[FileOp]) -> (SimDisk, Model) {
    let (disk, file) = disk_with(b"");
    let mut model = Model { bytes: Vec::new(), possible: Vec::new(), sizes: vec![0], failed: false };
    for (n, op) in (1..).zip(ops) {
        match *op {
            FileOp::Write { offset, len } => file.write_all_at(&vec![n as u8; len.into()], offset.into()).unwrap(),
            FileOp::SetLen(len) => file.set_len(len.into()).unwrap(),
            FileOp::Sync => file.sync_data().unwrap(),
            FileOp::FailedSync => {
                let fault = disk.fail(FaultSpec::new(Op::Sync, Fault::Eio));
                assert!(file.sync_data().is_err());
                disk.lift(fault);
            }
        }
        model.apply(n, op);
    }
    (disk, model)
}

#[derive(Clone, Debug)]
enum NameOp {
    Create(u8),
    Rename(u8, u8),
    Remove(u8),
    Sync,
}

impl Arbitrary for NameOp {
    fn arbitrary(g: &mut Gen) -> Self {
        let (a, b) = (u8::arbitrary(g) % 5, u8::arbitrary(g) % 5);
        match u8::arbitrary(g) % 8 {
            0..=2 => Self::Create(a),
            3..=5 => Self::Rename(a, b),
            6 => Self::Remove(a),
            _ => Self::Sync,
        }
    }
}

/// Which file stands under a name: files are told apart by what is in them.
fn named(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    disk.contents().into_iter().map(|(path, content)| (path.display().to_string(), content)).collect()
}

quickcheck! {
    fn a_kill_loses_nothing_written(ops: Vec<FileOp>, seed: u64) -> bool {
        let (disk, model) = run(&ops);
        let left = disk.crash(CrashMode::Kill, seed);
        content(&left, FILE).unwrap() == model.bytes && left.contents() == disk.contents()
    }

    fn a_power_cut_leaves_what_the_model_allows(ops: Vec<FileOp>, seeds: Vec<u64>) -> bool {
        let (disk, model) = run(&ops);
        seeds.iter().all(|seed| model.allows(&content(&disk.crash(NO_STALE, *seed), FILE).unwrap()))
    }

    fn what_is_synced_is_there(ops: Vec<FileOp>, seed: u64) -> TestResult {
        if ops.iter().any(|op| matches!(op, FileOp::FailedSync)) {
            return TestResult::discard();
        }
        let (disk, model) = run(&ops);
        disk.open(path(FILE), OpenMode::ReadWrite).unwrap().sync_data().unwrap();
        let left = content(&disk.crash(CrashMode::ANY_POWER_CUT, seed), FILE).unwrap();
        TestResult::from_bool(left == model.bytes)
    }

    fn a_crash_in_a_crashed_image_leaves_it_alone(ops: Vec<FileOp>, seed: u64) -> bool {
        let left = run(&ops).0.crash(CrashMode::ANY_POWER_CUT, seed);
        left.crash(CrashMode::ANY_POWER_CUT, seed ^ 1).contents() == left.contents()
    }

    fn one_seed_gives_one_run(ops: Vec<FileOp>, seed: u64) -> bool {
        let (one, other) = (run(&ops).0, run(&ops).0);
        one.history() == other.history()
            && one.crash(CrashMode::ANY_POWER_CUT, seed).contents()
                == other.crash(CrashMode::ANY_POWER_CUT, seed).contents()
            && one.crash(CrashMode::Kill, seed).contents() == other.crash(CrashMode::Kill, seed).contents()
    }

    fn dropped_caches_show_the_platter(ops: Vec<FileOp>) -> bool {
        let (disk, _) = run(&ops);
        let file = disk.open(path(FILE), OpenMode::ReadWrite).unwrap();
        disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).nth(0));
        let size = file.len().unwrap();
        assert!(file.sync_data().is_err());
        disk.drop_caches();
        file.sync_data().unwrap();
        let left = content(&disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0), FILE).unwrap();
        left == content(&disk, FILE).unwrap() && left.len() as u64 == size
    }

    fn names_after_a_power_cut(ops: Vec<NameOp>, seed: u64) -> bool {
        let disk = SimDisk::new();
        let mut durable = BTreeMap::new();
        // Names and files that something happened to since the last sync of the directory.
        let mut touched: BTreeSet<String> = BTreeSet::new();
        let mut replaced: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut history: Vec<(String, Vec<u8>)> = Vec::new();
        for (n, op) in ops.iter().enumerate() {
            let name = |n: u8| format!("/{n}");
            let before = named(&disk);
            match *op {
                NameOp::Create(a) => {
                    if let Ok(file) = disk.open(path(&name(a)), OpenMode::CreateNew) {
                        file.write_all_at(&n.to_le_bytes(), 0).unwrap();
                        file.sync_all().unwrap();
                        touched.insert(name(a));
                    }
                }
                NameOp::Rename(a, b) => {
                    if disk.rename(path(&name(a)), path(&name(b))).is_ok() && a != b {
                        touched.extend([name(a), name(b)]);
                        replaced.extend(before.get(&name(b)).cloned());
                    }
                }
                NameOp::Remove(a) => {
                    if disk.remove(path(&name(a))).is_ok() {
                        touched.insert(name(a));
                        replaced.extend(before.get(&name(a)).cloned());
                    }
                }
                NameOp::Sync => {
                    disk.sync_dir(path("/")).unwrap();
                    durable = before;
                    touched.clear();
                    replaced.clear();
                    history.clear();
                }
            }
            history.extend(named(&disk));
        }
        let left = named(&disk.crash(CrashMode::ANY_POWER_CUT, seed));
        let mut files: Vec<_> = left.values().collect();
        files.sort();
        let never_both = files.windows(2).all(|pair| pair[0] != pair[1]);
        let never_neither = durable.values().all(|file| replaced.contains(file) || files.contains(&file));
        let untouched_stay = durable.iter().all(|(name, file)| touched.contains(name) || left.get(name) == Some(file));
        let had_been = left.iter().all(|(name, file)| {
            durable.get(name) == Some(file) || history.iter().any(|(n, f)| n == name && f == file)
        });
        disk.sync_dir(path("/")).unwrap();
        let synced_stay = named(&disk.crash(CrashMode::ANY_POWER_CUT, seed)) == named(&disk);
        never_both && never_neither && untouched_stay && had_been && synced_stay
    }
}
