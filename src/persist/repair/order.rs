//! Which files belong to the log and in which order they were written, as they say themselves: names and manifests may be
//! wrong, headers that verify are not.

use super::Unused;
use super::journal::made_sequence;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::persist::chain::related;
use crate::persist::log::format::SegmentHeader;
use crate::persist::log::{OpenedSegment, SegmentReader, WriterOptions};
use crate::persist::rdb::is_rdb;
use crate::persist::tape::{Next, Tape};
use crate::persist::{Lsn, Manifest, OpenError, Position, strays, survey_segment};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What the beginning of a file says.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Segment(SegmentHeader),
    /// A segment whose header does not verify, although its frames do.
    Headless,
    /// Commands by a stock server.
    Stock,
}

/// A file of the log.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub path: PathBuf,
    pub name: String,
    pub sequence: u64,
    pub kind: Kind,
}

/// The files of the log in order, and those that have no place in it.
pub struct Ordered {
    pub files: Vec<Candidate>,
    pub unused: Vec<Unused>,
}

/// Looks at every incremental file of a directory, named or not but for those that are `hidden`, and puts those of one log in order,
/// behind a base that stands at `base`, where it says so.
pub fn order(
    disk: &dyn Disk,
    options: &WriterOptions,
    manifest: Option<&Manifest>,
    base: Option<&Position>,
    hidden: &HashSet<String>,
) -> Result<Ordered, OpenError> {
    let mut ordered = Ordered { files: Vec::new(), unused: Vec::new() };
    let mut segments: Vec<(Candidate, SegmentHeader)> = Vec::new();
    let mut others = Vec::new();
    let is_named = |name: &str| manifest.is_some_and(|manifest| manifest.incremental().any(|file| file.name == name));
    let segments_from = manifest.and_then(|manifest| manifest.segments_from);
    for name in disk.list(&options.directory).map_err(OpenError::io(&options.directory))? {
        if name.ends_with(".tmp") || name.ends_with(".torn") || hidden.contains(&name) {
            continue;
        }
        let path = options.directory.join(&name);
        let of_repair = made_sequence(&name, options).filter(|_| name.ends_with(".incr.aof"));
        let Some(sequence) = strays::sequence_of(&name, options).or(of_repair) else {
            // A segment under another file's name is one all the same.
            if let Some(header) = header_of(disk, &path)? {
                segments.push((Candidate { path, name, sequence: 0, kind: Kind::Segment(header) }, header));
            }
            continue;
        };
        let file = disk.open(&path, OpenMode::Read).map_err(OpenError::io(&path))?;
        let opened = SegmentReader::open(&*file).map_err(OpenError::io(&path))?;
        let candidate = |kind| Candidate { path: path.clone(), name: name.clone(), sequence, kind };
        match opened {
            OpenedSegment::Segment(reader) => {
                let header = *reader.header();
                segments.push((candidate(Kind::Segment(header)), header));
            }
            OpenedSegment::Empty if segments_from.is_some_and(|first| sequence >= first) && is_named(&name) => {
                ordered.unused.push(unused(&path, "it is empty".into()));
            }
            // A file without a command yet, by a stock server, or by a repair that left nothing but a base.
            OpenedSegment::Empty if is_named(&name) => others.push(candidate(Kind::Stock)),
            OpenedSegment::Empty => {}
            OpenedSegment::BadHeader => others.push(candidate(Kind::Headless)),
            OpenedSegment::Foreign if segments_from.is_some_and(|first| sequence >= first) => {
                others.push(candidate(Kind::Headless));
            }
            // Whatever begins as no command was a segment, or never belonged here.
            OpenedSegment::Foreign if !begins_as_commands(&*file, &path)? => others.push(candidate(Kind::Headless)),
            OpenedSegment::Foreign => others.push(candidate(Kind::Stock)),
        }
    }
    segments.sort_by_key(|(file, header)| (header.number, header.first, file.sequence));
    let own = own_stream(disk, &segments, base, &is_named)?;
    let mut last: Option<SegmentHeader> = None;
    for (at, (candidate, header)) in segments.into_iter().enumerate() {
        let place = own.iter().find(|(index, _)| *index == at).map(|(_, reason)| reason);
        match place {
            Some(None) => {
                last = Some(header);
                ordered.files.push(candidate);
            }
            Some(Some(reason)) => ordered.unused.push(counted(disk, &candidate.path, reason)?),
            None => {
                let reason =
                    if last.is_some() { "it is of another stream, or older" } else { "it lies before the base" };
                ordered.unused.push(counted(disk, &candidate.path, reason)?);
            }
        }
    }
    // Those without a header to tell go where their names put them.
    others.sort_by_key(|file| file.sequence);
    for other in others {
        if !is_named(&other.name) && manifest.is_some() && matches!(other.kind, Kind::Stock) {
            ordered.unused.push(unused(&other.path, "the manifest does not name it".into()));
            continue;
        }
        let at = ordered.files.iter().position(|file| file.sequence > other.sequence).unwrap_or(ordered.files.len());
        ordered.files.insert(at, other);
    }
    Ok(ordered)
}

/// Which segments, sorted by number, are of the stream that stands behind the base: an index each, and why it is left out all
/// the same. Those of other streams are not in it.
fn own_stream(
    disk: &dyn Disk,
    segments: &[(Candidate, SegmentHeader)],
    base: Option<&Position>,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Vec<(usize, Option<&'static str>)>, OpenError> {
    let begins = |header: &SegmentHeader| match base {
        Some(base) => {
            let descends = [header.lineage.timeline, header.lineage.parent].contains(&base.lineage.timeline);
            descends && header.first >= base.lsn
        }
        None => true,
    };
    let mut own: Vec<(usize, Option<&'static str>)> = Vec::new();
    let mut last: Option<usize> = None;
    let mut at = 0;
    while at < segments.len() {
        let number = segments[at].1.number;
        let same: Vec<usize> = (at..segments.len()).take_while(|other| segments[*other].1.number == number).collect();
        at += same.len();
        let fits = |index: &usize| {
            let (file, header) = &segments[*index];
            match last.map(|last| &segments[last].1) {
                // Across a segment that is missing, only what the manifest calls part of the log is taken for it.
                Some(before) => related(before, header) || (is_named(&file.name) && number > before.number + 1),
                None => begins(header),
            }
        };
        let fitting: Vec<usize> = same.into_iter().filter(fits).collect();
        let Some(best) = best_of(disk, segments, &fitting, last, is_named)? else { continue };
        for index in fitting {
            own.push((
                index,
                (index != best).then_some("another file holds the segment of its number, and follows better"),
            ));
        }
        last = Some(best);
    }
    Ok(own)
}

/// Of several segments of one number the one that follows the segment before; then the one that is named, then the longest.
fn best_of(
    disk: &dyn Disk,
    segments: &[(Candidate, SegmentHeader)],
    fitting: &[usize],
    last: Option<usize>,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Option<usize>, OpenError> {
    if let [only] = fitting {
        return Ok(Some(*only));
    }
    let mut best: Option<((bool, bool, Lsn), usize)> = None;
    for index in fitting {
        let (file, header) = &segments[*index];
        let follows = match last {
            Some(last) => {
                let place = (header.previous_end, header.previous_chain);
                strays::has_place(disk, &segments[last].0.path, place)?
            }
            None => true,
        };
        let reach = survey(disk, &file.path)?.map_or(Lsn(0), |survey| survey.end);
        let worth = (follows, is_named(&file.name), reach);
        if best.is_none_or(|(before, _)| worth > before) {
            best = Some((worth, *index));
        }
    }
    Ok(best.map(|(_, index)| index))
}

/// Whether a file of nobody's header begins with a whole command, or with keys that commands may follow.
fn begins_as_commands(file: &dyn DiskFile, path: &Path) -> Result<bool, OpenError> {
    let mut head = [0; 9];
    let shown = file.len().map_err(OpenError::io(path))?.min(head.len() as u64) as usize;
    file.read_exact_at(&mut head[..shown], 0).map_err(OpenError::io(path))?;
    if is_rdb(&head[..shown]) {
        return Ok(true);
    }
    let mut tape = Tape::new(file, 0).map_err(OpenError::io(path))?;
    loop {
        match tape.next().map_err(OpenError::io(path))? {
            Next::Comment | Next::Timestamp(_) => {}
            Next::Command => return Ok(true),
            Next::End | Next::Short | Next::Garbage(_) => return Ok(false),
        }
    }
}

fn header_of(disk: &dyn Disk, path: &Path) -> Result<Option<SegmentHeader>, OpenError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        // A directory, say.
        Err(_) => return Ok(None),
    };
    let Ok(opened) = SegmentReader::open(&*file) else { return Ok(None) };
    Ok(if let OpenedSegment::Segment(reader) = opened { Some(*reader.header()) } else { None })
}

fn survey(disk: &dyn Disk, path: &Path) -> Result<Option<crate::persist::SegmentSurvey>, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    survey_segment(&*file, path)
}

fn unused(path: &Path, reason: String) -> Unused {
    Unused { path: path.to_owned(), reason, frames: 0, commands: 0, bytes: 0 }
}

/// With how much it holds.
pub fn counted(disk: &dyn Disk, path: &Path, reason: &str) -> Result<Unused, OpenError> {
    let mut left = unused(path, reason.into());
    if let Some(survey) = survey(disk, path)? {
        left.frames = survey.whole.frames + survey.behind.frames;
        left.commands = survey.whole.commands + survey.behind.commands;
        left.bytes = survey.size;
    }
    Ok(left)
}
