//! `graven inspect`: what is on the disk, one thing after the other: frames, commands, keys, and how they are spread.
//!
//! The reading is [`crate::persist`]'s walk, which goes on behind damage; here is what is chosen and how it is shown.
//!
//! Invariants
//! - Nothing is changed, no lock is taken; a running server is not disturbed.
//! - Memory is bounded by the largest frame, command or value, and by [`spread::NAMES_MAX`] names. Only keys of a log, which
//!   is not their form on disk, are loaded as a start loads them, in portions.

mod choice;
mod follow;
mod show;
mod spread;
#[cfg(test)]
mod tests;

use self::choice::Choice;
use self::show::{Keys, Show as Shown};
use self::spread::Spread;
use super::Exit;
use super::place::Place;
use super::portions::{Parts, Scratch, Shown as Portion};
use crate::env::Disk;
use crate::persist::archive::{Past, UnpackingDisk};
use crate::persist::{Flow, OpenError, Visitor, follow as follow_log, later_dump, rdb, walk_file, walk_log};
use crate::value::Limits;
use clap::{Args, ValueEnum};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The commands of the log, in order.
    Commands,
    /// The frames of the log and its marks, in order.
    Frames,
    /// How often each command, type and key prefix occurs.
    Histogram,
    /// Each key with its value, as a JSON line.
    Keys,
    /// Memory by key prefix, as CSV with the columns of redis-rdb-tools.
    Memory,
    /// Memory of each key, as CSV with the columns of redis-rdb-tools.
    MemoryKeys,
}

/// The options of the verb.
#[derive(Args, Debug)]
pub struct Options {
    /// A data directory, its log's directory, a manifest, a segment, an append-only file or an RDB file.
    pub path: PathBuf,
    /// What to show; of an RDB file its keys, else the commands, unless this says otherwise.
    #[arg(long, value_enum)]
    pub show: Option<Subject>,
    #[command(flatten)]
    pub choice: Choice,
    /// What ends the parts of a key that count as its prefix.
    #[arg(long, default_value = ":", value_name = "TEXT")]
    pub separator: String,
    /// So many parts of a key make its prefix.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub depth: usize,
    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on showing what is added to the log, until interrupted.
    #[arg(long)]
    pub follow: bool,
    /// Begin with the oldest base of the archive, and show what led up to the log.
    #[arg(long, conflicts_with = "follow")]
    pub archive: bool,
    /// Words of commands in full length, however long.
    #[arg(long)]
    pub full: bool,
    /// Where portions of a large data set are sorted, in files without a name; where temporary files go, unless this says otherwise.
    #[arg(long, value_name = "DIR")]
    pub temp: Option<PathBuf>,
    /// Each thing as a JSON object on a line of its own.
    #[arg(long)]
    pub json: bool,
}

/// What a walk has met besides what was shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Met {
    damage: bool,
    torn: bool,
}

/// Shows what was asked for; the error is said.
pub fn inspect(disk: &Arc<dyn Disk>, scratch: &Scratch, options: &Options, out: &mut dyn Write) -> Exit {
    match shown(disk, scratch, options, out) {
        Ok(met) if met.damage => Exit::Damaged,
        Ok(met) if met.torn => Exit::Torn,
        Ok(_) => Exit::Sound,
        Err(exit) => exit,
    }
}

fn said(error: &OpenError) -> Exit {
    complain!("{error}");
    if let OpenError::Io { .. } = error { Exit::Io } else { Exit::Damaged }
}

fn shown(plain: &Arc<dyn Disk>, scratch: &Scratch, options: &Options, out: &mut dyn Write) -> Result<Met, Exit> {
    let disk: &Arc<dyn Disk> = &(Arc::new(UnpackingDisk::new(Arc::clone(plain))) as Arc<dyn Disk>);
    let mut place = super::find(&**disk, &options.path)?;
    if let Place::Directory(names) = &place
        && names.append_only
        && let Some(lsn) = later_dump(disk, names).map_err(|error| said(&error))?
    {
        let dump = names.directory.join(&names.dump_file);
        let is_log = options.follow
            || options.choice.is_of_log()
            || matches!(options.show, Some(Subject::Commands | Subject::Frames));
        let shown = if is_log { "here is the log" } else { "here it is" };
        complain!(
            "{} stands later than the log beside it, at LSN {lsn}, and is what a start loads; {shown}",
            dump.display()
        );
        if !is_log {
            place = Place::File(dump);
        }
    }
    let subject = match options.show {
        Some(subject) => subject,
        None if is_rdb(&**disk, &place) => Subject::Keys,
        None => Subject::Commands,
    };
    let of_keys = matches!(subject, Subject::Keys | Subject::Memory | Subject::MemoryKeys);
    if options.follow && (of_keys || subject == Subject::Histogram || matches!(place, Place::File(_))) {
        complain!("--follow goes with the commands or the frames of a data directory");
        return Err(Exit::Usage);
    }
    if of_keys && options.choice.is_of_log() {
        complain!("keys have no LSN, time or command: these options go with commands, frames and the histogram");
        return Err(Exit::Usage);
    }
    if let Err(wrong) = options.choice.makes_sense() {
        complain!("{wrong}");
        return Err(Exit::Usage);
    }
    if options.separator.is_empty() || options.depth == 0 {
        complain!("a prefix has one part at least, and a separator that ends it");
        return Err(Exit::Usage);
    }
    let mut choice = options.choice.prepared();
    let (mut show, mut spread, mut keys);
    let visitor: &mut dyn Watching = match subject {
        Subject::Commands | Subject::Frames => {
            show = Shown::new(options, subject == Subject::Frames, choice, out);
            &mut show
        }
        Subject::Histogram => {
            spread = Spread::new(options, choice, out);
            &mut spread
        }
        Subject::Keys | Subject::Memory | Subject::MemoryKeys => {
            choice.keys_only();
            keys = Keys::new(options, subject, choice, out);
            if !is_rdb(&**disk, &place) {
                // Keys of a log are what its commands have made of them.
                let parts = Parts::of(disk, &[&place]).map_err(|error| said(&error))?;
                let enough = || (String::new(), Exit::Sound);
                let shown = parts.each(disk, &place, scratch, &mut |shown| match shown {
                    Portion::Key(db, entry) if keys.entry(db, entry).is_break() => Err(enough()),
                    _ => Ok(()),
                });
                return match shown {
                    Err((reason, exit)) if exit != Exit::Sound => {
                        complain!("{reason}");
                        Err(exit)
                    }
                    _ => keys.finish(),
                };
            }
            &mut keys
        }
    };
    let walked = match &place {
        Place::File(path) => walk_file(&**disk, path, &Limits::default(), visitor.visitor()),
        Place::Directory(directory) if options.follow => {
            let log = directory.directory.join(&directory.append_directory);
            let mut waiting = follow::Waiting::new(&log).map_err(|error| {
                complain!("{}: {error}", log.display());
                Exit::Io
            })?;
            follow_log(&**disk, directory, visitor.visitor(), &mut || waiting.wait()).map(|()| Flow::Continue(()))
        }
        Place::Directory(directory) if options.archive => Past::read(&**disk, &**plain, directory).and_then(|past| {
            past.notes.iter().for_each(|note| complain!("{note}"));
            past.walk(&**disk, directory, visitor.visitor())
        }),
        Place::Directory(directory) => walk_log(&**disk, directory, visitor.visitor()),
    };
    let met = visitor.finish()?;
    walked.map(|_| met).map_err(|error| said(&error))
}

/// A visitor that has something to say when all was seen.
trait Watching: Visitor {
    fn finish(&mut self) -> Result<Met, Exit>;

    fn visitor(&mut self) -> &mut dyn Visitor;
}

fn is_rdb(disk: &dyn Disk, place: &Place) -> bool {
    let path: PathBuf = match place {
        Place::File(path) => path.clone(),
        Place::Directory(options) if !options.append_only => options.directory.join(&options.dump_file),
        Place::Directory(_) => return false,
    };
    starts_as_rdb(disk, &path).unwrap_or(false)
}

/// Whether a file is one of keys alone.
fn starts_as_rdb(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let file = disk.open(path, crate::env::OpenMode::Read)?;
    let mut head = [0; 9];
    let shown = file.len()?.min(head.len() as u64) as usize;
    file.read_exact_at(&mut head[..shown], 0)?;
    // What ends in `.aof` may have commands behind its keys.
    Ok(rdb::is_rdb(&head[..shown]) && path.extension().is_none_or(|extension| extension != "aof"))
}

/// A reader of ours that has gone away is the end, and no error; anything else is.
fn written(result: io::Result<()>, failed: &mut Option<Exit>) -> Flow {
    match result {
        Ok(()) => Flow::Continue(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Flow::Break(()),
        Err(error) => {
            complain!("standard output: {error}");
            *failed = Some(Exit::Io);
            Flow::Break(())
        }
    }
}
