//! A disk on top of another: what it does not do in its own way, the one below does.

use std::io;
use std::path::Path;

use super::{Disk, DiskFile, DiskLock, OpenMode};

/// What a layer does in its own way.
pub trait DiskLayer: Send + Sync + 'static {
    fn below(&self) -> &dyn Disk;

    /// Opens a file of the disk below, as this layer shows it.
    ///
    /// # Errors
    /// It cannot be opened, or not in this mode.
    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file of the disk below.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove_below(&self, path: &Path) -> io::Result<()> {
        self.below().remove(path)
    }

    /// Whether files may be named, renamed and removed through this layer.
    ///
    /// # Errors
    /// Why not.
    fn may_change(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a file of such a disk does in its own way.
pub trait FileLayer: Send + Sync {
    fn below(&self) -> &dyn DiskFile;

    /// # Errors
    /// As [`DiskFile::read_at`].
    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.below().read_at(buf, offset)
    }

    /// # Errors
    /// As [`DiskFile::write_at`].
    fn write_below(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.below().write_at(buf, offset)
    }

    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_data_below(&self) -> io::Result<()> {
        self.below().sync_data()
    }

    /// # Errors
    /// As [`DiskFile::sync_all`].
    fn sync_all_below(&self) -> io::Result<()> {
        self.below().sync_all()
    }

    fn let_go_below(&self, offset: u64, len: u64) {
        self.below().let_go(offset, len);
    }
}

impl<L: FileLayer> DiskFile for L {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_below(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write_below(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_data_below()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_all_below()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        FileLayer::below(self).set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        FileLayer::below(self).len()
    }

    fn let_go(&self, offset: u64, len: u64) {
        self.let_go_below(offset, len);
    }
}

impl<L: DiskLayer> Disk for L {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        self.open_through(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_change()?;
        self.below().rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_change()?;
        self.below().link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may_change()?;
        self.remove_below(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.may_change()?;
        self.below().remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.may_change()?;
        self.below().create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.below().sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.below().list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.below().exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.below().free_bytes(path)
    }

    /// A lock file that is not there is made, which is a change.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.below().exists(path)? {
            self.may_change()?;
        }
        self.below().lock(path)
    }
}
