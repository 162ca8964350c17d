//! Which files belong to the log and in which order they were written, as they say themselves: names and manifests may be
//! wrong, headers that verify are not.

use super::Unused;
use super::inventory::{Content, Inventory, Place, Stored};
use crate::env::{Disk, OpenMode};
use crate::persist::chain::related;
use crate::persist::log::format::SegmentHeader;
use crate::persist::{CloseState, Lsn, Manifest, OpenError, Position, Timeline, strays, survey_segment};
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

/// Timelines that are of one history, as far as the files at hand tell: one left the other.
pub struct Streams(Vec<Vec<Timeline>>);

impl Streams {
    pub fn of(inventory: &Inventory) -> Self {
        let positions = inventory.items.iter().filter_map(|item| match &item.content {
            Content::Snapshot(position) => position.map(|position| position.lineage),
            _ => None,
        });
        let mut groups: Vec<Vec<Timeline>> = Vec::new();
        for lineage in inventory.headers().map(|header| header.lineage).chain(positions) {
            let both: Vec<Timeline> =
                [lineage.timeline, lineage.parent].into_iter().filter(|timeline| *timeline != Timeline::NONE).collect();
            let is_met = |group: &Vec<Timeline>| both.iter().any(|timeline| group.contains(timeline));
            let (met, mut others): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_met);
            let mut joined: Vec<Timeline> = met.into_iter().flatten().collect();
            joined.extend(both.into_iter().filter(|timeline| !joined.contains(timeline)).collect::<Vec<_>>());
            others.push(joined);
            groups = others;
        }
        Self(groups)
    }

    pub fn are_one(&self, one: Timeline, other: Timeline) -> bool {
        one == other || self.0.iter().any(|group| group.contains(&one) && group.contains(&other))
    }
}

/// Puts the incremental files of one log in order, behind a base that stands at `base`, where it says so.
pub fn order(
    disk: &dyn Disk,
    inventory: &Inventory,
    manifest: Option<&Manifest>,
    base: Option<&Position>,
) -> Result<Ordered, OpenError> {
    let mut ordered = Ordered { files: Vec::new(), unused: Vec::new() };
    let mut segments: Vec<Headed> = Vec::new();
    let mut others = Vec::new();
    let is_named = |name: &str| manifest.is_some_and(|manifest| manifest.incremental().any(|file| file.name == name));
    let segments_from = manifest.and_then(|manifest| manifest.segments_from);
    for Stored { path, name, place, content, .. } in &inventory.items {
        let sequence = if let Place::Incremental(sequence) = place { Some(*sequence) } else { None };
        let candidate =
            |kind| Candidate { path: path.clone(), name: name.clone(), sequence: sequence.unwrap_or(0), kind };
        if let Content::Segment(header) = content {
            // A segment under another file's name is one all the same.
            segments.push((candidate(Kind::Segment(*header)), *header));
            continue;
        }
        let Some(sequence) = sequence else { continue };
        let is_ours = segments_from.is_some_and(|first| sequence >= first);
        match content {
            Content::Empty if is_ours && is_named(name) => ordered.unused.push(unused(path, "it is empty".into())),
            // A file without a command yet, by a stock server, or by a repair that left nothing but a base.
            Content::Empty if is_named(name) => others.push(candidate(Kind::Stock)),
            Content::Headless => others.push(candidate(Kind::Headless)),
            Content::Commands | Content::Other if is_ours => others.push(candidate(Kind::Headless)),
            Content::Commands => others.push(candidate(Kind::Stock)),
            Content::Snapshot(None) if !is_ours && is_named(name) => others.push(candidate(Kind::Stock)),
            // Whatever begins as no command was a segment, or never belonged here.
            Content::Other => others.push(candidate(Kind::Headless)),
            Content::Empty | Content::Segment(_) | Content::Snapshot(_) | Content::Manifest(_) => {}
        }
    }
    segments.sort_by_key(|(file, header)| (header.number, header.first, file.sequence));
    let streams = Streams::of(inventory);
    let timeline = match base {
        Some(base) => Some(base.lineage.timeline),
        None => own_timeline(disk, &segments, &streams, manifest, &is_named)?,
    };
    let is_own =
        |header: &SegmentHeader| timeline.is_none_or(|timeline| streams.are_one(timeline, header.lineage.timeline));
    let named_upto =
        manifest.iter().flat_map(|manifest| manifest.incremental()).map(|file| file.sequence).max().unwrap_or(0);
    // What no manifest knows yet is told by numbers that keep in step with the names.
    let is_part = |before: &Headed, (file, header): &Headed| {
        let in_step = header.number.checked_sub(before.1.number) == file.sequence.checked_sub(before.0.sequence);
        is_named(&file.name) || (file.sequence > named_upto && in_step)
    };
    let own = own_stream(disk, &segments, base, &is_own, &is_part, &is_named)?;
    let mut last: Option<SegmentHeader> = None;
    for (at, (candidate, header)) in segments.into_iter().enumerate() {
        let place = own.iter().find(|(index, _)| *index == at).map(|(_, reason)| reason);
        match place {
            Some(None) => {
                last = Some(header);
                ordered.files.push(candidate);
            }
            Some(Some(reason)) => ordered.unused.push(counted(disk, &candidate.path, reason)?),
            None if !is_own(&header) => {
                ordered.unused.push(counted(disk, &candidate.path, "it is of another log")?);
            }
            None => {
                let reason =
                    if last.is_some() { "it is older than what stands beside it" } else { "it lies before the base" };
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

/// A timeline of the log's own stream, where no base tells: that of the dump which the manifest remembers, or of the end that it
/// names; else that of the stream with most of the files, and then of the bytes.
fn own_timeline(
    disk: &dyn Disk,
    segments: &[Headed],
    streams: &Streams,
    manifest: Option<&Manifest>,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Option<Timeline>, OpenError> {
    let timelines = segments.iter().map(|(_, header)| header.lineage.timeline);
    let mut several = timelines.clone().filter(|timeline| {
        segments.first().is_some_and(|(_, first)| !streams.are_one(first.lineage.timeline, *timeline))
    });
    if several.next().is_none() {
        return Ok(timelines.clone().next());
    }
    if let Some(saved) = manifest.and_then(|manifest| manifest.saved_dump)
        && timelines.clone().any(|timeline| streams.are_one(timeline, saved.timeline))
    {
        return Ok(Some(saved.timeline));
    }
    let closed = manifest.and_then(|manifest| match manifest.state {
        CloseState::Closed { end, chain, .. } => Some((end, chain)),
        CloseState::Open | CloseState::Unknown => None,
    });
    let mut worth: Vec<(Timeline, (bool, usize, u64))> = Vec::new();
    for (file, header) in segments {
        let timeline = header.lineage.timeline;
        let at = match worth.iter().position(|(known, _)| streams.are_one(*known, timeline)) {
            Some(at) => at,
            None => {
                worth.push((timeline, (false, 0, 0)));
                worth.len() - 1
            }
        };
        let Some(survey) = survey(disk, &file.path)? else { continue };
        let (ends, named, bytes) = &mut worth[at].1;
        *ends |= closed == Some((survey.end, survey.chain));
        *named += usize::from(is_named(&file.name));
        *bytes += survey.whole.bytes + survey.behind.bytes;
    }
    Ok(worth.into_iter().max_by_key(|(_, worth)| *worth).map(|(timeline, _)| timeline))
}

/// A file with the header that it begins with.
type Headed = (Candidate, SegmentHeader);

/// Which segments, sorted by number, are of the stream that stands behind the base: an index each, and why it is left out all
/// the same. Those of other streams are not in it.
fn own_stream(
    disk: &dyn Disk,
    segments: &[Headed],
    base: Option<&Position>,
    is_own: &dyn Fn(&SegmentHeader) -> bool,
    is_part: &dyn Fn(&Headed, &Headed) -> bool,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Vec<(usize, Option<&'static str>)>, OpenError> {
    let mut own: Vec<(usize, Option<&'static str>)> = Vec::new();
    let mut last: Option<usize> = None;
    let mut at = 0;
    while at < segments.len() {
        let number = segments[at].1.number;
        let same: Vec<usize> = (at..segments.len()).take_while(|other| segments[*other].1.number == number).collect();
        at += same.len();
        let fits = |index: &usize| {
            let (_, header) = &segments[*index];
            match last.map(|last| &segments[last]) {
                Some((_, before)) if number == before.number + 1 => related(before, header),
                // Across a segment that is missing, what the manifest calls part of the log is taken for it, too: the one that
                // is gone may have been the only one of its timeline.
                Some(last) => {
                    is_own(header) || (is_part(last, &segments[*index]) && header.previous_end > last.1.first)
                }
                None => is_own(header) && base.is_none_or(|base| header.first >= base.lsn),
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
    segments: &[Headed],
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
