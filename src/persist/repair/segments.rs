//! Reading the files of a log in order, up to and beyond each gap.

use super::log::Planner;
use super::order::{Candidate, Kind};
use super::{Crossing, Extent, KeptFile, Seam, Stretch, Unused};
use crate::env::OpenMode;
use crate::persist::chain::{related, visit};
use crate::persist::log::format::{FrameHeader, SegmentHeader};
use crate::persist::log::{Item, OpenedSegment, SegmentReader};
use crate::persist::resp_scan::{Scanned, scan};
use crate::persist::{DamageKind, OpenError};
use std::ops::Range;
use std::path::Path;

/// How a segment is read: what is before it, and which comes next.
struct Around<'a> {
    next: Option<&'a SegmentHeader>,
    name: &'a str,
    sequence: u64,
}
impl Planner<'_> {
    /// Reads the files of the log in order.
    pub(super) fn read(&mut self, files: &[Candidate]) -> Result<(), OpenError> {
        let mut last: Option<SegmentHeader> = None;
        for (at, Candidate { path, name, sequence, kind }) in files.iter().enumerate() {
            let file = self.disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
            let next = files[at + 1..].iter().find_map(|file| match &file.kind {
                Kind::Segment(header) => Some(header),
                _ => None,
            });
            let is_last = at + 1 == files.len();
            match kind {
                Kind::Stock => self.stock(&*file, path, name, *sequence, is_last)?,
                Kind::Headless => {
                    let reason = DamageKind::BadSegmentHeader.to_string();
                    let mut reader = SegmentReader::open_headless(&*file).map_err(OpenError::io(path))?;
                    let len = file.len().map_err(OpenError::io(path))?;
                    let found = match &mut reader {
                        Some(reader) => reader.resync().map_err(OpenError::io(path))?,
                        None => false,
                    };
                    if let (Some(reader), true) = (&mut reader, found) {
                        self.plan.notes.push(format!("{}: {reason}; its frames do", path.display()));
                        if reader.lsn() != self.plan.end {
                            let mut loss = self.loss(path, 0..reader.offset(), reason);
                            (loss.from, loss.to) = (Some(self.plan.end), Some(reader.lsn()));
                            let may_cross = self.crossing != Crossing::Never;
                            self.gap(loss, may_cross);
                        }
                        self.broken = true;
                        self.frames(reader, path, &Around { next, name, sequence: *sequence })?;
                    } else {
                        let mut loss = self.loss(path, 0..len, format!("{reason}, and nothing in the file does"));
                        self.readable(&*file, path, 0..len, &mut loss)?;
                        loss.from = Some(self.plan.end);
                        loss.to = next.map(|next| next.previous_end);
                        let may_cross = self.crossing == Crossing::Always;
                        self.gap(loss, may_cross);
                    }
                }
                Kind::Segment(header) => {
                    let OpenedSegment::Segment(mut reader) =
                        SegmentReader::open(&*file).map_err(OpenError::io(path))?
                    else {
                        continue;
                    };
                    self.enter(path, header, last.as_ref());
                    let next = next.filter(|next| next.number == header.number + 1 && related(header, next));
                    self.frames(&mut reader, path, &Around { next, name, sequence: *sequence })?;
                    last = Some(*header);
                }
            }
        }
        let Some((closed, chain)) = self.closed.filter(|_| !self.stopped && !self.broken) else { return Ok(()) };
        if self.plan.end < closed {
            let path = files.last().map(|file| file.path.clone()).unwrap_or_default();
            let mut loss = self.loss(&path, 0..0, DamageKind::EndsBeforeClose.to_string());
            (loss.from, loss.to) = (Some(self.plan.end), Some(closed));
            self.plan.losses.push(loss);
        } else if (self.plan.end, self.plan.seam.chain) != (closed, chain) && self.plan.seam.plain == 0 {
            let reason = "the manifest says that the log was closed before its end: it is older than the log";
            self.plan.notes.push(reason.into());
        }
        Ok(())
    }

    /// Before a segment: whether it goes on where the log stands.
    fn enter(&mut self, path: &Path, header: &SegmentHeader, last: Option<&SegmentHeader>) {
        if self.broken || self.stopped {
            self.missing(path, header, last);
            return;
        }
        let end = self.plan.end;
        let continues = match (last, self.plan.position) {
            (None, Some(base)) => header.first == base.lsn,
            (None, None) => header.number == 1 && header.first == header.previous_end,
            (Some(last), _) => {
                header.number == last.number + 1
                    && header.previous_end <= end
                    && (header.previous_chain == self.plan.seam.chain || header.previous_end < end)
            }
        };
        if !continues {
            self.missing(path, header, last);
            if !self.broken {
                // It stands where it should, and refers to another file before it than the one that is there.
                let reason = DamageKind::NotTheNext.to_string();
                let mut loss = self.loss(path, 0..0, reason);
                (loss.from, loss.to) = (Some(end), Some(header.first));
                let may_cross = self.crossing != Crossing::Never;
                self.gap(loss, may_cross);
            }
        } else if last.is_none() {
            // Of the first one the header says where it stands.
            self.plan.seam = Seam { lsn: header.first, chain: header.previous_chain, ..self.plan.seam };
            self.plan.end = header.first;
        }
    }

    /// Takes note of what lies between the log so far and a segment, if anything does.
    fn missing(&mut self, path: &Path, header: &SegmentHeader, last: Option<&SegmentHeader>) {
        let expected = last.map_or(1, |last| last.number + 1);
        let begins = match (last, self.plan.position) {
            (None, None) => header.number == 1,
            (None, Some(base)) => header.first <= base.lsn,
            (Some(_), _) => header.number == expected && header.previous_end <= self.plan.end,
        };
        if begins {
            return;
        }
        let reason = match header.number.saturating_sub(expected) {
            0 => "what stands before this segment is missing".to_owned(),
            1 => format!("the segment with number {expected} is missing"),
            count => format!("the {count} segments from number {expected} on are missing"),
        };
        let mut loss = self.loss(path, 0..0, reason);
        (loss.from, loss.to) = (Some(self.plan.end), Some(header.first));
        let may_cross = self.crossing == Crossing::Always;
        self.gap(loss, may_cross);
        self.plan.end = header.first;
    }

    /// Reads the frames of a segment, up to where the next one says that it ends.
    fn frames(&mut self, reader: &mut SegmentReader<'_>, path: &Path, around: &Around<'_>) -> Result<(), OpenError> {
        let Around { next, name, sequence } = *around;
        let io_error = || OpenError::io(path);
        let until = next.map(|next| (next.previous_end, next.previous_chain));
        let header = *reader.header();
        let len = reader.file_len();
        let mut unused: Option<Unused> = None;
        // Where the frames that are being read begin.
        let mut run = reader.offset();
        let kept =
            |extent| KeptFile { path: path.to_owned(), name: name.to_owned(), sequence, extent, is_segment: true };
        // Whether this file was kept from its beginning on, so far without a gap.
        let mut whole_so_far = !self.broken && !self.stopped;
        loop {
            let (offset, lsn, chain) = (reader.offset(), reader.lsn(), reader.chain());
            let reached = until.is_some_and(|(end, at)| lsn > end || (lsn == end && chain == at));
            let item = if reached { None } else { Some(reader.next().map_err(io_error())?) };
            let kind = match item {
                Some(Item::Frame { header: frame, payload }) => {
                    if self.stopped {
                        let left = unused.get_or_insert_with(|| Unused {
                            path: path.to_owned(),
                            reason: "it lies behind the gap at which the log ends".into(),
                            frames: 0,
                            commands: 0,
                            bytes: 0,
                        });
                        left.frames += u64::from(frame.len > 0);
                        left.bytes += frame.len;
                        each_command(&frame, payload, |_, _| left.commands += 1);
                    } else {
                        self.plan.frames += u64::from(frame.len > 0);
                        let mut db = frame.db;
                        each_command(&frame, payload, |selected, words| {
                            db = selected;
                            self.command(selected, words);
                        });
                        self.plan.end = frame.end().max(self.plan.end);
                        if whole_so_far {
                            self.plan.seam.db = db;
                        }
                    }
                    continue;
                }
                None => None,
                Some(Item::Sealed | Item::EndOfFile) if until.is_none_or(|(end, _)| lsn >= end) => None,
                Some(Item::Sealed | Item::EndOfFile) => Some(DamageKind::EndsEarly),
                Some(Item::Bad(kind)) => Some(kind),
            };
            // The end of a run.
            let here = Seam {
                lineage: Some(header.lineage),
                number: header.number,
                lsn,
                chain,
                db: self.plan.seam.db,
                plain: 0,
            };
            if let Some(visit) = if kind.is_some() || next.is_some() { visit(reader, next, path)? } else { None } {
                self.visited(
                    path,
                    visit.start,
                    len,
                    here,
                    whole_so_far.then_some(kept(Extent::Whole)),
                    run..offset,
                    next,
                )?;
                break;
            }
            let Some(kind) = kind else {
                self.run_ends(path, here, whole_so_far.then_some(kept(Extent::Whole)), run..offset);
                break;
            };
            let mark = reader.mark();
            let found = reader.resync().map_err(io_error())?;
            let (to, goes_on) = if found { (reader.offset(), Some(reader.lsn())) } else { (len, None) };
            // What the next segment holds too is none of this one any more.
            if until.is_some_and(|(end, _)| lsn >= end) {
                self.run_ends(path, here, whole_so_far.then_some(kept(Extent::Whole)), run..offset);
                break;
            }
            let durable = mark.max(reader.mark()) > lsn || self.closed.is_some() || kind == DamageKind::BytesBehindEnd;
            if !found && next.is_none() && !durable && !self.stopped {
                self.plan.notes.push(format!(
                    "{}: a tail of {} bytes from offset {offset} on was torn by a crash, above everything that is known to have been \
                     durable",
                    path.display(),
                    len - offset
                ));
                if whole_so_far {
                    self.plan.seam = here;
                    self.plan.kept.push(kept(Extent::Prefix(offset)));
                } else {
                    self.take_over(path, run..offset);
                }
                break;
            }
            let mut loss = self.loss(path, offset..to, kind.to_string());
            loss.from = Some(lsn);
            loss.to =
                goes_on.or(until.map(|(end, _)| end)).or(Some(mark.max(reader.mark())).filter(|mark| *mark > lsn));
            self.readable_in(reader, offset..to, &mut loss)?;
            if !self.stopped {
                if whole_so_far {
                    self.plan.seam = here;
                    self.plan.kept.push(kept(Extent::Prefix(offset)));
                } else {
                    self.take_over(path, run..offset);
                }
                whole_so_far = false;
                let may_cross = self.crossing != Crossing::Never;
                self.gap(loss, may_cross);
            } else {
                self.plan.losses.push(loss);
            }
            if !found {
                if let Some((end, _)) = until {
                    self.plan.end = self.plan.end.max(end);
                }
                break;
            }
            run = to;
        }
        self.plan.unused.extend(unused);
        Ok(())
    }

    /// A file ends with a run of frames: it is kept as it is where nothing was wrong before, else the run is taken over.
    fn run_ends(&mut self, path: &Path, here: Seam, whole: Option<KeptFile>, run: Range<u64>) {
        if let Some(whole) = whole {
            self.plan.seam = here;
            self.plan.kept.push(whole);
        } else if !self.stopped {
            self.take_over(path, run);
        }
    }

    pub(super) fn take_over(&mut self, path: &Path, range: Range<u64>) {
        if !range.is_empty() {
            self.plan.stretches.push(Stretch::Frames { path: path.to_owned(), range });
        }
    }
}

/// The commands of a frame, each with the database that is selected where it stands.
fn each_command(header: &FrameHeader, payload: &[u8], mut each: impl FnMut(u32, &[&[u8]])) {
    let (mut at, mut db) = (0, header.db);
    while at < payload.len() {
        match scan(payload, at) {
            Scanned::Command { words, end } => {
                let words: Vec<&[u8]> = words.into_iter().map(|word| &payload[word]).collect();
                if words.len() == 2 && words[0].eq_ignore_ascii_case(b"select") {
                    db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                }
                each(db, &words);
                at = end;
            }
            Scanned::Comment { end } => at = end,
            Scanned::Incomplete | Scanned::Garbage => return,
        }
    }
}
