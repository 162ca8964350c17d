//! A disk on which files of the archive are read as the files of the log that are in them.

use super::ENDING;
use super::packed::{PackedError, Unpacked};
use crate::env::disk::DiskLayer;
use crate::env::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// See the module's header.
pub struct UnpackingDisk(Arc<dyn Disk>);

impl UnpackingDisk {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self(disk)
    }
}

impl DiskLayer for UnpackingDisk {
    fn below(&self) -> &dyn Disk {
        &*self.0
    }

    fn open_through(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.open(path, mode)?;
        let may_be_one = mode == OpenMode::Read && path.to_string_lossy().ends_with(ENDING);
        if !may_be_one || !Unpacked::is_one(&*file)? {
            return Ok(file);
        }
        match Unpacked::open(file) {
            Ok(file) => Ok(Box::new(file)),
            Err(PackedError::Io(error)) => Err(error),
            Err(damage) => Err(io::Error::new(io::ErrorKind::InvalidData, damage.to_string())),
        }
    }
}
