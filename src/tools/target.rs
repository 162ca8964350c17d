//! What a tool makes of its own: a directory or a file that was not there, and that goes again where the tool fails.

use super::Exit;
use super::export::{Failed, io_error};
use crate::env::Disk;
use std::io;
use std::path::{Path, PathBuf};

/// A directory to be made.
pub struct Target {
    path: PathBuf,
    /// It was there, and empty.
    was_there: bool,
}

impl Target {
    /// Where nothing stands yet, or an empty directory.
    ///
    /// # Errors
    /// Something stands there; why that cannot be is added.
    pub fn vacant(disk: &dyn Disk, path: &Path, why: &str) -> Result<Self, Failed> {
        let shown = path.display();
        match disk.list(path) {
            Ok(names) if names.is_empty() => Ok(Self { path: path.to_owned(), was_there: true }),
            Ok(_) => Err((format!("{shown} is not empty: {why}"), Exit::Usage)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), was_there: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Err((format!("{shown} is there already and is no directory: {why}"), Exit::Usage))
            }
            Err(error) => Err(io_error(path)(error)),
        }
    }

    /// Passes an outcome on; where it is a failure, everything that was made goes first.
    pub fn unless<T, E>(&self, disk: &dyn Disk, outcome: Result<T, E>) -> Result<T, E> {
        if outcome.is_err() {
            // A repair, or a restore, is made under this name.
            remove(disk, &self.path.with_added_extension("unfinished"));
            match self.was_there {
                true => {
                    disk.list(&self.path).into_iter().flatten().for_each(|name| remove(disk, &self.path.join(name)))
                }
                false => remove(disk, &self.path),
            }
        }
        outcome
    }
}

/// Removes what stands at a path, with everything in it. What cannot be removed stays: the failure that led here is told.
pub fn remove(disk: &dyn Disk, path: &Path) {
    match disk.list(path) {
        Ok(names) => {
            names.iter().for_each(|name| remove(disk, &path.join(name)));
            let _ = disk.remove_dir(path);
        }
        Err(_) => {
            let _ = disk.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::{SimDisk, replace_file};

    #[test]
    fn what_was_made_goes_where_the_tool_fails() {
        for was_there in [false, true] {
            let (disk, path) = (SimDisk::new(), Path::new("/new"));
            if was_there {
                disk.create_dir(path).expect("made");
            }
            let target = Target::vacant(&disk, path, "it is to be made").expect("vacant");
            if !was_there {
                disk.create_dir(path).expect("made");
            }
            for directory in ["/new/a", "/new.unfinished"] {
                disk.create_dir(Path::new(directory)).expect("made");
                replace_file(&disk, &Path::new(directory).join("x"), b"y").expect("written");
            }
            assert_eq!(target.unless::<(), _>(&disk, Err("no")), Err("no"));
            let left = disk.list(Path::new("/")).expect("listed");
            assert_eq!(left, if was_there { vec!["new"] } else { vec![] });
            assert!(disk.list(path).unwrap_or_default().is_empty());
        }
        let disk = SimDisk::new();
        replace_file(&disk, Path::new("/file"), b"").expect("written");
        for path in ["/", "/file"] {
            let refused = Target::vacant(&disk, Path::new(path), "so it is").map(drop);
            assert!(refused.is_err_and(|(_, exit)| exit == Exit::Usage), "{path}");
        }
    }
}
