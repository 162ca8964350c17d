//! A data set too large to be held, in portions: the keys of one part of all hashes at a time.
//!
//! One look finds out which keys must be together, one pass sorts what is there into a file without a name ([`spill`]), and
//! then each portion is loaded from there. A command that reads keys and changes others needs them together: keys that
//! occur beside others in one command ("entangled") are all of part 0. Where it cannot be told which keys a command touches
//! (scripts, SORT with patterns) there is one part, which is held as a server holds it.
//!
//! Invariants
//! - Each key is shown once, with the value that a start would load.
//! - Memory is bounded by [`PART_BYTES`] of files for each data set that is held, about, and by what is entangled.

mod spill;

use super::dataset::{DataSet, families, replay};
use super::place::Place;
use crate::command::CommandTable;
use crate::ds::HashSeed;
use crate::env::disk::parent;
use crate::env::{Disk, OpenMode};
use crate::keyspace::{Batch, Entry};
use crate::persist::{Block, Flow, OpenError, Piece, Reading, Replay, log_files};
use crate::tools::dataset::block_of;
use crate::tools::export::{Failed, open_error};
use crate::value::Limits;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::spill::Scratch;
use self::spill::{Spill, Spilling, Unloaded};

/// Bytes of files whose data is held at once.
pub const PART_BYTES: u64 = 64 << 20;

/// Commands whose effect on a key does not depend on the other keys that they name.
const APART: [&[u8]; 4] = [b"del", b"unlink", b"mset", b"touch"];
/// Commands that reach keys which no declaration names, by what their names begin with: scripts, and SORT's patterns.
const ANYWHERE: [&[u8]; 3] = [b"eval", b"fcall", b"sort"];

/// Which keys are loaded together.
#[derive(Clone)]
pub struct Parts {
    pub count: u64,
    /// There are no commands, only keys: they need not be held to be shown.
    only_keys: bool,
    entangled: Arc<HashSet<u64>>,
    table: Arc<CommandTable>,
}

/// What stands in a place, sorted by parts.
pub struct Portions<'p> {
    parts: &'p Parts,
    disk: &'p Arc<dyn Disk>,
    place: &'p Place,
    /// None where there is one part only.
    spill: Option<Spill>,
    /// What was sorted, in words.
    source: String,
}

/// Where portions are sorted: where an option says, beside what is made of them, or where temporary files go.
pub fn scratch(disk: &Arc<dyn Disk>, said: Option<&Path>, made: Option<&Path>) -> Scratch {
    let directory = said.or(made.map(parent)).map_or_else(std::env::temp_dir, Path::to_owned);
    Scratch { disk: Arc::clone(disk), directory }
}

/// Hashes of keys are told apart by nothing else; two with the same one are in one part.
fn hash(key: &[u8]) -> u64 {
    HashSeed(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03).hash(key)
}

/// Bytes of the files that make up what stands in a place.
fn bytes(disk: &dyn Disk, place: &Place) -> Result<u64, OpenError> {
    let paths = match place {
        Place::File(path) => vec![path.clone()],
        Place::Directory(options) => {
            let (files, _) = log_files(disk, options)?;
            let dump = options.directory.join(&options.dump_file);
            files.into_iter().map(|file| file.path).chain([dump]).collect()
        }
    };
    let size = |path: &Path| disk.open(path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
    Ok(paths.iter().map(|path| size(path)).sum())
}

impl Parts {
    /// How what stands in these places is divided: equally, so that portions can be compared.
    ///
    /// # Errors
    /// Why a server would refuse to start on one of them.
    pub fn of(disk: &Arc<dyn Disk>, places: &[&Place]) -> Result<Self, OpenError> {
        let table = Arc::new(CommandTable::new(&families()));
        let mut largest = 0;
        for place in places {
            largest = largest.max(bytes(&**disk, place)?);
        }
        let count = largest.div_ceil(PART_BYTES).max(1);
        Self::divided(disk, places, count, table)
    }

    fn divided(
        disk: &Arc<dyn Disk>,
        places: &[&Place],
        count: u64,
        table: Arc<CommandTable>,
    ) -> Result<Self, OpenError> {
        if count == 1 {
            return Ok(Self { count, only_keys: false, entangled: Arc::default(), table });
        }
        let look = |place: &Place| {
            let mut looked = Looked { table: &table, entangled: HashSet::new(), in_one: false, commands: 0 };
            replay(disk, place, &Limits::default(), Reading::for_commands(), &mut looked).map(|_| looked)
        };
        let looked = side_by_side(places, |place| look(place))?;
        let count = if looked.iter().any(|looked| looked.in_one) { 1 } else { count };
        let only_keys = looked.iter().all(|looked| looked.commands == 0);
        let entangled = Arc::new(looked.into_iter().flat_map(|looked| looked.entangled).collect());
        Ok(Self { count, only_keys, entangled, table })
    }

    /// The same division without a look: for a file of keys alone.
    pub fn of_keys(disk: &dyn Disk, place: &Place) -> Result<Self, OpenError> {
        let count = bytes(disk, place)?.div_ceil(PART_BYTES).max(1);
        let table = Arc::new(CommandTable::new(&families()));
        Ok(Self { count, only_keys: true, entangled: Arc::default(), table })
    }

    /// Shows everything that stands in a place, libraries first; what was loaded, in words.
    ///
    /// # Errors
    /// Why a server would refuse to start on it, or what `show` says.
    pub fn each(
        &self,
        disk: &Arc<dyn Disk>,
        place: &Place,
        scratch: &Scratch,
        show: &mut dyn FnMut(Shown<'_>) -> Result<(), Failed>,
    ) -> Result<String, Failed> {
        if self.only_keys {
            let mut streamed = Streamed { show, failed: None };
            let replayed = replay(disk, place, &Limits::default(), Reading::to_load(), &mut streamed);
            return match (streamed.failed, replayed) {
                (Some(failed), _) => Err(failed),
                (None, replayed) => replayed.map_err(|error| open_error(&error)),
            };
        }
        let portions = Portions::of(self, disk, place, scratch).map_err(|error| open_error(&error))?;
        let load = |part| portions.load(part).map_err(|error| open_error(&error));
        // While one is shown the next one is loaded.
        std::thread::scope(|scope| {
            let mut loaded = load(0)?;
            for part in 0..self.count {
                let next = (part + 1 < self.count).then(|| scope.spawn(move || load(part + 1)));
                self.show(part, &loaded, show)?;
                let source = std::mem::take(&mut loaded.source);
                drop(loaded);
                loaded = match next.map(|next| next.join()) {
                    None => return Ok(source),
                    Some(Ok(next)) => next?,
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                };
            }
            Ok(String::new())
        })
    }

    /// Shows what is of a part.
    fn show(
        &self,
        part: u64,
        data: &DataSet,
        show: &mut dyn FnMut(Shown<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        if part == 0 {
            data.libraries().iter().try_for_each(|text| show(Shown::Library(text)))?;
        }
        let mut failed = None;
        data.each(&mut |db, entry| {
            let shown = if self.part_of(entry.key()) == part { show(Shown::Key(db, entry)) } else { Ok(()) };
            match shown {
                Ok(()) => Flow::Continue(()),
                Err(reason) => {
                    failed = Some(reason);
                    Flow::Break(())
                }
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// In which of them a key is.
    pub fn part_of(&self, key: &[u8]) -> u64 {
        if self.count == 1 {
            return 0;
        }
        let hash = hash(key);
        if self.entangled.contains(&hash) { 0 } else { hash % self.count }
    }

    /// The parts of the keys that a command names; none where it names no key.
    fn of_command(&self, words: &[&[u8]]) -> SmallVec<[u64; 3]> {
        let mut parts = SmallVec::new();
        for key in keys(&self.table, words) {
            let part = self.part_of(key);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }
}

/// Keys that a command names.
fn keys<'w>(table: &CommandTable, words: &'w [&'w [u8]]) -> impl Iterator<Item = &'w [u8]> + use<'w> {
    let named = table.named(words).filter(|resolved| resolved.command.has_keys());
    let found = named.and_then(|resolved| resolved.command.keys_of_call(words)).unwrap_or_default();
    found.into_iter().filter_map(|(at, _)| words.get(at).copied())
}

/// What is found out about several things at once, each on a thread of its own.
fn side_by_side<T: Sync, R: Send, E: Send>(
    things: &[T],
    find_out: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    std::thread::scope(|scope| {
        let others: Vec<_> = things.iter().skip(1).map(|thing| scope.spawn(|| find_out(thing))).collect();
        let first = things.first().map(&find_out);
        let joined = |other: std::thread::ScopedJoinHandle<'_, _>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All of them have ended before one error is told.
        let all: Vec<Result<R, E>> = first.into_iter().chain(others.into_iter().map(joined)).collect();
        all.into_iter().collect()
    })
}

impl<'p> Portions<'p> {
    /// Sorts what stands in a place.
    ///
    /// # Errors
    /// Why a server would refuse to start on it, or that there is no room for what is sorted.
    pub fn of(
        parts: &'p Parts,
        disk: &'p Arc<dyn Disk>,
        place: &'p Place,
        scratch: &Scratch,
    ) -> Result<Self, OpenError> {
        let (mut source, mut spill) = (String::new(), None);
        if parts.count > 1 {
            let in_the_way = |error: io::Error| {
                let reason = format!("portions of a large data set are sorted here, or where --temp says: {error}");
                let source = io::Error::new(error.kind(), reason);
                OpenError::Io { path: scratch.directory.clone(), source }
            };
            let mut spilling = Spilling::new(parts, scratch).map_err(in_the_way)?;
            let replayed = replay(disk, place, &Limits::default(), Reading::to_load(), &mut spilling);
            if let Some(error) = spilling.failed.take() {
                return Err(in_the_way(error));
            }
            source = replayed?;
            spill = Some(spilling.finish());
        }
        Ok(Self { parts, disk, place, spill, source })
    }

    /// What stands in several places, each sorted beside the others.
    ///
    /// # Errors
    /// As for one.
    pub fn of_each(
        parts: &'p Parts,
        disk: &'p Arc<dyn Disk>,
        places: &[&'p Place],
        scratch: &Scratch,
    ) -> Result<Vec<Self>, OpenError> {
        side_by_side(places, |place| Self::of(parts, disk, place, scratch))
    }

    /// Loads one part.
    ///
    /// # Errors
    /// Why a server would refuse to start on it.
    pub fn load(&self, part: u64) -> Result<DataSet, OpenError> {
        let Some(spill) = &self.spill else { return super::dataset::load(self.disk, self.place) };
        let mut data = DataSet::empty()?;
        let limits = data.engine.store.limits;
        match spill.load(part, &limits, &mut data.engine.replay()) {
            Ok(()) => {}
            Err(Unloaded::Io(source)) => return Err(OpenError::Io { path: "what was sorted".into(), source }),
            Err(Unloaded::Refused) => return self.load_again(part),
        }
        data.source.clone_from(&self.source);
        Ok(data)
    }

    /// Loads one part out of the files themselves, which say where something stands that does not apply.
    fn load_again(&self, part: u64) -> Result<DataSet, OpenError> {
        let mut data = DataSet::empty()?;
        let limits = data.engine.store.limits;
        data.source = {
            let mut replaying = data.engine.replay();
            let mut chosen = Chosen { parts: self.parts, part, limits, into: &mut replaying };
            replay(self.disk, self.place, &limits, Reading::to_load(), &mut chosen)?
        };
        Ok(data)
    }
}

/// Several data sets, part by part, each loaded beside the others.
pub fn load_each(portions: &[Portions<'_>], part: u64) -> Result<Vec<DataSet>, OpenError> {
    side_by_side(portions, |portions| portions.load(part))
}

/// Looks for keys that must be together.
struct Looked<'l> {
    table: &'l CommandTable,
    entangled: HashSet<u64>,
    in_one: bool,
    commands: u64,
}

impl Replay for Looked<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        let Piece::Commands(block) = piece else { return Ok(()) };
        let mut words = Vec::new();
        for command in 0..block.len() {
            block.fill(command, &mut words);
            self.commands += 1;
            let begins = |name: &&[u8]| words[0].get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
            self.in_one |= ANYWHERE.iter().any(begins);
            if APART.iter().any(|name| words[0].eq_ignore_ascii_case(name)) {
                continue;
            }
            let mut keys = keys(self.table, &words);
            if let (Some(one), Some(other)) = (keys.next(), keys.next()) {
                self.entangled.extend([one, other].into_iter().chain(keys).map(hash));
            }
        }
        Ok(())
    }
}

/// Passes on what is of one part.
struct Chosen<'c> {
    parts: &'c Parts,
    part: u64,
    limits: Limits,
    into: &'c mut dyn Replay,
}

impl Replay for Chosen<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        match piece {
            Piece::Keys { db, batch } => {
                let mut kept = Batch::new(self.limits.hash_seed);
                for entry in batch.into_entries() {
                    if self.parts.part_of(entry.key()) == self.part {
                        kept.push(entry);
                    }
                }
                if kept.is_empty() {
                    return Ok(());
                }
                self.into.piece(Piece::Keys { db, batch: kept.take() })
            }
            Piece::Commands(block) => match self.of_part(&block) {
                Some(kept) => self.into.piece(Piece::Commands(kept)),
                None => Ok(()),
            },
            Piece::Expected { db, keys } => self.into.piece(Piece::Expected { db, keys: keys / self.parts.count }),
            other => self.into.piece(other),
        }
    }
}

impl Chosen<'_> {
    /// The commands of a block that touch keys of the part, or none at all.
    fn of_part(&self, block: &Block) -> Option<Block> {
        let commands: Vec<Vec<&[u8]>> = block
            .commands()
            .filter(|words| {
                let of = self.parts.of_command(words);
                of.is_empty() || of.contains(&self.part)
            })
            .collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
        if commands.is_empty() {
            return None;
        }
        let mut kept = block_of(&commands);
        kept.time = block.time;
        Some(kept)
    }
}

/// Shows keys as they come.
struct Streamed<'s> {
    show: &'s mut dyn FnMut(Shown<'_>) -> Result<(), Failed>,
    failed: Option<Failed>,
}

impl Replay for Streamed<'_> {
    fn piece(&mut self, piece: Piece) -> Result<(), String> {
        let shown = match &piece {
            Piece::Library(text) => (self.show)(Shown::Library(text)),
            Piece::Keys { db, batch } => batch.entries().try_for_each(|entry| (self.show)(Shown::Key(*db, entry))),
            _ => Ok(()),
        };
        shown.map_err(|failed| {
            let reason = failed.0.clone();
            self.failed = Some(failed);
            reason
        })
    }
}

/// What a data set consists of.
pub enum Shown<'s> {
    Library(&'s [u8]),
    Key(u32, &'s Entry),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::sim::SimDisk;
    use std::collections::BTreeMap;

    /// Renames, stores and transactions across parts, flushes and moves among databases.
    #[test]
    fn a_data_set_in_parts_is_the_data_set() {
        let mut text = String::new();
        let mut put = |words: &[&str]| {
            text += &format!("*{}\r\n", words.len());
            words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
        };
        put(&["SET", "gone", "x"]);
        put(&["FLUSHALL"]);
        for number in 0..200 {
            let (key, other) = (format!("k{number}"), format!("k{}", (number * 7) % 200));
            put(&["SELECT", &(number % 3).to_string()]);
            put(&["SADD", &format!("s{number}"), &key, "x"]);
            put(&["MSET", &key, "1", &format!("m{number}"), "2"]);
            match number % 5 {
                0 => put(&["RENAME", &key, &format!("r{number}")]),
                1 => put(&["SUNIONSTORE", &format!("u{number}"), &format!("s{number}"), &format!("s{}", number - 1)]),
                2 => put(&["DEL", &other, &format!("m{number}")]),
                3 => put(&["MOVE", &key, "5"]),
                _ => put(&["INCR", &key]),
            }
        }
        put(&["SWAPDB", "0", "2"]);
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        crate::env::disk::replace_file(&*disk, Path::new("/all.aof"), text.as_bytes()).expect("written");
        let place = Place::File("/all.aof".into());
        let scratch = Scratch { disk: Arc::clone(&disk), directory: "/".into() };
        // Sorted, and out of the files themselves.
        let seen = |count, again: bool| {
            let table = Arc::new(CommandTable::new(&families()));
            let parts = Parts::divided(&disk, &[&place], count, table).expect("loads");
            assert_eq!(parts.count, count);
            let portions = Portions::of(&parts, &disk, &place, &scratch).expect("sorted");
            let mut seen = BTreeMap::new();
            for part in 0..count {
                let data = if again { portions.load_again(part) } else { portions.load(part) };
                data.expect("loads").each(&mut |db, entry| {
                    if parts.part_of(entry.key()) == part {
                        let shown = format!("{:?}", crate::tools::json::key(db, entry.key(), entry.value(), None));
                        assert!(seen.insert((db, entry.key().to_vec()), shown).is_none(), "shown twice");
                    }
                    Flow::Continue(())
                });
            }
            seen
        };
        let whole = seen(1, false);
        assert!(whole.len() > 300, "{}", whole.len());
        for count in [2, 7] {
            for again in [false, true] {
                assert_eq!(seen(count, again), whole, "{count} parts");
            }
        }
        assert_eq!(disk.list(Path::new("/")).expect("listed"), ["all.aof"], "nothing is left behind");
    }
}
