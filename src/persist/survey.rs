//! What verifies in one file of the log, all of it: up to the first damage, and behind it.
//!
//! Invariant: nothing is changed and nothing is judged by what other files say; whether damage stops a start is for
//! [`super::examine`].

use super::base::Reading;
use super::chain::visit;
use super::feed::Feed;
use super::loader;
use super::log::format::SegmentHeader;
use super::log::{Item, OpenedSegment, SegmentReader};
use super::replay::Discard;
use super::{DamageKind, Lsn, OpenError, resp_scan};
use crate::env::{Disk, DiskFile};
use crate::value::Limits;
use std::path::Path;

/// How much of the log some bytes hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub frames: u64,
    pub commands: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// What a segment of ours holds.
#[derive(Clone, Debug)]
pub struct SegmentSurvey {
    pub header: SegmentHeader,
    pub size: u64,
    /// What verifies without a gap from the beginning, and where that ends: offset, position, chain value.
    pub whole: Contents,
    pub offset: u64,
    pub end: Lsn,
    pub chain: u32,
    /// Behind what any header, also one behind damage, says was durable.
    pub mark: Lsn,
    pub sealed: bool,
    /// Times of its first and its last frame, in ms since the epoch.
    pub times: Option<(i64, i64)>,
    /// Why `offset` is not the end of the file.
    pub damage: Option<DamageKind>,
    /// Where a stock server wrote on, and what it wrote.
    pub visit: Option<(u64, PlainSurvey)>,
    /// Frames behind the damage that verify by themselves.
    pub behind: Contents,
}

/// What a file of a stock server holds, or a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainSurvey {
    pub keys: u64,
    pub commands: u64,
    /// Offset behind the last command that counts.
    pub end: u64,
    /// Why the file does not end there.
    pub damage: Option<DamageKind>,
    /// Where a base of commands says that it ends.
    pub closed: Option<u64>,
}

/// Walks a segment; `None` when the file does not begin with a segment header that verifies.
///
/// # Errors
/// When it cannot be read.
pub fn survey_segment(file: &dyn DiskFile, path: &Path) -> Result<Option<SegmentSurvey>, OpenError> {
    let io_error = || OpenError::io(path);
    let OpenedSegment::Segment(mut reader) = SegmentReader::open(file).map_err(io_error())? else { return Ok(None) };
    let (mut whole, mut times, mut sealed) = (Contents::default(), None, false);
    let damage = loop {
        match reader.next().map_err(io_error())? {
            Item::Frame { header, payload } => {
                let first = times.map_or(header.time, |(first, _)| first);
                times = Some((first, header.time));
                count(&mut whole, payload);
            }
            Item::Sealed => {
                sealed = true;
                break None;
            }
            Item::EndOfFile => break None,
            Item::Bad(kind) => break Some(kind),
        }
    };
    let (offset, end, chain) = (reader.offset(), reader.lsn(), reader.chain());
    let mut survey = SegmentSurvey {
        header: *reader.header(),
        size: reader.file_len(),
        whole,
        offset,
        end,
        chain,
        mark: reader.mark(),
        sealed,
        times,
        damage,
        visit: None,
        behind: Contents::default(),
    };
    if damage.is_none() {
        return Ok(Some(survey));
    }
    if let Some(visit) = visit(&mut reader, None, path)? {
        let mut discard = Discard;
        let mut feed = Feed::direct(&mut discard, Reading::default());
        let begins = loader::Begins::TornFrame;
        let loaded = loader::load_commands(file, path, visit.start, survey.size, begins, &mut feed)?;
        survey.visit = Some((visit.start, plain(&loaded)));
        survey.damage = None;
        return Ok(Some(survey));
    }
    while reader.resync().map_err(io_error())? {
        while let Item::Frame { payload, .. } = reader.next().map_err(io_error())? {
            count(&mut survey.behind, payload);
        }
    }
    survey.mark = reader.mark();
    Ok(Some(survey))
}

/// Walks a base, or a file of a stock server.
///
/// # Errors
/// When it cannot be read, or its RDB part is damaged.
pub fn survey_plain(disk: &dyn Disk, path: &Path, limits: &Limits) -> Result<PlainSurvey, OpenError> {
    let loaded = loader::load_plain(disk, path, limits, &mut Feed::direct(&mut Discard, Reading::to_check()))?;
    Ok(plain(&loaded))
}

fn plain(loaded: &loader::PlainLoaded) -> PlainSurvey {
    let loader::PlainLoaded { keys, commands, end, rest: damage, closed, .. } = *loaded;
    PlainSurvey { keys, commands, end, damage, closed }
}

fn count(contents: &mut Contents, payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    contents.frames += 1;
    contents.bytes += payload.len() as u64;
    // A payload that verifies and is no command is what a start names; here its frame counts.
    contents.commands += resp_scan::count(payload).unwrap_or(0);
}
