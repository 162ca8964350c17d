//! A data set too large to be held, in portions: the keys of one part of all hashes at a time, each part made by going through
//! the files anew.
//!
//! A command that reads keys and changes others needs them together: keys that occur beside others in one command
//! ("entangled") are all of part 0. Where it cannot be told which keys a command touches there is one part.
//!
//! Invariants
//! - Each key is shown once, with the value that a start would load.
//! - Memory is bounded by [`PART_BYTES`] of files, about, and by what is entangled.

use super::dataset::{DataSet, block_of, families, replay};
use super::place::Place;
use crate::command::CommandTable;
use crate::ds::HashSeed;
use crate::env::{Disk, OpenMode};
use crate::keyspace::{Batch, Entry};
use crate::persist::{Block, Flow, OpenError, Piece, Replay, log_files};
use crate::tools::export::{Failed, open_error};
use crate::value::Limits;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Bytes of files whose data is held at once.
pub const PART_BYTES: u64 = 128 << 20;

/// Commands whose effect on a key does not depend on the other keys that they name.
const APART: [&[u8]; 4] = [b"del", b"unlink", b"mset", b"touch"];

/// Which keys are loaded together.
#[derive(Clone)]
pub struct Parts {
    pub count: u64,
    /// There are no commands, only keys: they need not be held to be shown.
    only_keys: bool,
    entangled: Arc<HashSet<u64>>,
    table: Arc<CommandTable>,
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
        let mut looked = Looked { table: &table, entangled: HashSet::new(), in_one: false, commands: 0 };
        for place in places {
            replay(disk, place, &Limits::default(), &mut looked)?;
        }
        let count = if looked.in_one { 1 } else { count };
        let (only_keys, entangled) = (looked.commands == 0, Arc::new(looked.entangled));
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
        show: &mut dyn FnMut(Shown<'_>) -> Result<(), Failed>,
    ) -> Result<String, Failed> {
        if self.only_keys {
            let mut streamed = Streamed { show, failed: None };
            let replayed = replay(disk, place, &Limits::default(), &mut streamed);
            return match (streamed.failed, replayed) {
                (Some(failed), _) => Err(failed),
                (None, replayed) => replayed.map_err(|error| open_error(&error)),
            };
        }
        let mut source = String::new();
        for part in 0..self.count {
            let data = self.load(disk, place, part).map_err(|error| open_error(&error))?;
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
            failed.map_or(Ok(()), Err)?;
            source.clone_from(&data.source);
        }
        Ok(source)
    }

    /// In which of them a key is.
    pub fn part_of(&self, key: &[u8]) -> u64 {
        if self.count == 1 {
            return 0;
        }
        let hash = hash(key);
        if self.entangled.contains(&hash) { 0 } else { hash % self.count }
    }

    /// Loads one part.
    ///
    /// # Errors
    /// Why a server would refuse to start on it.
    pub fn load(&self, disk: &Arc<dyn Disk>, place: &Place, part: u64) -> Result<DataSet, OpenError> {
        if self.count == 1 {
            return super::dataset::load(disk, place);
        }
        let mut data = DataSet::empty()?;
        let limits = data.engine.store.limits;
        data.source = {
            let mut replaying = data.engine.replay();
            replay(disk, place, &limits, &mut Chosen { parts: self, part, limits, into: &mut replaying })?
        };
        Ok(data)
    }

    /// Keys of a command, and whether they are all that it touches.
    fn keys<'w>(table: &CommandTable, words: &[&'w [u8]]) -> (Vec<&'w [u8]>, bool) {
        let Some(resolved) = table.named(words) else { return (Vec::new(), true) };
        let keys = resolved.command.keys_of_call(words).unwrap_or_default();
        let keys = keys.into_iter().filter_map(|(at, _)| words.get(at).copied()).collect();
        let name = words[0].to_ascii_lowercase();
        // Scripts and SORT's patterns reach keys that no declaration names.
        let anywhere = name.starts_with(b"eval") || name.starts_with(b"fcall") || name.starts_with(b"sort");
        (keys, !anywhere)
    }
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
        for words in block.commands() {
            self.commands += 1;
            let (keys, told) = Parts::keys(self.table, &words);
            self.in_one |= !told;
            if keys.len() > 1 && !APART.iter().any(|name| words[0].eq_ignore_ascii_case(name)) {
                self.entangled.extend(keys.into_iter().map(hash));
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
                let (keys, _) = Parts::keys(&self.parts.table, words);
                keys.is_empty() || keys.iter().any(|key| self.parts.part_of(key) == self.part)
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
        let seen = |count| {
            let table = Arc::new(CommandTable::new(&families()));
            let parts = Parts::divided(&disk, &[&place], count, table).expect("loads");
            assert_eq!(parts.count, count);
            let mut seen = BTreeMap::new();
            for part in 0..count {
                parts.load(&disk, &place, part).expect("loads").each(&mut |db, entry| {
                    if parts.part_of(entry.key()) == part {
                        let shown = format!("{:?}", crate::tools::json::key(db, entry.key(), entry.value(), None));
                        assert!(seen.insert((db, entry.key().to_vec()), shown).is_none(), "shown twice");
                    }
                    Flow::Continue(())
                });
            }
            seen
        };
        let whole = seen(1);
        assert!(whole.len() > 300, "{}", whole.len());
        for count in [2, 7] {
            assert_eq!(seen(count).keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        }
    }
}
