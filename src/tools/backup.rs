//! `graven backup`: a copy of a data directory, while a server writes to it.
//!
//! What is copied is held by [`Held`]; here is where it goes. The manifest comes last: a copy that was broken off has none,
//! and no server starts on it.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Exit;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::persist::{Discard, Held, HeldFile, OpenError, OpenOptions, examine};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The checksums of a backup, as sha256sum checks them.
const SUMS: &str = "SHA256SUMS";

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub files: usize,
    /// Of the files copied.
    pub bytes: u64,
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, bytes } = self;
        write!(f, "{files} files, {bytes} bytes, their checksums in {SUMS}")
    }
}

/// Why there is no backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// What is to be copied cannot be held.
    #[error("{0}")]
    Source(OpenError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not empty: a backup goes into a directory of its own", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{}: a server would not start on this copy: {reason}", path.display())]
    Damaged { path: PathBuf, reason: OpenError },
}

impl BackupError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Source(OpenError::Io { .. }) | Self::Io { .. } => Exit::Io,
            Self::Source(_) | Self::Damaged { .. } => Exit::Damaged,
            Self::NotEmpty { .. } => Exit::Usage,
        }
    }
}

/// Copies a data directory into another one, which does not exist or is empty, and looks whether a server would start on
/// it. Everything is durable when it returns.
///
/// # Errors
/// See [`BackupError`]; what was copied so far stays, and no server starts on it.
pub fn backup_to_directory(disk: &Arc<dyn Disk>, options: &OpenOptions, target: &Path) -> Result<Backup, BackupError> {
    let io_error = |source| BackupError::Io { path: target.to_owned(), source };
    let held = Held::hold(&**disk, options).map_err(BackupError::Source)?;
    match disk.list(target) {
        Ok(names) if names.is_empty() => {}
        Ok(_) => return Err(BackupError::NotEmpty { path: target.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create_dir(target).map_err(io_error)?,
        Err(error) => return Err(io_error(error)),
    }
    let mut into = Directory { disk: &**disk, target };
    let backup = copy(&held, &mut into)?;
    let copied = OpenOptions { directory: target.to_owned(), ..options.clone() };
    examine(Arc::clone(disk), &copied, &mut Discard)
        .map_err(|reason| BackupError::Damaged { path: target.to_owned(), reason })?;
    Ok(backup)
}

/// Copies a data directory into a stream, as a tar archive.
///
/// # Errors
/// See [`BackupError`].
pub fn backup_to_stream(disk: &dyn Disk, options: &OpenOptions, out: impl Write) -> Result<Backup, BackupError> {
    let held = Held::hold(disk, options).map_err(BackupError::Source)?;
    let mut into = Archive(tar::Builder::new(out));
    let backup = copy(&held, &mut into)?;
    let end = into.0.into_inner().and_then(|mut out| out.flush());
    end.map(|()| backup).map_err(|source| BackupError::Io { path: "the archive".into(), source })
}

/// Where copies go.
trait Target {
    /// Takes `len` bytes as the file of this name.
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()>;

    /// Everything of a directory is there: its names last from now on.
    fn close(&mut self, directories: &[&Path]) -> io::Result<()>;
}

fn copy(held: &Held, into: &mut dyn Target) -> Result<Backup, BackupError> {
    let mut backup = Backup::default();
    let mut sums = String::new();
    let mut put = |into: &mut dyn Target, name: &Path, len: u64, content: &mut dyn Read| -> Result<(), BackupError> {
        let mut summing = Summing { content, sum: Sha256::new() };
        let put = into.put(name, len, &mut summing);
        put.map_err(|source| BackupError::Io { path: name.to_owned(), source })?;
        let sum: String = summing.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        sums.push_str(&format!("{sum}  {}\n", name.display()));
        backup.files += 1;
        backup.bytes += len;
        Ok(())
    };
    for HeldFile { name, file, len } in &held.files {
        put(&mut *into, name, *len, &mut Reading { file: &**file, at: 0, end: *len })?;
    }
    // Summed first, and named last.
    if let Some((name, content)) = &held.manifest {
        put(&mut Nowhere, name, content.len() as u64, &mut &content[..])?;
    }
    let directories: Vec<&Path> = match &held.manifest {
        Some((name, _)) => name.parent().into_iter().chain([Path::new("")]).collect(),
        None => vec![Path::new("")],
    };
    let io_error = |source| BackupError::Io { path: SUMS.into(), source };
    into.put(Path::new(SUMS), sums.len() as u64, &mut sums.as_bytes()).map_err(io_error)?;
    into.close(&directories).map_err(io_error)?;
    if let Some((name, content)) = &held.manifest {
        let put = into.put(name, content.len() as u64, &mut &content[..]).and_then(|()| into.close(&directories));
        put.map_err(|source| BackupError::Io { path: name.clone(), source })?;
    }
    Ok(backup)
}

struct Directory<'d> {
    disk: &'d dyn Disk,
    target: &'d Path,
}

impl Target for Directory<'_> {
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()> {
        if let Some(inner) = name.parent().filter(|inner| inner.components().any(|c| c != Component::CurDir)) {
            match self.disk.create_dir(&self.target.join(inner)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let file = self.disk.open(&self.target.join(name), OpenMode::CreateNew)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < len {
            let read = content.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&chunk[..read], at)?;
            at += read as u64;
        }
        file.sync_all()
    }

    fn close(&mut self, directories: &[&Path]) -> io::Result<()> {
        for directory in directories {
            let inner = self.target.join(directory);
            self.disk.sync_dir(if directory.as_os_str().is_empty() { self.target } else { &inner })?;
        }
        match self.target.parent() {
            Some(above) if !above.as_os_str().is_empty() => self.disk.sync_dir(above),
            _ => self.disk.sync_dir(Path::new(".")),
        }
    }
}

struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Target for Archive<W> {
    fn put(&mut self, name: &Path, len: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(len);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, content.take(len))
    }

    fn close(&mut self, _: &[&Path]) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what is only to be summed.
struct Nowhere;

impl Target for Nowhere {
    fn put(&mut self, _: &Path, _: u64, content: &mut dyn Read) -> io::Result<()> {
        io::copy(content, &mut io::sink()).map(|_| ())
    }

    fn close(&mut self, _: &[&Path]) -> io::Result<()> {
        Ok(())
    }
}

/// A file from its beginning to where it is whole.
struct Reading<'f> {
    file: &'f dyn DiskFile,
    at: u64,
    end: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buf[..want], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

struct Summing<'c> {
    content: &'c mut dyn Read,
    sum: Sha256,
}

impl Read for Summing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        self.sum.update(&buf[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
