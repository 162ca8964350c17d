//! The scrubber: reads files that nobody writes to any more, all of them, and says which no longer hold what they held.
//!
//! A state machine: each `step` verifies one file; how fast, the disk that it is given decides.
//!
//! Invariants
//! - Nothing is changed, and nothing is judged that a rewrite, a save or the archiver may have removed meanwhile: what is found
//!   counts when the file is still named behind the look.
//! - What the log's writer is writing to is left alone.

use super::archive::{Contents, DIRECTORY, LookError, PackedError, look};
use super::log::format::SegmentHeader;
use super::log::{OpenedSegment, SegmentReader};
use super::rdb::Salvage;
use super::survey::{survey_plain, survey_segment};
use super::{DamageKind, Manifest, OpenError, OpenOptions, strays};
use crate::env::disk::read_file;
use crate::env::{Disk, OpenMode};
use crate::value::Limits;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, and what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Base,
    /// The next one says where it ends.
    Segment(PathBuf),
    Archived,
    Dump,
}

/// A file that does not hold what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub offset: u64,
    pub reason: String,
}

/// What `step` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// A file of so many bytes holds what it held.
    Verified(u64),
    Damaged(Finding),
    /// A file went meanwhile.
    Gone,
    /// Every file was looked at.
    Over,
}

/// See the module's header.
pub struct Scrubber {
    disk: Arc<dyn Disk>,
    options: OpenOptions,
    left: VecDeque<(PathBuf, Target)>,
}

impl Scrubber {
    /// Begins a pass over what is there now.
    ///
    /// # Errors
    /// What is there cannot be listed.
    pub fn begin(disk: Arc<dyn Disk>, options: OpenOptions) -> io::Result<Self> {
        let mut scrubber = Self { disk, options, left: VecDeque::new() };
        scrubber.left = scrubber.targets()?.into();
        Ok(scrubber)
    }

    /// Files that are left.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Verifies the next file.
    ///
    /// # Errors
    /// It cannot be read, for another reason than the disk: whoever drives this wants it to end.
    pub fn step(&mut self) -> io::Result<ScrubStep> {
        let Some((path, target)) = self.left.pop_front() else { return Ok(ScrubStep::Over) };
        let found = match self.verify(&path, &target) {
            Ok(bytes) => return Ok(ScrubStep::Verified(bytes)),
            Err(Verdict::Ends(error)) => return Err(error),
            Err(Verdict::Bad { offset, reason }) => Finding { path: path.clone(), offset, reason },
        };
        let is_still_named = self.targets()?.iter().any(|(named, as_what)| *named == path && *as_what == target);
        Ok(if is_still_named { ScrubStep::Damaged(found) } else { ScrubStep::Gone })
    }

    fn targets(&self) -> io::Result<Vec<(PathBuf, Target)>> {
        let Self { disk, options, .. } = self;
        let mut targets = Vec::new();
        let log = options.directory.join(&options.append_directory);
        if options.append_only
            && let Some(manifest) = self.manifest(&log)?
        {
            targets.extend(manifest.base().map(|base| (log.join(&base.name), Target::Base)));
            let ours =
                manifest.incremental().filter(|file| manifest.segments_from.is_some_and(|at| file.sequence >= at));
            let segments: Vec<PathBuf> = ours.map(|file| log.join(&file.name)).collect();
            // The last one is being written to.
            let pairs = segments.windows(2).map(|pair| (pair[0].clone(), Target::Segment(pair[1].clone())));
            targets.extend(pairs);
        }
        let archive = options.directory.join(DIRECTORY);
        if let Some(Ok(contents)) = Contents::read(&**disk, &archive)? {
            targets.extend(contents.files.iter().map(|file| (archive.join(file.file_name()), Target::Archived)));
        }
        let dump = options.directory.join(&options.dump_file);
        if disk.exists(&dump)? {
            targets.push((dump, Target::Dump));
        }
        Ok(targets)
    }

    fn manifest(&self, log: &Path) -> io::Result<Option<Manifest>> {
        match read_file(&*self.disk, &log.join(format!("{}.manifest", self.options.append_file))) {
            Ok(content) => Ok(Manifest::decode(&content).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn verify(&self, path: &Path, target: &Target) -> Result<u64, Verdict> {
        match target {
            Target::Base | Target::Dump => self.verify_snapshot(path, *target == Target::Base),
            Target::Segment(next) => self.verify_segment(path, next),
            Target::Archived => match look(&*self.disk, path) {
                Ok(found) if path.ends_with(found.file_name()) => Ok(found.packed),
                Ok(_) => Err(bad(0, "its label names another file")),
                Err(LookError::Packed(PackedError::Io(error))) => Err(error.into()),
                Err(LookError::Packed(PackedError::Damaged { offset, reason })) => Err(bad(offset, reason)),
                // What was archived had that damage.
                Err(LookError::Inside(_)) => Ok(size(&*self.disk, path)?),
            },
        }
    }

    fn verify_snapshot(&self, path: &Path, is_base: bool) -> Result<u64, Verdict> {
        let log = path.parent().unwrap_or(Path::new("."));
        if is_base
            && let Some(named) = self.manifest(log)?.and_then(|manifest| manifest.base_identity)
            && named != strays::base_identity(&*self.disk, path)?
        {
            return Err(bad(0, "it is not the file that the manifest names: another size or content"));
        }
        let survey = survey_plain(&*self.disk, path, &Limits::default()).map_err(|error| match error {
            OpenError::Io { source, .. } => Verdict::from(source),
            error => self.where_in_snapshot(path, &error),
        })?;
        match survey.damage {
            None => Ok(size(&*self.disk, path)?),
            Some(kind) => Err(bad(survey.end, &kind.to_string())),
        }
    }

    fn where_in_snapshot(&self, path: &Path, error: &OpenError) -> Verdict {
        let opened = self.disk.open(path, OpenMode::Read);
        let salvage = opened.and_then(|file| {
            Salvage::look(&*file, &Limits::default()).map_err(|error| io::Error::other(error.to_string()))
        });
        let offset = salvage.ok().and_then(|salvage| salvage.lost.first().map(|lost| lost.range.start));
        bad(offset.unwrap_or(0), &error.to_string())
    }

    fn verify_segment(&self, path: &Path, next: &Path) -> Result<u64, Verdict> {
        let file = self.disk.open(path, OpenMode::Read)?;
        let next = header(&*self.disk, next)?;
        let survey = match survey_segment(&*file, path) {
            Ok(Some(survey)) => survey,
            Ok(None) => return Err(bad(0, &DamageKind::BadSegmentHeader.to_string())),
            Err(OpenError::Io { source, .. }) => return Err(source.into()),
            Err(error) => return Err(bad(0, &error.to_string())),
        };
        // Behind where the next one begins no start reads on.
        if next.is_none_or(|next| survey.end >= next.previous_end) {
            return Ok(survey.size);
        }
        let kind = survey.damage.unwrap_or(DamageKind::EndsEarly);
        Err(bad(survey.offset, &format!("{kind}, at LSN {}", survey.end)))
    }
}

/// Why a file was not found to be sound.
enum Verdict {
    Bad {
        offset: u64,
        reason: String,
    },
    /// Whoever drives this wants it to end.
    Ends(io::Error),
}

impl From<io::Error> for Verdict {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => Self::Ends(error),
            io::ErrorKind::NotFound => bad(0, "it is missing"),
            _ => bad(0, &error.to_string()),
        }
    }
}

fn bad(offset: u64, reason: &str) -> Verdict {
    Verdict::Bad { offset, reason: reason.to_owned() }
}

fn size(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    disk.open(path, OpenMode::Read)?.len()
}

fn header(disk: &dyn Disk, path: &Path) -> io::Result<Option<SegmentHeader>> {
    Ok(match SegmentReader::open(&*disk.open(path, OpenMode::Read)?)? {
        OpenedSegment::Segment(reader) => Some(*reader.header()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::sim::SimDisk;
    use crate::persist::SyncPolicy;
    use crate::persist::tests::archive::{contents, keep_everything, options, settle};
    use crate::persist::tests::compaction::{compaction, complete, write};
    use crate::persist::tests::model::{History, State, open_db};

    /// A log of several segments behind a base, and an archive.
    fn made() -> (SimDisk, OpenOptions) {
        let (disk, options) = (SimDisk::new(), options(SyncPolicy::Always));
        let mut db = open_db(&disk, &options, 1).unwrap();
        let mut history = History::from(State::new());
        let mut archiver = keep_everything(&disk, &db, &options);
        for key in 0..40 {
            write(&mut db, &mut history, &format!("{key}"));
            if key % 15 == 10 {
                complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
                settle(&mut archiver, &mut db, &mut history).unwrap();
            }
        }
        (disk, options)
    }

    fn pass(disk: &SimDisk, options: &OpenOptions) -> (u64, Vec<Finding>) {
        let mut scrubber = Scrubber::begin(Arc::new(disk.clone()), options.clone()).unwrap();
        let (mut verified, mut found) = (0, Vec::new());
        loop {
            match scrubber.step().unwrap() {
                ScrubStep::Verified(_) => verified += 1,
                ScrubStep::Damaged(finding) => found.push(finding),
                ScrubStep::Gone => {}
                ScrubStep::Over => return (verified, found),
            }
        }
    }

    #[test]
    fn damage_in_any_file_that_nobody_writes_to_is_found_where_it_is() {
        let (disk, options) = made();
        let (sound, found) = pass(&disk, &options);
        assert_eq!((found, sound >= 6), (Vec::new(), true), "{sound}");
        let targets = Scrubber::begin(Arc::new(disk.clone()), options.clone()).unwrap().left;
        assert!(contents(&disk).files.len() > 2 && targets.iter().any(|(_, what)| matches!(what, Target::Segment(_))));
        for (path, _) in &targets {
            let len = size(&disk, path).unwrap();
            let at = len / 2;
            disk.flip(path, at, 3).unwrap();
            let (verified, found) = pass(&disk, &options);
            assert_eq!((verified, found.len(), &found[0].path), (sound - 1, 1, path), "{found:?}");
            assert!(found[0].offset <= at, "{found:?}");
            disk.flip(path, at, 3).unwrap();
        }
        assert_eq!(pass(&disk, &options), (sound, Vec::new()));
    }

    #[test]
    fn a_file_that_went_meanwhile_is_no_damage_and_one_that_is_missing_is() {
        let (disk, options) = made();
        let mut scrubber = Scrubber::begin(Arc::new(disk.clone()), options.clone()).unwrap();
        let base = scrubber.left[0].0.clone();
        let mut db = open_db(&disk, &options, 2).unwrap();
        let mut history = History::from(State::new());
        complete(&mut compaction(&disk, &db, &options, false), &mut db, &mut history).unwrap();
        settle(&mut keep_everything(&disk, &db, &options), &mut db, &mut history).unwrap();
        assert!(!disk.exists(&base).unwrap());
        assert_eq!(scrubber.step().unwrap(), ScrubStep::Gone);
        let lost = scrubber.targets().unwrap()[0].0.clone();
        disk.remove(&lost).unwrap();
        let (_, found) = pass(&disk, &options);
        assert_eq!((found.len(), &found[0].path, found[0].reason.as_str()), (1, &lost, "it is missing"));
    }
}
