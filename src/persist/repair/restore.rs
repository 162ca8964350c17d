//! A log up to a moment: which of its bytes lie before it, as a plan that makes a directory of them.
//!
//! Invariants
//! - What is taken are whole units: a transaction that was not over at that moment is left out.
//! - Up to there everything verifies; a log with a gap before the moment is not restored but repaired.
//! - The directory that is made goes on where the moment is, on a timeline of its own.

use super::{Extent, KeptFile, Plan, Seam, Stretch};
use crate::env::{Disk, UnixMillis};
use crate::persist::archive::{Chain, Past, Start, original_name};
use crate::persist::log::format::{FrameHeader, SegmentHeader};
use crate::persist::position::position_of;
use crate::persist::walk::{Flow, Form, Gap, Spot, Visitor, walk_files};
use crate::persist::{CloseState, Lsn, Manifest, OpenError, OpenOptions, survey_plain};
use std::ops::ControlFlow::{Break, Continue};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The moment that is asked for.
pub enum Moment<'m> {
    /// Everything before this position.
    Lsn(Lsn),
    /// Everything that was logged at this time or before.
    Time(UnixMillis),
    /// Everything before the last unit with such a command.
    Before(&'m dyn Fn(&[&[u8]]) -> bool),
}

/// Where the moment was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The position, in a log of frames.
    pub lsn: Option<Lsn>,
    /// When the last unit that is taken was logged.
    pub time: Option<UnixMillis>,
    /// Commands that are taken, behind the base, and that are left out.
    pub commands: u64,
    pub left_out: u64,
}

/// What of a log there is, for those who asked for something else.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// What follows each other without a gap, from the oldest on.
    pub ranges: Vec<Available>,
    /// Files, superseded or archived, that do not say where they belong: a stock server wrote them.
    pub unplaced: Vec<PathBuf>,
}

impl From<Available> for There {
    fn from(range: Available) -> Self {
        Self { ranges: vec![range], unplaced: Vec::new() }
    }
}

/// A stretch of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Available {
    pub first: Option<Lsn>,
    pub end: Option<Lsn>,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
}

/// Why there is nothing to restore.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("{0}")]
    Open(OpenError),
    /// What is asked for lies outside of what is there.
    #[error("the moment is not in this log")]
    Outside(There),
    #[error("no such command is in this log")]
    NoCommand(There),
    #[error("{}: {reason} at offset {offset}, before that moment: repair the directory first", path.display())]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error("there is no log, only a snapshot: it holds one moment")]
    NoLog,
    /// A stock server wrote there, and did not say where or when: what stands in front of that, and what behind it.
    #[error("a stock server wrote there, and did not say where or when")]
    Between { before: At, behind: At },
}

/// A position and a time, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    pub lsn: Option<Lsn>,
    pub time: Option<UnixMillis>,
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// A place between two units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Index of the file, and the offset behind its last whole frame, or behind the last unit of a file without frames.
    file: usize,
    offset: u64,
    /// The frame that begins there and how much of its payload counts; nothing of one.
    part: u64,
    lsn: Option<Lsn>,
    time: Option<UnixMillis>,
    chain: u32,
    db: u32,
    commands: u64,
}

/// Finds a moment in a log, and plans a directory that ends there.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore_plan(
    disk: &dyn Disk,
    plain: &dyn Disk,
    options: &OpenOptions,
    moment: &Moment<'_>,
) -> Result<(Plan, Reached), RestoreError> {
    let mut past = Past::read(disk, plain, options)?;
    let is_log =
        |start: &Start| start.files.iter().any(|file| file.path.ends_with(&options.append_file) || !file.is_base);
    let has_log = past.manifest.is_some() || past.chains.iter().any(|chain| chain.starts.iter().any(is_log));
    if !options.append_only || !has_log {
        return Err(RestoreError::NoLog);
    }
    let closed = past.manifest.as_ref().is_some_and(|manifest| matches!(manifest.state, CloseState::Closed { .. }));
    let mut refused = None;
    for chain in &past.chains {
        let Some(start) = latest_start(disk, options, moment, chain)? else { continue };
        // What a chain that is not live holds goes into a log of its own.
        let manifest = if chain.is_live { past.manifest.clone() } else { Some(Manifest::new()) };
        match plan_over(disk, options, start, (manifest, closed && chain.is_live), moment) {
            Ok((mut plan, reached)) => {
                plan.notes.append(&mut past.notes);
                return Ok((plan, reached));
            }
            Err(RestoreError::Outside(there) | RestoreError::NoCommand(there)) => {
                refused = refused.or(there.ranges.first().copied())
            }
            Err(error) => return Err(error),
        }
    }
    let there = There::of(past, refused.unwrap_or_default());
    Err(match moment {
        Moment::Before(_) => RestoreError::NoCommand(there),
        Moment::Lsn(_) | Moment::Time(_) => RestoreError::Outside(there),
    })
}

impl There {
    /// With what lies in front of the live log, or beside it; of that a walk has told.
    fn of(past: Past, live: Available) -> Self {
        let range = |chain: &Chain| {
            let known = if chain.is_live { live } else { Available { end: Some(chain.end), ..Available::default() } };
            let first = chain.starts.iter().find_map(|start| start.lsn);
            Available {
                first: known.first.into_iter().chain(first).min(),
                end: known.end,
                from: known.from.into_iter().chain(chain.from).min(),
                to: known.to.into_iter().chain(chain.to).max(),
            }
        };
        let mut ranges: Vec<Available> = past.chains.iter().map(range).collect();
        ranges.sort_by_key(|range| (range.first, range.from));
        Self { ranges, unplaced: past.unplaced }
    }
}

/// The latest start of a chain from which a moment can be reached, as far as is known without reading on.
fn latest_start<'c>(
    disk: &dyn Disk,
    options: &OpenOptions,
    moment: &Moment<'_>,
    chain: &'c Chain,
) -> Result<Option<&'c Start>, RestoreError> {
    let mut from_newest = chain.starts.iter().rev();
    Ok(match moment {
        Moment::Lsn(lsn) => {
            from_newest.find(|start| start.lsn.is_none_or(|first| first <= *lsn)).or(chain.starts.first())
        }
        Moment::Time(time) => {
            from_newest.find(|start| start.holds_until.is_some_and(|until| until <= *time)).or(chain.starts.first())
        }
        Moment::Before(_) => {
            for start in from_newest {
                // Behind these files newer starts have been searched.
                let files = start.files[..start.shared_from.min(start.files.len())].to_vec();
                let own = Start { files, ..start.clone() };
                match plan_over(disk, options, &own, (Some(Manifest::new()), false), moment) {
                    Ok(_) => return Ok(Some(start)),
                    Err(RestoreError::NoCommand(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            // Whoever reads all of it says what there is.
            chain.starts.first()
        }
    })
}

/// Plans a directory of the beginning of what can be replayed from a start.
fn plan_over(
    disk: &dyn Disk,
    options: &OpenOptions,
    start: &Start,
    (manifest, closed): (Option<Manifest>, bool),
    moment: &Moment<'_>,
) -> Result<(Plan, Reached), RestoreError> {
    let Start { files, holds_until, .. } = start;
    let base = files.iter().find(|file| file.is_base);
    let position = base.map(|base| position_of(disk, &base.path)).transpose()?.flatten();
    let begin = Place {
        file: 0,
        offset: 0,
        part: 0,
        lsn: position.map(|position| position.lsn),
        time: None,
        chain: 0,
        db: 0,
        commands: 0,
    };
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let mut search = Search {
        moment,
        paths: &paths,
        base: base.filter(|_| position.is_some()).map(|base| base.path.as_path()),
        here: begin,
        unit: begin,
        in_transaction: false,
        found: None,
        wanted_before: false,
        frame: None,
        header: None,
        headers: vec![None; files.len()],
        whole: 0,
        chain: 0,
        available: Available { first: begin.lsn, ..Available::default() },
        passed: false,
        damage: None,
        last: At::default(),
        untold: false,
        between: None,
    };
    // A moment that was passed is still followed by commands, which are counted.
    let _ = walk_files(disk, files, closed, &options.limits, &mut search)?;
    search.end_of_frame();
    let Search { mut available, here, found, passed, damage, headers, between, .. } = search;
    if let Some((before, behind)) = between {
        return Err(RestoreError::Between { before, behind });
    }
    available.end = here.lsn;
    let place = match moment {
        Moment::Lsn(lsn) => {
            let begins = available.first.unwrap_or(Lsn::FIRST);
            if here.lsn.is_none() || *lsn < begins || (*lsn > here.lsn.unwrap_or_default() && damage.is_none()) {
                return Err(RestoreError::Outside(available.into()));
            }
            if passed { found } else { Some(here) }
        }
        Moment::Time(time) => {
            let known = holds_until.is_some_and(|until| until <= *time);
            let before = base.is_some() && !known && available.from.is_some_and(|from| *time < from);
            let behind = available.to.or(*holds_until).is_none_or(|to| *time > to && damage.is_none());
            if behind || before {
                return Err(RestoreError::Outside(available.into()));
            }
            if passed { found.or(Some(begin)) } else { Some(here) }
        }
        Moment::Before(_) => match found {
            Some(place) => Some(place),
            None => return Err(RestoreError::NoCommand(available.into())),
        },
    };
    let place = place.unwrap_or(begin);
    if let Some((path, offset, reason, commands)) = damage
        && (place.commands > commands || !passed)
    {
        return Err(RestoreError::Damaged { path, offset, reason });
    }
    let mut plan = Plan {
        losses: Vec::new(),
        unused: Vec::new(),
        notes: Vec::new(),
        frames: 0,
        commands: place.commands,
        keys: 0,
        position,
        end: place.lsn.unwrap_or(Lsn::FIRST),
        base: None,
        kept: Vec::new(),
        stretches: Vec::new(),
        seam: Seam { lineage: None, number: 0, lsn: Lsn::FIRST, chain: 0, db: 0, plain: 0 },
        manifest: manifest.clone(),
        dump: None,
        single: None,
        archive: None,
        from_dump: false,
    };
    for (at, file) in files.iter().enumerate() {
        let is_last = at == place.file;
        // A moment before the first command behind the base needs nothing of what follows.
        if at > place.file && !file.is_base {
            break;
        }
        let extent = match (is_last, file.is_base) {
            (true, false) => Extent::Prefix(place.offset),
            (true, true) if place.offset > 0 => Extent::Prefix(place.offset),
            _ => Extent::Whole,
        };
        let name = original_name(&file.path);
        let is_segment = headers[at].is_some();
        let kept = KeptFile { path: file.path.clone(), name, sequence: file.sequence, extent, is_segment };
        match (file.is_base, manifest.is_some()) {
            (true, true) => plan.base = Some(kept),
            (true, false) => plan.single = Some(kept),
            (false, _) if matches!(kept.extent, Extent::Prefix(0)) => {}
            (false, _) => plan.kept.push(kept),
        }
    }
    if let Some(header) = &headers[place.file]
        && place.part > 0
    {
        let lsn = Lsn(place.lsn.unwrap_or_default().0 - place.part);
        plan.seam = Seam {
            lineage: Some(header.lineage),
            number: header.number,
            lsn,
            chain: place.chain,
            db: place.db,
            plain: 0,
        };
        let path = files[place.file].path.clone();
        plan.stretches.push(Stretch::Part { path, offset: place.offset, bytes: place.part });
    }
    if let Some(base) = &plan.base
        && matches!(base.extent, Extent::Whole)
    {
        plan.keys = survey_plain(disk, &base.path, &options.limits)?.keys;
    }
    let left_out = here.commands - place.commands;
    Ok((plan, Reached { lsn: place.lsn, time: place.time, commands: place.commands, left_out }))
}

struct Search<'s> {
    moment: &'s Moment<'s>,
    paths: &'s [PathBuf],
    /// A base that says where it stands.
    base: Option<&'s Path>,
    /// Behind the last whole unit, and where the unit under way began.
    here: Place,
    unit: Place,
    in_transaction: bool,
    /// The place that is asked for, as far as was read.
    found: Option<Place>,
    /// The unit under way has the command that is looked for.
    wanted_before: bool,
    /// The frame under way: header and offset.
    frame: Option<(FrameHeader, u64)>,
    header: Option<SegmentHeader>,
    headers: Vec<Option<SegmentHeader>>,
    /// Offset behind the last whole frame.
    whole: u64,
    /// Chain value of the last frame with payload before the one under way.
    chain: u32,
    available: Available,
    /// What is read now lies behind the moment.
    passed: bool,
    /// The first gap: where, why, and how many commands stood before it.
    damage: Option<(PathBuf, u64, String, u64)>,
    /// The last thing that says where or when it is.
    last: At,
    /// What followed that says neither.
    untold: bool,
    /// The moment lies among such.
    between: Option<(At, At)>,
}

impl Search<'_> {
    /// Everything of the frame under way was handed out.
    fn end_of_frame(&mut self) {
        let Some((header, offset)) = self.frame.take() else { return };
        self.whole = offset + crate::persist::log::format::FRAME_HEADER_BYTES as u64 + header.len;
        if !self.passed && self.here.part > 0 {
            // All of it counts: it is kept as it is.
            (self.here.offset, self.here.part) = (self.whole, 0);
        }
    }

    fn is_behind(&self, spot: &Spot<'_>, end: Option<Lsn>) -> bool {
        match self.moment {
            // What has no position stands behind the last thing that has one.
            Moment::Lsn(lsn) => end.map_or_else(|| self.last.lsn.is_some_and(|last| last >= *lsn), |end| end > *lsn),
            Moment::Time(time) => spot.time.is_some_and(|logged| logged > *time),
            Moment::Before(_) => false,
        }
    }
}

impl Visitor for Search<'_> {
    fn file(&mut self, path: &Path, form: &Form) -> Flow {
        self.end_of_frame();
        let file = self.paths.iter().position(|known| known == path).unwrap_or(0);
        self.header = if let Form::Segment(header) = form { Some(*header) } else { None };
        self.headers[file] = self.header;
        let offset = self.header.map_or(0, |header| header.bytes());
        self.whole = offset;
        if let (Moment::Lsn(lsn), Some(first), Some(last), false) =
            (self.moment, self.header.map(|header| header.first), self.last.lsn, self.passed)
            && last < *lsn
            && *lsn < first
        {
            // What stands between was made a base without having had positions.
            self.between = Some((self.last, At { lsn: Some(first), time: None }));
        }
        if !self.passed {
            let lsn = self.header.map_or(self.here.lsn, |header| Some(header.first));
            self.here =
                Place { file, offset, part: 0, lsn, db: self.header.map_or(0, |header| header.db), ..self.here };
        }
        self.available.first = self.available.first.or(self.header.map(|header| header.first));
        Continue(())
    }

    fn frame(&mut self, _: &Path, offset: u64, header: &FrameHeader) -> Flow {
        self.end_of_frame();
        if header.len > 0 {
            self.chain = header.previous;
            self.available.from.get_or_insert(UnixMillis(header.time));
            self.available.to = Some(UnixMillis(header.time));
        }
        self.frame = Some((*header, offset));
        if !self.passed && header.len == 0 {
            self.here.offset = offset + crate::persist::log::format::FRAME_HEADER_BYTES as u64;
        }
        Continue(())
    }

    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        if self.base == Some(spot.path) {
            // The state at a position, though it is written as commands: none of them was logged.
            self.here.commands += 1;
            return Continue(());
        }
        if spot.lsn.is_none() {
            // Behind the frames of a segment, if in one.
            self.end_of_frame();
        }
        let end = spot.lsn.map(|lsn| lsn.plus(spot.len));
        if spot.lsn.is_none()
            && let Some(time) = spot.time
        {
            self.available.from.get_or_insert(time);
            self.available.to = Some(time);
        }
        if !self.in_transaction {
            self.unit = Place { commands: self.here.commands, ..self.here };
            self.wanted_before = false;
        }
        let is = |name: &[u8]| words.len() == 1 && words[0].eq_ignore_ascii_case(name);
        self.in_transaction = (self.in_transaction || is(b"multi")) && !is(b"exec");
        self.wanted_before |= matches!(self.moment, Moment::Before(wanted) if wanted(words));
        self.here.commands += 1;
        if self.in_transaction {
            return Continue(());
        }
        if self.wanted_before {
            self.found = Some(self.unit);
        }
        if !self.passed && self.is_behind(spot, end) {
            self.passed = true;
            self.found = Some(self.unit);
            if let (Moment::Time(_), true, Some(_)) = (self.moment, self.untold, self.last.time) {
                self.between = Some((self.last, At { lsn: spot.lsn, time: spot.time }));
            }
        }
        self.untold = spot.time.is_none();
        self.last = At { lsn: end.or(self.last.lsn), time: spot.time.or(self.last.time) };
        // Behind this unit.
        let commands = self.here.commands;
        let file = self.here.file;
        self.here = match &self.frame {
            Some((header, offset)) => {
                let part = end.map_or(0, |end| end.0 - header.lsn.0);
                let db = header.db;
                Place { file, offset: *offset, part, lsn: end, time: spot.time, chain: self.chain, db, commands }
            }
            None => Place { offset: spot.offset + spot.len, part: 0, time: spot.time, commands, ..self.here },
        };
        Continue(())
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        self.end_of_frame();
        if !gap.torn && self.damage.is_none() {
            self.damage = Some((gap.path.to_owned(), gap.from, gap.reason.clone(), self.here.commands));
        }
        if gap.torn { Break(()) } else { Continue(()) }
    }

    fn wants_keys(&self) -> bool {
        false
    }
}
