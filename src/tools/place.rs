//! What a path on a command line names: a data directory, the log in one, or a single file.

use crate::env::{Disk, OpenMode};
use crate::persist::{OpenOptions, SUPERSEDED};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

const MANIFEST: &str = ".manifest";

/// Something that can be checked.
#[derive(Clone, Debug)]
pub enum Place {
    /// A data directory, with the names that its files go by.
    Directory(Box<OpenOptions>),
    /// One file: RDB, commands, or a segment.
    File(PathBuf),
}

/// Why a path names nothing of ours.
#[derive(Debug, Error)]
pub enum PlaceError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is no data directory: it holds no {MANIFEST} file, nor a directory with one, nor dump.rdb or appendonly.aof",
        path.display()
    )]
    Nothing { path: PathBuf },
}

impl Place {
    /// # Errors
    /// When nothing stands there, or nothing that graven or a stock server has written.
    pub fn find(disk: &dyn Disk, path: &Path) -> Result<Self, PlaceError> {
        let io_error = |source| PlaceError::Io { path: path.to_owned(), source };
        match disk.list(path) {
            Ok(names) => Self::directory(disk, path, &names),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                if path.to_string_lossy().ends_with(MANIFEST) {
                    return Ok(of_log(path));
                }
                disk.open(path, OpenMode::Read).map_err(io_error)?;
                Ok(Self::File(path.to_owned()))
            }
            Err(error) => Err(io_error(error)),
        }
    }

    fn directory(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<Self, PlaceError> {
        if let Some(manifest) = names.iter().find(|name| name.ends_with(MANIFEST)) {
            return Ok(of_log(&path.join(manifest)));
        }
        for name in names.iter().filter(|name| !name.contains(SUPERSEDED)) {
            let below = path.join(name);
            let Ok(inner) = disk.list(&below) else { continue };
            if let Some(manifest) = inner.iter().find(|name| name.ends_with(MANIFEST)) {
                return Ok(of_log(&below.join(manifest)));
            }
        }
        // Without its manifest a log is known by the names of its files.
        if let Some(prefix) = names.iter().find_map(|name| prefix_of(name)) {
            return Ok(of_log(&path.join(format!("{prefix}{MANIFEST}"))));
        }
        for name in names {
            let below = path.join(name);
            let Ok(inner) = disk.list(&below) else { continue };
            if let Some(prefix) = inner.iter().find_map(|name| prefix_of(name)) {
                return Ok(of_log(&below.join(format!("{prefix}{MANIFEST}"))));
            }
        }
        let names_of_ours = OpenOptions { directory: path.to_owned(), append_only: false, ..OpenOptions::default() };
        let has = |name: &str| names.iter().any(|there| there == name);
        if has(&names_of_ours.append_directory) || has(&names_of_ours.append_file) {
            return Ok(Self::Directory(Box::new(OpenOptions { append_only: true, ..names_of_ours })));
        }
        if has(&names_of_ours.dump_file) {
            return Ok(Self::Directory(Box::new(names_of_ours)));
        }
        Err(PlaceError::Nothing { path: path.to_owned() })
    }
}

/// What stands before the number in the name of a log's file.
fn prefix_of(name: &str) -> Option<&str> {
    let named = name.strip_suffix(".incr.aof")?;
    let (prefix, number) = named.strip_suffix(".repaired").unwrap_or(named).rsplit_once('.')?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then_some(prefix)
}

/// The data directory that a manifest belongs to.
fn of_log(manifest: &Path) -> Place {
    let above = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    };
    let log = above(manifest);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let append_file = name(manifest).trim_end_matches(MANIFEST).to_owned();
    let (directory, append_directory) = match log.file_name() {
        Some(_) => (above(&log), name(&log)),
        None => (log.join(".."), ".".into()),
    };
    let names = OpenOptions { directory, append_only: true, append_directory, append_file, ..OpenOptions::default() };
    Place::Directory(Box::new(names))
}
