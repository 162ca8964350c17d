//! What the files of a log hold, one thing after the other, each with its place: for those who look at them.
//!
//! Reads by the code of a start: frames through [`SegmentReader`], commands through [`Tape`], keys through the RDB reader. Where
//! a start refuses, a walk tells of a gap and goes on at the next thing that verifies.
//!
//! Invariants
//! - Nothing is changed, and nothing is handed out of a frame or a block that does not verify.
//! - Memory is bounded by the largest frame, command or value.

use super::chain::visit;
use super::log::format::{FRAME_HEADER_BYTES, FrameHeader, SegmentHeader};
use super::log::{Item, OpenedSegment, SegmentReader, WriterOptions};
use super::rdb::{self, Index, RdbEntry, RdbSink, Refusal};
use super::resp_scan::{Scanned, scan};
use super::tape::{Next, Tape};
use super::{CloseState, DamageKind, Lsn, Manifest, OpenError, OpenOptions, strays, sums};
use crate::env::disk::read_file;
use crate::env::{Disk, DiskFile, OpenMode, UnixMillis};
use crate::value::Limits;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Whether whoever looks wants to see more.
pub type Flow = ControlFlow<()>;

/// Where a command stands.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'p> {
    pub path: &'p Path,
    pub offset: u64,
    /// In bytes.
    pub len: u64,
    /// Position of its first byte; none of what stock servers wrote.
    pub lsn: Option<Lsn>,
    /// When it was logged, where the file says so.
    pub time: Option<UnixMillis>,
    pub db: u32,
}

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Segment(SegmentHeader),
    Rdb,
    /// Commands by a stock server, or a base of commands.
    Commands,
}

/// Bytes that do not verify.
#[derive(Clone, Debug)]
pub struct Gap<'p> {
    pub path: &'p Path,
    /// Offsets of the first of them, and of what verifies again.
    pub from: u64,
    pub to: u64,
    /// The position that was reached before, and the one at which the log goes on, where they are known.
    pub lsn: Option<Lsn>,
    pub next: Option<Lsn>,
    /// Keys in it, where an index says how many.
    pub keys: Option<u64>,
    pub reason: String,
    /// It lies at the end of a log that was not closed, above everything known to have been durable: a start cuts it off.
    pub torn: bool,
}

/// Takes what a walk meets.
pub trait Visitor {
    fn file(&mut self, path: &Path, form: &Form) -> Flow {
        let _ = (path, form);
        Continue(())
    }

    /// A frame or, where its length is 0, a mark; its commands follow.
    fn frame(&mut self, path: &Path, offset: u64, header: &FrameHeader) -> Flow {
        let _ = (path, offset, header);
        Continue(())
    }

    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        let _ = (spot, words);
        Continue(())
    }

    fn key(&mut self, path: &Path, entry: RdbEntry<'_>) -> Flow {
        let _ = (path, entry);
        Continue(())
    }

    fn library(&mut self, path: &Path, text: &[u8]) -> Flow {
        let _ = (path, text);
        Continue(())
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        let _ = gap;
        Continue(())
    }

    /// Whether keys are of interest: a base that is not looked into costs nothing.
    fn wants_keys(&self) -> bool {
        true
    }

    /// Everything there is was handed out; whoever follows a log is about to wait.
    fn idle(&mut self) -> Flow {
        Continue(())
    }
}

/// A file that a start reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    pub path: PathBuf,
    /// A base, or a dump that takes its place.
    pub is_base: bool,
    pub sequence: u64,
}

/// The files that a start would read, in order, and the manifest that names them, if one does.
///
/// # Errors
/// When the manifest cannot be read or believed, or a file of the log cannot be placed.
pub fn log_files(disk: &dyn Disk, options: &OpenOptions) -> Result<(Vec<LogFile>, Option<Manifest>), OpenError> {
    let directory = options.directory.join(&options.append_directory);
    let writer = WriterOptions {
        directory: directory.clone(),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    };
    let manifest_path = writer.manifest_path();
    let exists = |path: &Path| disk.exists(path).map_err(OpenError::io(path));
    let single = options.directory.join(&options.append_file);
    if options.append_only && exists(&manifest_path)? {
        let content = read_file(disk, &manifest_path).map_err(OpenError::io(&manifest_path))?;
        let mut manifest = Manifest::decode(&content).map_err(|error| OpenError::BadManifest {
            path: manifest_path,
            line: error.line,
            reason: error.reason,
        })?;
        strays::take_in(disk, &writer, &mut manifest)?;
        let base = manifest.base().map(|base| {
            let there = directory.join(&base.name);
            let adopted = base.name == options.append_file && !disk.exists(&there).unwrap_or(true);
            LogFile { path: if adopted { single } else { there }, is_base: true, sequence: base.sequence }
        });
        let segments = manifest.incremental().map(|file| LogFile {
            path: directory.join(&file.name),
            is_base: false,
            sequence: file.sequence,
        });
        return Ok((base.into_iter().chain(segments).collect(), Some(manifest)));
    }
    let dump = options.directory.join(&options.dump_file);
    for path in if options.append_only { vec![single, dump] } else { vec![dump] } {
        if exists(&path)? {
            return Ok((vec![LogFile { path, is_base: true, sequence: 1 }], None));
        }
    }
    Ok((Vec::new(), None))
}

/// Walks the files that a start would read, in order.
///
/// # Errors
/// When something cannot be read; see [`log_files`].
pub fn walk_log(disk: &dyn Disk, options: &OpenOptions, visitor: &mut dyn Visitor) -> Result<Flow, OpenError> {
    let (files, manifest) = log_files(disk, options)?;
    let closed = manifest.is_some_and(|manifest| matches!(manifest.state, CloseState::Closed { .. }));
    walk_files(disk, &files, closed, &options.limits, visitor)
}

/// Walks files of a log in the order in which they are given; `closed`: the log ends where the last one does.
///
/// # Errors
/// When something cannot be read.
pub fn walk_files(
    disk: &dyn Disk,
    files: &[LogFile],
    closed: bool,
    limits: &Limits,
    visitor: &mut dyn Visitor,
) -> Result<Flow, OpenError> {
    let mut opened = Vec::new();
    for LogFile { path, .. } in files {
        opened.push(match disk.open(path, OpenMode::Read) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(OpenError::Io { path: path.clone(), source }),
        });
    }
    let mut headers = Vec::new();
    for (file, named) in opened.iter().zip(files) {
        headers.push(
            match file.as_deref().map(SegmentReader::open).transpose().map_err(OpenError::io(&named.path))? {
                Some(OpenedSegment::Segment(reader)) => Some(*reader.header()),
                _ => None,
            },
        );
    }
    let mut reached: Option<Lsn> = None;
    for (at, (file, LogFile { path, .. })) in opened.iter().zip(files).enumerate() {
        let gap = |lsn, next, reason: &str| Gap {
            path,
            from: 0,
            to: 0,
            lsn,
            next,
            keys: None,
            reason: reason.into(),
            torn: false,
        };
        let Some(file) = file else {
            if visitor.gap(&gap(reached, None, "the manifest names it and it is missing")).is_break() {
                return Ok(Break(()));
            }
            continue;
        };
        let is_last = at + 1 == files.len();
        let next = headers[at + 1..].iter().flatten().next();
        let flow = match &headers[at] {
            Some(header) => {
                let follows = reached.is_none_or(|reached| header.previous_end == reached);
                if !follows
                    && visitor.gap(&gap(reached, Some(header.first), "it does not follow the one before")).is_break()
                {
                    return Ok(Break(()));
                }
                let (flow, end) = walk_segment(&**file, path, next, closed, visitor)?;
                reached = end;
                flow
            }
            None => walk_plain(&**file, path, is_last, limits, visitor)?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(Continue(()))
}

/// Walks one file, whatever it is.
///
/// # Errors
/// When it cannot be read.
pub fn walk_file(disk: &dyn Disk, path: &Path, limits: &Limits, visitor: &mut dyn Visitor) -> Result<Flow, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    let segment = matches!(SegmentReader::open(&*file).map_err(OpenError::io(path))?, OpenedSegment::Segment(_));
    if segment {
        return Ok(walk_segment(&*file, path, None, false, visitor)?.0);
    }
    walk_plain(&*file, path, true, limits, visitor)
}

/// Where a walk through a segment stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Whoever looks has seen enough.
    Stopped,
    /// What counts of this segment ends here: the next one says so.
    Reached,
    Sealed,
    EndOfFile,
    Bad(DamageKind),
}

/// A walk through one segment of ours, which may still be growing.
pub struct SegmentWalk<'f> {
    reader: SegmentReader<'f>,
    path: &'f Path,
}

impl<'f> SegmentWalk<'f> {
    /// `None` when the file does not begin with a segment header that verifies.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(file: &'f dyn DiskFile, path: &'f Path) -> Result<Option<Self>, OpenError> {
        Ok(match SegmentReader::open(file).map_err(OpenError::io(path))? {
            OpenedSegment::Segment(reader) => Some(Self { reader, path }),
            _ => None,
        })
    }

    pub fn reader(&mut self) -> &mut SegmentReader<'f> {
        &mut self.reader
    }

    /// Goes on, up to a place that is named, the end, or damage. Commands before `from` are not handed out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn advance(
        &mut self,
        until: Option<(Lsn, u32)>,
        from: Lsn,
        visitor: &mut dyn Visitor,
    ) -> Result<Pause, OpenError> {
        loop {
            let lsn = self.reader.lsn();
            if until.is_some_and(|(end, chain)| lsn > end || (lsn == end && self.reader.chain() == chain)) {
                return Ok(Pause::Reached);
            }
            let offset = self.reader.to_next_frame().map_err(OpenError::io(self.path))?;
            match self.reader.next().map_err(OpenError::io(self.path))? {
                Item::Frame { header, payload } => {
                    let skipped = header.len > 0 && header.end() <= from;
                    if !skipped && hand_out(self.path, offset, &header, payload, from, visitor).is_break() {
                        return Ok(Pause::Stopped);
                    }
                }
                Item::Sealed => return Ok(Pause::Sealed),
                Item::EndOfFile => return Ok(Pause::EndOfFile),
                Item::Bad(kind) => return Ok(Pause::Bad(kind)),
            }
        }
    }
}

/// Hands out a frame and its commands from a position on.
fn hand_out(
    path: &Path,
    offset: u64,
    header: &FrameHeader,
    payload: &[u8],
    from: Lsn,
    visitor: &mut dyn Visitor,
) -> Flow {
    visitor.frame(path, offset, header)?;
    let (mut at, mut db) = (0, header.db);
    while at < payload.len() {
        let (words, end) = match scan(payload, at) {
            Scanned::Command { words, end } => (words, end),
            Scanned::Comment { end } => {
                at = end;
                continue;
            }
            // A frame that verifies holds whole commands; a start names one that does not.
            Scanned::Incomplete | Scanned::Garbage => break,
        };
        let words: Vec<&[u8]> = words.into_iter().map(|word| &payload[word]).collect();
        let lsn = header.lsn.plus(at as u64);
        let spot = Spot {
            path,
            offset: offset + (FRAME_HEADER_BYTES + at) as u64,
            len: (end - at) as u64,
            lsn: Some(lsn),
            time: Some(UnixMillis(header.time)),
            db,
        };
        db = selected(&words).unwrap_or(db);
        if lsn >= from {
            visitor.command(&spot, &words)?;
        }
        at = end;
    }
    Continue(())
}

/// The database that a command selects, if it is one that does.
fn selected(words: &[&[u8]]) -> Option<u32> {
    match words {
        [name, index] if name.eq_ignore_ascii_case(b"select") => std::str::from_utf8(index).ok()?.parse().ok(),
        _ => None,
    }
}

/// Walks one segment, up to where the next one says that it ends; and how far the log reaches in it.
fn walk_segment(
    file: &dyn DiskFile,
    path: &Path,
    next: Option<&SegmentHeader>,
    closed: bool,
    visitor: &mut dyn Visitor,
) -> Result<(Flow, Option<Lsn>), OpenError> {
    let Some(mut walk) = SegmentWalk::open(file, path)? else { return Ok((Continue(()), None)) };
    if visitor.file(path, &Form::Segment(*walk.reader.header())).is_break() {
        return Ok((Break(()), None));
    }
    let until = next.map(|next| (next.previous_end, next.previous_chain));
    loop {
        let kind = match walk.advance(until, Lsn(0), visitor)? {
            Pause::Stopped => return Ok((Break(()), None)),
            Pause::Reached if next.is_none_or(|next| next.first == next.previous_end) => break,
            Pause::Sealed | Pause::EndOfFile if next.is_none() => break,
            Pause::Bad(kind) => kind,
            // Behind what the next segment calls the end a stock server may have written.
            Pause::Reached => DamageKind::BytesBehindEnd,
            Pause::Sealed | Pause::EndOfFile => DamageKind::EndsEarly,
        };
        let reader = &mut walk.reader;
        let (from, lsn, mark) = (reader.offset(), reader.lsn(), reader.mark());
        if let Some(visit) = visit(reader, next, path)? {
            let flow = walk_commands(file, path, visit.start..reader.file_len(), next.is_none(), visitor)?;
            return Ok((flow, next.map(|next| next.previous_end)));
        }
        if kind == DamageKind::EndsEarly && until.is_some_and(|(end, _)| end <= lsn) {
            break;
        }
        let found = reader.resync().map_err(OpenError::io(path))?;
        let to = if found { reader.offset() } else { reader.file_len() };
        let durable = reader.mark() > lsn.max(mark) || mark > lsn || closed || kind == DamageKind::BytesBehindEnd;
        let gap = Gap {
            path,
            from,
            to,
            lsn: Some(lsn),
            next: if found { Some(reader.lsn()) } else { until.map(|(end, _)| end) },
            keys: None,
            reason: kind.to_string(),
            torn: next.is_none() && !durable,
        };
        if visitor.gap(&gap).is_break() {
            return Ok((Break(()), None));
        }
        if !found {
            // What the next segment continues was told as missing.
            return Ok((Continue(()), until.map(|(end, _)| end)));
        }
    }
    Ok((Continue(()), Some(until.map_or(walk.reader.lsn(), |(end, _)| end))))
}

/// Walks a base, a dump or a stock file; `last`: a crash may have cut it inside a command.
fn walk_plain(
    file: &dyn DiskFile,
    path: &Path,
    last: bool,
    limits: &Limits,
    visitor: &mut dyn Visitor,
) -> Result<Flow, OpenError> {
    let mut head = [0; 9];
    let shown = file.len().map_err(OpenError::io(path))?.min(head.len() as u64) as usize;
    file.read_exact_at(&mut head[..shown], 0).map_err(OpenError::io(path))?;
    let is_rdb = rdb::is_rdb(&head[..shown]);
    if visitor.file(path, if is_rdb { &Form::Rdb } else { &Form::Commands }).is_break() {
        return Ok(Break(()));
    }
    let end = file.len().map_err(OpenError::io(path))?;
    if is_rdb {
        return match walk_rdb(file, path, limits, visitor)? {
            Continue(start) => walk_commands(file, path, start..end, last, visitor),
            Break(()) => Ok(Break(())),
        };
    }
    let Some((blocks, behind)) = sums::blocks(file).map_err(OpenError::io(path))? else {
        return walk_commands(file, path, 0..end, last, visitor);
    };
    for sums::Block { range, damage } in blocks {
        let flow = match damage {
            None => walk_commands(file, path, range, false, visitor)?,
            Some(kind) => visitor.gap(&Gap {
                path,
                from: range.start,
                to: range.end,
                lsn: None,
                next: None,
                keys: None,
                reason: kind.to_string(),
                torn: false,
            }),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    walk_commands(file, path, behind..end, last, visitor)
}

/// Walks an RDB file, or the one in front of commands; the offset behind it.
fn walk_rdb(
    file: &dyn DiskFile,
    path: &Path,
    limits: &Limits,
    visitor: &mut dyn Visitor,
) -> Result<ControlFlow<(), u64>, OpenError> {
    let len = file.len().map_err(OpenError::io(path))?;
    let gap = |from, to, keys, reason| Gap { path, from, to, lsn: None, next: None, keys, reason, torn: false };
    let mut keys = Keys { path, visitor, stopped: false };
    let Some(index) = Index::read(file).map_err(OpenError::io(path))? else {
        let mut source = rdb::FileSource::new(file).map_err(OpenError::io(path))?;
        return Ok(match rdb::read(&mut source, limits, &mut keys) {
            Ok(loaded) => Continue(loaded.end),
            Err(_) if keys.stopped => Break(()),
            Err(error) => match visitor.gap(&gap(error.offset.min(len), len, None, error.to_string())) {
                Continue(()) => Continue(len),
                Break(()) => Break(()),
            },
        });
    };
    if !keys.visitor.wants_keys() {
        return Ok(Continue(len));
    }
    for block in std::iter::once(&index.head).chain(&index.blocks) {
        let read = match block.number {
            0 => rdb::read_head(file, &index, limits, &mut keys).map(|_| ()),
            _ => rdb::read_block(file, block, limits, &mut keys).map(|_| ()),
        };
        let flow = match read {
            Ok(()) => Continue(()),
            Err(_) if keys.stopped => Break(()),
            Err(error) => {
                let to = block.offset + block.len + rdb::BLOCK_FIELD_BYTES;
                keys.visitor.gap(&gap(block.offset, to, Some(block.keys), error.to_string()))
            }
        };
        if flow.is_break() {
            return Ok(Break(()));
        }
    }
    Ok(Continue(len))
}

struct Keys<'k> {
    path: &'k Path,
    visitor: &'k mut dyn Visitor,
    stopped: bool,
}

impl Keys<'_> {
    fn flow(&mut self, flow: Flow) -> Result<(), Refusal> {
        self.stopped |= flow.is_break();
        if flow.is_break() { Err("enough was seen".into()) } else { Ok(()) }
    }
}

impl RdbSink for Keys<'_> {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        let flow = self.visitor.key(self.path, entry);
        self.flow(flow)
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let flow = self.visitor.library(self.path, text);
        self.flow(flow)
    }
}

/// A walk through commands by a stock server, in a file that may still be growing.
pub struct StockWalk<'f> {
    pub tape: Tape<'f>,
    path: &'f Path,
    db: u32,
    time: Option<UnixMillis>,
    /// Where a transaction under way begins: it counts when its EXEC is there.
    transaction: Option<u64>,
}

impl<'f> StockWalk<'f> {
    /// # Errors
    /// When the file cannot be read.
    pub fn new(file: &'f dyn DiskFile, path: &'f Path, start: u64) -> Result<Self, OpenError> {
        let tape = Tape::new(file, start).map_err(OpenError::io(path))?;
        Ok(Self { tape, path, db: 0, time: None, transaction: None })
    }

    /// Goes on to what is no command: the end of the file, or damage.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn advance(&mut self, visitor: &mut dyn Visitor) -> Result<ControlFlow<(), Next>, OpenError> {
        loop {
            let offset = self.tape.offset();
            match self.tape.next().map_err(OpenError::io(self.path))? {
                Next::Comment => {}
                Next::Timestamp(seconds) => self.time = Some(UnixMillis(seconds.saturating_mul(1000))),
                Next::Command => {
                    let words = self.tape.words();
                    let len = self.tape.offset() - offset;
                    let spot = Spot { path: self.path, offset, len, lsn: None, time: self.time, db: self.db };
                    self.db = selected(&words).unwrap_or(self.db);
                    match words[0] {
                        name if name.eq_ignore_ascii_case(b"multi") => self.transaction = Some(offset),
                        name if name.eq_ignore_ascii_case(b"exec") => self.transaction = None,
                        _ => {}
                    }
                    if visitor.command(&spot, &words).is_break() {
                        return Ok(Break(()));
                    }
                }
                other => return Ok(Continue(other)),
            }
        }
    }
}

/// Walks the commands of a stretch of a file by a stock server, or of ours without frames. One that cannot be parsed is told as a gap, and
/// the walk goes on at the next line that begins a whole command.
fn walk_commands(
    file: &dyn DiskFile,
    path: &Path,
    range: Range<u64>,
    last: bool,
    visitor: &mut dyn Visitor,
) -> Result<Flow, OpenError> {
    let tape = Tape::stretch(file, range);
    let mut walk = StockWalk { tape, path, db: 0, time: None, transaction: None };
    loop {
        let next = match walk.advance(visitor)? {
            Break(()) => return Ok(Break(())),
            Continue(next) => next,
        };
        let from = walk.transaction.unwrap_or(walk.tape.offset());
        // What ends too early is cut off by a start, whatever it holds.
        let (short, reason) = match next {
            Next::End if walk.transaction.is_none() => return Ok(Continue(())),
            Next::Garbage(_) => (false, DamageKind::BadCommand.to_string()),
            Next::End => (true, "the file ends inside a transaction, which does not count".to_owned()),
            _ => (true, DamageKind::ShortCommand.to_string()),
        };
        let found = !short && walk.tape.resync().map_err(OpenError::io(path))?;
        let to = if found { walk.tape.offset() } else { walk.tape.end() };
        let gap = Gap { path, from, to, lsn: None, next: None, keys: None, reason, torn: last && short };
        let flow = visitor.gap(&gap);
        if flow.is_break() || !found {
            return Ok(flow);
        }
    }
}
