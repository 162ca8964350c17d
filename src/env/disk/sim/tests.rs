//! The simulated disk keeps to its fault model: no crash takes more, and each kind of loss does occur.

mod crashes;
mod faults;
mod properties;

use std::path::Path;

use super::SimDisk;
use crate::env::{Disk, DiskFile, OpenMode};

const FILE: &str = "/file";

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// A disk with one file whose content, size and name are durable.
fn disk_with(content: &[u8]) -> (SimDisk, Box<dyn DiskFile>) {
    let disk = SimDisk::new();
    let file = disk.open(path(FILE), OpenMode::CreateNew).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(path("/")).unwrap();
    (disk, file)
}

fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.contents().remove(path(name))
}
