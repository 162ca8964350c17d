//! Repair of the archive: what of it verifies is named again, what does not is set aside.
//!
//! Invariants
//! - A file of the archive is what its label says, whatever it is called, and counts when every block of it verifies.
//! - Every file that is moved or left out was copied to the kept files before, durably. The manifest that names what verifies
//!   is stored behind the files and in front of the removals: cut off anywhere, another run comes to the same.
//!
//! Layout: format-spec/archive.md.

use super::apply::{RepairError, failed};
use crate::env::Disk;
use crate::env::disk::parent;
use crate::persist::archive::{
    Archived, Contents, DIRECTORY, ENDING, LookError, MANIFEST_NAME, PackedError, look, number_of,
};
use crate::persist::dumps;
use crate::persist::recovery::create_durable_directory;
use crate::persist::{ManifestError, OpenError};
use std::io;
use std::path::{Path, PathBuf};

/// A file that does not stay where it is.
#[derive(Clone, Debug)]
pub struct SetAside {
    pub path: PathBuf,
    pub reason: String,
}

/// What is to be done to an archive.
#[derive(Clone, Debug, Default)]
pub struct ArchivePlan {
    pub directory: PathBuf,
    /// Files that verify, and their bytes.
    pub files: u64,
    pub bytes: u64,
    pub notes: Vec<String>,
    pub aside: Vec<SetAside>,
    /// Named, and nowhere.
    pub missing: Vec<PathBuf>,
    /// What the manifest is to say.
    contents: Contents,
    /// Files under the name of another one, with the name that is theirs.
    misplaced: Vec<(PathBuf, String)>,
    /// The manifest in place says something else.
    store: bool,
}

impl ArchivePlan {
    pub fn is_needed(&self) -> bool {
        self.store || !(self.notes.is_empty() && self.aside.is_empty() && self.misplaced.is_empty())
    }

    /// Looks at the archive of a data directory, all of it; `None` where there is none.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn make(disk: &dyn Disk, data: &Path) -> Result<Option<Self>, OpenError> {
        let directory = data.join(DIRECTORY);
        let names = match disk.list(&directory) {
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Ok(None);
            }
            listed => listed.map_err(OpenError::io(&directory))?,
        };
        let before = Contents::read(disk, &directory).map_err(OpenError::io(&directory))?;
        let mut plan = Self { directory: directory.clone(), ..Self::default() };
        let known = plan.known(before, names.iter().any(|name| number_of(name).is_some()));
        let mut found: Vec<(String, Archived)> = Vec::new();
        for name in names {
            let Some(number) = number_of(&name) else { continue };
            let path = directory.join(&name);
            let is_named = known.as_ref().is_none_or(|known| known.files.iter().any(|file| file.file_name() == name));
            match look(disk, &path) {
                Err(
                    LookError::Packed(PackedError::Io(error)) | LookError::Inside(OpenError::Io { source: error, .. }),
                ) if error.kind() != io::ErrorKind::InvalidData => {
                    return Err(OpenError::Io { path, source: error });
                }
                Err(error) => plan.aside.push(SetAside { path, reason: error.to_string() }),
                // It was left out before, and a crash came before it was removed: the archiver does that.
                Ok(file)
                    if !is_named
                        && file.file_name() == name
                        && known.as_ref().is_some_and(|known| number < known.next) => {}
                Ok(file) => found.push((name, file)),
            }
        }
        // Those under their own names first.
        found.sort_by_key(|(name, file)| (file.label.number, *name != file.file_name()));
        for (name, file) in found {
            let (path, own) = (directory.join(&name), file.file_name());
            if plan.contents.files.last().is_some_and(|last| last.label.number == file.label.number) {
                let reason = format!("what is in it stands under the name {own} already");
                plan.aside.push(SetAside { path, reason });
                continue;
            }
            if name != own {
                plan.notes.push(format!("{} is {own}, as its label says: it gets its name", path.display()));
                plan.misplaced.push((path, own));
            }
            plan.contents.files.push(file);
        }
        let next = plan.contents.files.last().map_or(1, |last| last.label.number + 1);
        plan.contents.next = next.max(known.as_ref().map_or(1, |known| known.next));
        (plan.files, plan.bytes) = (plan.contents.files.len() as u64, plan.contents.bytes());
        if let Some(known) = known {
            let is_there = |file: &&Archived| {
                plan.contents.files.iter().any(|found| found.label.number == file.label.number)
                    || plan.aside.iter().any(|aside| aside.path == directory.join(file.file_name()))
            };
            plan.missing = known
                .files
                .iter()
                .filter(|file| !is_there(file))
                .map(|file| directory.join(file.file_name()))
                .collect();
            plan.store = known != plan.contents;
            let says_otherwise = known.files.iter().any(|file| {
                plan.contents.files.iter().any(|found| found.label.number == file.label.number && found != file)
            });
            if says_otherwise {
                plan.notes.push(format!(
                    "{}: it says something else of a file than the file itself",
                    directory.join(MANIFEST_NAME).display()
                ));
            }
            let unnamed = plan.contents.files.iter().filter(|file| file.label.number >= known.next).count();
            if unnamed > 0 {
                plan.notes.push(format!(
                    "{unnamed} files of {} are not named by its manifest, and verify",
                    directory.display()
                ));
            }
        }
        Ok(Some(plan))
    }

    /// What the manifest says, where it is whole.
    fn known(&mut self, read: Option<Result<Contents, ManifestError>>, has_files: bool) -> Option<Contents> {
        let path = self.directory.join(MANIFEST_NAME);
        let made = "it is made anew of what the files say";
        match read {
            Some(Ok(contents)) => return Some(contents),
            Some(Err(error)) => {
                self.notes.push(format!("{}: line {} {}; {made}", path.display(), error.line, error.reason));
            }
            None if has_files => self.notes.push(format!("{} is missing; {made}", path.display())),
            // Nothing was archived yet.
            None => return Some(Contents::default()),
        }
        self.store = true;
        None
    }

    /// Puts the archive right where it is; what is replaced or left out goes to `aside`, a directory that is there. The paths there.
    pub(super) fn in_place(&self, disk: &dyn Disk, aside: &Path) -> Result<Vec<PathBuf>, RepairError> {
        let kept = aside.join(DIRECTORY);
        create_durable_directory(disk, &kept).map_err(failed(&kept))?;
        let manifest = self.directory.join(MANIFEST_NAME);
        let before = Some(&manifest).filter(|path| disk.exists(path).unwrap_or(false));
        let going = self.aside.iter().map(|file| &file.path).chain(self.misplaced.iter().map(|(path, _)| path));
        let mut copies = Vec::new();
        for path in going.chain(before) {
            let to = kept.join(path.file_name().unwrap_or_default());
            dumps::copy(disk, path, &to).map_err(failed(path))?;
            copies.push(to);
        }
        // Two files may have changed places: until both have their own, each lies in the archive under a name that is nobody's.
        let beside = |own: &str| self.directory.join(format!("{}.repaired{ENDING}", own.trim_end_matches(ENDING)));
        for (path, own) in &self.misplaced {
            dumps::copy(disk, path, &beside(own)).map_err(failed(path))?;
        }
        for (path, own) in &self.misplaced {
            dumps::copy(disk, &beside(own), &self.directory.join(own)).map_err(failed(path))?;
        }
        self.contents.store(disk, &self.directory).map_err(failed(&manifest))?;
        let named: Vec<PathBuf> =
            self.contents.files.iter().map(|file| self.directory.join(file.file_name())).collect();
        let going = self.aside.iter().map(|file| file.path.clone());
        let going = going.chain(self.misplaced.iter().flat_map(|(path, own)| [path.clone(), beside(own)]));
        for path in going.filter(|path| !named.contains(path)) {
            // One that another run had left beside may be the one that this run made.
            if disk.exists(&path).map_err(failed(&path))? {
                disk.remove(&path).map_err(failed(&path))?;
            }
        }
        disk.sync_dir(&self.directory).map_err(failed(&self.directory))?;
        Ok(copies)
    }

    /// Makes an archive of what verifies in another data directory. The files there.
    pub(super) fn make_in(&self, disk: &dyn Disk, data: &Path) -> Result<Vec<PathBuf>, RepairError> {
        if self.contents.files.is_empty() {
            return Ok(Vec::new());
        }
        let directory = data.join(DIRECTORY);
        create_durable_directory(disk, &directory).map_err(failed(&directory))?;
        let mut made = Vec::new();
        for file in &self.contents.files {
            let own = file.file_name();
            let from = self.misplaced.iter().find(|(_, name)| *name == own).map(|(path, _)| path.clone());
            let to = directory.join(&own);
            dumps::copy(disk, &from.unwrap_or_else(|| self.directory.join(&own)), &to).map_err(failed(&to))?;
            made.push(to);
        }
        self.contents.store(disk, &directory).map_err(failed(&directory))?;
        made.push(directory.join(MANIFEST_NAME));
        disk.sync_dir(parent(&directory)).map_err(failed(&directory))?;
        Ok(made)
    }
}
