//! A data set in memory, as a start would load it: by the same code, into the same engine.

use super::place::Place;
use crate::command::Command;
use crate::ds::HashSeed;
use crate::engine::Engine;
use crate::env::{Disk, Entropy, OpenMode, SystemClock, SystemEntropy, UnixMillis};
use crate::keyspace::{Entry, Keyspace};
use crate::persist::{
    Block, Flow, Gap, NotLoaded, OpenError, OpenOptions, Piece, Reading, Replay, SegmentWalk, Spot, Visitor, examine,
    examine_file, walk_file,
};
use crate::value::Limits;
use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;
use std::sync::Arc;

/// Databases that a data set may have; servers have 16 unless they are told otherwise.
const DATABASES: u32 = 1024;

/// All commands that a log may hold.
pub fn families() -> Vec<&'static [Command]> {
    let mut families = crate::engine::families();
    families.extend(crate::server::families());
    families
}

/// See the module's header.
pub struct DataSet {
    pub engine: Engine,
    /// What was loaded, in words.
    pub source: String,
}

impl DataSet {
    /// An empty one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn empty() -> Result<Self, OpenError> {
        let no_entropy = |source| OpenError::Io { path: "randomness".into(), source };
        let mut entropy = SystemEntropy::new().map_err(no_entropy)?;
        let seed = HashSeed(entropy.next_u64(), entropy.next_u64());
        let store = Keyspace::new(DATABASES, Limits { hash_seed: seed, ..Limits::default() });
        let engine = Engine::new(store, &families(), Arc::new(SystemClock::new()), Box::new(entropy), Box::new(()));
        Ok(Self { engine, source: String::new() })
    }

    /// # Errors
    /// When it cannot be loaded, or is there already.
    pub fn add_library(&mut self, text: &[u8]) -> Result<(), String> {
        self.engine.replay().library(text).map_err(|error| error.text().to_owned())
    }

    /// Source texts of the libraries of functions.
    pub fn libraries(&self) -> Vec<Vec<u8>> {
        self.engine.parts.scripts.library_texts().map(<[u8]>::to_vec).collect()
    }

    /// A key, due or not.
    pub fn get(&self, db: u32, key: &[u8]) -> Option<&Entry> {
        // Nothing is due before all deadlines.
        self.engine.store.db(db).get(key, UnixMillis(i64::MIN))
    }

    /// Shows each key, those that are due included, until enough was seen.
    pub fn each(&self, show: &mut dyn FnMut(u32, &Entry) -> Flow) {
        for (db, database) in (0..).zip(self.engine.store.databases()) {
            for entry in database.iter() {
                if show(db, entry).is_break() {
                    return;
                }
            }
        }
    }
}

/// # Errors
/// There can be no such database.
pub fn check_db(db: u32) -> Result<(), String> {
    if db < DATABASES { Ok(()) } else { Err(format!("database {db} is beyond the {DATABASES} that are read")) }
}

/// Loads what stands in a place; of a segment of ours by itself what its commands make on an empty server.
///
/// # Errors
/// Why a server would refuse to start on it.
pub fn load(disk: &Arc<dyn Disk>, place: &Place) -> Result<DataSet, OpenError> {
    let mut data = DataSet::empty()?;
    let limits = data.engine.store.limits;
    data.source = replay(disk, place, &limits, Reading::to_load(), &mut data.engine.replay())?;
    Ok(data)
}

/// Hands what stands in a place to whoever takes it; what was loaded, in words.
pub fn replay(
    disk: &Arc<dyn Disk>,
    place: &Place,
    limits: &Limits,
    reading: Reading,
    replay: &mut dyn Replay,
) -> Result<String, OpenError> {
    match place {
        Place::Directory(options) => {
            let options = OpenOptions { limits: *limits, reading, ..(**options).clone() };
            let report = examine(Arc::clone(disk), &options, replay)?;
            let beside = match report.not_loaded {
                Some(NotLoaded::Dump(path) | NotLoaded::Log(path)) => format!("; not {}", path.display()),
                None => String::new(),
            };
            return Ok(format!("{}{beside}", report.source));
        }
        Place::File(path) if is_segment(&**disk, path)? => {
            let mut replayed = Replayed { replay, failed: None };
            let walked = walk_file(&**disk, path, limits, &mut replayed);
            if let Some(reason) = replayed.failed {
                return Err(reason);
            }
            let _ = walked?;
        }
        Place::File(path) => examine_file(&**disk, path, limits, reading, replay)?,
    }
    Ok("one file".into())
}

fn is_segment(disk: &dyn Disk, path: &Path) -> Result<bool, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    Ok(SegmentWalk::open(&*file, path)?.is_some())
}

/// Applies the commands of a segment.
struct Replayed<'e> {
    replay: &'e mut dyn Replay,
    failed: Option<OpenError>,
}

impl Visitor for Replayed<'_> {
    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        let db = spot.db.to_string();
        let mut block = block_of(&[&[b"select", db.as_bytes()], words]);
        block.time = spot.time;
        match self.replay.piece(Piece::Commands(block)) {
            Ok(()) => Continue(()),
            Err(reason) => {
                self.failed = Some(OpenError::BadReplay { path: spot.path.to_owned(), offset: spot.offset, reason });
                Break(())
            }
        }
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        if gap.torn {
            return Continue(());
        }
        let (path, reason) = (gap.path.to_owned(), gap.reason.clone());
        self.failed = Some(OpenError::BadReplay { path, offset: gap.from, reason });
        Break(())
    }
}

/// Commands as a loader hands them over.
pub fn block_of(commands: &[&[&[u8]]]) -> Block {
    let bytes = commands.iter().flat_map(|words| words.iter()).flat_map(|word| word.iter().copied()).collect();
    let (mut block, mut at) = (Block::over(bytes), 0);
    for words in commands {
        block.push(words.iter().map(|word| {
            at += word.len();
            at - word.len()..at
        }));
    }
    block
}
