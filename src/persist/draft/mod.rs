//! A snapshot on its way to a file: a draft beside its place, which takes that place when it is whole. What its bytes are is
//! its [`Form`]'s.
//!
//! A state machine: `step` does a bounded piece of work; a thread drives it in the server, a seed in a test.
//!
//! Invariants
//! - The file in place is touched by one rename only, of a draft that is whole and synced: after a crash the old content
//!   or the new one is there.
//! - What is written is let go of: memory that only the snapshot still held is free as soon as its keys are in the file.
//! - An error leaves the file in place as it was; the draft is removed.

mod crew;
mod out;

use std::io;
use std::iter::Enumerate;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec::IntoIter;

use crc_fast::CrcAlgorithm;

use self::crew::Crew;
pub(super) use self::crew::KeyEncoder;
pub(super) use self::out::Out;
use crate::env::disk::parent;
use crate::env::{Disk, OpenMode};
use crate::keyspace::{DatabaseView, Entry, Portions, Snapshot};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {error}", path.display())]
pub struct SaveError {
    pub path: PathBuf,
    pub doing: &'static str,
    pub error: io::Error,
}

/// What `step` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveStep {
    Worked,
    /// The file is in place, durably.
    Done,
}

/// The bytes of a data set, piece by piece.
pub(super) trait Form: Send {
    /// What stands before all keys.
    fn begin(&mut self, out: &mut Out) -> io::Result<()>;

    /// A database that holds keys begins.
    fn database(&mut self, db: usize, database: &DatabaseView, out: &mut Out) -> io::Result<()>;

    fn entry(&mut self, entry: &Entry, out: &mut Out) -> io::Result<()>;

    /// What makes the bytes of keys away from the file; [`Form::encoded`] takes them.
    fn encoder(&self) -> Box<dyn KeyEncoder>;

    /// As [`Form::entry`], for keys that were encoded elsewhere: their bytes, and where each ends.
    fn encoded(&mut self, bytes: &[u8], ends: &[usize], out: &mut Out) -> io::Result<()>;

    /// All keys of a database were given.
    fn database_ends(&mut self, out: &mut Out) -> io::Result<()>;

    /// What stands behind all keys.
    fn end(&mut self, out: &mut Out) -> io::Result<()>;
}

/// How a draft is written.
pub(super) struct DraftOptions {
    pub path: PathBuf,
    /// The checksum of all bytes that is kept for the form.
    pub checksum: Option<CrcAlgorithm>,
    /// The file is synced each time when so many bytes more were written.
    pub sync_every: Option<u64>,
    /// Threads that encode beside the one that writes.
    pub helpers: usize,
}

/// Smaller databases are not worth a thread.
const PORTIONS_FOR_HELPERS: usize = 4;

/// See the module's header.
pub struct DraftWriter {
    disk: Arc<dyn Disk>,
    /// Those that were not begun.
    databases: Enumerate<IntoIter<DatabaseView>>,
    /// The one that is being written.
    source: Option<Source>,
    options: DraftOptions,
    form: Box<dyn Form>,
    draft: PathBuf,
    out: Option<Out>,
    stage: Stage,
    keys: u64,
    size: u64,
}

/// The keys of a database that are still to be written; what lies behind is let go of.
enum Source {
    Alone(Portions),
    Together(Crew),
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    Keys,
    End,
    Place,
    Done,
}

impl DraftWriter {
    pub(super) fn new(disk: Arc<dyn Disk>, snapshot: Snapshot, options: DraftOptions, form: Box<dyn Form>) -> Self {
        let draft = options.path.with_added_extension("tmp");
        let databases = snapshot.into_databases().into_iter().enumerate();
        let (stage, keys, size) = (Stage::Begin, 0, 0);
        Self { disk, databases, source: None, options, form, draft, out: None, stage, keys, size }
    }

    /// Keys written so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes of the file, when it is in place.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The draft holds everything and is synced: the next step puts it in its place.
    pub fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Place)
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    /// What failed; the writer has ended then.
    pub fn step(&mut self) -> Result<SaveStep, SaveError> {
        let (doing, path, worked) = match self.stage {
            Stage::Begin => ("writing", self.draft.clone(), self.begin()),
            Stage::Keys => ("writing", self.draft.clone(), self.write_keys()),
            Stage::End => ("finishing", self.draft.clone(), self.end()),
            Stage::Place => ("replacing", self.options.path.clone(), self.place()),
            Stage::Done => return Ok(SaveStep::Done),
        };
        match worked {
            Ok(stage) => self.stage = stage,
            Err(error) => {
                self.abandon();
                return Err(SaveError { path, doing, error });
            }
        }
        Ok(if matches!(self.stage, Stage::Done) { SaveStep::Done } else { SaveStep::Worked })
    }

    /// Gives the file up: what was there stays.
    pub fn abandon(&mut self) {
        self.source = None;
        let begun = self.out.take().is_some();
        if begun && !matches!(self.stage, Stage::Done) {
            // A draft that stays behind is overwritten by the next save, or removed by the next start.
            let _ = self.disk.remove(&self.draft);
        }
        self.stage = Stage::Done;
    }

    fn begin(&mut self) -> io::Result<Stage> {
        let file = self.disk.open(&self.draft, OpenMode::Truncate)?;
        let out = self.out.insert(Out::new(file, self.options.checksum, self.options.sync_every));
        self.form.begin(out)?;
        Ok(Stage::Keys)
    }

    fn write_keys(&mut self) -> io::Result<Stage> {
        let Self { databases, source, form, out: Some(out), keys, .. } = self else { return Ok(Stage::Done) };
        let source = match source {
            Some(source) => source,
            None => {
                let Some((db, database)) = databases.find(|(_, database)| !database.is_empty()) else {
                    return Ok(Stage::End);
                };
                form.database(db, &database, out)?;
                source.insert(Source::new(database.into_portions(), &**form, self.options.helpers))
            }
        };
        let (done, portion) = match source {
            Source::Alone(portions) => (0, portions.next()),
            Source::Together(crew) => match crew.next()? {
                None => (0, None),
                Some(encoded) => {
                    form.encoded(&encoded.bytes, &encoded.ends, out)?;
                    *keys += encoded.ends.len() as u64;
                    if encoded.whole {
                        return Ok(Stage::Keys);
                    }
                    (encoded.ends.len(), Some(encoded.portion))
                }
            },
        };
        let Some(portion) = portion else {
            self.source = None;
            form.database_ends(out)?;
            return Ok(Stage::Keys);
        };
        for entry in portion.iter().skip(done) {
            form.entry(entry, out)?;
            *keys += 1;
        }
        Ok(Stage::Keys)
    }

    fn end(&mut self) -> io::Result<Stage> {
        let Some(out) = &mut self.out else { return Ok(Stage::Done) };
        self.form.end(out)?;
        self.size = out.finish()?;
        Ok(Stage::Place)
    }

    fn place(&mut self) -> io::Result<Stage> {
        self.disk.rename(&self.draft, &self.options.path)?;
        self.disk.sync_dir(parent(&self.options.path))?;
        Ok(Stage::Done)
    }
}

impl Source {
    fn new(portions: Portions, form: &dyn Form, helpers: usize) -> Self {
        if helpers == 0 || portions.len() < PORTIONS_FOR_HELPERS {
            return Self::Alone(portions);
        }
        Self::Together(Crew::new(portions, form.encoder(), (0..helpers).map(|_| form.encoder()).collect()))
    }
}
