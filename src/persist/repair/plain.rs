//! Commands without frames: those that stock servers write, into files of their own or behind our frames. And what can still be
//! read of bytes that do not verify.

use super::log::Planner;
use super::order::counted;
use super::{Crossing, Extent, KeptFile, Loss, NAMED_MAX, Seam, Stretch, Unused};
use crate::env::{DiskFile, OpenMode};
use crate::persist::log::SegmentReader;
use crate::persist::log::format::SegmentHeader;
use crate::persist::tape::{Next, Tape};
use crate::persist::{DamageKind, OpenError};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

impl Planner<'_> {
    /// A stock server wrote on behind our frames.
    #[expect(clippy::too_many_arguments, reason = "all that is known at the end of a run of frames")]
    pub(super) fn visited(
        &mut self,
        path: &Path,
        start: u64,
        len: u64,
        here: Seam,
        kept: Option<KeptFile>,
        run: Range<u64>,
        next: Option<&SegmentHeader>,
    ) -> Result<(), OpenError> {
        self.plain_bytes = 0;
        let file = self.disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
        let before = self.plan.losses.len();
        let ranges = self.commands(&*file, path, start..len, next.is_none())?;
        let whole = ranges.len() == 1 && ranges[0].end == len && self.plan.losses.len() == before;
        match kept {
            Some(kept) if whole || ranges.is_empty() => self.plan.kept.push(kept),
            Some(kept) => {
                let joined = std::iter::once(0..start).chain(ranges).collect();
                self.plan.kept.push(KeptFile { extent: Extent::Ranges(joined), ..kept });
            }
            None if !self.stopped => {
                self.take_over(path, run);
                let taken = ranges.into_iter().map(|range| Stretch::Commands { path: path.to_owned(), range });
                self.plan.stretches.extend(taken);
            }
            None => {}
        }
        if !self.broken {
            self.plan.seam = Seam { plain: self.plain_bytes, ..here };
        }
        self.plan.end = next.map_or(self.plan.end.plus(self.plain_bytes), |next| self.plan.end.max(next.first));
        Ok(())
    }

    /// A file by a stock server.
    pub(super) fn stock(
        &mut self,
        file: &dyn DiskFile,
        path: &Path,
        name: &str,
        sequence: u64,
        last: bool,
    ) -> Result<(), OpenError> {
        let len = file.len().map_err(OpenError::io(path))?;
        if self.stopped {
            self.plan.unused.push(counted(self.disk, path, "it lies behind the gap at which the log ends")?);
            return Ok(());
        }
        let broken = self.broken;
        let ranges = self.commands(file, path, 0..len, last)?;
        if broken {
            let taken = ranges.into_iter().map(|range| Stretch::Commands { path: path.to_owned(), range });
            self.plan.stretches.extend(taken);
            return Ok(());
        }
        let whole = ranges.len() == 1 && ranges[0] == (0..len) || len == 0;
        let extent = if whole { Extent::Whole } else { Extent::Ranges(ranges) };
        self.plan.kept.push(KeptFile {
            path: path.to_owned(),
            name: name.to_owned(),
            sequence,
            extent,
            is_segment: false,
        });
        Ok(())
    }

    /// The stretches of a range of commands without frames that count, each of whole transactions.
    pub(super) fn commands(
        &mut self,
        file: &dyn DiskFile,
        path: &Path,
        range: Range<u64>,
        last: bool,
    ) -> Result<Vec<Range<u64>>, OpenError> {
        let mut tape = Tape::stretch(file, range.clone());
        let (mut ranges, mut begin, mut db) = (Vec::new(), range.start, 0);
        let mut transaction: Option<u64> = None;
        loop {
            let offset = tape.offset();
            let (short, reason) = match tape.next().map_err(OpenError::io(path))? {
                Next::Comment | Next::Timestamp(_) => continue,
                Next::Command => {
                    let words = tape.words();
                    if words.len() == 2 && words[0].eq_ignore_ascii_case(b"select") {
                        db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                    }
                    if words[0].eq_ignore_ascii_case(b"multi") {
                        transaction = Some(offset);
                    } else if words[0].eq_ignore_ascii_case(b"exec") {
                        transaction = None;
                    }
                    self.command(db, &words);
                    self.plain_bytes += tape.offset() - offset;
                    continue;
                }
                Next::End if transaction.is_none() => {
                    ranges.push(begin..range.end);
                    break;
                }
                Next::End => (true, "the file ends inside a transaction, which does not count".to_owned()),
                Next::Short => (true, DamageKind::ShortCommand.to_string()),
                Next::Garbage(_) => (false, DamageKind::BadCommand.to_string()),
            };
            // What ends too early may be one command whose length has changed, with others behind it.
            let from = transaction.take().unwrap_or(offset);
            let found = tape.resync().map_err(OpenError::io(path))?;
            let to = if found { tape.offset() } else { range.end };
            ranges.push(begin..from);
            if short && !found && last {
                self.plan.notes.push(format!(
                    "{}: {reason}; its last {} bytes from offset {from} on are cut off",
                    path.display(),
                    range.end - from
                ));
                break;
            }
            let mut loss = self.loss(path, from..to, reason);
            self.readable(file, path, from..to, &mut loss)?;
            let may_cross = self.crossing == Crossing::Always;
            let crossed = may_cross && found;
            loss.crossed = crossed;
            if crossed {
                self.watched.push(self.plan.losses.len());
                self.plan.losses.push(loss);
                self.broken |= !last;
                begin = to;
                continue;
            }
            self.plan.losses.push(loss);
            if found {
                self.left(&mut tape, path, to..range.end)?;
            }
            if !last {
                self.stopped = true;
                self.broken = true;
            }
            break;
        }
        ranges.retain(|range| !range.is_empty());
        Ok(ranges)
    }

    /// Counts what could be read behind a gap that is not gone over.
    fn left(&mut self, tape: &mut Tape<'_>, path: &Path, range: Range<u64>) -> Result<(), OpenError> {
        let reason = "it lies behind the gap at which the log ends".to_owned();
        let mut left = Unused { path: path.to_owned(), reason, frames: 0, commands: 0, bytes: range.end - range.start };
        loop {
            match tape.next().map_err(OpenError::io(path))? {
                Next::Command => left.commands += 1,
                Next::Comment | Next::Timestamp(_) => {}
                Next::End => break,
                Next::Short | Next::Garbage(_) => {
                    if !tape.resync().map_err(OpenError::io(path))? {
                        break;
                    }
                }
            }
        }
        self.plan.unused.push(left);
        Ok(())
    }

    pub(super) fn readable_in(
        &self,
        reader: &mut SegmentReader<'_>,
        range: Range<u64>,
        loss: &mut Loss,
    ) -> Result<(), OpenError> {
        let path = loss.path.clone();
        let file = self.disk.open(&path, OpenMode::Read).map_err(OpenError::io(&path))?;
        let end = range.end.min(reader.file_len());
        self.readable(&*file, &path, range.start..end, loss)
    }

    /// What can still be read of a range, unverified: for those who have to know what is gone.
    pub(super) fn readable(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        range: Range<u64>,
        loss: &mut Loss,
    ) -> Result<(), OpenError> {
        let mut tape = Tape::stretch(file, range);
        let (mut db, mut seen) = (0, HashSet::new());
        loop {
            match tape.next().map_err(OpenError::io(path))? {
                Next::Comment | Next::Timestamp(_) => {}
                Next::Command => {
                    let words = tape.words();
                    loss.commands += 1;
                    if words.len() == 2 && words[0].eq_ignore_ascii_case(b"select") {
                        db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                    }
                    for key in (self.keys_of)(&words) {
                        if seen.len() < NAMED_MAX && seen.insert((db, key.clone())) {
                            loss.names.push((db, key));
                        }
                    }
                }
                Next::End => return Ok(()),
                Next::Short | Next::Garbage(_) => {
                    if !tape.resync().map_err(OpenError::io(path))? {
                        return Ok(());
                    }
                }
            }
        }
    }
}
