//! A repair of the directory at hand: everything is prepared beside what is there, and one rename, the manifest's, makes it
//! count.
//!
//! Invariants
//! - Until the manifest is replaced no file of the log has another content or name than before: a start behind a repair that was
//!   cut off refuses for the reasons that it had, or loads what it would have loaded.
//! - From then on everything that the plan saves is durable. What is no longer named lies below the last sequence that is, so that
//!   no start mistakes it for the log's; it goes to the kept files.
//! - Whatever a start may remove of it (a base that nothing names) is copied there before.
//! - Dumps and files of one part are replaced by one rename each, a durable copy being kept; beside a log that is behind its
//!   manifest's.

use super::apply::{Applied, Named, RepairError, Work, failed, make_empty};
use super::journal::{self, Journal, made_name, made_sequence};
use super::log::log_directory;
use super::{Extent, KeptFile};
use crate::env::disk::DiskLock;
use crate::env::{Disk, OpenMode};
use crate::persist::log::WriterOptions;
use crate::persist::{OpenOptions, dumps, strays};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that nobody else repairs or opens meanwhile, in which no repair is unfinished.
pub struct InPlace {
    _lock: Box<dyn DiskLock>,
    /// What became of one that was cut off.
    pub settled: Option<journal::Settled>,
}

impl InPlace {
    /// Takes the directory, and ends a repair that was cut off.
    ///
    /// # Errors
    /// It is in use, or cannot be written.
    pub fn begin(disk: &dyn Disk, options: &OpenOptions) -> Result<Self, RepairError> {
        let path = options.directory.join("graven.lock");
        let lock = disk.lock(&path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => RepairError::InUse { path: options.directory.clone() },
            _ => RepairError::Io { path, source },
        })?;
        let log = log_directory(options);
        let settled = match options.append_only && disk.exists(&log).map_err(failed(&log))? {
            true => journal::settle(disk, &writer_of(options, &log)).map_err(failed(&log))?,
            false => None,
        };
        Ok(Self { _lock: lock, settled })
    }
}

fn writer_of(options: &OpenOptions, log: &Path) -> WriterOptions {
    WriterOptions {
        directory: log.to_owned(),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    }
}

/// A file of the log as it will be.
struct Placed<'w> {
    file: &'w KeptFile,
    named: Named,
    /// It gets this name first: its content, or its number, is another one than that of the file that is there.
    is_new: bool,
}

impl<'w> Work<'w> {
    pub(super) fn in_place(mut self, kept_name: &str, _held: &InPlace) -> Result<Applied, RepairError> {
        let directory = self.options.directory.clone();
        self.applied.directory = directory.clone();
        let log = log_directory(self.options);
        let aside = directory.join(kept_name);
        make_empty(self.disk, &aside)?;
        if self.plan.concerns_data() {
            self.data_in_place(&log, &aside)?;
        }
        if let Some(archive) = self.plan.archive.as_ref().filter(|archive| archive.is_needed()) {
            self.applied.kept.extend(archive.in_place(self.disk, &aside)?);
            self.applied.written.push(archive.directory.clone());
        }
        self.disk.sync_dir(&aside).map_err(failed(&aside))?;
        self.disk.sync_dir(&directory).map_err(failed(&directory))?;
        Ok(self.applied)
    }

    fn data_in_place(&mut self, log: &Path, aside: &Path) -> Result<(), RepairError> {
        let directory = self.options.directory.clone();
        if self.plan.has_log() {
            self.log_in_place(log, aside)?;
        } else {
            self.set_log_aside(log, aside)?;
        }
        for file in [&self.plan.dump, &self.plan.single].into_iter().flatten() {
            let beside_log = self.plan.has_log() && Some(&file.name) == self.plan.dump.as_ref().map(|dump| &dump.name);
            if !file.is_changed() || beside_log {
                continue;
            }
            let (new, path) = (journal::new_dump(aside), directory.join(&file.name));
            self.draft(file, &new)?;
            let kept = journal::replace_dump(self.disk, &path, aside).map_err(failed(&path))?;
            self.applied.written.push(path);
            self.applied.kept.push(kept);
        }
        Ok(())
    }

    /// Nothing of a log can be kept, and there is something else: its directory is out of the way by one rename.
    fn set_log_aside(&mut self, log: &Path, aside: &Path) -> Result<(), RepairError> {
        let losses = self.plan.losses.iter().map(|loss| &loss.path);
        let of_log = losses.chain(self.plan.unused.iter().map(|unused| &unused.path)).any(|path| path.starts_with(log));
        if !of_log || !self.disk.exists(log).map_err(failed(log))? {
            return Ok(());
        }
        let to = aside.join(log.file_name().unwrap_or_default());
        self.disk.rename(log, &to).map_err(failed(log))?;
        self.disk.sync_dir(aside).map_err(failed(aside))?;
        self.applied.kept.push(to);
        Ok(())
    }

    fn log_in_place(&mut self, log: &Path, aside: &Path) -> Result<(), RepairError> {
        let writer = self.writer(log);
        let names = self.disk.list(log).map_err(failed(log))?;
        let mut files = self.placed(&names, &writer);
        let base = self.placed_base(&names, &writer);
        let mut next = highest(&names, &writer, strays::sequence_of)
            .max(files.iter().map(|placed| placed.named.sequence).max().unwrap_or(0))
            .max(self.plan.manifest.iter().flat_map(|known| &known.files).map(|file| file.sequence).max().unwrap_or(0))
            + 1;
        // What is not named any more must lie below what is.
        let staying: HashSet<&str> =
            files.iter().filter(|placed| !placed.is_new).map(|placed| placed.named.name.as_str()).collect();
        let last = files.last().map_or(0, |placed| placed.named.sequence);
        let left = |name: &String| !staying.contains(name.as_str());
        let above = names.iter().filter(|name| left(name)).filter_map(|name| strays::sequence_of(name, &writer)).max();
        let needs_last = self.plan.stretches.is_empty() && above.is_some_and(|above| above > last);
        if let (true, Some(placed)) = (needs_last, files.last_mut()) {
            placed.is_new = true;
            (placed.named.name, placed.named.sequence) = (made_name(&writer, next, "incr.aof"), next);
            next += 1;
        }
        let made = self.prepare(log, aside, &files, base.as_ref(), next, needs_last);
        let (journal, drafts, segment, manifest) = match made {
            Ok(made) => made,
            Err(error) => {
                // Drafts are nothing to anybody, but room.
                for name in self.disk.list(log).unwrap_or_default() {
                    if made_sequence(name.trim_end_matches(".tmp"), &writer).is_some() && name.ends_with(".tmp") {
                        let _ = self.disk.remove(&log.join(name));
                    }
                }
                return Err(error);
            }
        };
        journal.store(self.disk, &writer).map_err(failed(log))?;
        let manifest_path = writer.manifest_path();
        let mut segment = segment;
        let mut named = || -> io::Result<()> {
            for (draft, path) in &drafts {
                self.disk.rename(draft, path)?;
            }
            if let Some(segment) = &mut segment {
                segment.publish(self.disk, log)?;
            }
            self.disk.sync_dir(log)
        };
        if let Err(source) = named() {
            // Whoever comes next undoes it, if this cannot be done now.
            let _ = journal::settle(self.disk, &writer);
            return Err(RepairError::Io { path: log.to_owned(), source });
        }
        if let Err(error) = manifest.store(self.disk, &manifest_path) {
            let _ = journal::settle(self.disk, &writer);
            return Err(RepairError::Io { path: manifest_path, source: error.error });
        }
        self.applied.written.extend(drafts.into_iter().map(|(_, path)| path));
        self.applied.written.extend(segment.map(|segment| log.join(segment.name())));
        self.applied.written.push(manifest_path);
        journal.finish(self.disk, &writer).map_err(failed(log))?;
        self.applied.kept.extend(journal.replaced.iter().map(|name| aside.join(name)));
        if let Some(dump) = &journal.dump {
            self.applied.written.push(self.options.directory.join(dump));
            self.applied.kept.push(aside.join(dump));
        }
        Ok(())
    }

    /// Writes everything that is new under names that do not count, and makes durable what stays.
    #[expect(clippy::type_complexity, reason = "what the switch needs, used once")]
    fn prepare(
        &mut self,
        log: &Path,
        aside: &Path,
        files: &[Placed<'w>],
        base: Option<&Placed<'w>>,
        next: u64,
        needs_last: bool,
    ) -> Result<
        (Journal, Vec<(PathBuf, PathBuf)>, Option<crate::persist::log::Segment>, crate::persist::Manifest),
        RepairError,
    > {
        let writer = self.writer(log);
        let mut drafts: Vec<(PathBuf, PathBuf)> = Vec::new();
        for placed in files.iter().chain(base) {
            if placed.is_new {
                let path = log.join(&placed.named.name);
                let draft = path.with_added_extension("tmp");
                self.draft(placed.file, &draft)?;
                drafts.push((draft, path));
            } else {
                journal::sync(self.disk, &placed.file.path).map_err(failed(&placed.file.path))?;
            }
        }
        let named = |placed: &Placed<'_>| Named { name: placed.named.name.clone(), ..placed.named };
        let mut named: Vec<Named> = files.iter().map(named).collect();
        let name = made_name(&writer, next, "incr.aof");
        let segment = self.segment(log, name.as_ref(), next)?;
        if segment.is_some() {
            named.push(Named { name, sequence: next, is_segment: true });
        } else if needs_last && named.is_empty() {
            // Nothing stays but a base: a file without a command stands above what is left behind.
            let path = log.join(&name);
            let draft = path.with_added_extension("tmp");
            let empty = || self.disk.open(&draft, OpenMode::Truncate)?.sync_all();
            empty().map_err(failed(&draft))?;
            drafts.push((draft, path));
            named.push(Named { name, sequence: next, is_segment: false });
        }
        let identity = match base {
            Some(placed) => {
                let path = if placed.is_new {
                    log.join(&placed.named.name).with_added_extension("tmp")
                } else {
                    placed.file.path.clone()
                };
                let identity = strays::base_identity(self.disk, &path).map_err(failed(&path))?;
                Some((placed.named.name.clone(), placed.named.sequence, identity))
            }
            None => None,
        };
        let mut manifest = self.manifest(identity, &named);
        if let Some(before) = &self.plan.manifest {
            // Still to be deleted, by whoever starts next.
            manifest.files.extend(before.history().cloned());
        }
        let mut journal = Journal {
            aside: aside.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            ..Journal::default()
        };
        if let Some(dump) = self.plan.dump.as_ref().filter(|dump| dump.is_changed()) {
            let new = journal::new_dump(aside);
            self.draft(dump, &new)?;
            let old = strays::base_identity(self.disk, &dump.path).map_err(failed(&dump.path))?;
            let identity = strays::base_identity(self.disk, &new).map_err(failed(&new))?;
            let noted = self.plan.manifest.as_ref().and_then(|known| known.saved_dump);
            // What is left of it stands where it stood.
            manifest.saved_dump = noted.filter(|noted| noted.identity == old && !self.plan.from_dump);
            if let Some(noted) = &mut manifest.saved_dump {
                noted.identity = identity;
            }
            journal.dump = Some(dump.name.clone());
        }
        let stays: HashSet<&String> = manifest.files.iter().map(|file| &file.name).collect();
        let moved: HashSet<&String> =
            files.iter().filter(|placed| placed.is_new).map(|placed| &placed.file.name).collect();
        let of_log = |name: &String| {
            strays::sequence_of(name, &writer).is_some()
                || strays::base_sequence_of(name, &writer).is_some()
                || made_sequence(name, &writer).is_some()
                || moved.contains(name)
        };
        let names = self.disk.list(log).map_err(failed(log))?;
        let file_name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What stands under the manifest's name is replaced by the manifest.
        let manifest_name = file_name(&writer.manifest_path());
        let goes = |name: &String| of_log(name) && !stays.contains(name) && *name != manifest_name;
        journal.replaced = names.into_iter().filter(goes).collect();
        journal.made = drafts.iter().map(|(_, path)| file_name(path)).collect();
        journal.made.extend(segment.as_ref().map(|segment| segment.name().to_owned()));
        let encoded = manifest.encode();
        journal.manifest = crc32fast::hash(&encoded);
        let manifest_path = writer.manifest_path();
        let bases = journal.replaced.iter().filter(|name| name.contains(".base.")).map(|name| log.join(name));
        let before = Some(manifest_path.clone()).filter(|path| self.disk.exists(path).unwrap_or(false));
        for path in bases.chain(before) {
            let to = aside.join(path.file_name().unwrap_or_default());
            dumps::copy(self.disk, &path, &to).map_err(failed(&to))?;
        }
        if self.disk.exists(&manifest_path).map_err(failed(&manifest_path))? {
            self.applied.kept.push(aside.join(file_name(&manifest_path)));
        }
        self.disk.sync_dir(aside).map_err(failed(aside))?;
        Ok((journal, drafts, segment, manifest))
    }

    /// The incremental files: from the first that has another content, or no place among the sequences, on with new numbers.
    fn placed(&self, names: &[String], writer: &WriterOptions) -> Vec<Placed<'w>> {
        let kept: &'w [KeptFile] = &self.plan.kept;
        let known =
            self.plan.manifest.iter().flat_map(|known| &known.files).map(|file| file.sequence).max().unwrap_or(0);
        let own = kept.iter().map(|file| file.sequence).max().unwrap_or(0);
        let mut next = highest(names, writer, strays::sequence_of).max(known).max(own) + 1;
        let (mut last, mut renamed) = (0, false);
        let mut placed = Vec::new();
        for file in kept {
            renamed |= !matches!(file.extent, Extent::Whole) || file.sequence <= last;
            let (name, sequence) = match renamed {
                true => (made_name(writer, next, "incr.aof"), next),
                false => (file.name.clone(), file.sequence),
            };
            next += u64::from(renamed);
            last = sequence;
            let named = Named { name, sequence, is_segment: file.is_segment };
            placed.push(Placed { file, named, is_new: renamed });
        }
        placed
    }

    fn placed_base(&self, names: &[String], writer: &WriterOptions) -> Option<Placed<'w>> {
        let base = self.plan.base.as_ref()?;
        let is_new = base.is_changed() || self.plan.from_dump;
        let (name, sequence) = if is_new {
            let known = self.plan.manifest.iter().flat_map(|known| known.base()).map(|file| file.sequence).max();
            let highest = highest(names, writer, strays::base_sequence_of);
            let sequence = highest.max(known.unwrap_or(0)).max(base.sequence) + 1;
            let as_commands = match base.extent {
                Extent::Whole | Extent::Prefix(_) => base.name.ends_with(".aof"),
                Extent::Keys(..) => false,
                Extent::Ranges(_) | Extent::Summed(..) => true,
            };
            let kind = if as_commands { "base.aof" } else { "base.rdb" };
            (made_name(writer, sequence, kind), sequence)
        } else {
            (base.name.clone(), base.sequence)
        };
        Some(Placed { file: base, named: Named { name, sequence, is_segment: false }, is_new })
    }
}

fn highest(names: &[String], writer: &WriterOptions, sequence_of: fn(&str, &WriterOptions) -> Option<u64>) -> u64 {
    let sequence = |name: &String| sequence_of(name, writer).or_else(|| made_sequence(name, writer));
    names.iter().filter_map(sequence).max().unwrap_or(0)
}
