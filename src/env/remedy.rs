//! What an operator can do about a file that could not be written.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::{Uid, User};

/// Whether an error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOSPC | Errno::EDQUOT))
}

/// What to do about an error at a path; `bytes_missing`: how much more room what was being written would need.
pub fn remedy(path: &Path, error: &io::Error, bytes_missing: Option<u64>) -> String {
    let directory = path.parent().unwrap_or(Path::new("."));
    let place = directory.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => match bytes_missing {
            Some(missing) => format!("the disk of {place} lacks about {} MB: free them", megabytes(missing)),
            None => format!("the disk of {place} is full: free some room"),
        },
        Some(Errno::EDQUOT) => format!("the quota of user {} on the disk of {place} is used up: raise it", myself()),
        Some(Errno::EACCES | Errno::EPERM) => match owner(directory) {
            Some(owner) => format!(
                "{place} belongs to user {owner}, and this server runs as {}: give it to that user, or let it write there",
                myself()
            ),
            None => format!("this server runs as {} and may not look into {place}: let it", myself()),
        },
        Some(Errno::EROFS) => format!("the file system of {place} is mounted read-only: mount it for writing"),
        Some(Errno::ENOENT) => format!("{place} is gone: create it, or set dir to one that is there"),
        Some(Errno::EISDIR) => format!("a directory stands in its place in {place}: move it away"),
        Some(Errno::EMFILE | Errno::ENFILE) => "no more files can be opened: raise the limit of open files".to_owned(),
        Some(Errno::EFBIG) => {
            format!("files on the disk of {place} may not be so large: raise the limit of file sizes")
        }
        Some(Errno::EIO) => format!("the disk of {place} is failing: look into the kernel's log, and replace it"),
        _ => format!("look at {place}"),
    }
}

/// Rounded up.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).max(1)
}

fn owner(directory: &Path) -> Option<String> {
    stat(directory).ok().map(|found| name(Uid::from_raw(found.st_uid)))
}

fn myself() -> String {
    name(Uid::effective())
}

fn name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_remedy() {
        let path = Path::new("/proc/dump.rdb.tmp");
        for (errno, missing, expected) in [
            (Errno::ENOSPC, Some(3 << 20 | 1), "the disk of /proc lacks about 4 MB"),
            (Errno::ENOSPC, None, "the disk of /proc is full"),
            (Errno::EDQUOT, None, "the quota of user "),
            (Errno::EACCES, None, "/proc belongs to user root, and this server runs as "),
            (Errno::EROFS, None, "mounted read-only"),
            (Errno::ENOENT, None, "/proc is gone"),
            (Errno::EISDIR, None, "a directory stands in its place"),
            (Errno::EMFILE, None, "limit of open files"),
            (Errno::EIO, None, "is failing"),
            (Errno::EXDEV, None, "look at /proc"),
        ] {
            let text = remedy(path, &io::Error::from_raw_os_error(errno as i32), missing);
            assert!(text.contains(expected), "{errno}: {text}");
        }
        let gone = remedy(Path::new("/nowhere/dump.rdb"), &io::Error::from_raw_os_error(Errno::EACCES as i32), None);
        assert!(gone.contains("may not look into /nowhere"), "{gone}");
    }
}
