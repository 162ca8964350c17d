//! Where the data stands in history, and what a save may therefore replace.
//!
//! Invariants
//! - A dump that was neither loaded nor written here, and that the data does not descend from, is kept beside before a save
//!   replaces it.
//! - The manifest of a log is told of a dump only where the data descends from that log; of one that nobody has open, only by
//!   whoever holds `Shared::manifest`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use super::config::Settings;
use super::cpus::Work;
use super::shared::Shared;
use crate::env::disk::OsDisk;
use crate::persist::{self, log::Order};
use crate::persist::{
    BaseIdentity, DraftWriter, Lineage, MadeWay, Position, SaveError, SaveStep, SavedDump, Timeline, make_way,
    note_saved, saved_dump,
};

/// See the module's header.
pub struct Standing {
    /// `dir`, as it was at the start.
    pub directory: PathBuf,
    /// The history that the data belongs to.
    pub lineage: Lineage,
    /// The dump in place, as it was loaded or written last.
    pub known_dump: Option<BaseIdentity>,
    /// The last timeline of the log on disk, where none is kept and the data descends from its end.
    pub log_below: Option<Timeline>,
    /// The last save.
    pub noted: Option<SavedDump>,
}

impl Standing {
    /// The last timeline of the log in this place that the data descends from, if it does.
    pub fn log_below(&self, settings: &Settings) -> Option<Timeline> {
        self.log_below.filter(|_| self.directory == settings.dir)
    }
}

/// Where a dump goes, and what it will hold.
pub struct Place {
    pub path: PathBuf,
    pub position: Option<Position>,
    /// The save has ended only when the manifest says so. Not while the engine is held.
    pub waits: bool,
}

/// How long the thread of a save waits before it looks again whether the log's writer can do anything at all.
const PATIENCE: Duration = Duration::from_millis(100);

impl Place {
    /// Does the next piece of a save's work; the file in place is looked at before it is replaced.
    ///
    /// # Errors
    /// What failed; the file in place is as it was.
    pub fn step(&self, writer: &mut DraftWriter, shared: &Shared) -> Result<SaveStep, SaveError> {
        if writer.is_whole()
            && let Err(error) = self.clear(shared)
        {
            writer.abandon();
            return Err(error);
        }
        let step = writer.step()?;
        if step == SaveStep::Done {
            self.note(shared);
            if self.waits {
                prune(shared);
            }
        }
        Ok(step)
    }

    /// Keeps what stands there: as an earlier generation, or, where it is from elsewhere, aside.
    fn clear(&self, shared: &Shared) -> Result<(), SaveError> {
        let Some(position) = &self.position else { return Ok(()) };
        let known = shared.standing.lock().as_ref().and_then(|standing| standing.known_dump);
        let generations = shared.settings().snapshot_generations;
        let made = make_way(&OsDisk, &self.path, known, position, generations, shared.clock.unix_millis());
        match made.map_err(|error| SaveError { path: self.path.clone(), doing: "setting aside", error })? {
            Some(MadeWay::Foreign(copy)) => tracing::warn!(
                "{} was neither loaded nor written by this server: it is kept as {}",
                self.path.display(),
                copy.display()
            ),
            Some(MadeWay::Generation(name)) => tracing::info!("The snapshot before is kept as {}", name.display()),
            None => {}
        }
        Ok(())
    }

    /// Remembers the dump that stands there now, and has the manifest of the log remember it.
    fn note(&self, shared: &Shared) {
        let Some(position) = &self.position else { return };
        let noted = saved_dump(&OsDisk, &self.path, position.lineage.timeline, position).and_then(|saved| {
            if let Some(standing) = &mut *shared.standing.lock() {
                (standing.known_dump, standing.noted) = (Some(saved.identity), Some(saved));
            }
            tell_manifest(shared, saved, self.waits)
        });
        if let Err(error) = noted {
            tracing::warn!(
                "{} cannot be noted in the manifest as the last dump: {error}. A start will take it for one from elsewhere",
                self.path.display()
            );
        }
    }
}

/// Removes earlier dumps, and what lost against others, as far as they are more than are kept (`snapshot-generations`); not
/// while the engine is held.
pub fn prune(shared: &Shared) {
    let _turn = shared.pruning.lock();
    let settings = shared.settings();
    let log = settings.dir.join(&settings.append_dirname);
    let logs = (!settings.keep_superseded).then_some(&*log);
    match persist::prune(&OsDisk, &settings.dump_path(), logs, settings.snapshot_generations) {
        Ok(older) => {
            for path in &older.removed {
                tracing::info!("Removed {}: snapshot-generations is {}", path.display(), settings.snapshot_generations);
            }
            *shared.older.lock() = older;
        }
        Err(error) => {
            tracing::warn!("What is older than snapshot-generations stays in {}: {error}", settings.dir.display());
        }
    }
}

/// The same on a thread of its own, for whoever must not wait.
pub fn prune_soon(shared: &Arc<Shared>) {
    let pruned = Arc::clone(shared);
    if let Err(error) = Builder::new().name("prune".into()).spawn(move || {
        pruned.settings().cpus.take(Work::Aside);
        prune(&pruned);
    }) {
        tracing::warn!("What is older than snapshot-generations stays until the next save: {error}");
    }
}

/// Has the manifest remember a dump, as seen from its log.
///
/// # Errors
/// It cannot be read or stored.
pub fn tell_manifest(shared: &Shared, saved: SavedDump, waits: bool) -> std::io::Result<()> {
    if waits {
        shared.wait_for_ended_log();
    }
    let turn = shared.manifest.lock();
    if let Some(log) = shared.log() {
        let noted = log.buffer.order(Order::Saved(SavedDump { timeline: log.lineage.timeline, ..saved }));
        drop(turn);
        while waits
            && noted.answer().is_none()
            && log.progress.trouble().is_none()
            && log.progress.is_founded()
            && !log.progress.is_closed()
        {
            noted.wait(PATIENCE);
        }
        // Otherwise the writer stores it when it comes to it. A crash before leaves a dump that nobody knows: it is kept.
        return Ok(());
    }
    let settings = shared.settings();
    let log_below = shared.standing.lock().as_ref().and_then(|standing| standing.log_below(&settings));
    match log_below {
        Some(timeline) => note_saved(&OsDisk, &settings.manifest_path(), SavedDump { timeline, ..saved }),
        None => Ok(()),
    }
}
