//! The dump beside the log: which of the two stands later, whether a save may replace the one in place, and what is set
//! aside.
//!
//! Invariant: a save replaces only what this process loaded or wrote, or what its history has passed. Of anything else a
//! copy is made first, durably, so that the place is never without a dump.

use super::generations::{keep_generation, superseded};
use super::manifest::{BaseIdentity, Manifest, SavedDump};
use super::position::position_of;
use super::strays::base_identity;
use super::{Position, Timeline};
use crate::env::{Disk, OpenMode, UnixMillis};
use std::io;
use std::path::{Path, PathBuf};

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

/// Where the dump went that a save is about to replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MadeWay {
    /// It stays as an earlier generation.
    Generation(PathBuf),
    /// It is from elsewhere: a copy of it is kept.
    Foreign(PathBuf),
}

/// Makes way for a dump that stands at `here`. One in place that is the known one, or that the history has passed, stays
/// as an earlier generation, where more than one is kept; any other is from elsewhere, and a copy of it is set aside.
///
/// # Errors
/// The file in place cannot be read, or the copy not be written: then it must not be replaced.
pub fn make_way(
    disk: &dyn Disk,
    dump: &Path,
    known: Option<BaseIdentity>,
    here: &Position,
    generations: usize,
    now: UnixMillis,
) -> io::Result<Option<MadeWay>> {
    if !disk.exists(dump)? {
        return Ok(None);
    }
    let is_own = match known {
        Some(known) if base_identity(disk, dump)? == known => true,
        _ => position_of(disk, dump).ok().flatten().is_some_and(|position| position.is_passed_by(here)),
    };
    if is_own {
        let kept = (generations > 1).then(|| keep_generation(disk, dump)).transpose()?;
        return Ok(kept.map(MadeWay::Generation));
    }
    let to = superseded(disk, dump, now)?;
    copy(disk, dump, &to)?;
    Ok(Some(MadeWay::Foreign(to)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::sim::{CrashMode, SimDisk};
    use crate::env::disk::{read_file, replace_file};
    use crate::env::{SeededEntropy, UnixMillis};
    use crate::persist::{Lineage, Lsn};

    #[test]
    fn a_foreign_dump_is_set_aside_and_a_known_one_is_a_generation_where_more_than_one_is_kept() {
        let (disk, dump, now) = (SimDisk::new(), Path::new("/dump.rdb"), UnixMillis(0));
        let lineage = Lineage::root(Timeline::draw(&mut SeededEntropy::new(1)));
        let here = Position { lineage, lsn: Lsn(9) };
        let way = |known, keep| make_way(&disk, dump, known, &here, keep, now).unwrap();
        assert_eq!(way(None, 3), None, "there is none");
        replace_file(&disk, dump, b"somebody's").unwrap();
        let known = base_identity(&disk, dump).unwrap();
        assert_eq!(way(Some(known), 1), None);
        let generation = PathBuf::from("/dump.rdb.generation-1");
        assert_eq!(way(Some(known), 2), Some(MadeWay::Generation(generation.clone())));
        let names = ["/dump.rdb.superseded-19700101T000000Z", "/dump.rdb.superseded-19700101T000000Z-2"];
        for (keep, name) in [1, 9].into_iter().zip(names) {
            assert_eq!(way(None, keep), Some(MadeWay::Foreign(name.into())));
            let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
            for path in [Path::new(name), dump, &generation] {
                assert_eq!(read_file(&crashed, path).unwrap(), b"somebody's");
            }
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
