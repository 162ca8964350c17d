//! Which data is loaded: configuration chooses, content vetoes, lineage decides.
//!
//! Invariants
//! - A dump counts as this log's own only where the manifest remembers that very file, and where both are of one history.
//!   Then the later one is loaded, whatever `appendonly` says.
//! - Any other dump was put there by somebody. It is never guessed about: the configuration chooses, and what is not loaded
//!   is named.
//! - What is empty wins over what holds data only where it has come to be empty.

use super::{Adopt, Found, NotLoaded, OpenOptions, Recovery};
use crate::env::disk::read_file;
use crate::env::{Disk, Entropy};
use crate::persist::dumps::{Later, later};
use crate::persist::feed::Feed;
use crate::persist::manifest::{BaseIdentity, Manifest};
use crate::persist::position::position_of;
use crate::persist::replay::{Discard, Replay};
use crate::persist::{Lineage, LoadReport, Lsn, OpenError, Position, Timeline, loader, strays};
use std::sync::Arc;

/// How log and dump stand to each other, where the dump is the log's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub later: Later,
    pub dump: BaseIdentity,
    /// Where the dump stands, as seen from the log.
    pub lsn: Lsn,
    /// The last timeline of the log.
    log: Timeline,
}

/// See [`super::Opened`].
pub(super) struct WithoutLog {
    pub lineage: Lineage,
    pub known_dump: Option<BaseIdentity>,
    pub log_below: Option<Timeline>,
}

/// Where the dump stands, if it is the log's own and stands later, so that a start loads it instead of the log.
///
/// # Errors
/// Something cannot be read.
pub fn later_dump(disk: &Arc<dyn Disk>, options: &OpenOptions) -> Result<Option<Lsn>, OpenError> {
    let recovery = Recovery { disk: Arc::clone(disk), options, report: LoadReport::default() };
    let own = recovery.compare()?.filter(|own| own.later == Later::Dump);
    Ok(own.map(|own| own.lsn))
}

impl Recovery<'_> {
    /// Compares the log with the dump beside it; nothing where not both are there, or the dump is not the log's own. What is
    /// damaged is for whoever loads it to say.
    ///
    /// # Errors
    /// Something cannot be read: then nothing is decided.
    pub(super) fn compare(&self) -> Result<Option<Own>, OpenError> {
        let (disk, dump) = (&*self.disk, self.dump_path());
        let Some(manifest) = self.stored_manifest()? else { return Ok(None) };
        if !self.exists(&dump)? {
            return Ok(None);
        }
        let identity = strays::base_identity(disk, &dump).map_err(OpenError::io(&dump))?;
        let Some(last) = manifest.incremental().last() else { return Ok(None) };
        let path = self.log_directory().join(&last.name);
        if !self.exists(&path)? {
            return Ok(None);
        }
        let Some(last) = strays::segment_end(disk, &path).map_err(OpenError::io(&path))? else { return Ok(None) };
        let noted = manifest.saved_dump.filter(|saved| saved.identity == identity);
        let noted = noted.map(|saved| Position { lineage: Lineage::root(saved.timeline), lsn: saved.lsn });
        // The log began with it.
        let base = manifest.base().filter(|_| manifest.base_identity == Some(identity));
        let base = base.map(|base| self.log_directory().join(&base.name));
        let first = match base {
            Some(base) if self.exists(&base)? => Some(self.position_of(&base)?),
            _ => None,
        };
        let first = first.map(|position| Position {
            lineage: last.lineage,
            lsn: position.map_or(Lsn::FIRST, |position| position.lsn),
        });
        let own = |saved: Position, later| Own { later, dump: identity, lsn: saved.lsn, log: last.lineage.timeline };
        let candidates = [noted, first];
        for saved in candidates.into_iter().flatten() {
            if later(&last, &saved) == Some(Later::Log) {
                return Ok(Some(own(saved, Later::Log)));
            }
        }
        if candidates == [None, None] {
            return Ok(None);
        }
        // The last segment may be torn, or another server may have written behind it.
        let end = match self.walk() {
            Ok(found) => found.position(),
            Err(error @ OpenError::Io { .. }) => return Err(error),
            Err(_) => None,
        };
        let Some(end) = end else { return Ok(None) };
        let compared = candidates.into_iter().flatten().find_map(|saved| Some(own(saved, later(&end, &saved)?)));
        Ok(compared)
    }

    fn stored_manifest(&self) -> Result<Option<Manifest>, OpenError> {
        let path = self.writer_options().manifest_path();
        if !self.exists(&path)? {
            return Ok(None);
        }
        let content = read_file(&*self.disk, &path).map_err(OpenError::io(&path))?;
        Ok(Manifest::decode(&content).ok())
    }

    /// Goes through the log and loads it nowhere.
    fn walk(&self) -> Result<Found, OpenError> {
        let mut walk = Recovery { disk: Arc::clone(&self.disk), options: self.options, report: LoadReport::default() };
        walk.load_log(&mut Feed::direct(&mut Discard, self.options.reading.clone()))
    }

    /// AOF on: the log, or the dump where that is the log's own and stands later.
    pub(super) fn load_with_log(&mut self, own: Option<Own>, feed: &mut Feed<'_>) -> Result<Found, OpenError> {
        if own.is_some_and(|own| own.later == Later::Dump) {
            let name = self.writer_options().first_base_name();
            let adopt = Adopt { from: self.dump_path(), name, copy: true };
            let found = self.load_adopted(adopt, "dump, which stands later than the log beside it", feed)?;
            return Ok(Found { retire: true, ..found });
        }
        let found = self.load_log(feed)?;
        // A log that has come to be empty is the truth; one in which nothing ever stood may be a mistake.
        if found.is_empty && found.end.end == Lsn::FIRST {
            self.refuse_unless_dump_is_empty()?;
        }
        let dump = self.dump_path();
        if own.is_none() && found.adopt.is_none() && self.exists(&dump)? {
            let position = position_of(&*self.disk, &dump).ok().flatten();
            let passed = position.zip(found.position()).is_some_and(|(position, end)| position.is_passed_by(&end));
            self.report.not_loaded = (!passed).then_some(NotLoaded::Dump(dump));
        }
        Ok(found)
    }

    /// AOF off: the dump, or the log where the dump is the log's own and stands before its end. Where that is, and the last
    /// timeline of the log that it descends from.
    fn load_without_log(
        &mut self,
        own: Option<Own>,
        feed: &mut Feed<'_>,
    ) -> Result<(Option<Position>, Option<Timeline>), OpenError> {
        if own.is_some_and(|own| own.later == Later::Log) {
            let found = self.load_log(feed)?;
            self.report.bytes = found.bytes;
            self.report.end = found.end.end;
            self.report.source = "append only log, which stands later than the dump beside it";
            return Ok((found.position(), own.map(|own| own.log)));
        }
        let position = self.load_dump_only(feed)?;
        if own.is_some() {
            return Ok((position, own.map(|own| own.log)));
        }
        let never_held = self.report.keys == 0 && position.is_none_or(|position| position.lsn == Lsn::FIRST);
        let empty_log = self.consider_log_left_out(never_held)?;
        Ok((position.or(empty_log), empty_log.map(|position| position.lineage.timeline)))
    }

    fn load_dump_only(&mut self, feed: &mut Feed<'_>) -> Result<Option<Position>, OpenError> {
        let dump = self.dump_path();
        if !self.exists(&dump)? {
            self.report.source = "nothing";
            self.report.end = Lsn::FIRST;
            return Ok(None);
        }
        let loaded = loader::load_plain(&*self.disk, &dump, &self.options.limits, feed)?;
        self.report.source = "dump";
        self.report.keys = loaded.keys;
        self.report.files = 1;
        self.report.bytes = loaded.end;
        let position = self.position_of(&dump)?;
        self.report.end = position.map_or(Lsn::FIRST, |position| position.lsn);
        Ok(position)
    }

    /// A log is not loaded because the configuration chose the dump. Where that one holds nothing and never did
    /// (`never_held`), data that only the log holds is not passed over; a log that holds nothing either is descended from.
    fn consider_log_left_out(&mut self, never_held: bool) -> Result<Option<Position>, OpenError> {
        let (directory, single) = (self.log_directory(), self.options.directory.join(&self.options.append_file));
        let options = self.writer_options();
        let has_manifest = self.exists(&options.manifest_path())?;
        let is_log =
            has_manifest || self.exists(&directory)? && strays::hold_data(&*self.disk, &options, &self.dump_path())?;
        let path = match (is_log, self.exists(&single)?) {
            (true, _) => directory,
            (false, true) => single,
            (false, false) => return Ok(None),
        };
        if never_held {
            // A log that cannot be read may hold anything.
            return match self.walk() {
                Ok(found) if found.is_empty => Ok(found.position()),
                Err(error @ OpenError::Io { .. }) => Err(error),
                _ => Err(OpenError::DataElsewhere { path, directory: self.options.directory.clone() }),
            };
        }
        self.report.not_loaded = Some(NotLoaded::Log(path));
        Ok(None)
    }

    /// An empty log does not win over a dump that holds keys, nor the other way round: somebody has to say.
    pub(super) fn refuse_unless_dump_is_empty(&self) -> Result<(), OpenError> {
        let dump = self.dump_path();
        if self.exists(&dump)? && loader::holds_keys(&*self.disk, &dump, &self.options.limits)? {
            return Err(OpenError::EmptyLog { dump, log: self.log_directory() });
        }
        Ok(())
    }
}

/// Loads a directory without opening its log.
pub(super) fn load_without_log(
    recovery: &mut Recovery<'_>,
    replay: &mut dyn Replay,
    entropy: &mut dyn Entropy,
) -> Result<WithoutLog, OpenError> {
    let own = recovery.compare()?;
    let (position, log_below) = recovery.load(replay, |recovery, feed| recovery.load_without_log(own, feed))?;
    let timeline = Timeline::draw(entropy);
    let lineage = match position {
        Some(position) => position.lineage.child(timeline, position.lsn),
        None => Lineage::root(timeline),
    };
    // What was loaded is this file, or stands behind it.
    let dump = recovery.dump_path();
    let known_dump = match recovery.exists(&dump)? {
        true => Some(strays::base_identity(&*recovery.disk, &dump).map_err(OpenError::io(&dump))?),
        false => None,
    };
    Ok(WithoutLog { lineage, known_dump, log_below })
}
