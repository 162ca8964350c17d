//! The operating system's file system.
//!
//! Every call goes through libc (`pwrite`, `fdatasync`, `rename`, ...), never by a raw system call, so that a preloaded
//! fault shim sees it. Directories are synced by their own descriptor. The lock is a `flock`: it belongs to the open
//! file, so it also keeps two instances within one process apart, and the kernel drops it when the process dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, DiskLock, OpenMode};

/// The file system of this machine. Stateless; any number of them are the same disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

struct OsFile {
    file: File,
}

struct OsLock {
    _locked: File,
}

#[expect(clippy::disallowed_methods, reason = "the one place that reaches the real file system")]
impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Box::new(OsFile { file: options.open(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(directory(path))?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let figures = nix::sys::statvfs::statvfs(&directory(path))?;
        Ok(figures.blocks_available().saturating_mul(figures.fragment_size()))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock { _locked: file })),
            Err(std::fs::TryLockError::WouldBlock) => Err(super::in_use(path)),
            Err(std::fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

impl OsDisk {
    /// Replaces a file as [`super::replace_file`] does, and leaves it its permissions and, where the system lets us, its
    /// owner and group: for files that are somebody else's, such as a configuration with passwords in it.
    ///
    /// # Errors
    /// Those of the file system; the old or the new content is there, whole.
    #[expect(clippy::disallowed_methods, reason = "permissions are no business of the disk that tests simulate")]
    pub fn replace_as_it_was(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let Ok(before) = std::fs::metadata(path) else { return super::replace_file(self, path, content) };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let _ = std::fs::remove_file(&temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all_at(content, 0)?;
        // Only the superuser may give a file away; who may not keeps it.
        let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        file.set_permissions(before.permissions())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        self.sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }
}

impl DiskLock for OsLock {}

impl DiskFile for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn let_go(&self, offset: u64, len: u64) {
        let (offset, len) = (i64::try_from(offset).unwrap_or(i64::MAX), i64::try_from(len).unwrap_or(0));
        // No length is all that follows. A file system that cannot do it keeps what it holds.
        let _ = nix::fcntl::posix_fadvise(&self.file, offset, len, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

/// The parent of a bare file name is the empty path, which the system does not take for the current directory.
fn directory(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
