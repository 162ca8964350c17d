//! A disk that shows on a bar how much was read; for those who only look everything that would change something fails.

use crate::env::disk::{DiskLayer, FileLayer};
use crate::env::{Disk, DiskFile, OpenMode};
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// See the module's header.
#[derive(Clone)]
pub struct LookingDisk {
    disk: Arc<dyn Disk>,
    bar: ProgressBar,
    may_change: bool,
}

impl LookingDisk {
    /// For those who write, too; with `shown` a bar counts the bytes read.
    pub fn changing(disk: Arc<dyn Disk>, shown: bool) -> Self {
        Self { may_change: true, ..Self::new(disk, shown) }
    }

    /// Looks at `disk`; with `shown` a bar on standard error counts the bytes read.
    pub fn new(disk: Arc<dyn Disk>, shown: bool) -> Self {
        let bar = if shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {bytes} read, {bytes_per_sec}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { disk, bar, may_change: false }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn looks_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a check changes nothing")
}

impl DiskLayer for LookingDisk {
    fn below(&self) -> &dyn Disk {
        &*self.disk
    }

    /// For reading and writing too: those who sync what they read may do so.
    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        match mode {
            OpenMode::ReadWrite | OpenMode::CreateNew | OpenMode::Truncate if self.may_change => {
                self.disk.open(path, mode)
            }
            OpenMode::Read | OpenMode::ReadWrite => {
                self.bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
                let file = self.disk.open(path, OpenMode::Read)?;
                Ok(Box::new(LookingFile { file, bar: self.bar.clone() }))
            }
            OpenMode::CreateNew | OpenMode::Truncate => Err(looks_only()),
        }
    }

    fn may_change(&self) -> io::Result<()> {
        if self.may_change { Ok(()) } else { Err(looks_only()) }
    }
}

struct LookingFile {
    file: Box<dyn DiskFile>,
    bar: ProgressBar,
}

impl FileLayer for LookingFile {
    fn below(&self) -> &dyn DiskFile {
        &*self.file
    }

    fn read_below(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.file.read_at(buf, offset)?;
        self.bar.inc(len as u64);
        Ok(len)
    }

    fn write_below(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(looks_only())
    }

    fn sync_data_below(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all_below(&self) -> io::Result<()> {
        Ok(())
    }
}
