//! The emergency reserve: a file whose only content is the room that it takes.
//!
//! On a full disk it is given up, so that the log can be written and rewritten, and made again when there is room.
//! Its content does not compress, so that no file system gives less than it says.

use crate::env::disk::parent;
use crate::env::{Disk, Entropy, OpenMode};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes written at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Where it is in a data directory.
pub fn reserve_path(directory: &Path) -> PathBuf {
    directory.join("graven.reserve")
}

/// Bytes of a reserve that a process before has left; 0: there is none.
///
/// # Errors
/// It cannot be looked at.
pub fn reserve_bytes(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    if !disk.exists(path)? {
        return Ok(0);
    }
    disk.open(path, OpenMode::Read)?.len()
}

/// Makes it: so many bytes, durable when this returns.
///
/// # Errors
/// There is no room for all of it: then there is none of it.
pub fn fill_reserve(disk: &dyn Disk, path: &Path, bytes: u64, entropy: &mut dyn Entropy) -> io::Result<()> {
    let mut fill = || {
        let file = disk.open(path, OpenMode::Truncate)?;
        let mut piece = vec![0; PIECE_BYTES.min(bytes) as usize];
        entropy.fill(&mut piece);
        let mut at = 0;
        while at < bytes {
            let part = &piece[..PIECE_BYTES.min(bytes - at) as usize];
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        file.sync_all()?;
        disk.sync_dir(parent(path))
    };
    let filled = fill();
    if filled.is_err() {
        // What it took is needed by others.
        let _ = disk.remove(path);
    }
    filled
}

/// Gives it up.
///
/// # Errors
/// It is still there.
pub fn release_reserve(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => disk.sync_dir(parent(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededEntropy;
    use crate::env::disk::sim::{CrashMode, SimDisk};

    #[test]
    fn it_takes_its_room_and_gives_it_back_and_is_never_half_there() {
        let (disk, path, mut entropy) = (SimDisk::new(), reserve_path(Path::new("/")), SeededEntropy::new(1));
        disk.set_capacity(Some(6 << 20));
        assert_eq!(reserve_bytes(&disk, &path).unwrap(), 0);
        fill_reserve(&disk, &path, 4 << 20, &mut entropy).unwrap();
        let crashed = disk.crash(CrashMode::ALL_UNSYNCED_LOST, 0);
        assert_eq!(reserve_bytes(&crashed, &path).unwrap(), 4 << 20);
        assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 2 << 20);
        let other = disk.open(Path::new("/other"), OpenMode::CreateNew).unwrap();
        assert!(other.write_all_at(&vec![1; 3 << 20], 0).is_err());
        release_reserve(&disk, &path).unwrap();
        release_reserve(&disk, &path).unwrap();
        other.write_all_at(&vec![1; 3 << 20], 0).unwrap();
        assert!(fill_reserve(&disk, &path, 4 << 20, &mut entropy).is_err());
        assert_eq!(reserve_bytes(&disk, &path).unwrap(), 0, "what it took is given back");
        assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 3 << 20);
    }
}
