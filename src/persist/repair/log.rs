//! Planning: which files a log consists of, by what is in them, and what stands beside it. [`super::segments`] reads them.

use super::inventory::{Content, Found, Inventory, Place, Stored};
use super::journal::hidden;
use super::order::{self, Candidate};
use super::{Crossing, Extent, KeptFile, KeysOf, Loss, Plan, Seam, Unused};
use crate::env::disk::read_file;
use crate::env::{Disk, OpenMode};
use crate::persist::log::WriterOptions;
use crate::persist::position::position_of;
use crate::persist::recovery::later_dump;
use crate::persist::{CloseState, Lsn, Manifest, OpenError, OpenOptions, founding, strays, survey_segment};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a word, and words of a command, that are kept to be shown.
const SHOWN_BYTES: usize = 80;
const SHOWN_WORDS: usize = 8;

/// Plans the repair of a data directory.
///
/// # Errors
/// When something cannot be read.
pub fn plan(
    disk: &Arc<dyn Disk>,
    options: &OpenOptions,
    crossing: Crossing,
    keys_of: KeysOf<'_>,
) -> Result<Plan, OpenError> {
    let later = if options.append_only { later_dump(disk, options)? } else { None };
    let disk = &**disk;
    let writer = WriterOptions {
        directory: options.directory.join(&options.append_directory),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    };
    let seam = Seam { lineage: None, number: 0, lsn: Lsn::FIRST, chain: 0, db: 0, plain: 0 };
    let plan = Plan {
        losses: Vec::new(),
        unused: Vec::new(),
        notes: Vec::new(),
        frames: 0,
        commands: 0,
        keys: 0,
        position: None,
        end: Lsn::FIRST,
        base: None,
        kept: Vec::new(),
        stretches: Vec::new(),
        seam,
        manifest: None,
        dump: None,
        single: None,
        archive: None,
        from_dump: false,
    };
    let mut planner = Planner {
        disk,
        options,
        crossing,
        keys_of,
        plan,
        broken: false,
        stopped: false,
        closed: None,
        before: None,
        plain_bytes: 0,
        base_keys: 0,
        watched: Vec::new(),
    };
    let (dump, single) = (options.directory.join(&options.dump_file), options.directory.join(&options.append_file));
    let has_log = options.append_only && disk.exists(&writer.directory).unwrap_or(false);
    if has_log && later.is_none() {
        planner.log(&writer)?;
        return Ok(planner.plan);
    }
    if disk.exists(&dump).map_err(OpenError::io(&dump))? {
        planner.plan.dump = Some(planner.base_file(&dump, options.dump_file.clone(), 1)?.0);
    }
    if has_log {
        planner.dump_instead(&writer);
    } else if options.append_only && disk.exists(&single).map_err(OpenError::io(&single))? {
        planner.plan.single = Some(planner.base_file(&single, options.append_file.clone(), 1)?.0);
    }
    Ok(planner.plan)
}

pub(super) struct Planner<'p> {
    pub(super) disk: &'p dyn Disk,
    pub(super) options: &'p OpenOptions,
    pub(super) crossing: Crossing,
    pub(super) keys_of: KeysOf<'p>,
    pub(super) plan: Plan,
    /// A gap was gone over: files can no longer be kept as they are.
    pub(super) broken: bool,
    /// The log ends before a gap.
    pub(super) stopped: bool,
    /// Where the manifest says that the log was closed, and the chain value there.
    pub(super) closed: Option<(Lsn, u32)>,
    /// The last command that was read.
    pub(super) before: Option<Vec<Vec<u8>>>,
    /// Bytes of the commands without frames that were read last.
    pub(super) plain_bytes: u64,
    /// Keys and commands of the base that are kept.
    pub(super) base_keys: u64,
    /// Gaps that were gone over, by the number of the loss.
    pub(super) watched: Vec<usize>,
}

impl Planner<'_> {
    pub(super) fn loss(&self, path: &Path, range: Range<u64>, reason: impl Into<String>) -> Loss {
        Loss {
            path: path.to_owned(),
            range,
            from: None,
            to: None,
            reason: reason.into(),
            keys: None,
            commands: 0,
            names: Vec::new(),
            crossed: false,
            before: self.before.clone(),
            after: None,
            touched: 0,
            touched_keys: HashSet::new(),
        }
    }

    /// Takes note of a gap in the log; whether it is gone over.
    pub(super) fn gap(&mut self, mut loss: Loss, may_cross: bool) -> bool {
        loss.crossed = may_cross && !self.stopped;
        self.stopped |= !may_cross;
        self.broken = true;
        if loss.crossed {
            self.watched.push(self.plan.losses.len());
        }
        self.plan.losses.push(loss);
        may_cross
    }

    /// A command that is kept or taken over.
    pub(super) fn command(&mut self, db: u32, words: &[&[u8]]) {
        self.plan.commands += 1;
        if !self.watched.is_empty() {
            let keys: Vec<(u32, Vec<u8>)> = (self.keys_of)(words).into_iter().map(|key| (db, key)).collect();
            let shown = shown(words);
            for at in &self.watched {
                let loss = &mut self.plan.losses[*at];
                loss.after.get_or_insert_with(|| shown.clone());
                // By name alone: in which database a command stood that does not verify is not certain.
                let is_named = |key: &&(u32, Vec<u8>)| loss.names.iter().any(|(_, name)| *name == key.1);
                let touched: Vec<_> = keys.iter().filter(is_named).cloned().collect();
                loss.touched += u64::from(!touched.is_empty());
                loss.touched_keys.extend(touched);
            }
        }
        self.before = Some(shown(words));
    }

    /// The dump stands later than the log, so that a start loads it instead. Where it is damaged, what is left of it becomes the
    /// base of a log.
    fn dump_instead(&mut self, writer: &WriterOptions) {
        let content = read_file(self.disk, &writer.manifest_path()).ok();
        self.plan.manifest = content.and_then(|content| Manifest::decode(&content).ok());
        for entry in self.plan.manifest.iter().flat_map(Manifest::incremental) {
            let path = writer.directory.join(&entry.name);
            let file = self.disk.open(&path, OpenMode::Read);
            let survey = file.ok().and_then(|file| survey_segment(&*file, &path).ok()).flatten();
            if let Some(survey) = survey.filter(|survey| survey.damage.is_some()) {
                self.plan.unused.push(Unused {
                    path,
                    reason: format!(
                        "it is torn at offset {}, and the dump beside the log stands later: a start loads that",
                        survey.offset
                    ),
                    frames: survey.whole.frames + survey.behind.frames,
                    commands: survey.whole.commands + survey.behind.commands,
                    bytes: survey.size,
                });
            }
        }
        let Some(dump) = self.plan.dump.clone().filter(|dump| !matches!(dump.extent, Extent::Whole)) else { return };
        let position = position_of(self.disk, &dump.path).ok().flatten();
        self.plan.notes.push(format!(
            "{} stands later than the log beside it and is what a start loads: what is left of it becomes the base of the log, \
             which goes to the kept files",
            dump.path.display()
        ));
        self.plan.position = position;
        self.plan.end = position.map_or(Lsn::FIRST, |position| position.lsn);
        let name = writer.first_base_name();
        self.plan.base = Some(KeptFile { name, ..dump });
        self.plan.from_dump = true;
    }

    fn log(&mut self, writer: &WriterOptions) -> Result<(), OpenError> {
        let mut hidden = hidden(self.disk, writer).map_err(OpenError::io(&writer.directory))?;
        let all = Inventory::take(self.disk, self.options, writer, &hidden)?;
        if let Found::InPlace(manifest) | Found::Elsewhere(_, manifest) = all.manifest(self.disk)? {
            self.plan.manifest = Some(manifest.clone());
        }
        let begun = founding::leftovers(self.disk, writer, self.plan.manifest.as_ref());
        hidden.extend(begun.map_err(OpenError::io(&writer.directory))?);
        let inventory =
            Inventory { items: all.items.into_iter().filter(|item| !hidden.contains(&item.name)).collect() };
        if !self.tell_of_manifest(writer, &inventory)? {
            return self.without_log(&inventory);
        }
        if let Some(Manifest { state: CloseState::Closed { end, chain, .. }, .. }) = &self.plan.manifest {
            self.closed = Some((*end, *chain));
        }
        self.find_base(writer, &inventory)?;
        self.find_dump(&inventory)?;
        let manifest = self.plan.manifest.clone();
        let position = self.plan.position;
        let ordered = order::order(self.disk, &inventory, manifest.as_ref(), position.as_ref())?;
        let named: HashSet<&String> =
            manifest.iter().flat_map(|manifest| manifest.incremental().map(|file| &file.name)).collect();
        let is_history =
            |name: &String| manifest.iter().any(|manifest| manifest.history().any(|file| file.name == *name));
        for unused in ordered.unused {
            let name = unused.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let superseded =
                is_history(&name) || (unused.frames == 0 && unused.commands == 0 && !named.contains(&name));
            // What a rewrite has superseded is no part of the log, and no loss.
            if !superseded {
                self.plan.unused.push(unused);
            }
        }
        let there: HashSet<&String> = ordered.files.iter().map(|file| &file.name).collect();
        for name in named.iter().filter(|name| !there.contains(**name)) {
            let path = writer.directory.join(name);
            if !self.disk.exists(&path).map_err(OpenError::io(&path))? {
                self.plan.notes.push(format!("{} is named by the manifest and missing", path.display()));
            }
        }
        self.left_over(&inventory, &ordered.files);
        let in_order: Vec<&String> = ordered.files.iter().map(|file| &file.name).collect();
        let as_named: Vec<&String> =
            manifest.iter().flat_map(|manifest| manifest.incremental().map(|file| &file.name)).collect();
        let taken_in = in_order.starts_with(&as_named) && manifest.is_some();
        if manifest.is_some() && in_order != as_named && !taken_in && !in_order.is_empty() {
            self.plan
                .notes
                .push("the manifest names other files, or in another order, than those that make up the log".into());
        } else if taken_in && in_order.len() > as_named.len() {
            // A start takes in one that a crash left unnamed; more than that it refuses.
            let mut adopted = manifest.clone().unwrap_or_default();
            let start = strays::take_in(self.disk, writer, &mut adopted);
            if start.is_err() || adopted.incremental().count() != in_order.len() {
                self.plan.notes.push("the manifest does not name the last files of the log".into());
            }
        }
        self.read(&ordered.files)?;
        let holds_nothing = self.plan.frames == 0 && self.plan.commands == 0 && self.base_keys == 0;
        let never_held = self.plan.position.is_none_or(|position| position.lsn == Lsn::FIRST);
        if holds_nothing && never_held && !self.plan.losses.is_empty() && self.plan.dump.is_some() {
            // An empty log would hide the dump.
            self.plan.base = None;
            self.plan.kept.clear();
            self.plan.stretches.clear();
            self.plan.notes.push(format!(
                "nothing of the log in {} is left: it goes to the kept files, and a start loads the dump",
                writer.directory.display()
            ));
        }
        Ok(())
    }

    /// Says what is wrong with the manifest; whether there is a log at all.
    fn tell_of_manifest(&mut self, writer: &WriterOptions, inventory: &Inventory) -> Result<bool, OpenError> {
        let path = writer.manifest_path();
        let told = "which files make up the log is told by what is in them";
        match inventory.manifest(self.disk)? {
            Found::InPlace(_) => {}
            Found::Elsewhere(item, _) => self.plan.notes.push(format!(
                "{} is the manifest, and not what stands under its name: it is put in its place",
                item.path.display()
            )),
            Found::Damaged(error) => {
                self.plan.notes.push(format!("{}: line {} {}; {told}", path.display(), error.line, error.reason));
            }
            Found::Missing => {
                let of_log = |item: &Stored| matches!(item.place, Place::Base(_) | Place::Incremental(_));
                if !inventory.items.iter().any(of_log) {
                    return Ok(false);
                }
                self.plan.notes.push(format!("{} is missing; {told}", path.display()));
            }
        }
        Ok(true)
    }

    /// A directory for a log that holds none: a start loads a file of one part, or the dump.
    fn without_log(&mut self, inventory: &Inventory) -> Result<(), OpenError> {
        if let Some(item) = inventory.at(Place::Dump) {
            self.plan.dump = Some(self.base_file(&item.path, item.name.clone(), 1)?.0);
        }
        if let Some(item) = inventory.at(Place::Single) {
            self.plan.single = Some(self.base_file(&item.path, item.name.clone(), 1)?.0);
        }
        Ok(())
    }

    /// The dump beside the log, under whatever name it stands.
    fn find_dump(&mut self, inventory: &Inventory) -> Result<(), OpenError> {
        let base = self.plan.base.as_ref().map(|base| base.path.clone());
        let Some(there) = inventory.at(Place::Dump) else { return Ok(()) };
        let Some(item) = inventory.dump(self.plan.manifest.as_ref(), base.as_deref()) else {
            let reason = "it is no dump, and there is none".into();
            self.plan.unused.push(Unused { path: there.path.clone(), reason, frames: 0, commands: 0, bytes: 0 });
            return Ok(());
        };
        if item.place != Place::Dump {
            self.plan.notes.push(format!(
                "{} is the dump, and not what stands under the name {}: it is put in its place",
                item.path.display(),
                there.path.display()
            ));
        }
        let keys = self.plan.keys;
        self.plan.dump = Some(self.base_file(&item.path, there.name.clone(), 1)?.0);
        if base == Some(item.path.clone()) {
            // The same file twice: its keys count once.
            self.plan.keys = keys;
        }
        Ok(())
    }

    /// What holds data and has no place, by its content, where its name says otherwise.
    fn left_over(&mut self, inventory: &Inventory, files: &[Candidate]) {
        let base = self.plan.base.as_ref().map(|base| &base.path);
        let dump = self.plan.dump.as_ref().map(|dump| &dump.path);
        let taken: Vec<&PathBuf> = files
            .iter()
            .map(|file| &file.path)
            .chain(base)
            .chain(dump)
            .chain(self.plan.unused.iter().map(|unused| &unused.path))
            .collect();
        let named_base = self.plan.manifest.as_ref().and_then(Manifest::base).map(|base| &base.name);
        let mut left = Vec::new();
        for item in inventory.items.iter().filter(|item| !taken.contains(&&item.path)) {
            let reason = match (&item.content, item.place) {
                (Content::Snapshot(_), Place::Incremental(_) | Place::Manifest) => "it is no part of this log",
                (Content::Snapshot(_) | Content::Commands | Content::Other, Place::Base(_))
                    if named_base == Some(&item.name) =>
                {
                    "it is of another log"
                }
                (Content::Manifest(_), Place::Incremental(_) | Place::Base(_)) => {
                    "it is a manifest, and no part of the log"
                }
                _ => continue,
            };
            left.push(Unused { path: item.path.clone(), reason: reason.into(), frames: 0, commands: 0, bytes: 0 });
        }
        self.plan.unused.extend(left);
    }
}

/// A command as it is shown: its first words, shortened.
fn shown(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().take(SHOWN_WORDS).map(|word| word[..word.len().min(SHOWN_BYTES)].to_vec()).collect()
}

/// The path that a plan's directory has beside its log.
pub(super) fn log_directory(options: &OpenOptions) -> PathBuf {
    options.directory.join(&options.append_directory)
}
