//! The dump beside the log: which of the two stands later, whether a save may replace the one in place, and what is set
//! aside.
//!
//! Invariant: a save replaces only what this process loaded or wrote, or what its history has passed. Of anything else a
//! copy is made first, durably, so that the place is never without a dump.

use super::manifest::{BaseIdentity, Manifest, SavedDump};
use super::position::position_of;
use super::strays::base_identity;
use super::{Position, Timeline};
use crate::env::{Disk, OpenMode, UnixMillis};
use std::io;
use std::path::{Path, PathBuf};

/// What stands between the name of something that was set aside and the time when it was.
pub const SUPERSEDED: &str = ".superseded-";

/// Bytes copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Which of log and dump, in one history, stands later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    Log,
    Dump,
    /// They hold the same.
    Neither,
}

/// Compares where the log ends with where the dump stands; nothing where they are not of one history, as far as the names
/// tell.
pub fn later(end: &Position, dump: &Position) -> Option<Later> {
    if dump.is_passed_by(end) {
        return Some(if dump.lsn < end.lsn { Later::Log } else { Later::Neither });
    }
    end.is_passed_by(dump).then_some(Later::Dump)
}

/// Sets aside a copy of the dump in place, unless it is the known one or one that the history at `here` has passed. The
/// copy's path.
///
/// # Errors
/// The file in place cannot be read, or the copy not be written: then it must not be replaced.
pub fn set_aside_foreign(
    disk: &dyn Disk,
    dump: &Path,
    known: Option<BaseIdentity>,
    here: &Position,
    now: UnixMillis,
) -> io::Result<Option<PathBuf>> {
    if !disk.exists(dump)? {
        return Ok(None);
    }
    if let Some(known) = known
        && base_identity(disk, dump)? == known
    {
        return Ok(None);
    }
    if position_of(disk, dump).ok().flatten().is_some_and(|position| position.is_passed_by(here)) {
        return Ok(None);
    }
    let to = superseded(disk, dump, now)?;
    copy(disk, dump, &to)?;
    Ok(Some(to))
}

/// What a file or directory that lost against another one is called: `<name>.superseded-<utc>`.
pub fn superseded(disk: &dyn Disk, path: &Path, now: UnixMillis) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(SUPERSEDED);
    name.push(utc(now));
    let mut to = path.with_file_name(&name);
    let mut number = 1;
    while disk.exists(&to)? {
        number += 1;
        let mut numbered = name.clone();
        numbered.push(format!("-{number}"));
        to = path.with_file_name(numbered);
    }
    Ok(to)
}

/// What a manifest says of a dump that was just written; `timeline`: as seen from its log.
///
/// # Errors
/// The dump cannot be read back.
pub fn saved_dump(disk: &dyn Disk, dump: &Path, timeline: Timeline, position: &Position) -> io::Result<SavedDump> {
    Ok(SavedDump { timeline, lsn: position.lsn, identity: base_identity(disk, dump)? })
}

/// Notes a dump in the manifest of a log that nobody has open, if there is one.
///
/// # Errors
/// The manifest cannot be read or stored.
pub fn note_saved(disk: &dyn Disk, manifest: &Path, dump: SavedDump) -> io::Result<()> {
    if !disk.exists(manifest)? {
        return Ok(());
    }
    let content = crate::env::disk::read_file(disk, manifest)?;
    let decoded = Manifest::decode(&content);
    let mut noted = decoded.map_err(|error| io::Error::other(format!("line {} {}", error.line, error.reason)))?;
    noted.saved_dump = Some(dump);
    Ok(noted.store(disk, manifest)?)
}

/// Copies a file under a name that it gets when it is whole; content and name are durable when this returns.
pub fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let draft = to.with_added_extension("tmp");
    let (source, target) = (disk.open(from, OpenMode::Read)?, disk.open(&draft, OpenMode::Truncate)?);
    let (len, mut at) = (source.len()?, 0);
    let mut piece = vec![0; PIECE_BYTES];
    while at < len {
        let part = &mut piece[..PIECE_BYTES.min(usize::try_from(len - at).unwrap_or(PIECE_BYTES))];
        source.read_exact_at(part, at)?;
        target.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    target.sync_all()?;
    disk.rename(&draft, to)?;
    disk.sync_dir(to.parent().unwrap_or(Path::new(".")))
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
mod tests {
    use super::*;
    use crate::env::disk::sim::{CrashMode, SimDisk};
    use crate::env::disk::{read_file, replace_file};
    use crate::env::{SeededEntropy, UnixMillis};
    use crate::persist::{Lineage, Lsn};

    #[test]
    fn moments_are_written_as_utc() {
        for (millis, text) in [
            (0, "19700101T000000Z"),
            (951_827_696_000, "20000229T123456Z"),
            (1_700_000_000_999, "20231114T221320Z"),
            (4_102_444_799_000, "20991231T235959Z"),
        ] {
            assert_eq!(utc(UnixMillis(millis)), text);
        }
    }

    #[test]
    fn a_foreign_dump_is_set_aside_and_a_known_one_is_not() {
        let (disk, dump, now) = (SimDisk::new(), Path::new("/dump.rdb"), UnixMillis(0));
        let lineage = Lineage::root(Timeline::draw(&mut SeededEntropy::new(1)));
        let here = Position { lineage, lsn: Lsn(9) };
        assert_eq!(set_aside_foreign(&disk, dump, None, &here, now).unwrap(), None, "there is none");
        replace_file(&disk, dump, b"somebody's").unwrap();
        let known = base_identity(&disk, dump).unwrap();
        assert_eq!(set_aside_foreign(&disk, dump, Some(known), &here, now).unwrap(), None);
        for name in ["/dump.rdb.superseded-19700101T000000Z", "/dump.rdb.superseded-19700101T000000Z-2"] {
            let kept = set_aside_foreign(&disk, dump, None, &here, now).unwrap().unwrap();
            assert_eq!(kept, Path::new(name));
            let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
            assert_eq!(read_file(&crashed, &kept).unwrap(), b"somebody's");
            assert_eq!(read_file(&crashed, dump).unwrap(), b"somebody's");
        }
    }

    #[test]
    fn the_higher_position_of_one_history_is_the_later_one() {
        let mut entropy = SeededEntropy::new(1);
        let root = Lineage::root(Timeline::draw(&mut entropy));
        let child = root.child(Timeline::draw(&mut entropy), Lsn(50));
        let other = Lineage::root(Timeline::draw(&mut entropy));
        let at = |lineage, lsn| Position { lineage, lsn: Lsn(lsn) };
        for (log, dump, expected) in [
            (at(root, 50), at(root, 40), Some(Later::Log)),
            (at(root, 50), at(root, 50), Some(Later::Neither)),
            (at(root, 50), at(root, 51), Some(Later::Dump)),
            (at(root, 50), at(child, 60), Some(Later::Dump)),
            (at(child, 60), at(root, 50), Some(Later::Log)),
            (at(root, 60), at(child, 70), None),
            (at(root, 60), at(other, 70), None),
        ] {
            assert_eq!(later(&log, &dump), expected, "{log:?} {dump:?}");
        }
    }
}
