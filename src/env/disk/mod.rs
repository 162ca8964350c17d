//! The disk as a parameter.
//!
//! A `Disk` is what the persistence rooms may ask of a file system, and no more: positioned reads and writes, explicit
//! syncs of data and of directory entries, atomic rename. Paths are as the operating system takes them; the simulated
//! disk has one tree of its own.

mod layer;
mod os;
mod pace;
pub mod sim;
#[cfg(test)]
mod tests;

pub use layer::{DiskLayer, FileLayer};
pub use os::OsDisk;
pub use pace::{Pace, PacedReads};
pub use sim::SimDisk;

use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; `write_at` and `set_len` fail.
    Read,
    /// Must exist; reads and writes.
    ReadWrite,
    /// Must not exist; reads and writes.
    CreateNew,
    /// Created or emptied; reads and writes.
    Truncate,
}

/// A file system. All calls block.
pub trait Disk: Send + Sync + 'static {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Replaces `to` atomically. Durable only after `sync_dir` of the parent.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, where nothing stands; not every file system can. Durable only after `sync_dir` of the
    /// parent.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates one directory; `AlreadyExists` when it is there. Durable only after `sync_dir` of the parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Names (not paths) of the files and directories in a directory, sorted; `NotFound` when there is none.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Whether a file or directory stands there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Bytes free for this process on the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes an exclusive lock on a lock file (created when missing) for as long as the guard lives; `WouldBlock`
    /// when another process or instance holds it. The file stays when the lock is gone.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Held for as long as a directory is in use.
pub trait DiskLock: Send + Sync {}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// May read less than asked for; 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// May write less than given, never 0 without an error.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// fdatasync: data and the size needed to read it back.
    fn sync_data(&self) -> io::Result<()>;

    /// fsync.
    fn sync_all(&self) -> io::Result<()>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    /// What the system holds of these bytes in memory is not needed any more: a hint. What was not synced stays.
    fn let_go(&self, _offset: u64, _len: u64) {}

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `buf.len()` bytes; `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `buf`, or fails with a prefix of it written.
    fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    buf = &buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What `Disk::lock` answers when somebody else holds the lock.
fn in_use(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked by another process or instance", path.display()))
}

/// The whole content of a file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut content = vec![0; file.len()? as usize];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// The directory that a path lies in; of a bare name the present one.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file from its front on.
pub struct FromFront<F> {
    file: F,
    at: u64,
}

impl<F: Deref<Target = dyn DiskFile>> FromFront<F> {
    pub fn new(file: F) -> Self {
        Self { file, at: 0 }
    }

    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

impl<F: Deref<Target = dyn DiskFile>> Write for FromFront<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces a file so that after a crash either the old or the new content is there, whole: temporary file beside it,
/// sync, rename, sync of the directory. After an error either content may be there; a temporary file may stay behind.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = parent(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let temporary: PathBuf = parent.join(name);
    let file = disk.open(&temporary, OpenMode::Truncate)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent)
}
