//! What a backup copies: the files that a manifest names, held open, each up to where it is whole.
//!
//! Invariants
//! - The server is asked nothing and waits for nothing. What is held is held by open files: one that the server removes
//!   meanwhile stays readable here, and a backup that dies holds nothing any more.
//! - What was acknowledged before [`Held::hold`] was called is in it: acknowledged means written, to a file that the
//!   manifest of that moment names.
//! - The last file is held up to its last whole frame or command, so that what is in flight is left out as a whole.

use std::io;
use std::path::{Path, PathBuf};

use super::archive::{Contents, DIRECTORY, MANIFEST_NAME};
use super::base::Reading;
use super::feed::Feed;
use super::loader::load_plain;
use super::log::{Item, OpenedSegment, SegmentReader};
use super::rdb::{self, FileSource, RdbEntry, RdbSink, Refusal};
use super::replay::Discard;
use super::{FileKind, Manifest, OpenError, OpenOptions, Timeline};
use crate::env::disk::{DiskLock, read_file};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::value::Limits;

/// A running server may replace the manifest, and remove files, while they are opened; so often it is tried anew.
const TRIES: usize = 100;

/// A data directory as it was at one moment.
pub struct Held {
    /// The files, in the order in which the log has them.
    pub files: Vec<HeldFile>,
    /// Path in the data directory and content of the manifest; `None` where there is no log.
    pub manifest: Option<(PathBuf, Vec<u8>)>,
    /// The archive beside it, where it was asked for: its files, and the content of its manifest.
    pub archive: Option<(Vec<HeldFile>, Vec<u8>)>,
    /// Where no server runs, none can begin to while this is held.
    _lock: Option<Box<dyn DiskLock>>,
}

/// A file, held open.
pub struct HeldFile {
    /// Path in the data directory.
    pub name: PathBuf,
    pub file: Box<dyn DiskFile>,
    /// Bytes that belong to the backup.
    pub len: u64,
}

impl Held {
    /// Opens what stands in a data directory at this moment, whether a server runs on it or not.
    ///
    /// # Errors
    /// When there is nothing, something cannot be read, or what the manifest names does not stand there.
    pub fn hold(disk: &dyn Disk, options: &OpenOptions) -> Result<Self, OpenError> {
        let lock = disk.lock(&options.directory.join("graven.lock")).ok();
        let names = PathBuf::from(&options.append_directory);
        let manifest_name = names.join(format!("{}.manifest", options.append_file));
        let manifest_path = options.directory.join(&manifest_name);
        if !options.append_only || !disk.exists(&manifest_path).map_err(OpenError::io(&manifest_path))? {
            let name = if options.append_only { &options.append_file } else { &options.dump_file };
            let held = hold_file(disk, &options.directory, PathBuf::from(name))?;
            return Ok(Self { files: vec![held], manifest: None, archive: None, _lock: lock });
        }
        for left in (0..TRIES).rev() {
            let content = read_file(disk, &manifest_path).map_err(OpenError::io(&manifest_path))?;
            let manifest = Manifest::decode(&content).map_err(|error| OpenError::BadManifest {
                path: manifest_path.clone(),
                line: error.line,
                reason: error.reason,
            })?;
            let opened = hold_files(disk, options, &names, &manifest);
            let after = read_file(disk, &manifest_path).map_err(OpenError::io(&manifest_path))?;
            if after == content {
                return Ok(Self {
                    files: opened?,
                    manifest: Some((manifest_name, content)),
                    archive: None,
                    _lock: lock,
                });
            }
            if left == 0 {
                break;
            }
        }
        let reason = "it is replaced faster than the files that it names can be opened";
        Err(OpenError::BadManifest { path: manifest_path, line: 0, reason })
    }
}

impl Held {
    /// Holds the archive, too, if there is one: behind the log, so that what moves from one to the other is in both rather than in
    /// neither.
    ///
    /// # Errors
    /// It cannot be read, or a file that its manifest names is not there.
    pub fn hold_archive(&mut self, disk: &dyn Disk, options: &OpenOptions) -> Result<(), OpenError> {
        let names = Path::new(DIRECTORY);
        let path = options.directory.join(names).join(MANIFEST_NAME);
        if !disk.exists(&path).map_err(OpenError::io(&path))? {
            return Ok(());
        }
        for left in (0..TRIES).rev() {
            let content = read_file(disk, &path).map_err(OpenError::io(&path))?;
            let (line, reason) = match Contents::decode(&content) {
                Ok(contents) => {
                    let files = contents.files.iter().map(|file| names.join(file.file_name()));
                    match files.map(|name| hold_file(disk, &options.directory, name)).collect::<Result<Vec<_>, _>>() {
                        Ok(files) => {
                            self.archive = Some((files, content));
                            return Ok(());
                        }
                        // What is too old was removed meanwhile.
                        Err(OpenError::MissingFile { .. }) if left > 0 => continue,
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => (error.line, error.reason),
            };
            return Err(OpenError::BadManifest { path, line, reason });
        }
        Ok(())
    }

    /// The timeline of the last file, where that is a segment of ours.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn timeline(&self) -> io::Result<Option<Timeline>> {
        let Some(last) = self.files.last() else { return Ok(None) };
        Ok(match SegmentReader::open(&*last.file)? {
            OpenedSegment::Segment(reader) => Some(reader.header().lineage.timeline),
            _ => None,
        })
    }

    /// When the first file was written, in seconds since 1970, where that is an RDB file that says so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn saved_at(&self) -> io::Result<Option<i64>> {
        let Some(first) = self.files.first() else { return Ok(None) };
        let mut said = SavedAt(None);
        // What is wrong with it, and where it ends, is not asked here.
        let _ = rdb::read(&mut FileSource::new(&*first.file)?, &Limits::default(), &mut said);
        Ok(said.0)
    }
}

/// Reads an RDB file as far as its field `ctime`.
struct SavedAt(Option<i64>);

impl RdbSink for SavedAt {
    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
        Err(Refusal::from("keys are not asked for".to_owned()))
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name != b"ctime" {
            return Ok(());
        }
        self.0 = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        Err(Refusal::from("there is no more to ask for".to_owned()))
    }
}

fn hold_files(
    disk: &dyn Disk,
    options: &OpenOptions,
    names: &Path,
    manifest: &Manifest,
) -> Result<Vec<HeldFile>, OpenError> {
    let named = manifest.files.iter().filter(|file| file.kind != FileKind::History);
    let mut files = Vec::new();
    for entry in named {
        files.push(hold_file(disk, &options.directory, names.join(&entry.name))?);
    }
    if let Some(last) = files.last_mut() {
        let path = options.directory.join(&last.name);
        last.len = whole_bytes(disk, &path, last, options).map_err(|error| match error {
            Stopped::Io(error) => OpenError::Io { path, source: error },
            Stopped::Refused(error) => error,
        })?;
    }
    Ok(files)
}

fn hold_file(disk: &dyn Disk, directory: &Path, name: PathBuf) -> Result<HeldFile, OpenError> {
    let path = directory.join(&name);
    let opened = disk.open(&path, OpenMode::Read).and_then(|file| Ok((file.len()?, file)));
    match opened {
        Ok((len, file)) => Ok(HeldFile { name, file, len }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::MissingFile { path }),
        Err(error) => Err(OpenError::Io { path, source: error }),
    }
}

enum Stopped {
    Io(io::Error),
    Refused(OpenError),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Up to where the last file is whole. What follows and is neither in flight nor torn stays: whoever loads it judges.
fn whole_bytes(disk: &dyn Disk, path: &Path, last: &HeldFile, options: &OpenOptions) -> Result<u64, Stopped> {
    let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*last.file)? else {
        // By a stock server: whole commands count.
        let mut discard = Discard;
        let mut feed = Feed::direct(&mut discard, Reading::default());
        let loaded = load_plain(disk, path, &options.limits, &mut feed).map_err(Stopped::Refused)?;
        return Ok(loaded.end.min(last.len));
    };
    loop {
        match reader.next()? {
            Item::Frame { .. } => {}
            Item::Sealed => return Ok(reader.file_len()),
            Item::EndOfFile => return Ok(reader.offset()),
            Item::Bad(_) => {
                let torn = reader.later_mark()? <= reader.lsn();
                let by_stock = super::chain::visit(&mut reader, None, path).map_err(Stopped::Refused)?.is_some();
                return Ok(if torn && !by_stock { reader.offset() } else { reader.file_len() });
            }
        }
    }
}
