//! `graven export` and `graven import`: a data set out of a directory or a file into another form, and back.
//!
//! Both load as a start would, in portions where it is much ([`super::portions`]). What is exported is written as a draft that takes its name when it is whole and durable; what is
//! imported becomes the base of a new data directory.

use super::dataset::{self, DataSet};
use super::place::Place;
use super::portions::{PART_BYTES, Parts, Portions, Scratch, Shown, scratch};
use super::target::{self, Target};
use super::{Exit, json};
use crate::env::disk::{FromFront, parent};
use crate::env::{Clock, Disk, OpenMode, UnixMillis};
use crate::keyspace::{AccessClock, AccessPolicy, Entry};
use crate::persist::rdb::{self, RdbOptions, SavedAccess, StreamWriter};
use crate::persist::{FileEntry, FileKind, Manifest, OpenError, SaveStep, write_commands, write_library, write_select};
use clap::Args;
use serde_json::json;
use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The options of `export`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("form").required(true)))]
pub struct ExportOptions {
    /// A data directory, a segment, an append-only file or an RDB file.
    pub path: PathBuf,
    /// An RDB file, which stock servers load.
    #[arg(long, group = "form")]
    pub rdb: bool,
    /// An append-only file of commands, which stock servers load.
    #[arg(long, group = "form")]
    pub aof: bool,
    /// The commands that make the data set, as a client sends them: for redis-cli --pipe.
    #[arg(long, group = "form")]
    pub resp: bool,
    /// A JSON object on a line for each key, which import reads.
    #[arg(long, group = "form")]
    pub jsonl: bool,
    /// The file to write, which must not exist; without it what is not RDB goes to standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The version of the RDB file: 10, which stock 7.0 loads, or 11.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(10..=11))]
    pub rdb_version: u16,
    /// Where portions of a large data set are sorted, in files without a name; beside the file that is written, or where temporary
    /// files go.
    #[arg(long, value_name = "DIR")]
    pub temp: Option<PathBuf>,
    /// Say what was written as a JSON object, on standard error where the data is on standard output.
    #[arg(long)]
    pub json: bool,
}

/// The options of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportOptions {
    /// An RDB file, commands (an append-only file, or what export --resp writes), JSON lines, or a data directory.
    pub path: PathBuf,
    /// The data directory to make, which does not exist or is empty.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Where portions of a large data set are sorted, in files without a name; beside the directory that is made.
    #[arg(long, value_name = "DIR")]
    pub temp: Option<PathBuf>,
    /// Say what was made as a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What was written.
pub struct Done {
    pub keys: u64,
    /// What was loaded, in words.
    pub source: String,
}

/// Bytes of lines that are written together.
const WRITTEN_BYTES: usize = 256 << 10;
/// Bytes of lines that are read together.
const LINES_BYTES: usize = 64 << 10;

/// Why there is nothing.
pub type Failed = (String, Exit);

pub fn open_error(error: &OpenError) -> Failed {
    (error.to_string(), if let OpenError::Io { .. } = error { Exit::Io } else { Exit::Damaged })
}

pub fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    move |error| (format!("{}: {error}", path.display()), Exit::Io)
}

/// Writes a data set in another form.
///
/// # Errors
/// Why not, in one line, and how the tool ends.
pub fn export(
    disk: &Arc<dyn Disk>,
    options: &ExportOptions,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> Result<Done, Failed> {
    let place = super::find(&**disk, &options.path).map_err(|exit| (String::new(), exit))?;
    if options.rdb && options.out.is_none() {
        return Err(("an RDB file is not for standard output: name one with --out".into(), Exit::Usage));
    }
    if let Some(path) = &options.out
        && disk.exists(path).map_err(io_error(path))?
    {
        return Err((format!("{} is there already", path.display()), Exit::Usage));
    }
    let scratch = scratch(disk, options.temp.as_deref(), options.out.as_deref());
    let parts = Parts::of(disk, &[&place]).map_err(|error| open_error(&error))?;
    let from = DataSource { disk, place: &place, parts: &parts, scratch: &scratch };
    if let (true, Some(path)) = (options.rdb, &options.out) {
        return or_no_draft(&**disk, path, from.to_rdb(path, options.rdb_version, clock.unix_millis()));
    }
    let Some(path) = &options.out else {
        let mut out = BufWriter::with_capacity(WRITTEN_BYTES, out);
        let name = Path::new("standard output");
        return match from.to_lines(options, &mut out, name) {
            // Whoever read has gone away: no error of ours.
            Err((_, Exit::Sound)) => Ok(Done { keys: 0, source: String::new() }),
            other => other,
        };
    };
    let made = || {
        let draft = draft(path);
        let file = disk.open(&draft, OpenMode::Truncate).map_err(io_error(&draft))?;
        let mut file = BufWriter::with_capacity(WRITTEN_BYTES, FromFront::new(file));
        let done = from.to_lines(options, &mut file, path)?;
        let named = || -> io::Result<()> {
            file.get_ref().file().sync_all()?;
            disk.rename(&draft, path)?;
            disk.sync_dir(parent(path))
        };
        named().map_err(io_error(path))?;
        Ok(done)
    };
    or_no_draft(&**disk, path, made())
}

fn draft(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

/// Passes an outcome on; of a file that was not made no draft stays.
fn or_no_draft(disk: &dyn Disk, path: &Path, made: Result<Done, Failed>) -> Result<Done, Failed> {
    if made.is_err() {
        target::remove(disk, &draft(path));
    }
    made
}

/// A data set, and how it is gone through.
struct DataSource<'f> {
    disk: &'f Arc<dyn Disk>,
    place: &'f Place,
    parts: &'f Parts,
    scratch: &'f Scratch,
}

impl DataSource<'_> {
    fn to_lines(&self, options: &ExportOptions, out: &mut dyn Write, name: &Path) -> Result<Done, Failed> {
        let (mut keys, mut selected) = (0, None);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => (String::new(), Exit::Sound),
            _ => io_error(name)(error),
        };
        let source = self.parts.each(self.disk, self.place, self.scratch, &mut |shown| {
            let written = match shown {
                Shown::Library(text) if options.jsonl => writeln!(out, "{}", json!({ "library": json::text(text) })),
                Shown::Library(text) => write_library(text, out),
                Shown::Key(db, entry) => {
                    keys += 1;
                    write_key(db, entry, options, &mut selected, out)
                }
            };
            written.map_err(failed)
        })?;
        out.flush().map_err(failed)?;
        Ok(Done { keys, source })
    }

    fn to_rdb(&self, path: &Path, version: u16, now: UnixMillis) -> Result<Done, Failed> {
        let Self { disk, place, parts, scratch } = *self;
        if parts.count == 1 {
            let data = dataset::load(disk, place).map_err(|error| open_error(&error))?;
            return Ok(Done { keys: write_rdb(disk, &data, path, version, now)?, source: data.source });
        }
        let (mut libraries, mut writer) = (Vec::new(), None);
        let begin = |libraries: &mut Vec<Vec<u8>>| {
            let options = rdb_options(path, version, now, std::mem::take(libraries));
            StreamWriter::begin(Arc::clone(disk), options).map_err(io_error(path))
        };
        let source = parts.each(disk, place, scratch, &mut |shown| match shown {
            Shown::Library(text) => {
                libraries.push(text.to_vec());
                Ok(())
            }
            Shown::Key(db, entry) => {
                if writer.is_none() {
                    writer = Some(begin(&mut libraries)?);
                }
                writer.as_mut().map_or(Ok(()), |writer| writer.add(db, entry).map_err(io_error(path)))
            }
        })?;
        let writer = match writer {
            Some(writer) => writer,
            None => begin(&mut libraries)?,
        };
        Ok(Done { keys: writer.finish().map_err(io_error(path))?, source })
    }
}

fn write_key(
    db: u32,
    entry: &Entry,
    options: &ExportOptions,
    selected: &mut Option<u32>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if options.jsonl {
        let line = serde_json::Value::Object(json::key(db, entry.key(), entry.value(), entry.expiry()));
        return writeln!(out, "{line}");
    }
    if *selected != Some(db) {
        *selected = Some(db);
        write_select(db, out)?;
    }
    write_commands(entry, out)
}

fn rdb_options(path: &Path, version: u16, now: UnixMillis, libraries: Vec<Vec<u8>>) -> RdbOptions {
    RdbOptions {
        path: path.to_owned(),
        version,
        compression: true,
        checksum: true,
        sync_every: Some(4 << 20),
        access: SavedAccess::Nothing,
        clock: AccessClock::new(AccessPolicy::Lru, now),
        fields: vec![
            ("redis-ver", crate::REDIS_VERSION.to_owned()),
            ("redis-bits", usize::BITS.to_string()),
            ("ctime", (now.0 / 1000).to_string()),
        ],
        libraries,
        position: None,
        block_bytes: None,
        helpers: 0,
    }
}

fn write_rdb(disk: &Arc<dyn Disk>, data: &DataSet, path: &Path, version: u16, now: UnixMillis) -> Result<u64, Failed> {
    let options = rdb_options(path, version, now, data.libraries());
    let mut writer = rdb::begin(Arc::clone(disk), data.engine.snapshot(), options);
    loop {
        match writer.step() {
            Ok(SaveStep::Worked) => {}
            Ok(SaveStep::Done) => return Ok(writer.keys()),
            Err(error) => return Err((error.to_string(), Exit::Io)),
        }
    }
}

/// Makes a data directory of a data set.
///
/// # Errors
/// Why not, in one line, and how the tool ends.
pub fn import(disk: &Arc<dyn Disk>, options: &ImportOptions, clock: &dyn Clock) -> Result<Done, Failed> {
    let ImportOptions { path, into, .. } = options;
    let place = super::find(&**disk, path).map_err(|exit| (String::new(), exit))?;
    let target = Target::vacant(&**disk, into, "an import makes a data directory of its own")?;
    let is_json = match &place {
        Place::File(path) => is_json(&**disk, path).map_err(io_error(path))?,
        Place::Directory(_) => false,
    };
    let scratch = scratch(disk, options.temp.as_deref(), Some(into));
    // What cannot be loaded is said before anything is made.
    let parts = if is_json { None } else { Some(Parts::of(disk, &[&place]).map_err(|error| open_error(&error))?) };
    let mut seen = HashSet::new();
    let is_small = is_json && bytes_of(&**disk, path).map_err(io_error(path))? <= PART_BYTES;
    let mut look = |(db, entry): (u32, &Entry)| match is_small && !seen.insert((db, entry.key().to_vec())) {
        true => Err((format!("the key '{}' is there twice", entry.key().escape_ascii()), Exit::Damaged)),
        false => Ok(()),
    };
    let lines = if is_json { Some(from_lines(disk, path, &mut look)?) } else { None };
    let make = || -> Result<Done, Failed> {
        let log = into.join("appendonlydir");
        for directory in [into, &log] {
            match disk.create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(directory)(error)),
                _ => disk.sync_dir(parent(directory)).map_err(io_error(directory))?,
            }
        }
        let name = "appendonly.aof.1.base.rdb".to_owned();
        let (base, now) = (log.join(&name), clock.unix_millis());
        let done = match &parts {
            Some(parts) => DataSource { disk, place: &place, parts, scratch: &scratch }.to_rdb(&base, 10, now)?,
            None => {
                let options = rdb_options(&base, 10, now, lines.unwrap_or_default());
                let mut writer = StreamWriter::begin(Arc::clone(disk), options).map_err(io_error(&base))?;
                from_lines(disk, path, &mut |(db, entry)| writer.add(db, entry).map_err(io_error(&base)))?;
                let keys = writer.finish().map_err(io_error(&base))?;
                if !is_small {
                    only_once(disk, &base, &scratch)?;
                }
                Done { keys, source: "JSON lines".into() }
            }
        };
        let mut manifest = Manifest::new();
        manifest.files.push(FileEntry { name, sequence: 1, kind: FileKind::Base });
        let path = log.join("appendonly.aof.manifest");
        manifest.store(&**disk, &path).map_err(|failed| io_error(&path)(failed.error))?;
        Ok(done)
    };
    target.unless(&**disk, make())
}

/// Whether each key stands in a file once: it is loaded, portion by portion.
fn only_once(disk: &Arc<dyn Disk>, base: &Path, scratch: &Scratch) -> Result<(), Failed> {
    let place = Place::File(base.to_owned());
    let parts = Parts::of_keys(&**disk, &place).map_err(|error| open_error(&error))?;
    let portions = Portions::of(&parts, disk, &place, scratch);
    let loaded = portions.and_then(|portions| (0..parts.count).try_for_each(|part| portions.load(part).map(drop)));
    loaded.map_err(|error| match error {
        OpenError::BadBase { reason, .. } => (reason, Exit::Damaged),
        other => open_error(&other),
    })
}

fn bytes_of(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    disk.open(path, OpenMode::Read)?.len()
}

/// Whether the first byte that is no space begins a JSON object.
fn is_json(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut head = vec![0; file.len()?.min(64) as usize];
    file.read_exact_at(&mut head, 0)?;
    Ok(head.trim_ascii_start().first() == Some(&b'{'))
}

/// Is shown the keys of a data set, each with its database.
type Show<'a> = dyn FnMut((u32, &Entry)) -> Result<(), Failed> + 'a;

/// Reads JSON lines and shows each key; the libraries among them.
fn from_lines(disk: &Arc<dyn Disk>, path: &Path, show: &mut Show<'_>) -> Result<Vec<Vec<u8>>, Failed> {
    let mut checked = DataSet::empty().map_err(|error| open_error(&error))?;
    let limits = checked.engine.store.limits;
    let mut libraries = Vec::new();
    let file = disk.open(path, OpenMode::Read).map_err(io_error(path))?;
    let (len, mut at, mut held, mut number) = (file.len().map_err(io_error(path))?, 0, Vec::new(), 0_u64);
    let mut looked = 0;
    loop {
        let end = match memchr::memchr(b'\n', &held[looked..]) {
            Some(found) => looked + found,
            None if at < len => {
                looked = held.len();
                let more = LINES_BYTES.max(looked).min(usize::try_from(len - at).unwrap_or(usize::MAX));
                held.resize(looked + more, 0);
                file.read_exact_at(&mut held[looked..], at).map_err(io_error(path))?;
                at += more as u64;
                continue;
            }
            None if held.is_empty() => return Ok(libraries),
            None => held.len(),
        };
        number += 1;
        let line = &held[..end];
        let wrong = |reason: String| (format!("{}: line {number}: {reason}", path.display()), Exit::Damaged);
        if !line.trim_ascii().is_empty() {
            let parsed: serde_json::Value = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
            match json::read(&parsed, &limits).map_err(wrong)? {
                json::Line::Library(text) => {
                    checked.add_library(&text).map_err(wrong)?;
                    libraries.push(text);
                }
                json::Line::Key { db, key, value, expiry } => {
                    dataset::check_db(db).map_err(wrong)?;
                    show((db, &Entry::new(&key, value, expiry, 0))).map_err(|(reason, exit)| match exit {
                        Exit::Damaged => wrong(reason),
                        _ => (reason, exit),
                    })?;
                }
            }
        }
        held.drain(..(end + 1).min(held.len()));
        looked = 0;
    }
}
