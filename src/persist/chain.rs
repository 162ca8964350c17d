//! The chain of segments: loads them in order, checks that each follows the one before, and finds where the log ends.
//!
//! Torn or rotten: bytes above every mark that verified may be lost to a crash, and are cut; bytes below one were
//! durable, and their damage stops the start. What stock servers appended is loaded by stock's rules.

mod visit;

pub use self::visit::{Visit, visit};
use super::base::Counted;
use super::feed::Feed;
use super::loader::{Begins, PlainLoaded, frame_block, load_commands, load_plain, plain_damage};
use super::log::format::{END_BYTES, FRAME_HEADER_BYTES, FrameHeader, SegmentHeader, select};
use super::log::{Item, OpenedSegment, Segment, SegmentReader};
use super::manifest::{CloseState, FileEntry, Manifest};
use super::recovery::{LoadReport, OpenOptions};
use super::replay::Piece;
use super::{Damage, DamageKind, Lineage, Lsn, OpenError, Position, resp_scan};
use crate::env::{Disk, DiskFile, OpenMode, UnixMillis};
use crate::resp::Woven;
use std::io;
use std::path::{Path, PathBuf};

/// A place between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub lsn: Lsn,
    pub chain: u32,
    /// Database selected there.
    pub db: u32,
    pub offset: u64,
}

/// A frame in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef {
    pub header: FrameHeader,
    /// Offset of its payload.
    pub payload: u64,
}

/// Frames that may exist in the page cache only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    None,
    Frames { path: PathBuf, frames: Vec<FrameRef> },
}

/// A tail that a crash has torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// Where the log ends and how it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// The log ends where it was closed.
    pub clean: bool,
    /// Lineage of the last segment of ours.
    pub lineage: Option<Lineage>,
    /// Lineage of the last one that stays.
    pub kept: Option<Lineage>,
    /// Number of the segment that the log goes on in.
    pub number: u64,
    /// Its first position, where that is above `marked` because stock wrote in between.
    pub first: Lsn,
    pub end: Lsn,
    /// Database selected at the end, and time of the last frame.
    pub db: u32,
    pub time: i64,
    /// Behind the last frame that is known to be durable.
    pub marked: Place,
    pub tail: Tail,
    pub torn: Option<Torn>,
    /// A last segment without frames, whose place the new one takes.
    pub reuse: Option<(String, u64)>,
    /// What is to be cut once the new segment is named.
    pub cuts: Vec<(PathBuf, u64)>,
    /// A stock file whose last command is cut off.
    pub cut_plain: Option<(PathBuf, u64)>,
    /// Stock wrote behind something that it cannot load again itself.
    pub mend: Option<Mend>,
}

/// Ranges of a file to be left out, ascending, and its end: what stays means the same to us, and stock can load it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mend {
    pub path: PathBuf,
    pub leave_out: Vec<(u64, u64)>,
    pub end: u64,
}

impl ChainEnd {
    /// No segment yet, behind a base that stands there, or at the beginning of everything.
    pub fn behind(base: Option<Position>) -> Self {
        let (lineage, first) = (base.map(|base| base.lineage), base.map_or(Lsn::FIRST, |base| base.lsn));
        Self {
            clean: false,
            lineage,
            kept: lineage,
            number: 1,
            first,
            end: first,
            db: 0,
            time: 0,
            marked: Place { lsn: first, ..Place::default() },
            tail: Tail::None,
            torn: None,
            reuse: None,
            cuts: Vec::new(),
            cut_plain: None,
            mend: None,
        }
    }
}

/// Whether a stock file that ends inside a command may be accepted.
pub fn judge_plain(
    path: &Path,
    loaded: &PlainLoaded,
    kind: DamageKind,
    last: bool,
    options: &OpenOptions,
) -> Result<(), OpenError> {
    let damage = plain_damage(path, loaded, kind);
    match kind {
        DamageKind::ShortCommand if last && options.load_truncated => Ok(()),
        DamageKind::ShortCommand if last => Err(OpenError::Truncated(damage)),
        _ => Err(OpenError::Rotten(damage)),
    }
}

/// Whether a base that a manifest names ends where its last checksum line says, if it has one. Stock writes behind no base, but
/// behind an append-only file of a single part, which keeps its name when it becomes a base.
pub fn judge_base(path: &Path, loaded: &PlainLoaded, options: &OpenOptions) -> Result<(), OpenError> {
    match loaded.closed {
        _ if path.ends_with(&options.append_file) => Ok(()),
        Some(end) if end < loaded.end || loaded.rest.is_some() => {
            let damage = plain_damage(path, loaded, DamageKind::BytesBehindEnd);
            Err(OpenError::Rotten(Damage { offset: end, ..damage }))
        }
        _ => Ok(()),
    }
}

/// Loads the incremental files of a manifest, behind a base that stands at `base`, where it says so.
pub fn load(
    disk: &dyn Disk,
    directory: &Path,
    manifest: &Manifest,
    base: Option<Position>,
    options: &OpenOptions,
    feed: &mut Feed<'_>,
    report: &mut LoadReport,
) -> Result<ChainEnd, OpenError> {
    let mut files = Vec::new();
    for entry in manifest.incremental() {
        let path = directory.join(&entry.name);
        let file = disk.open(&path, OpenMode::Read).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::MissingFile { path: path.clone() },
            _ => OpenError::Io { path: path.clone(), source: error },
        })?;
        files.push((entry, path, file));
    }
    let mut headers: Vec<Option<SegmentHeader>> = Vec::new();
    for (entry, path, file) in &files {
        let ours = manifest.segments_from.is_some_and(|first| entry.sequence >= first);
        let opened = SegmentReader::open(&**file).map_err(OpenError::io(path))?;
        let rotten = |kind, lsn| Err(OpenError::Rotten(Damage { file: path.clone(), offset: 0, lsn, kind }));
        headers.push(match opened {
            OpenedSegment::Segment(reader) => {
                let header = *reader.header();
                let before = headers.last().copied().flatten();
                if before.is_some_and(|before| header.number != before.number + 1 || !related(&before, &header)) {
                    return rotten(DamageKind::NotTheNext, header.first);
                }
                Some(header)
            }
            OpenedSegment::Empty if ours => return rotten(DamageKind::EmptyFile, Lsn(0)),
            OpenedSegment::Foreign if ours => return rotten(DamageKind::BadSegmentHeader, Lsn(0)),
            OpenedSegment::BadHeader => return rotten(DamageKind::BadSegmentHeader, Lsn(0)),
            OpenedSegment::Empty | OpenedSegment::Foreign => None,
        });
    }
    let before = feed.commands;
    let end = ChainEnd::behind(base);
    let mut chain = Chain { disk, manifest, base, options, feed, report, end, last: None, plain_bytes: 0 };
    for (at, (entry, path, file)) in files.iter().enumerate() {
        let next = headers[at + 1..].iter().flatten().next();
        let is_last = at + 1 == files.len();
        chain.file(entry, path, &**file, next, is_last)?;
    }
    let commands = chain.feed.commands - before;
    let end = chain.finish()?;
    report.commands += commands;
    Ok(end)
}

/// Whether a segment is of the timeline of the one before, or of one that left it.
pub fn related(before: &SegmentHeader, header: &SegmentHeader) -> bool {
    header.lineage == before.lineage || header.lineage.parent == before.lineage.timeline
}

/// The segment before.
struct Last {
    header: SegmentHeader,
    end: Lsn,
    chain: u32,
}

struct Chain<'c, 'r> {
    disk: &'c dyn Disk,
    manifest: &'c Manifest,
    base: Option<Position>,
    options: &'c OpenOptions,
    feed: &'c mut Feed<'r>,
    report: &'c mut LoadReport,
    end: ChainEnd,
    last: Option<Last>,
    /// Bytes by stock behind the last segment.
    plain_bytes: u64,
}

impl Chain<'_, '_> {
    fn file(
        &mut self,
        entry: &FileEntry,
        path: &Path,
        file: &dyn DiskFile,
        next: Option<&SegmentHeader>,
        is_last: bool,
    ) -> Result<(), OpenError> {
        self.report.files += 1;
        let rotten = |kind| Err(OpenError::Rotten(Damage { file: path.to_owned(), offset: 0, lsn: Lsn(0), kind }));
        match SegmentReader::open(file).map_err(OpenError::io(path))? {
            OpenedSegment::Empty if self.last.is_some() => rotten(DamageKind::EmptyFile),
            OpenedSegment::Empty => Ok(()),
            OpenedSegment::BadHeader => rotten(DamageKind::BadSegmentHeader),
            OpenedSegment::Foreign if self.last.is_some() => rotten(DamageKind::NotTheNext),
            OpenedSegment::Foreign => self.plain_file(path, is_last),
            OpenedSegment::Segment(reader) => self.segment(entry, path, file, reader, next),
        }
    }

    fn plain_file(&mut self, path: &Path, is_last: bool) -> Result<(), OpenError> {
        let loaded = load_plain(self.disk, path, &self.options.limits, self.feed)?;
        self.report.keys += loaded.keys;
        self.report.bytes += loaded.end;
        self.accept_plain(path, &loaded, is_last)
    }

    /// Takes in what stock wrote, at the end of the log so far.
    fn accept_plain(&mut self, path: &Path, loaded: &PlainLoaded, is_last: bool) -> Result<(), OpenError> {
        if let Some(kind) = loaded.rest {
            judge_plain(path, loaded, kind, is_last, self.options)?;
            self.end.cut_plain = Some((path.to_owned(), loaded.end));
        }
        self.plain_bytes += loaded.command_bytes;
        self.end.db = loaded.db;
        Ok(())
    }

    fn follows(&self, header: &SegmentHeader) -> bool {
        let gap = header.first.0.checked_sub(header.previous_end.0);
        match (&self.last, &self.base) {
            (None, None) => header.number == 1 && gap == Some(0),
            // What lies before is in the base.
            (None, Some(base)) => {
                let (own, origin) = (&header.lineage, &base.lineage);
                let descends = own.timeline == origin.timeline || own.parent == origin.timeline;
                header.first == base.lsn && gap.is_some() && descends
            }
            (Some(last), _) => {
                header.number == last.header.number + 1
                    && related(&last.header, header)
                    && header.previous_end == last.end
                    && header.previous_chain == last.chain
                    && gap == Some(self.plain_bytes)
            }
        }
    }

    fn segment(
        &mut self,
        entry: &FileEntry,
        path: &Path,
        file: &dyn DiskFile,
        mut reader: SegmentReader<'_>,
        next: Option<&SegmentHeader>,
    ) -> Result<(), OpenError> {
        let header = *reader.header();
        if !self.follows(&header) {
            let kind = DamageKind::NotTheNext;
            return Err(OpenError::Rotten(Damage { file: path.to_owned(), offset: 0, lsn: header.first, kind }));
        }
        self.plain_bytes = 0;
        self.feed.give(path, 0, Piece::FileBegins)?;
        let mut db = header.db;
        self.commands(&select(header.db), None, &mut db, path, 0)?;
        self.feed.commands -= 1;
        let mut walk = Walk { path, db, since: Vec::new() };
        match next {
            Some(next) => self.read_to(&mut reader, &mut walk, next)?,
            None => self.read_to_end(&mut reader, &mut walk, entry)?,
        }
        self.report.frames += reader.frames();
        self.report.bytes += reader.offset();
        let (lsn, chain) = (reader.lsn(), reader.chain());
        if let Some(Visit { whole, start }) = visit(&mut reader, next, path)? {
            let len = reader.file_len();
            let before = self.feed.commands;
            let loaded = load_commands(file, path, start, len, Begins::TornFrame, self.feed)?;
            self.accept_plain(path, &loaded, next.is_none())?;
            self.report.visited = Some(self.report.visited.unwrap_or(0) + self.feed.commands - before);
            if next.is_none() {
                // Frames above the mark lie before stock's bytes and stay where they are: made durable, not moved.
                let file = self.disk.open(path, OpenMode::ReadWrite).map_err(OpenError::io(path))?;
                file.sync_all().map_err(OpenError::io(path))?;
                self.end.marked = Place { lsn, chain, db: loaded.db, offset: reader.offset() };
                self.end.tail = Tail::None;
                self.end.torn = None;
                self.end.cuts.retain(|(cut, _)| cut != path);
                self.end.reuse = None;
                self.end.number = header.number + 1;
                let fragments = [(whole, start), loaded.dropped.unwrap_or_default()];
                let leave_out: Vec<_> = fragments.into_iter().filter(|(from, to)| from < to).collect();
                if !leave_out.is_empty() {
                    self.end.cut_plain = None;
                    self.end.mend = Some(Mend { path: path.to_owned(), leave_out, end: loaded.end });
                }
            }
        }
        self.end.lineage = Some(header.lineage);
        if self.end.reuse.is_none() {
            self.end.kept = Some(header.lineage);
        }
        self.end.time = self.end.time.max(reader.time());
        self.last = Some(Last { header, end: lsn, chain });
        Ok(())
    }

    fn commands(
        &mut self,
        payload: &[u8],
        time: Option<UnixMillis>,
        db: &mut u32,
        path: &Path,
        offset: u64,
    ) -> Result<(), OpenError> {
        let no_command = |at: usize| OpenError::BadReplay {
            path: path.to_owned(),
            offset: offset + at as u64,
            reason: "a verified frame holds no command here".into(),
        };
        if self.feed.reading.counted == Counted::Everything {
            self.feed.commands += resp_scan::count(payload).map_err(no_command)?;
            return Ok(());
        }
        let mut block = frame_block(payload, db).map_err(no_command)?;
        block.time = time;
        self.feed.give(path, offset, Piece::Commands(block))
    }

    /// Applies the next frame; `None` when one was applied, else what stood there instead.
    fn frame(&mut self, reader: &mut SegmentReader<'_>, walk: &mut Walk<'_>) -> Result<Option<Stop>, OpenError> {
        let before = Place { lsn: reader.lsn(), chain: reader.chain(), db: walk.db, offset: reader.offset() };
        match reader.next().map_err(OpenError::io(walk.path))? {
            Item::Frame { header, payload } => {
                let mut db = walk.db;
                let offset = before.offset;
                if !payload.is_empty() {
                    self.commands(payload, Some(UnixMillis(header.time)), &mut db, walk.path, offset)?;
                }
                walk.db = db;
                walk.since.push((FrameRef { header, payload: reader.offset() - header.len }, before));
                let mark = reader.mark();
                let durable = walk.since.iter().take_while(|(frame, _)| frame.header.end() <= mark).count();
                walk.since.drain(..durable);
                Ok(None)
            }
            Item::Sealed => Ok(Some(Stop::Sealed)),
            Item::EndOfFile => Ok(Some(Stop::EndOfFile)),
            Item::Bad(kind) => Ok(Some(Stop::Bad(kind))),
        }
    }

    /// Reads a segment that another one follows: up to where that one says.
    fn read_to(
        &mut self,
        reader: &mut SegmentReader<'_>,
        walk: &mut Walk<'_>,
        next: &SegmentHeader,
    ) -> Result<(), OpenError> {
        while reader.lsn() < next.previous_end
            || (reader.lsn() == next.previous_end && reader.chain() != next.previous_chain)
        {
            if let Some(stop) = self.frame(reader, walk)? {
                let kind = match stop {
                    Stop::Bad(kind) => kind,
                    Stop::Sealed | Stop::EndOfFile => DamageKind::EndsEarly,
                };
                return Err(OpenError::Rotten(walk.damage(reader, kind)));
            }
        }
        reader.skip_marks().map_err(OpenError::io(walk.path))?;
        let end = reader.offset();
        let stock_follows = next.first > next.previous_end;
        if !stock_follows && end < reader.file_len() {
            // Looked at without going on: this segment counts up to here only.
            let seal = reader.end_mark_bytes().map_err(OpenError::io(walk.path))?;
            if end + seal != reader.file_len() {
                // The next segment has taken over what follows here; a crash came before the cut.
                self.end.cuts.push((walk.path.to_owned(), end));
            }
        }
        Ok(())
    }

    /// Reads the last segment of ours, and finds out how it ends.
    fn read_to_end(
        &mut self,
        reader: &mut SegmentReader<'_>,
        walk: &mut Walk<'_>,
        entry: &FileEntry,
    ) -> Result<(), OpenError> {
        let stop = loop {
            if let Some(stop) = self.frame(reader, walk)? {
                break stop;
            }
        };
        let here = Place { lsn: reader.lsn(), chain: reader.chain(), db: walk.db, offset: reader.offset() };
        let header = *reader.header();
        let closed = match self.manifest.state {
            CloseState::Closed { end, chain, .. } => Some((end, chain)),
            CloseState::Open | CloseState::Unknown => None,
        };
        if let Stop::Bad(kind) = stop
            && visit(reader, None, walk.path)?.is_none()
        {
            let later = reader.later_mark().map_err(OpenError::io(walk.path))?;
            let durable = later > here.lsn || kind == DamageKind::BytesBehindEnd;
            if durable || closed.is_some() {
                return Err(OpenError::Rotten(walk.damage(reader, kind)));
            }
            if !self.options.load_truncated {
                return Err(OpenError::Truncated(walk.damage(reader, kind)));
            }
            let bytes = reader.file_len() - here.offset;
            self.end.torn = Some(Torn { path: walk.path.to_owned(), offset: here.offset, bytes });
            self.end.cuts.push((walk.path.to_owned(), here.offset));
        }
        // What was filled ahead is of no use to the next process.
        let content = match stop {
            Stop::EndOfFile => here.offset,
            Stop::Sealed => here.offset + END_BYTES as u64,
            Stop::Bad(_) => reader.file_len(),
        };
        if content < reader.file_len() {
            self.end.cuts.push((walk.path.to_owned(), content));
        }
        if let Some((end, chain)) = closed {
            if here.lsn != end || here.chain != chain {
                return Err(OpenError::Rotten(walk.damage(reader, DamageKind::EndsBeforeClose)));
            }
            self.end.clean = true;
        }
        self.end.number = header.number + 1;
        self.end.end = here.lsn;
        self.end.first = here.lsn;
        self.end.db = walk.db;
        self.end.marked = here;
        let untouched = here.offset == header.bytes();
        if untouched && !matches!(stop, Stop::Sealed) {
            // Nothing was ever written here: the next process takes its place.
            self.end.reuse = Some((entry.name.clone(), entry.sequence));
            self.end.number = header.number;
            self.end.first = header.first;
            self.end.marked.lsn = header.previous_end;
            self.end.marked.chain = header.previous_chain;
            self.end.cuts.retain(|(path, _)| path != walk.path);
            return Ok(());
        }
        let proven = self.end.clean || matches!(stop, Stop::Sealed);
        let frames: Vec<FrameRef> = walk.since.iter().map(|(frame, _)| *frame).filter(|f| f.header.len > 0).collect();
        if let (false, Some((_, boundary)), false) = (proven, walk.since.first(), frames.is_empty()) {
            self.end.marked = Place { db: frames[0].header.db, ..*boundary };
            self.end.first = boundary.lsn;
            self.end.cuts.retain(|(path, _)| path != walk.path);
            self.end.cuts.push((walk.path.to_owned(), boundary.offset));
            self.end.tail = Tail::Frames { path: walk.path.to_owned(), frames };
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ChainEnd, OpenError> {
        if self.plain_bytes > 0 && self.last.is_some() {
            self.end.first = self.end.end.plus(self.plain_bytes);
            self.end.end = self.end.first;
            self.end.clean = false;
        }
        if let (None, CloseState::Closed { end, .. }) = (&self.last, self.manifest.state) {
            // Closed before anything of ours was written cannot be: the segments are gone.
            let kind = DamageKind::EndsBeforeClose;
            let file = PathBuf::from("the log");
            return Err(OpenError::Rotten(Damage { file, offset: 0, lsn: end, kind }));
        }
        Ok(self.end)
    }
}

enum Stop {
    Sealed,
    EndOfFile,
    Bad(DamageKind),
}

/// State of walking one segment.
struct Walk<'w> {
    path: &'w Path,
    db: u32,
    /// Frames above the highest mark, each with the place before it.
    since: Vec<(FrameRef, Place)>,
}

impl Walk<'_> {
    fn damage(&self, reader: &SegmentReader<'_>, kind: DamageKind) -> Damage {
        Damage { file: self.path.to_owned(), offset: reader.offset(), lsn: reader.lsn(), kind }
    }
}

/// Copies verified frames into a new segment, where they get headers for their new place.
pub fn copy_frames(
    disk: &dyn Disk,
    path: &Path,
    frames: &[FrameRef],
    segment: &mut Segment,
    durable: Lsn,
) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Read)?;
    for frame in frames {
        let mut bytes = vec![0; FRAME_HEADER_BYTES + frame.header.len as usize];
        file.read_exact_at(&mut bytes[FRAME_HEADER_BYTES..], frame.payload)?;
        if crc32fast::hash(&bytes[FRAME_HEADER_BYTES..]) != frame.header.payload_crc {
            return Err(io::Error::other(format!("{} changed while it was read", path.display())));
        }
        let header = FrameHeader { previous: segment.chain(), durable, ..frame.header };
        let chain = header.encode(segment.header().salt, segment.size(), &mut bytes[..FRAME_HEADER_BYTES]);
        segment.append(&Woven { bytes, ..Woven::default() }, chain)?;
    }
    Ok(())
}
