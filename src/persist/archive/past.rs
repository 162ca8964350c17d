//! The past of a log: the bases and segments of it that are still there, in the archive, superseded beside the log, or live, put
//! together by what their headers say of each other.
//!
//! Invariant: nothing is taken for the continuation of something by its name: numbers, lineage and positions have to agree.
//! Whether every frame does, a walk finds out.

use super::contents::{Archived, Contents};
use super::look::{Unlisted, look_inside, unlisted};
use super::{DIRECTORY, ENDING};
use crate::env::{Disk, OpenMode, UnixMillis};
use crate::persist::chain::related;
use crate::persist::log::format::SegmentHeader;
use crate::persist::log::{OpenedSegment, SegmentReader};
use crate::persist::position::position_of;
use crate::persist::walk::{Flow, LogFile, Visitor, log_files, walk_files};
use crate::persist::{CloseState, Lsn, Manifest, OpenError, OpenOptions, Position};
use std::io;
use std::path::{Path, PathBuf};

/// A segment that is not live any more.
#[derive(Clone, Debug)]
struct Piece {
    file: LogFile,
    header: SegmentHeader,
    end: Lsn,
    times: Option<(i64, i64)>,
}

/// A base that is not live any more.
#[derive(Clone, Debug)]
struct OldBase {
    file: LogFile,
    position: Position,
}

/// A place from which the log can be replayed to the end of its chain.
#[derive(Clone, Debug)]
pub struct Start {
    pub files: Vec<LogFile>,
    /// Files from here on belong to the next start, too.
    pub shared_from: usize,
    /// Where it stands, if it says so.
    pub lsn: Option<Lsn>,
    /// It holds everything that was logged up to this time.
    pub holds_until: Option<UnixMillis>,
}

/// What was logged without a gap: the live log with what leads up to it, or what a hole has left over.
#[derive(Clone, Debug)]
pub struct Chain {
    /// From the oldest on.
    pub starts: Vec<Start>,
    pub is_live: bool,
    /// The end, and the times of the first and the last frame, of what is not live.
    pub end: Lsn,
    pub from: Option<UnixMillis>,
    pub to: Option<UnixMillis>,
}

/// See the module's header.
pub struct Past {
    /// The live one first, then from the newest on.
    pub chains: Vec<Chain>,
    pub manifest: Option<Manifest>,
    /// What was found where nothing names it, or not used although something does.
    pub notes: Vec<String>,
    /// What does not say where it belongs: a stock server wrote it.
    pub unplaced: Vec<PathBuf>,
}

/// The name that a file has, or had, in the log.
pub fn original_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let inside = path.parent().is_some_and(|above| above.ends_with(DIRECTORY));
    match name.strip_suffix(ENDING).and_then(|name| name.split_once('.')) {
        Some((_, original)) if inside => original.to_owned(),
        _ => name,
    }
}

/// Whether a file of the log is a base, by its name.
pub fn is_name_of_base(name: &str) -> bool {
    !name.ends_with(".incr.aof")
}

/// The sequence in the name of a file of the log; 1 where it has none.
fn sequence_in(name: &str, prefix: &str) -> u64 {
    let behind = name.strip_prefix(prefix).and_then(|behind| behind.strip_prefix('.'));
    behind.and_then(|behind| behind.split('.').next()?.parse().ok()).unwrap_or(1)
}

impl Past {
    /// Reads what is there; `disk` unpacks (see [`super::UnpackingDisk`]), `plain` is the one below.
    ///
    /// # Errors
    /// The live log cannot be told; what of the past cannot be read is noted.
    pub fn read(disk: &dyn Disk, plain: &dyn Disk, options: &OpenOptions) -> Result<Self, OpenError> {
        let (live, manifest) = log_files(disk, options)?;
        let directory = options.directory.join(&options.append_directory);
        let prefix = options.append_file.clone();
        let mut found =
            Found { disk, prefix, pieces: Vec::new(), bases: Vec::new(), notes: Vec::new(), unplaced: Vec::new() };
        let archive = options.directory.join(DIRECTORY);
        for (path, archived) in archived(plain, &archive, &mut found.notes).map_err(OpenError::io(&archive))? {
            found.add(path, Some(archived));
        }
        for file in manifest.iter().flat_map(Manifest::history) {
            let path = directory.join(&file.name);
            if plain.exists(&path).map_err(OpenError::io(&path))? {
                found.add(path, None);
            }
        }
        let chains = found.chains(&live);
        Ok(Self { chains, manifest, notes: found.notes, unplaced: found.unplaced })
    }
}

impl Past {
    /// Walks all of it, from the oldest base on.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn walk(&self, disk: &dyn Disk, options: &OpenOptions, visitor: &mut dyn Visitor) -> Result<Flow, OpenError> {
        let is_closed = |manifest: &Manifest| matches!(manifest.state, CloseState::Closed { .. });
        for chain in self.chains.iter().rev() {
            let closed = chain.is_live && self.manifest.as_ref().is_some_and(is_closed);
            let Some(start) = chain.starts.first() else { continue };
            if walk_files(disk, &start.files, closed, &options.limits, visitor)?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }
}

/// The files of an archive, named or not, as far as they verify.
fn archived(disk: &dyn Disk, archive: &Path, notes: &mut Vec<String>) -> io::Result<Vec<(PathBuf, Archived)>> {
    let contents = match Contents::read(disk, archive)? {
        None => Contents::default(),
        Some(Ok(contents)) => contents,
        Some(Err(error)) => {
            notes.push(format!(
                "line {} of the manifest of the archive {}: it is not believed",
                error.line, error.reason
            ));
            Contents::default()
        }
    };
    let mut files: Vec<(PathBuf, Archived)> = Vec::new();
    for Unlisted { path, found, .. } in unlisted(disk, archive, &contents)? {
        match found {
            Ok(file) => {
                notes.push(format!(
                    "{} is not named by the manifest of the archive, and verifies: it is used",
                    path.display()
                ));
                files.push((path, file));
            }
            Err(error) => notes.push(format!("{} is not used: {error}", path.display())),
        }
    }
    files.extend(contents.files.into_iter().map(|file| (archive.join(file.file_name()), file)));
    files.sort_by_key(|(_, file)| file.label.number);
    Ok(files)
}

struct Found<'f> {
    disk: &'f dyn Disk,
    prefix: String,
    pieces: Vec<Piece>,
    bases: Vec<OldBase>,
    notes: Vec<String>,
    unplaced: Vec<PathBuf>,
}

impl Found<'_> {
    /// Takes in a file that is not live; what is there twice counts once.
    fn add(&mut self, path: PathBuf, archived: Option<Archived>) {
        if let Err(error) = self.try_to_add(&path, archived) {
            self.notes.push(format!("{} is not used: {error}", path.display()));
        }
    }

    fn try_to_add(&mut self, path: &Path, archived: Option<Archived>) -> Result<(), OpenError> {
        let name = original_name(path);
        let sequence = sequence_in(&name, &self.prefix);
        if is_name_of_base(&name) {
            let file = LogFile { path: path.to_owned(), is_base: true, sequence };
            match position_of(self.disk, path)? {
                Some(position) if self.bases.iter().any(|base| base.position == position) => {}
                Some(position) => self.bases.push(OldBase { file, position }),
                None => {
                    self.notes.push(format!("{} does not say where it stands", path.display()));
                    self.unplaced.push(path.to_owned());
                }
            }
            return Ok(());
        }
        let io_error = || OpenError::io(path);
        let open = self.disk.open(path, OpenMode::Read).map_err(io_error())?;
        let OpenedSegment::Segment(reader) = SegmentReader::open(&*open).map_err(io_error())? else {
            self.notes.push(format!("{} is no segment of ours: what it holds has no position", path.display()));
            self.unplaced.push(path.to_owned());
            return Ok(());
        };
        let header = *reader.header();
        if self.pieces.iter().any(|piece| piece.header == header) {
            return Ok(());
        }
        let (end, times) = match archived.and_then(|file| file.span.map(|span| (span.end, file.times))) {
            Some(said) => said,
            None => look_inside(reader).map_err(io_error())?,
        };
        let file = LogFile { path: path.to_owned(), is_base: false, sequence };
        self.pieces.push(Piece { file, header, end, times });
        Ok(())
    }

    fn chains(&mut self, live: &[LogFile]) -> Vec<Chain> {
        let first = live.iter().filter(|file| !file.is_base).find_map(|file| header_of(self.disk, &file.path));
        // What stands in front of a live log whose files have no positions cannot be told.
        let pre = first.map(|header| self.lead_up_to(header)).unwrap_or_default();
        let mut chains = Vec::new();
        if !live.is_empty() {
            chains.push(self.chain(pre, live));
        }
        while let Some(last) = self.pieces.pop() {
            let mut pieces = self.lead_up_to(last.header);
            pieces.push(last);
            let chain = self.chain(pieces, &[]);
            if chain.starts.is_empty() {
                self.notes.push(format!("positions up to {} have no base in front of them", chain.end));
            } else {
                chains.push(chain);
            }
        }
        chains
    }

    /// The segments that lead up to one, in order; they are taken.
    fn lead_up_to(&mut self, mut next: SegmentHeader) -> Vec<Piece> {
        let mut found = Vec::new();
        while let Some(at) = self.pieces.iter().rposition(|piece| {
            let Piece { header, end, .. } = piece;
            let in_place = header.first <= next.previous_end && next.previous_end <= *end;
            header.number + 1 == next.number && related(header, &next) && in_place
        }) {
            let piece = self.pieces.remove(at);
            next = piece.header;
            found.push(piece);
        }
        found.reverse();
        found
    }

    fn chain(&self, pieces: Vec<Piece>, live: &[LogFile]) -> Chain {
        let mut starts = Vec::new();
        let behind = live.iter().filter(|file| !file.is_base).cloned();
        let files: Vec<LogFile> = pieces.iter().map(|piece| piece.file.clone()).chain(behind).collect();
        let (mut until, mut end) = (None, None);
        for (at, piece) in pieces.iter().enumerate() {
            let header = &piece.header;
            let stands_there = |base: &&OldBase| {
                let (own, origin) = (&header.lineage, &base.position.lineage);
                let descends = own.timeline == origin.timeline || own.parent == origin.timeline;
                base.position.lsn == header.first && descends
            };
            let base = self.bases.iter().rev().find(stands_there);
            let from_nothing = at == 0 && header.number == 1 && header.first == header.previous_end;
            if base.is_some() || from_nothing {
                let base = base.map(|base| base.file.clone());
                let lsn = Some(header.first);
                let files = base.into_iter().chain(files[at..].iter().cloned()).collect();
                // A base that stands further on holds what a stock server wrote meanwhile, until nobody knows when: at the
                // latest until what was logged first behind it.
                let first = piece.times.map(|(from, _)| UnixMillis(from));
                let holds_until = if end.is_none_or(|end| end == header.first) { until } else { first };
                starts.push(Start { files, shared_from: usize::MAX, lsn, holds_until });
            }
            end = Some(piece.end);
            until = piece.times.map(|(_, to)| UnixMillis(to)).or(until);
        }
        let to = until;
        if let Some(base) = live.iter().find(|file| file.is_base)
            && !pieces.is_empty()
        {
            let position = position_of(self.disk, &base.path).ok().flatten();
            let lsn = position.map(|position| position.lsn);
            let holds_until = until.filter(|_| lsn == end);
            starts.push(Start { files: live.to_vec(), shared_from: usize::MAX, lsn, holds_until });
        }
        if starts.is_empty() && !live.is_empty() {
            starts.push(Start { files: live.to_vec(), shared_from: usize::MAX, lsn: None, holds_until: None });
        }
        for at in 1..starts.len() {
            let segments = starts[at].files.iter().filter(|file| !file.is_base).count();
            let before = &mut starts[at - 1];
            before.shared_from = before.files.len() - segments;
        }
        Chain {
            starts,
            is_live: !live.is_empty(),
            end: pieces.last().map_or(Lsn::FIRST, |piece| piece.end),
            from: pieces.iter().find_map(|piece| piece.times.map(|(from, _)| UnixMillis(from))),
            to,
        }
    }
}

fn header_of(disk: &dyn Disk, path: &Path) -> Option<SegmentHeader> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    match SegmentReader::open(&*file).ok()? {
        OpenedSegment::Segment(reader) => Some(*reader.header()),
        _ => None,
    }
}
