//! A log that is being written, from its beginning on and further as it grows: over segments that end, rewrites and restarts
//! of its server.
//!
//! Invariants
//! - Every command is handed out once, in order: frames that a later segment repeats are passed over by their positions.
//! - Waiting is the caller's; whoever waits is told of what changed since it last returned.

use super::log::{OpenedSegment, SegmentReader};
use super::tape::Next;
use super::walk::{Flow, Form, Gap, LogFile, Pause, SegmentWalk, StockWalk, Visitor, log_files, walk_file};
use super::{DamageKind, Lsn, OpenError, OpenOptions};
use crate::env::{Disk, DiskFile, OpenMode};
use std::io;
use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;

/// A frame begins at most so far behind the one before: behind padding.
const PADDING_BYTES_MAX: u64 = 16 << 10;

/// Hands out what a log holds and what is added to it, until whoever looks or waits has enough.
///
/// # Errors
/// When something cannot be read, or the manifest cannot be believed.
pub fn follow(
    disk: &dyn Disk,
    options: &OpenOptions,
    visitor: &mut dyn Visitor,
    wait: &mut dyn FnMut() -> io::Result<Flow>,
) -> Result<(), OpenError> {
    let mut followed = Followed { disk, options, visitor, wait, reached: Lsn(0), sequence: 0 };
    let mut base_seen = false;
    loop {
        let (files, _) = log_files(disk, options)?;
        let base = files.iter().find(|file| file.is_base && !base_seen && followed.sequence == 0);
        let next = base.or_else(|| files.iter().find(|file| !file.is_base && file.sequence > followed.sequence));
        let flow = match next {
            Some(LogFile { path, is_base: true, .. }) => {
                base_seen = true;
                walk_file(disk, path, &options.limits, followed.visitor)?
            }
            Some(file) => match disk.open(&file.path, OpenMode::Read) {
                Ok(open) => followed.file(&*open, file)?,
                // Superseded and removed since the manifest was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Continue(()),
                Err(source) => return Err(OpenError::Io { path: file.path.clone(), source }),
            },
            None => followed.wait(&options.directory)?,
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

struct Followed<'f> {
    disk: &'f dyn Disk,
    options: &'f OpenOptions,
    visitor: &'f mut dyn Visitor,
    wait: &'f mut dyn FnMut() -> io::Result<Flow>,
    /// Everything before this position was handed out.
    reached: Lsn,
    /// Of the last file that was read.
    sequence: u64,
}

impl Followed<'_> {
    fn wait(&mut self, path: &Path) -> Result<Flow, OpenError> {
        if self.visitor.idle().is_break() {
            return Ok(Break(()));
        }
        (self.wait)().map_err(OpenError::io(path))
    }

    fn file(&mut self, file: &dyn DiskFile, named: &LogFile) -> Result<Flow, OpenError> {
        let path = &named.path;
        self.sequence = named.sequence;
        match SegmentWalk::open(file, path)? {
            Some(walk) => self.segment(walk, named),
            None => self.stock(file, named),
        }
    }

    fn segment(&mut self, mut walk: SegmentWalk<'_>, named: &LogFile) -> Result<Flow, OpenError> {
        let path = &named.path;
        let header = *walk.reader().header();
        walk.reader().look_ahead(PADDING_BYTES_MAX);
        if self.visitor.file(path, &Form::Segment(header)).is_break() {
            return Ok(Break(()));
        }
        if self.reached > Lsn(0) && header.previous_end > self.reached {
            let reason = "what lies between was superseded before it was read";
            if self.gap(path, (0, 0), Some(header.first), reason).is_break() {
                return Ok(Break(()));
            }
        }
        loop {
            let pause = walk.advance(None, self.reached, self.visitor)?;
            self.reached = self.reached.max(walk.reader().lsn());
            let kind = match pause {
                Pause::Stopped => return Ok(Break(())),
                Pause::Sealed => return Ok(Continue(())),
                Pause::EndOfFile | Pause::Reached => None,
                Pause::Bad(kind) => Some(kind),
            };
            let reader = walk.reader();
            let (lsn, from) = (reader.lsn(), reader.offset());
            let durable = kind.is_some() && reader.later_mark().map_err(OpenError::io(path))? > lsn;
            let goes_on = self.goes_on_behind(named)?;
            if let (Some(kind), true) = (kind, durable) {
                let found = reader.resync().map_err(OpenError::io(path))?;
                let place = (from, if found { reader.offset() } else { reader.file_len() });
                let next = found.then(|| reader.lsn());
                if self.gap(path, place, next, &kind.to_string()).is_break() {
                    return Ok(Break(()));
                }
                if found {
                    continue;
                }
            }
            match goes_on {
                // What this one holds behind that place, the next one holds too.
                Some(begins) if begins <= lsn => return Ok(Continue(())),
                Some(begins) => {
                    // The last of it may have been written since it was read.
                    reader.refresh().map_err(OpenError::io(path))?;
                    if reader.file_len() <= from {
                        let reason = DamageKind::EndsEarly.to_string();
                        return Ok(self.gap(path, (from, from), Some(begins), &reason));
                    }
                    let before = reader.lsn();
                    if walk.advance(None, self.reached, self.visitor)? == Pause::Stopped {
                        return Ok(Break(()));
                    }
                    self.reached = self.reached.max(walk.reader().lsn());
                    if walk.reader().lsn() == before {
                        let reason = DamageKind::EndsEarly.to_string();
                        return Ok(self.gap(path, (from, walk.reader().file_len()), Some(begins), &reason));
                    }
                }
                None => {
                    if self.wait(path)?.is_break() {
                        return Ok(Break(()));
                    }
                    walk.reader().refresh().map_err(OpenError::io(path))?;
                }
            }
        }
    }

    /// Where the segment behind this one begins, if there is one.
    fn goes_on_behind(&self, named: &LogFile) -> Result<Option<Lsn>, OpenError> {
        let (files, _) = log_files(self.disk, self.options)?;
        let Some(next) = files.iter().find(|file| !file.is_base && file.sequence > named.sequence) else {
            return Ok(None);
        };
        let file = match self.disk.open(&next.path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { path: next.path.clone(), source }),
        };
        Ok(match SegmentReader::open(&*file).map_err(OpenError::io(&next.path))? {
            OpenedSegment::Segment(reader) => Some(reader.header().previous_end),
            _ => None,
        })
    }

    /// A file that a stock server writes.
    fn stock(&mut self, file: &dyn DiskFile, named: &LogFile) -> Result<Flow, OpenError> {
        let path = &named.path;
        if self.visitor.file(path, &Form::Commands).is_break() {
            return Ok(Break(()));
        }
        let mut walk = StockWalk::new(file, path, 0)?;
        loop {
            let next = match walk.advance(self.visitor)? {
                Break(()) => return Ok(Break(())),
                Continue(next) => next,
            };
            if let Next::Garbage(_) = next {
                let from = walk.tape.offset();
                let found = walk.tape.resync().map_err(OpenError::io(path))?;
                let place = (from, if found { walk.tape.offset() } else { walk.tape.end() });
                if self.gap(path, place, None, &DamageKind::BadCommand.to_string()).is_break() {
                    return Ok(Break(()));
                }
                if found {
                    continue;
                }
            }
            let (files, _) = log_files(self.disk, self.options)?;
            if files.iter().any(|file| !file.is_base && file.sequence > named.sequence) {
                return Ok(Continue(()));
            }
            if self.wait(path)?.is_break() {
                return Ok(Break(()));
            }
            walk.tape.refresh().map_err(OpenError::io(path))?;
        }
    }

    fn gap(&mut self, path: &Path, (from, to): (u64, u64), next: Option<Lsn>, reason: &str) -> Flow {
        let lsn = Some(self.reached).filter(|lsn| *lsn > Lsn(0));
        let gap = Gap { path, from, to, lsn, next, keys: None, reason: reason.to_owned(), torn: false };
        self.visitor.gap(&gap)
    }
}
