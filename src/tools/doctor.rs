//! `graven doctor`: whether a directory, the disk below it and the system are fit for a log that must not lose anything. One line
//! for each question.
//!
//! Invariant: nothing stays behind; the one file that is written, to time its syncs, is removed.

use super::Exit;
use crate::env::{Clock, Disk, OpenMode};
use clap::Args;
use serde_json::{Value as Json, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of the verb.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A directory: of data, or one that is to be.
    pub path: PathBuf,
    /// Report for machines.
    #[arg(long)]
    pub json: bool,
}

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Good,
    /// Works, and could be better or is not certain.
    Doubtful,
    Bad,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub about: &'static str,
    pub grade: Grade,
    pub text: String,
}

const SYNCS: usize = 64;
/// Bytes written before each sync: about a small group of commands.
const WRITTEN: usize = 512;
/// No disk that keeps what it has said it keeps answers so fast, but for memory that outlives a power cut.
const TOO_FAST: Duration = Duration::from_micros(15);
const SLOW: Duration = Duration::from_millis(20);
const PROBE: &str = ".graven-doctor.tmp";

/// Asks everything.
///
/// # Errors
/// When there is no such directory.
pub fn examine(disk: &dyn Disk, clock: &dyn Clock, directory: &Path) -> io::Result<Vec<Answer>> {
    let names = disk.list(directory)?;
    let mut answers = vec![file_system(directory)];
    answers.push(writable(disk, directory, &names));
    answers.push(space(disk, directory, &names));
    answers.extend(syncs(disk, clock, directory));
    answers.push(cache(disk, directory));
    answers.push(system(disk, "/sys/kernel/mm/transparent_hugepage/enabled", "huge pages", "THP"));
    answers.push(system(disk, "/proc/sys/vm/overcommit_memory", "overcommit", "overcommit_memory"));
    Ok(answers)
}

fn answer(about: &'static str, grade: Grade, text: impl Into<String>) -> Answer {
    Answer { about, grade, text: text.into() }
}

/// The kind of file system: some keep nothing, or promise less than they say.
fn file_system(directory: &Path) -> Answer {
    const ABOUT: &str = "file system";
    let found = match nix::sys::statfs::statfs(directory) {
        Ok(found) => found,
        Err(error) => return answer(ABOUT, Grade::Doubtful, format!("cannot be told: {}", error.desc())),
    };
    let magic = found.filesystem_type().0 as u64 & 0xffff_ffff;
    match magic {
        0x0102_1994 => answer(ABOUT, Grade::Bad, "tmpfs: everything is gone with the power"),
        0x8584_58f6 => answer(ABOUT, Grade::Bad, "ramfs: everything is gone with the power"),
        0x6969 => {
            answer(ABOUT, Grade::Doubtful, "NFS: syncs and locks are as good as the server's and its mount options")
        }
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => answer(ABOUT, Grade::Doubtful, "SMB: syncs are as good as the server's"),
        0x0102_1997 => answer(ABOUT, Grade::Doubtful, "9p: syncs are as good as the host's"),
        0x6573_5546 => answer(ABOUT, Grade::Doubtful, "FUSE: syncs are as good as the program behind it"),
        0x794c_7630 => {
            answer(ABOUT, Grade::Doubtful, "overlayfs: goes with its container unless the directory is a volume")
        }
        0xef53 => answer(ABOUT, Grade::Good, "ext4 (or ext2, ext3)"),
        0x5846_5342 => answer(ABOUT, Grade::Good, "XFS"),
        0x9123_683e => answer(ABOUT, Grade::Good, "Btrfs; chattr +C on the directory spares it copies on write"),
        0x2fc1_2fc1 => answer(ABOUT, Grade::Good, "ZFS"),
        0xf2f5_2010 => answer(ABOUT, Grade::Good, "F2FS"),
        other => answer(ABOUT, Grade::Doubtful, format!("of an unknown kind ({other:#x})")),
    }
}

/// Whether this user may do what a server does there.
fn writable(disk: &dyn Disk, directory: &Path, names: &[String]) -> Answer {
    const ABOUT: &str = "permissions";
    let probe = directory.join(PROBE);
    let made = disk.open(&probe, OpenMode::Truncate).and_then(|file| file.write_all_at(b"x", 0));
    if let Err(error) = made.and_then(|()| disk.remove(&probe)) {
        return answer(ABOUT, Grade::Bad, format!("files cannot be made here: {error}"));
    }
    let inner = names.iter().map(|name| directory.join(name)).filter_map(|path| Some((disk.list(&path).ok()?, path)));
    let inner = inner.flat_map(|(names, path)| names.into_iter().map(move |name| path.join(name)));
    for path in names.iter().map(|name| directory.join(name)).chain(inner) {
        let is_data = path.extension().is_some_and(|end| ["rdb", "aof", "manifest"].iter().any(|known| end == *known));
        if is_data
            && disk.list(&path).is_err()
            && let Err(error) = disk.open(&path, OpenMode::ReadWrite)
        {
            return answer(ABOUT, Grade::Bad, format!("{} cannot be opened: {error}", path.display()));
        }
    }
    answer(ABOUT, Grade::Good, "files can be made, and those of the data be read and written")
}

/// Whether a rewrite would fit beside what is there.
fn space(disk: &dyn Disk, directory: &Path, names: &[String]) -> Answer {
    const ABOUT: &str = "free space";
    let free = match disk.free_bytes(directory) {
        Ok(free) => free,
        Err(error) => return answer(ABOUT, Grade::Doubtful, format!("cannot be told: {error}")),
    };
    let size = |path: PathBuf| disk.open(&path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
    let of = |path: PathBuf| match disk.list(&path) {
        Ok(inner) => inner.into_iter().map(|name| size(path.join(name))).sum(),
        Err(_) => size(path),
    };
    let used: u64 = names.iter().map(|name| of(directory.join(name))).sum();
    let (mib, text) = (1 << 20, format!("{} MiB free, {} MiB of data", free >> 20, used >> 20));
    if free < 64 * mib {
        answer(ABOUT, Grade::Bad, format!("{text}: the log is about to meet a full disk"))
    } else if free < used + 256 * mib {
        answer(ABOUT, Grade::Doubtful, format!("{text}: a rewrite of the log may not fit beside it"))
    } else {
        answer(ABOUT, Grade::Good, text)
    }
}

/// How long a sync takes, and whether that can be true.
fn syncs(disk: &dyn Disk, clock: &dyn Clock, directory: &Path) -> Vec<Answer> {
    const ABOUT: &str = "sync latency";
    let probe = directory.join(PROBE);
    let timed = || -> io::Result<Vec<Duration>> {
        let file = disk.open(&probe, OpenMode::Truncate)?;
        let (block, mut times) = ([b'#'; WRITTEN], Vec::with_capacity(SYNCS));
        for at in 0..SYNCS {
            let before = clock.monotonic();
            file.write_all_at(&block, (at * WRITTEN) as u64)?;
            file.sync_data()?;
            times.push(clock.monotonic() - before);
        }
        Ok(times)
    };
    let timed = timed();
    let removed = disk.remove(&probe);
    let mut times = match timed.and_then(|times| removed.map(|()| times)) {
        Ok(times) => times,
        Err(error) => return vec![answer(ABOUT, Grade::Bad, format!("a file cannot be written and synced: {error}"))],
    };
    times.sort();
    let (median, late, worst) = (times[SYNCS / 2], times[SYNCS * 95 / 100], times[SYNCS - 1]);
    let text = format!(
        "of {SYNCS} syncs half took {} us or less, 95 % {} us or less, the slowest {} us",
        median.as_micros(),
        late.as_micros(),
        worst.as_micros()
    );
    let grade = if late > SLOW { Grade::Doubtful } else { Grade::Good };
    let text = if late > SLOW { format!("{text}: under `appendfsync always` every write waits so long") } else { text };
    let lying = if median < TOO_FAST {
        let text = format!(
            "a sync that takes {} us has reached no disk: caches or a hypervisor may be lying",
            median.as_micros()
        );
        answer("lying disk", Grade::Doubtful, text)
    } else {
        answer("lying disk", Grade::Good, "syncs take as long as a disk needs")
    };
    vec![answer(ABOUT, grade, text), lying]
}

/// Whether the device has a cache of its own that a power cut empties unless syncs flush it.
fn cache(disk: &dyn Disk, directory: &Path) -> Answer {
    const ABOUT: &str = "write cache";
    let device = nix::sys::stat::stat(directory)
        .map(|stat| (nix::sys::stat::major(stat.st_dev), nix::sys::stat::minor(stat.st_dev)));
    let Ok((major, minor)) = device else { return answer(ABOUT, Grade::Doubtful, "cannot be told") };
    // A partition's queue is that of the disk that it is on.
    for queue in [format!("/sys/dev/block/{major}:{minor}/queue"), format!("/sys/dev/block/{major}:{minor}/../queue")] {
        let Some(mode) = word(disk, &format!("{queue}/write_cache")) else { continue };
        return match mode.as_str() {
            "write back" => answer(ABOUT, Grade::Good, "the device has one, and syncs flush it"),
            _ => {
                let text =
                    "the kernel flushes none: right for a device without one, or with one that outlives a power cut";
                answer(ABOUT, Grade::Good, text)
            }
        };
    }
    answer(ABOUT, Grade::Good, "the device does not tell (a virtual one, say)")
}

/// What other servers need set and this one does not: snapshots take no fork.
fn system(disk: &dyn Disk, path: &str, about: &'static str, name: &str) -> Answer {
    let mode = word(disk, path).unwrap_or_else(|| "unknown".into());
    answer(about, Grade::Good, format!("{name} is {mode}; any will do, snapshots take no fork"))
}

/// The text of a file of the kernel's; of a choice, what is chosen.
fn word(disk: &dyn Disk, path: &str) -> Option<String> {
    let file = disk.open(Path::new(path), OpenMode::Read).ok()?;
    // Such files do not tell their length.
    let mut text = [0; 256];
    let read = file.read_at(&mut text, 0).ok()?;
    let text = String::from_utf8_lossy(&text[..read]).trim().to_owned();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen.to_owned());
    Some(chosen.unwrap_or(text))
}

/// The worst of them ends the tool.
pub fn exit(answers: &[Answer]) -> Exit {
    match answers.iter().map(|answer| answer.grade).max() {
        Some(Grade::Bad) => Exit::Damaged,
        _ => Exit::Sound,
    }
}

pub fn to_text(answers: &[Answer]) -> String {
    let word = |grade| match grade {
        Grade::Good => "good",
        Grade::Doubtful => "doubtful",
        Grade::Bad => "BAD",
    };
    answers.iter().map(|Answer { about, grade, text }| format!("{:<9} {about}: {text}\n", word(*grade))).collect()
}

pub fn to_json(answers: &[Answer]) -> Json {
    let word = |grade| match grade {
        Grade::Good => "good",
        Grade::Doubtful => "doubtful",
        Grade::Bad => "bad",
    };
    answers
        .iter()
        .map(|Answer { about, grade, text }| json!({ "about": about, "grade": word(*grade), "says": text }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualClock;
    use crate::env::disk::sim::{Fault, FaultSpec, Op, SimDisk};

    fn about(answers: &[Answer], about: &str) -> Grade {
        answers.iter().find(|answer| answer.about == about).expect("asked").grade
    }

    #[test]
    fn a_disk_that_syncs_in_no_time_is_doubted_and_one_that_fails_is_bad() {
        let (disk, clock) = (SimDisk::new(), ManualClock::at(crate::env::UnixMillis(0)));
        disk.create_dir(Path::new("/data")).expect("made");
        let answers = examine(&disk, &clock, Path::new("/data")).expect("asked");
        // The clock of the simulation stands still.
        assert_eq!(about(&answers, "lying disk"), Grade::Doubtful);
        assert_eq!(about(&answers, "permissions"), Grade::Good);
        assert!(disk.list(Path::new("/data")).expect("is there").is_empty(), "nothing stays behind");
        disk.fail(FaultSpec::new(Op::Sync, Fault::Eio));
        let answers = examine(&disk, &clock, Path::new("/data")).expect("asked");
        assert_eq!((about(&answers, "sync latency"), exit(&answers)), (Grade::Bad, Exit::Damaged));
        assert!(examine(&disk, &clock, Path::new("/nothing")).is_err());
    }
}
