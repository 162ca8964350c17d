//! Older dumps beside the one in place, and how much of what was set aside stays.
//!
//! The dump that a save replaces gets a second name before, `<name>.generation-<number>`: the highest number is the one
//! before the one in place. What lost against another one is `<name>.superseded-<utc>`, a dump or the directory of a log.
//!
//! Invariants
//! - A generation has its name durably before the place gets another file; at no moment are there fewer than the last
//!   `snapshot-generations`, the one in place counted, of those that were saved.
//! - What is removed is older than the last `snapshot-generations` of its kind; names of any other form are left alone.

use super::dumps::copy;
use super::strays::base_identity;
use crate::env::disk::parent;
use crate::env::{Disk, OpenMode, UnixMillis};
use std::io;
use std::path::{Path, PathBuf};

/// What stands between the name of something that was set aside and the time when it was.
pub const SUPERSEDED: &str = ".superseded-";
const GENERATION: &str = ".generation-";
/// Length of `YYYYMMDDThhmmssZ`.
const UTC_BYTES: usize = 16;

/// What stays beside the dump in place and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Older {
    /// Earlier dumps, the latest first.
    pub generations: Vec<PathBuf>,
    pub generation_bytes: u64,
    /// What lost against another one.
    pub superseded: Vec<PathBuf>,
    /// What was removed.
    pub removed: Vec<PathBuf>,
}

/// Gives the dump in place a second name as an earlier generation, durably; where the file system knows no second names
/// it is copied. The name.
///
/// # Errors
/// It has no second name: the file in place must not be replaced.
pub fn keep_generation(disk: &dyn Disk, dump: &Path) -> io::Result<PathBuf> {
    let latest = generations(disk, dump)?.pop();
    if let Some((_, path)) = &latest
        && base_identity(disk, path)? == base_identity(disk, dump)?
    {
        // A save that came no further.
        return Ok(path.clone());
    }
    let number = latest.map_or(0, |(number, _)| number) + 1;
    let to = with_suffix(dump, GENERATION, &number.to_string());
    match disk.link(dump, &to) {
        Ok(()) => disk.sync_dir(parent(dump))?,
        Err(error) if knows_no_links(&error) => copy(disk, dump, &to)?,
        Err(error) => return Err(error),
    }
    Ok(to)
}

fn knows_no_links(error: &io::Error) -> bool {
    let codes = [libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS, libc::EMLINK, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Removes what is older than the last `keep` of its kind (the dump in place counts as one): earlier generations of the
/// dump, superseded dumps, and, unless `logs` is none, superseded directories of a log. What is left.
///
/// # Errors
/// Something cannot be looked at or removed; what was removed before that is gone.
pub fn prune(disk: &dyn Disk, dump: &Path, logs: Option<&Path>, keep: usize) -> io::Result<Older> {
    let mut older = Older::default();
    let mut earlier = generations(disk, dump)?;
    // A save that came no further has given the dump in place its second name: that is no earlier one yet.
    let twice = match earlier.last() {
        Some((_, latest)) if disk.exists(dump)? => base_identity(disk, latest)? == base_identity(disk, dump)?,
        _ => false,
    };
    let mut old = oldest(&mut earlier, keep.saturating_sub(1) + usize::from(twice && keep > 1));
    older.generations = earlier.into_iter().rev().map(|(_, path)| path).collect();
    for path in &older.generations {
        older.generation_bytes += disk.open(path, OpenMode::Read)?.len()?;
    }
    for of in [Some(dump), logs].into_iter().flatten() {
        let mut set_aside = set_aside(disk, of)?;
        old.extend(oldest(&mut set_aside, keep.max(1)));
        older.superseded.extend(set_aside.into_iter().map(|(_, path)| path));
    }
    if old.is_empty() {
        return Ok(older);
    }
    // What is kept may have been named by a process that ended before it was durable.
    disk.sync_dir(parent(dump))?;
    for path in old {
        remove(disk, &path)?;
        older.removed.push(path);
    }
    disk.sync_dir(parent(dump))?;
    Ok(older)
}

/// Takes out all but the last `keep`.
fn oldest<T>(found: &mut Vec<(T, PathBuf)>, keep: usize) -> Vec<PathBuf> {
    let old = ..found.len().saturating_sub(keep);
    found.drain(old).map(|(_, path)| path).collect()
}

/// Removes what was on its way beside the dump, or into its place, when a process ended.
///
/// # Errors
/// It cannot be looked at or removed.
pub fn remove_drafts(disk: &dyn Disk, dump: &Path) -> io::Result<()> {
    let name = dump.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = |draft: &str| draft.is_empty() || draft.starts_with(GENERATION) || draft.starts_with(SUPERSEDED);
    for found in disk.list(parent(dump))? {
        if found.strip_suffix(".tmp").and_then(|draft| draft.strip_prefix(&name)).is_some_and(own) {
            disk.remove(&dump.with_file_name(found))?;
        }
    }
    Ok(())
}

/// Removes a file, or a directory with the files in it.
fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if let Ok(names) = disk.list(path) {
        for name in names {
            disk.remove(&path.join(name))?;
        }
        return disk.remove_dir(path);
    }
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Earlier dumps with their numbers, the latest last.
pub fn generations(disk: &dyn Disk, dump: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    beside(disk, dump, GENERATION, |text| {
        let number: u64 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    })
}

/// What has lost its place, with the moment and the number of it, the latest last.
fn set_aside(disk: &dyn Disk, path: &Path) -> io::Result<Vec<((String, u64), PathBuf)>> {
    beside(disk, path, SUPERSEDED, |text| {
        let (moment, number) = text.split_at_checked(UTC_BYTES)?;
        let form = |(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => u8::is_ascii_digit(&byte),
        };
        let number = if number.is_empty() { 1 } else { number.strip_prefix('-')?.parse().ok()? };
        moment.bytes().enumerate().all(form).then(|| (moment.to_owned(), number))
    })
}

/// Names beside a path that are its own with a suffix behind it, ordered by what that says.
fn beside<T: Ord>(
    disk: &dyn Disk,
    path: &Path,
    infix: &str,
    read: impl Fn(&str) -> Option<T>,
) -> io::Result<Vec<(T, PathBuf)>> {
    let prefix = format!("{}{infix}", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found: Vec<(T, PathBuf)> = disk
        .list(parent(path))?
        .into_iter()
        .filter_map(|name| Some((read(name.strip_prefix(&prefix)?)?, path.with_file_name(name))))
        .collect();
    found.sort();
    Ok(found)
}

fn with_suffix(path: &Path, infix: &str, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(infix);
    name.push(suffix);
    path.with_file_name(name)
}

/// What a file or directory that lost against another one is called: `<name>.superseded-<utc>`. Later than all that lost
/// before, whatever the clock says: the latest are kept.
pub fn superseded(disk: &dyn Disk, path: &Path, now: UnixMillis) -> io::Result<PathBuf> {
    let now = utc(now);
    let (moment, number) = match set_aside(disk, path)?.pop() {
        Some(((latest, number), _)) if latest >= now => (latest, number + 1),
        _ => (now, 1),
    };
    let suffix = if number == 1 { moment } else { format!("{moment}-{number}") };
    Ok(with_suffix(path, SUPERSEDED, &suffix))
}

/// `YYYYMMDDThhmmssZ`.
fn utc(now: UnixMillis) -> String {
    let (days, second) = (now.0.div_euclid(86_400_000), now.0.div_euclid(1000).rem_euclid(86_400));
    // Days since 1 March of the year 0, in cycles of 400 years; see Hinnant, "chrono-compatible low-level date algorithms".
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * from_march + 2) / 5 + 1, (from_march + 2) % 12 + 1);
    let year = year + cycle * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests;
