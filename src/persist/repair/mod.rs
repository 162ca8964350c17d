//! Repair of a data directory: what of it verifies, in which order, what is lost, and a directory made of what there is.
//!
//! Planning reads and changes nothing. Applying writes: a new directory, or the one at hand, in which every file that is
//! replaced is kept, and which one rename takes from what it was to what it is to be. Whatever stands before the first gap keeps its bytes; what is taken over a gap goes, frame by frame, into
//! one new segment on a timeline of its own, so that no position ever means two things.
//!
//! Invariants
//! - Nothing is lost without a word: every byte of every file of the log is kept, taken over, or named by a [`Loss`] or an
//!   [`Unused`].
//! - Memory is bounded by the largest frame, block or command, and by [`NAMED_MAX`] names of keys for each gap.

mod apply;
mod archive;
mod base;
mod in_place;
mod inventory;
mod journal;
mod log;
mod order;
mod plain;
mod restore;
mod segments;

pub use self::apply::{Applied, RepairError, Target};
pub use self::archive::{ArchivePlan, SetAside};
pub use self::in_place::InPlace;
pub(super) use self::journal::settle;
pub use self::log::plan;
pub use self::restore::{At, Moment, Reached, RestoreError, There, restore_plan};

use super::rdb::Salvage;
use super::{Lineage, Lsn, Manifest, OpenError, OpenOptions, Position};
use crate::env::Disk;
use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

/// Names of keys that are kept of one gap.
pub const NAMED_MAX: usize = 1000;

/// Which gaps are gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// The log ends at the first gap.
    Never,
    /// Damaged frames are gone over; the log ends where a whole segment is missing, or where a file without checksums cannot be
    /// parsed.
    Frames,
    /// All of them.
    Always,
}

/// Tells the keys of a command: persistence knows no commands.
pub type KeysOf<'k> = &'k dyn Fn(&[&[u8]]) -> Vec<Vec<u8>>;

/// Bytes, or a whole file, that nothing can be made of.
#[derive(Clone, Debug)]
pub struct Loss {
    pub path: PathBuf,
    /// Empty where the file itself is missing.
    pub range: Range<u64>,
    /// From the position that was reached to the one at which the log goes on, where they are known.
    pub from: Option<Lsn>,
    pub to: Option<Lsn>,
    pub reason: String,
    /// Keys of a base, where it is known how many.
    pub keys: Option<u64>,
    /// Commands that can still be read in it, unverified.
    pub commands: u64,
    /// Keys that these commands, or what is left of a base, name, with their databases.
    pub names: Vec<(u32, Vec<u8>)>,
    /// What follows is taken over although this is missing.
    pub crossed: bool,
    /// The last command before it and the first behind it.
    pub before: Option<Vec<Vec<u8>>>,
    pub after: Option<Vec<Vec<u8>>>,
    /// Commands behind it that name one of its keys, and those keys: what going over it may have made wrong.
    pub touched: u64,
    pub touched_keys: HashSet<(u32, Vec<u8>)>,
}

/// Something that verifies, or may, and has no place in what is made.
#[derive(Clone, Debug)]
pub struct Unused {
    pub path: PathBuf,
    pub reason: String,
    pub frames: u64,
    pub commands: u64,
    pub bytes: u64,
}

/// How much of a file is kept.
#[derive(Clone, Debug)]
pub(super) enum Extent {
    Whole,
    /// Its beginning.
    Prefix(u64),
    /// These stretches, joined.
    Ranges(Vec<Range<u64>>),
    /// The same, of a base of commands: they get a first line, where it is known what that says, and checksum lines of their own.
    Summed(Option<Position>, Vec<Range<u64>>),
    /// The keys that can be saved, and stretches of commands behind them.
    Keys(Box<Salvage>, Vec<Range<u64>>),
}

/// A file that stays in the log.
#[derive(Clone, Debug)]
pub(super) struct KeptFile {
    pub path: PathBuf,
    pub name: String,
    pub sequence: u64,
    pub extent: Extent,
    pub is_segment: bool,
}

impl KeptFile {
    /// It stands under the name of another file.
    fn is_misplaced(&self) -> bool {
        self.path.file_name().is_none_or(|name| name != self.name.as_str())
    }

    /// It is not what stands in its place.
    fn is_changed(&self) -> bool {
        !matches!(self.extent, Extent::Whole) || self.is_misplaced()
    }
}

/// What is taken over a gap.
#[derive(Clone, Debug)]
pub(super) enum Stretch {
    /// Frames of a segment.
    Frames { path: PathBuf, range: Range<u64> },
    /// Commands by a stock server.
    Commands { path: PathBuf, range: Range<u64> },
    /// The beginning of one frame's payload, whole units.
    Part { path: PathBuf, offset: u64, bytes: u64 },
}

/// Where the new segment begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seam {
    pub lineage: Option<Lineage>,
    pub number: u64,
    pub lsn: Lsn,
    pub chain: u32,
    pub db: u32,
    /// Bytes of commands that a stock server wrote behind it.
    pub plain: u64,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub losses: Vec<Loss>,
    pub unused: Vec<Unused>,
    /// What else is wrong, and is put right without a loss.
    pub notes: Vec<String>,
    /// Frames and commands of the log that are kept or taken over, and keys of its base.
    pub frames: u64,
    pub commands: u64,
    pub keys: u64,
    /// Position of the base that is kept.
    pub position: Option<Position>,
    /// The end of the log that is made.
    pub end: Lsn,
    pub(super) base: Option<KeptFile>,
    pub(super) kept: Vec<KeptFile>,
    pub(super) stretches: Vec<Stretch>,
    pub(super) seam: Seam,
    /// What the manifest said, where it could be read.
    pub(super) manifest: Option<Manifest>,
    /// A dump beside the log, or instead of one.
    pub(super) dump: Option<KeptFile>,
    /// An append-only file of one part instead of a log.
    pub(super) single: Option<KeptFile>,
    /// The archive, of a data directory that has one.
    pub archive: Option<ArchivePlan>,
    /// The base is made of the dump, which stands later than the log.
    pub(super) from_dump: bool,
}

impl Plan {
    /// Whether there is anything to do.
    pub fn is_needed(&self) -> bool {
        self.concerns_data() || self.archive.as_ref().is_some_and(ArchivePlan::is_needed)
    }

    /// Whether there is anything to do to the log, or to what stands beside it.
    pub(super) fn concerns_data(&self) -> bool {
        !(self.losses.is_empty() && self.unused.is_empty() && self.notes.is_empty())
    }

    /// Takes in the archive of the data directory.
    ///
    /// # Errors
    /// When something of it cannot be read.
    pub fn look_at_archive(&mut self, disk: &dyn Disk, options: &OpenOptions) -> Result<(), OpenError> {
        self.archive = ArchivePlan::make(disk, &options.directory)?;
        Ok(())
    }

    /// Whether there is anything to make a directory of.
    pub fn saves_something(&self) -> bool {
        let archived = self.archive.as_ref().is_some_and(|archive| archive.files > 0);
        self.has_log() || self.dump.is_some() || self.single.is_some() || archived
    }

    pub(super) fn has_log(&self) -> bool {
        self.base.is_some() || !self.kept.is_empty() || !self.stretches.is_empty()
    }
}
