//! `graven backup`: a copy of a data directory, while a server writes to it.
//!
//! What is copied is held by [`Held`]; here is what becomes of it, and beside it where it goes (`target`) and where a running server has it (`asking`). The manifest comes last: a copy that was broken off has none, and no
//! server starts on it.

mod asking;
mod target;
#[cfg(test)]
mod tests;
mod verb;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use self::asking::{AskError, Asked, Login, ask};
use self::target::{Archive, Directory, Nowhere, Reading, Target};
pub use self::verb::{Arguments, run};
use super::Exit;
use super::target::Target as Vacant;
use crate::env::Disk;
use crate::env::disk::Pace;
use crate::persist::archive::{DIRECTORY, MANIFEST_NAME, look};
use crate::persist::{Discard, Held, HeldFile, OpenError, OpenOptions, examine};

/// The checksums of a backup, as sha256sum checks them.
const SUMS: &str = "SHA256SUMS";

/// How a backup is made.
pub struct BackupOptions {
    /// The data directory, and the names that its files go by.
    pub source: OpenOptions,
    /// zstd's level, where the copy is compressed.
    pub zstd: Option<i32>,
    /// How fast it reads, so that the disk stays the server's.
    pub pace: Arc<Pace>,
    /// With the archive: what a restore needs to go further back.
    pub archive: bool,
    /// What the server said of the data that it was asked for, if one was.
    pub asked: Option<Asked>,
}

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
    /// Something stands where the copy is to go, or it cannot be told.
    #[error("{reason}")]
    Taken { reason: String, exit: Exit },
    #[error("{}: a server would not start on this copy: {reason}", path.display())]
    Damaged { path: PathBuf, reason: OpenError },
    #[error("{}: what was written does not read back", path.display())]
    NotWritten { path: PathBuf },
    /// The server that was asked does not run on what stands here.
    #[error(
        "{}: not the data of the server that was asked ({reason}): run this where that server runs",
        path.display()
    )]
    Elsewhere { path: PathBuf, reason: &'static str },
}

impl BackupError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Source(OpenError::Io { .. }) | Self::Io { .. } | Self::NotWritten { .. } => Exit::Io,
            Self::Source(_) | Self::Damaged { .. } => Exit::Damaged,
            Self::Taken { exit, .. } => *exit,
            Self::Elsewhere { .. } => Exit::Usage,
        }
    }
}

/// Copies a data directory into another one, which does not exist or is empty. Everything is durable when it returns, and was
/// looked at: a server would start on it; or, where it is compressed, what was copied reads back.
///
/// # Errors
/// See [`BackupError`]; of a copy that was broken off nothing stays.
pub fn backup_to_directory(disk: &Arc<dyn Disk>, options: BackupOptions, target: &Path) -> Result<Backup, BackupError> {
    let held = hold(&**disk, &options)?;
    let vacant = Vacant::vacant(&**disk, target, "a backup goes into a directory of its own")
        .map_err(|(reason, exit)| BackupError::Taken { reason, exit })?;
    match copy_into(disk, options, &held, target) {
        // It is what there is.
        Err(damaged @ BackupError::Damaged { .. }) => Err(damaged),
        made => vacant.unless(&**disk, made),
    }
}

fn copy_into(disk: &Arc<dyn Disk>, options: BackupOptions, held: &Held, target: &Path) -> Result<Backup, BackupError> {
    let io_error = |source| BackupError::Io { path: target.to_owned(), source };
    match disk.create_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(error)),
        _ => {}
    }
    let mut into = Directory { disk: &**disk, target, zstd: options.zstd };
    let (backup, sums) = copy(held, &options.pace, &mut into)?;
    if options.zstd.is_none() {
        let copied = OpenOptions { directory: target.to_owned(), ..options.source };
        examine(Arc::clone(disk), &copied, &mut Discard)
            .map_err(|reason| BackupError::Damaged { path: target.to_owned(), reason })?;
        for (name, _) in sums.iter().filter(|(name, _)| name.starts_with(DIRECTORY) && !name.ends_with(MANIFEST_NAME)) {
            let path = target.join(name);
            look(&**disk, &path).map_err(|_| BackupError::NotWritten { path })?;
        }
        return Ok(backup);
    }
    for (name, sum) in sums {
        let mut content = Summing { content: into.read_back(&name).map_err(io_error)?, sum: Sha256::new() };
        let read = io::copy(&mut content, &mut io::sink());
        if read.is_err() || content.finish() != sum {
            return Err(BackupError::NotWritten { path: target.join(name) });
        }
    }
    Ok(backup)
}

/// Copies a data directory into a stream, as a tar archive.
///
/// # Errors
/// See [`BackupError`].
pub fn backup_to_stream(disk: &dyn Disk, options: BackupOptions, out: impl Write) -> Result<Backup, BackupError> {
    let held = hold(disk, &options)?;
    let io_error = |source| BackupError::Io { path: "the archive".into(), source };
    let Some(level) = options.zstd else {
        let mut into = Archive(tar::Builder::new(out));
        let (backup, _) = copy(&held, &options.pace, &mut into)?;
        return into.0.into_inner().and_then(|mut out| out.flush()).map(|()| backup).map_err(io_error);
    };
    let mut packed = zstd::Encoder::new(out, level).map_err(io_error)?;
    packed.include_checksum(true).map_err(io_error)?;
    let mut into = Archive(tar::Builder::new(packed));
    let (backup, _) = copy(&held, &options.pace, &mut into)?;
    let end = into.0.into_inner().and_then(zstd::Encoder::finish).and_then(|mut out| out.flush());
    end.map(|()| backup).map_err(io_error)
}

/// Holds what is to be copied: the data of the server that was asked, where one was.
fn hold(disk: &dyn Disk, options: &BackupOptions) -> Result<Held, BackupError> {
    let mut held = Held::hold(disk, &options.source).map_err(BackupError::Source)?;
    if options.archive {
        held.hold_archive(disk, &options.source).map_err(BackupError::Source)?;
    }
    if let Some(asked) = &options.asked {
        let path = || options.source.directory.clone();
        let is_its = asked.runs_on(&held).map_err(|source| BackupError::Io { path: path(), source })?;
        is_its.map_err(|reason| BackupError::Elsewhere { path: path(), reason })?;
    }
    Ok(held)
}

/// The sums of the files, in their order.
type Sums = Vec<(PathBuf, String)>;

fn copy(held: &Held, pace: &Pace, into: &mut dyn Target) -> Result<(Backup, Sums), BackupError> {
    let (mut backup, mut sums) = (Backup::default(), Sums::new());
    let mut put = |into: &mut dyn Target, name: &Path, len: u64, content: &mut dyn Read| -> Result<(), BackupError> {
        let mut summing = Summing { content, sum: Sha256::new() };
        let put = into.put(name, len, &mut summing);
        put.map_err(|source| BackupError::Io { path: name.to_owned(), source })?;
        sums.push((name.to_owned(), summing.finish()));
        backup.files += 1;
        backup.bytes += len;
        Ok(())
    };
    for HeldFile { name, file, len } in &held.files {
        let content = Reading { file, at: 0, end: *len };
        put(&mut *into, name, *len, &mut Paced { content, pace })?;
    }
    if let Some((files, content)) = &held.archive {
        for HeldFile { name, file, len } in files {
            let content = Reading { file, at: 0, end: *len };
            put(&mut *into, name, *len, &mut Paced { content, pace })?;
        }
        put(&mut *into, &Path::new(DIRECTORY).join(MANIFEST_NAME), content.len() as u64, &mut &content[..])?;
    }
    // Summed first, and named last.
    if let Some((name, content)) = &held.manifest {
        put(&mut Nowhere, name, content.len() as u64, &mut &content[..])?;
    }
    let directories: Vec<&Path> = match &held.manifest {
        Some((name, _)) => name.parent().into_iter().chain([Path::new("")]).collect(),
        None => vec![Path::new("")],
    };
    let directories: Vec<&Path> = held.archive.iter().map(|_| Path::new(DIRECTORY)).chain(directories).collect();
    let io_error = |source| BackupError::Io { path: SUMS.into(), source };
    let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {}\n", name.display())).collect();
    into.put(Path::new(SUMS), lines.len() as u64, &mut lines.as_bytes()).map_err(io_error)?;
    into.close(&directories).map_err(io_error)?;
    if let Some((name, content)) = &held.manifest {
        let put = into.put(name, content.len() as u64, &mut &content[..]).and_then(|()| into.close(&directories));
        put.map_err(|source| BackupError::Io { path: name.clone(), source })?;
    }
    Ok((backup, sums))
}

struct Summing<R> {
    content: R,
    sum: Sha256,
}

impl<R> Summing<R> {
    fn finish(self) -> String {
        self.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        self.sum.update(&buf[..read]);
        Ok(read)
    }
}

/// Bytes read at once where a rate holds: at a low one a large read would be followed by a long pause.
const PACED_BYTES: usize = 64 << 10;

/// Reads at a pace.
struct Paced<'p, R> {
    content: R,
    pace: &'p Pace,
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = if self.pace.rate() == 0 { buf.len() } else { buf.len().min(PACED_BYTES) };
        let read = self.content.read(&mut buf[..want])?;
        self.pace.take(read as u64);
        Ok(read)
    }
}
