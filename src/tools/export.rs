//! `graven export` and `graven import`: a data set out of a directory or a file into another form, and back.
//!
//! Both load as a start would. What is exported is written as a draft that takes its name when it is whole and durable; what is
//! imported becomes the base of a new data directory.

use super::dataset::{self, DataSet};
use super::place::Place;
use super::{Exit, json};
use crate::env::disk::{FromFront, parent, read_file};
use crate::env::{Clock, Disk, OpenMode, UnixMillis};
use crate::keyspace::{AccessClock, AccessPolicy, Entry};
use crate::persist::rdb::{self, RdbOptions, SavedAccess};
use crate::persist::{
    FileEntry, FileKind, Flow, Manifest, OpenError, SaveStep, write_commands, write_library, write_select,
};
use clap::Args;
use serde_json::json;
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
}

/// The options of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportOptions {
    /// An RDB file, commands (an append-only file, or what export --resp writes), JSON lines, or a data directory.
    pub path: PathBuf,
    /// The data directory to make, which does not exist or is empty.
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
}

/// Why there is nothing.
pub type Failed = (String, Exit);

fn open_error(error: &OpenError) -> Failed {
    (error.to_string(), if let OpenError::Io { .. } = error { Exit::Io } else { Exit::Damaged })
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    move |error| (format!("{}: {error}", path.display()), Exit::Io)
}

/// Writes a data set in another form; how many keys.
///
/// # Errors
/// Why not, in one line, and how the tool ends.
pub fn export(
    disk: &Arc<dyn Disk>,
    options: &ExportOptions,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> Result<u64, Failed> {
    let place = super::find(&**disk, &options.path).map_err(|exit| (String::new(), exit))?;
    if options.rdb && options.out.is_none() {
        return Err(("an RDB file is not for standard output: name one with --out".into(), Exit::Usage));
    }
    if let Some(path) = &options.out
        && disk.exists(path).map_err(io_error(path))?
    {
        return Err((format!("{} is there already", path.display()), Exit::Usage));
    }
    let data = dataset::load(disk, &place).map_err(|error| open_error(&error))?;
    if let (true, Some(path)) = (options.rdb, &options.out) {
        return write_rdb(disk, &data, path, options.rdb_version, clock.unix_millis());
    }
    let Some(path) = &options.out else {
        let mut out = BufWriter::new(out);
        return match write_lines(&data, options, &mut out).and_then(|keys| out.flush().map(|()| keys)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            other => other.map_err(io_error(Path::new("standard output"))),
        };
    };
    let draft = path.with_added_extension("tmp");
    let written = || -> io::Result<u64> {
        let mut file = BufWriter::new(FromFront::new(disk.open(&draft, OpenMode::Truncate)?));
        let keys = write_lines(&data, options, &mut file)?;
        file.flush()?;
        file.get_ref().file().sync_all()?;
        disk.rename(&draft, path)?;
        disk.sync_dir(parent(path))?;
        Ok(keys)
    };
    written().map_err(io_error(path))
}

fn write_lines(data: &DataSet, options: &ExportOptions, out: &mut dyn Write) -> io::Result<u64> {
    let (mut keys, mut failed, mut selected) = (0, None, None);
    for library in data.libraries() {
        if options.jsonl {
            writeln!(out, "{}", json!({ "library": json::text(&library) }))?;
        } else {
            write_library(&library, out)?;
        }
    }
    data.each(&mut |db, entry| {
        keys += 1;
        match write_key(db, entry, options, &mut selected, out) {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                failed = Some(error);
                Flow::Break(())
            }
        }
    });
    failed.map_or(Ok(keys), Err)
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

fn write_rdb(disk: &Arc<dyn Disk>, data: &DataSet, path: &Path, version: u16, now: UnixMillis) -> Result<u64, Failed> {
    let options = RdbOptions {
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
        libraries: data.libraries(),
        position: None,
        block_bytes: None,
        helpers: 0,
    };
    let mut writer = rdb::begin(Arc::clone(disk), data.engine.snapshot(), options);
    loop {
        match writer.step() {
            Ok(SaveStep::Worked) => {}
            Ok(SaveStep::Done) => return Ok(writer.keys()),
            Err(error) => return Err((error.to_string(), Exit::Io)),
        }
    }
}

/// Makes a data directory of a data set; how many keys.
///
/// # Errors
/// Why not, in one line, and how the tool ends.
pub fn import(disk: &Arc<dyn Disk>, options: &ImportOptions, clock: &dyn Clock) -> Result<u64, Failed> {
    let ImportOptions { path, into } = options;
    let place = super::find(&**disk, path).map_err(|exit| (String::new(), exit))?;
    match disk.list(into) {
        Ok(names) if names.is_empty() => {}
        Ok(_) => {
            return Err((
                format!("{} is not empty: an import makes a data directory of its own", into.display()),
                Exit::Usage,
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(into)(error)),
    }
    let data = match &place {
        Place::File(path) if is_json(&**disk, path).map_err(io_error(path))? => from_lines(&**disk, path)?,
        place => dataset::load(disk, place).map_err(|error| open_error(&error))?,
    };
    let log = into.join("appendonlydir");
    for directory in [into, &log] {
        match disk.create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(directory)(error)),
            _ => disk.sync_dir(parent(directory)).map_err(io_error(directory))?,
        }
    }
    let name = "appendonly.aof.1.base.rdb".to_owned();
    let keys = write_rdb(disk, &data, &log.join(&name), 10, clock.unix_millis())?;
    let mut manifest = Manifest::new();
    manifest.files.push(FileEntry { name, sequence: 1, kind: FileKind::Base });
    let path = log.join("appendonly.aof.manifest");
    manifest.store(&**disk, &path).map_err(|failed| io_error(&path)(failed.error))?;
    Ok(keys)
}

/// Whether the first byte that is no space begins a JSON object.
fn is_json(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut head = vec![0; file.len()?.min(64) as usize];
    file.read_exact_at(&mut head, 0)?;
    Ok(head.trim_ascii_start().first() == Some(&b'{'))
}

fn from_lines(disk: &dyn Disk, path: &Path) -> Result<DataSet, Failed> {
    let mut data = DataSet::empty().map_err(|error| open_error(&error))?;
    let content = read_file(disk, path).map_err(io_error(path))?;
    for (number, line) in (1_u64..).zip(content.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |reason: String| (format!("{}: line {number}: {reason}", path.display()), Exit::Damaged);
        let parsed: serde_json::Value = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let limits = data.engine.store.limits;
        match json::read(&parsed, &limits).map_err(wrong)? {
            json::Line::Library(text) => data.add_library(&text).map_err(wrong)?,
            json::Line::Key { db, key, value, expiry } => data.add(db, &key, value, expiry).map_err(wrong)?,
        }
    }
    Ok(data)
}
