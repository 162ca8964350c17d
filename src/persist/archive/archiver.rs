//! The archiver: moves what a rewrite has superseded into the archive, and removes from it what is too old or too much.
//!
//! A state machine: `step` does a bounded piece of work but for reading one file again; a thread drives it in the server, a
//! seed in a test.
//!
//! Invariants
//! - A file leaves the log's directory after the archive's manifest names its copy, durably, and that copy was read back.
//! - What is archived begins with a base, or with the first segment of a log that has none: the oldest run goes as a whole, and
//!   what would follow a hole is not archived.
//! - Where room is short archiving gives up first: the oldest run goes, and when there is none, what is superseded is removed as
//!   without an archive. The log never waits for it.
//! - An error leaves everything where it was; the next attempt reads the archive anew.

use super::contents::{Archived, ArchivedKind, Contents, Label};
use super::look::{LookError, look, unlisted};
use super::packed::{Packed, PackedError, Packing};
use super::past::is_name_of_base;
use crate::env::{Clock, Disk, OpenMode, UnixMillis};
use crate::persist::log::{Done, OpenedSegment, Order, Promise, SegmentReader, WriterOptions};
use crate::persist::manifest::FileEntry;
use crate::persist::position::position_of;
use crate::persist::recovery::create_durable_directory;
use crate::persist::{LogBuffer, Lsn};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// For how long, and how much, is kept; nothing of either is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// `aof-retain-time`.
    pub time: Option<Duration>,
    /// `aof-retain-size`: bytes of the archive's files.
    pub bytes: Option<u64>,
}

impl Retain {
    pub fn is_on(&self) -> bool {
        self.time.is_some() || self.bytes.is_some()
    }
}

/// What an archiver works on.
#[derive(Clone, Debug)]
pub struct ArchiverOptions {
    pub log: WriterOptions,
    /// Of the archive.
    pub directory: PathBuf,
    pub retain: Retain,
    /// Bytes that stay free on the disk for the log.
    pub spare: u64,
}

/// Why archiving has stopped; it is tried again.
#[derive(Debug, Error)]
pub enum ArchiveError {
    #[error("{doing} {}: {error}", path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{}: {reason}", path.display())]
    ReadBack { path: PathBuf, reason: String },
    #[error("{0}")]
    Log(String),
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |error| ArchiveError::Io { path, doing, error }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// History does not say what it was; the name does.
fn is_base(file: &FileEntry) -> bool {
    is_name_of_base(&file.name)
}

/// What `step` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveStep {
    Worked,
    /// The log's writer has to answer first; see [`Archiver::wait`].
    Waits,
    /// There is nothing to do before this time is over, or before a rewrite.
    Rests(Option<Duration>),
}

/// What there is, for INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveFigures {
    pub files: u64,
    pub bytes: u64,
    pub bases: u64,
    /// Superseded files that are not in the archive yet.
    pub pending: u64,
    /// The oldest position that a restore can go to, and when what follows it was logged.
    pub oldest: Option<Lsn>,
    pub oldest_time: Option<UnixMillis>,
    /// Files that were removed, for want of room, without being archived.
    pub dropped: u64,
}

enum Stage {
    Begin,
    Ask(Arc<Promise>),
    Look(Work),
    Pack(Work, Label, Box<Packing>),
    Check(Work, Label, Packed),
    Forget(Arc<Promise>),
    Prune,
    Rest(Option<Duration>),
}

/// Superseded files: to be looked at, and gone from the log's directory.
#[derive(Default)]
struct Work {
    left: VecDeque<FileEntry>,
    gone: Vec<String>,
}

/// See the module's header.
pub struct Archiver {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    buffer: Arc<LogBuffer>,
    options: ArchiverOptions,
    /// As on disk; none before it was read, and after an error.
    contents: Option<Contents>,
    stage: Stage,
    pending: u64,
    dropped: u64,
}

impl Archiver {
    pub fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, buffer: Arc<LogBuffer>, options: ArchiverOptions) -> Self {
        Self { disk, clock, buffer, options, contents: None, stage: Stage::Begin, pending: 0, dropped: 0 }
    }

    /// What counts from the next file on.
    pub fn set(&mut self, retain: Retain, spare: u64) {
        (self.options.retain, self.options.spare) = (retain, spare);
    }

    /// Looks again: something was superseded, time has passed, or what is to be kept has changed.
    pub fn look_again(&mut self) {
        if matches!(self.stage, Stage::Rest(_)) {
            self.stage = Stage::Begin;
        }
    }

    pub fn figures(&self) -> ArchiveFigures {
        let Some(contents) = &self.contents else {
            return ArchiveFigures { pending: self.pending, dropped: self.dropped, ..ArchiveFigures::default() };
        };
        let run = &contents.files[..contents.oldest_run()];
        let first_time = run.iter().find_map(|file| file.times.map(|(from, _)| UnixMillis(from)));
        ArchiveFigures {
            files: contents.files.len() as u64,
            bytes: contents.bytes(),
            bases: contents.files.iter().filter(|file| file.label.kind == ArchivedKind::Base).count() as u64,
            pending: self.pending,
            oldest: run.iter().find_map(|file| file.span.map(|span| span.first)),
            oldest_time: first_time.or_else(|| run.first().map(|file| file.label.superseded)),
            dropped: self.dropped,
        }
    }

    /// Waits for the log's writer, at most this long.
    pub fn wait(&self, at_most: Duration) {
        if let Stage::Ask(promise) | Stage::Forget(promise) = &self.stage {
            promise.wait(at_most);
        }
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    /// What failed; the next call begins anew.
    pub fn step(&mut self) -> Result<ArchiveStep, ArchiveError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Begin);
        match self.advance(stage) {
            Ok((stage, step)) => {
                self.stage = stage;
                Ok(step)
            }
            Err(error) => {
                // What is on disk now may be either: it is read again.
                self.contents = None;
                Err(error)
            }
        }
    }

    fn advance(&mut self, stage: Stage) -> Result<(Stage, ArchiveStep), ArchiveError> {
        let next = match stage {
            Stage::Begin => self.begin()?,
            Stage::Ask(promise) => match promise.answer() {
                None => {
                    self.relieve()?;
                    return Ok((Stage::Ask(promise), ArchiveStep::Waits));
                }
                Some(Ok(Done::Stored { superseded })) => {
                    let left: VecDeque<FileEntry> = self.in_order(superseded)?.into();
                    self.pending = left.len() as u64;
                    Stage::Look(Work { left, gone: Vec::new() })
                }
                Some(Ok(Done::Rolled { .. })) => Stage::Prune,
                Some(Err(error)) => return Err(ArchiveError::Log(error)),
            },
            Stage::Look(work) => self.look_at_next(work)?,
            Stage::Pack(work, label, packing) => self.pack(work, label, packing)?,
            Stage::Check(work, label, packed) => self.name(work, &label, packed)?,
            Stage::Forget(promise) => match promise.answer() {
                None => {
                    self.relieve()?;
                    return Ok((Stage::Forget(promise), ArchiveStep::Waits));
                }
                Some(Ok(_)) => Stage::Prune,
                Some(Err(error)) => return Err(ArchiveError::Log(error)),
            },
            Stage::Prune => self.prune()?,
            Stage::Rest(time) => Stage::Rest(time),
        };
        let step = if let Stage::Rest(time) = &next { ArchiveStep::Rests(*time) } else { ArchiveStep::Worked };
        Ok((next, step))
    }

    fn begin(&mut self) -> Result<Stage, ArchiveError> {
        if self.contents.is_none() {
            self.contents = Some(self.read_contents()?);
        }
        if !self.options.retain.is_on() {
            // What is there stays: whoever wants it no longer says how much of it.
            return Ok(Stage::Rest(None));
        }
        while self.relieve()? {}
        Ok(Stage::Ask(self.buffer.order(Order::Superseded)))
    }

    /// Drops the oldest run where the log needs the room, also while its writer, for want of it, answers nothing. False where
    /// there is nothing to drop, or no need.
    fn relieve(&mut self) -> Result<bool, ArchiveError> {
        let log = self.options.log.directory.clone();
        let free = self.disk.free_bytes(&log).map_err(failed(&log, "asking for the room on the disk of"))?;
        Ok(free < self.options.spare && self.drop_oldest_run("the log needs the room")?)
    }

    fn contents(&mut self) -> &mut Contents {
        self.contents.get_or_insert_default()
    }

    /// What the archive holds: what its manifest names, and what a crash kept out of it.
    fn read_contents(&self) -> Result<Contents, ArchiveError> {
        let directory = &self.options.directory;
        let io_error = |doing| failed(directory, doing);
        let names = match self.disk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            listed => listed.map_err(io_error("listing"))?,
        };
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            self.disk.remove(&directory.join(name)).map_err(io_error("removing a draft in"))?;
        }
        let read = Contents::read(&*self.disk, directory).map_err(io_error("reading the manifest in"))?;
        let is_whole = matches!(read, Some(Ok(_)));
        let mut contents = match read {
            Some(Ok(contents)) => contents,
            Some(Err(error)) => {
                let (line, reason) = (error.line, error.reason);
                tracing::warn!("Line {line} of the manifest in {} {reason}: it is made anew", directory.display());
                Contents::default()
            }
            None => Contents::default(),
        };
        let before = contents.clone();
        let is_there = |file: &Archived| names.contains(&file.file_name());
        while contents.files[..contents.oldest_run()].iter().any(|file| !is_there(file)) {
            let run = contents.oldest_run();
            tracing::warn!("A file of the oldest run in {} is missing: the run is left out", directory.display());
            contents.files.drain(..run);
        }
        for file in unlisted(&*self.disk, directory, &contents).map_err(io_error("listing"))? {
            let (path, number) = (file.path, file.number);
            match file.found {
                _ if is_whole && number < before.next => {
                    // It was named once: a crash came between leaving it out and removing it.
                    self.disk.remove(&path).map_err(failed(&path, "removing"))?;
                }
                Ok(found) => contents.files.push(found),
                Err(LookError::Packed(PackedError::Io(error))) => return Err(failed(&path, "reading")(error)),
                Err(error) => tracing::warn!("{} is not named, and not used: {error}", path.display()),
            }
            contents.next = contents.next.max(number + 1);
        }
        if contents != before {
            tracing::info!("The manifest of the archive is stored anew: {} files", contents.files.len());
            contents.store(&*self.disk, directory).map_err(io_error("storing the manifest in"))?;
        }
        Ok(contents)
    }

    /// Superseded files in the order of the log: each base before the segment that begins where it stands.
    fn in_order(&self, files: Vec<FileEntry>) -> Result<Vec<FileEntry>, ArchiveError> {
        let (bases, mut segments): (Vec<_>, Vec<_>) = files.into_iter().partition(is_base);
        segments.sort_by_key(|file| file.sequence);
        let mut firsts = Vec::new();
        for file in &segments {
            let path = self.options.log.directory.join(&file.name);
            let first = match self.disk.open(&path, OpenMode::Read) {
                Ok(file) => match SegmentReader::open(&*file).map_err(failed(&path, "reading"))? {
                    OpenedSegment::Segment(reader) => Some(reader.header().first),
                    _ => None,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed(&path, "reading")(error)),
            };
            firsts.push(first);
        }
        let mut placed: Vec<(usize, Option<Lsn>, FileEntry)> = Vec::new();
        for base in bases {
            let path = self.options.log.directory.join(&base.name);
            // One that cannot be read is told of when it is packed.
            let lsn = position_of(&*self.disk, &path).ok().flatten().map(|position| position.lsn);
            let at = lsn.and_then(|lsn| firsts.iter().position(|first| first.is_some_and(|first| first >= lsn)));
            let at = at.unwrap_or(if lsn.is_some() { segments.len() } else { 0 });
            placed.push((at, lsn, base));
        }
        placed.sort_by_key(|(at, lsn, base)| (*at, *lsn, base.sequence));
        let mut ordered = Vec::new();
        let mut placed = placed.into_iter().peekable();
        for (at, segment) in segments.into_iter().enumerate() {
            while let Some((_, _, base)) = placed.next_if(|(before, _, _)| *before <= at) {
                ordered.push(base);
            }
            ordered.push(segment);
        }
        ordered.extend(placed.map(|(_, _, base)| base));
        Ok(ordered)
    }

    fn look_at_next(&mut self, mut work: Work) -> Result<Stage, ArchiveError> {
        let Some(file) = work.left.front().cloned() else {
            if work.gone.is_empty() {
                return Ok(Stage::Prune);
            }
            let directory = &self.options.log.directory;
            self.disk.sync_dir(directory).map_err(failed(directory, "removing what is archived from"))?;
            return Ok(Stage::Forget(self.buffer.order(Order::Forget(work.gone))));
        };
        let path = self.options.log.directory.join(&file.name);
        let raw = match self.disk.open(&path, OpenMode::Read).and_then(|file| file.len()) {
            Ok(raw) => raw,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.done_with(&mut work);
                return Ok(Stage::Look(work));
            }
            Err(error) => return Err(failed(&path, "reading")(error)),
        };
        if self.has(&file, raw, &path)? {
            // A crash came between naming the copy and removing this.
            self.remove_original(&mut work)?;
            return Ok(Stage::Look(work));
        }
        let directory = self.options.directory.clone();
        if !self.continues(&file, &path)? {
            tracing::warn!("{} is not archived: what it follows is not in the archive", path.display());
            self.drop_original(&mut work)?;
            return Ok(Stage::Look(work));
        }
        let above = self.options.log.directory.clone();
        let free = self.disk.free_bytes(&above).map_err(failed(&above, "asking for the room on the disk of"))?;
        if free < raw.saturating_add(self.options.spare) {
            return self.make_room(work, &format!("{free} bytes are free"));
        }
        if !self.disk.exists(&directory).map_err(failed(&directory, "looking for"))? {
            create_durable_directory(&*self.disk, &directory).map_err(failed(&directory, "making"))?;
        }
        let kind = if is_base(&file) { ArchivedKind::Base } else { ArchivedKind::Incremental };
        let (number, superseded) = (self.contents().next, self.clock.unix_millis());
        let label = Label { number, kind, original: file.name, superseded };
        match Packing::begin(&*self.disk, &path, &self.draft(&label), &label) {
            Ok(packing) => Ok(Stage::Pack(work, label, Box::new(packing))),
            Err(error) => self.give_up_packing(work, &label, error),
        }
    }

    fn draft(&self, label: &Label) -> PathBuf {
        self.options.directory.join(format!("{}.tmp", label.file_name()))
    }

    fn done_with(&mut self, work: &mut Work) {
        work.gone.extend(work.left.pop_front().map(|file| file.name));
        self.pending = work.left.len() as u64;
    }

    /// Whether this very file is in the archive already.
    fn has(&mut self, file: &FileEntry, raw: u64, path: &Path) -> Result<bool, ArchiveError> {
        let alike = |known: &&Archived| known.label.original == file.name && known.raw == raw;
        let Some(known) = self.contents().files.iter().rev().find(alike).cloned() else { return Ok(false) };
        let open = self.disk.open(path, OpenMode::Read).map_err(failed(path, "reading"))?;
        let (mut crc, mut at, mut chunk) = (crc32fast::Hasher::new(), 0, Vec::new());
        while at < raw {
            chunk.resize((raw - at).min(super::BLOCK_BYTES as u64) as usize, 0);
            open.read_exact_at(&mut chunk, at).map_err(failed(path, "reading"))?;
            crc.update(&chunk);
            at += chunk.len() as u64;
        }
        Ok(crc.finalize() == known.crc)
    }

    /// Whether what is in the archive leads up to this file, or it begins a run.
    fn continues(&mut self, file: &FileEntry, path: &Path) -> Result<bool, ArchiveError> {
        if is_base(file) || !self.contents().files.is_empty() {
            return Ok(true);
        }
        let open = self.disk.open(path, OpenMode::Read).map_err(failed(path, "reading"))?;
        Ok(match SegmentReader::open(&*open).map_err(failed(path, "reading"))? {
            OpenedSegment::Segment(reader) => reader.header().number == 1,
            _ => file.sequence == 1,
        })
    }

    fn pack(&mut self, work: Work, label: Label, mut packing: Box<Packing>) -> Result<Stage, ArchiveError> {
        match packing.step() {
            Ok(None) => Ok(Stage::Pack(work, label, packing)),
            Ok(Some(packed)) => Ok(Stage::Check(work, label, packed)),
            Err(error) => self.give_up_packing(work, &label, error),
        }
    }

    fn give_up_packing(&mut self, work: Work, label: &Label, error: io::Error) -> Result<Stage, ArchiveError> {
        let draft = self.draft(label);
        // What is left of it is removed when the archive is read the next time.
        let _ = self.disk.remove(&draft);
        if is_full(&error) {
            return self.make_room(work, "the disk is full");
        }
        Err(failed(&draft, "writing")(error))
    }

    /// The oldest run goes; where there is none, the next file is not archived.
    fn make_room(&mut self, mut work: Work, why: &str) -> Result<Stage, ArchiveError> {
        if !self.drop_oldest_run(why)? {
            let name = work.left.front().map_or("", |file| &file.name);
            tracing::warn!("{name} is superseded and is removed without being archived: {why}");
            self.drop_original(&mut work)?;
        }
        Ok(Stage::Look(work))
    }

    /// Reads back what was packed, gives it its name, and names it; then the original goes.
    fn name(&mut self, mut work: Work, label: &Label, packed: Packed) -> Result<Stage, ArchiveError> {
        let (draft, directory) = (self.draft(label), self.options.directory.clone());
        let read_back = |reason: String| ArchiveError::ReadBack { path: draft.clone(), reason };
        let found = look(&*self.disk, &draft).map_err(|error| read_back(error.to_string()))?;
        if (found.raw, found.crc, found.packed) != (packed.raw, packed.crc, packed.bytes) || found.label != *label {
            return Err(read_back("it is not what was written".into()));
        }
        let path = directory.join(label.file_name());
        self.disk.rename(&draft, &path).map_err(failed(&path, "naming"))?;
        self.disk.sync_dir(&directory).map_err(failed(&directory, "naming a file in"))?;
        let mut contents = self.contents().clone();
        contents.next = label.number + 1;
        contents.files.push(found);
        contents.store(&*self.disk, &directory).map_err(failed(&directory, "storing the manifest in"))?;
        self.contents = Some(contents);
        let (from, raw, bytes) = (&label.original, packed.raw, packed.bytes);
        tracing::info!("{from} is in the archive as {} ({raw} bytes, packed {bytes})", label.file_name());
        self.remove_original(&mut work)?;
        Ok(Stage::Look(work))
    }

    fn drop_original(&mut self, work: &mut Work) -> Result<(), ArchiveError> {
        self.remove_original(work)?;
        self.dropped += 1;
        Ok(())
    }

    fn remove_original(&mut self, work: &mut Work) -> Result<(), ArchiveError> {
        if let Some(file) = work.left.front() {
            let path = self.options.log.directory.join(&file.name);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, "removing")(error)),
                _ => {}
            }
        }
        self.done_with(work);
        Ok(())
    }

    /// Removes the oldest base and what follows it up to the next one; false where there is none.
    fn drop_oldest_run(&mut self, why: &str) -> Result<bool, ArchiveError> {
        let directory = self.options.directory.clone();
        let mut contents = self.contents().clone();
        let run: Vec<Archived> = contents.files.drain(..contents.oldest_run()).collect();
        if run.is_empty() {
            return Ok(false);
        }
        let stored = contents.store(&*self.disk, &directory);
        // Where there is no room for the manifest without them they go first: a run that lacks a file is left out when the
        // archive is read.
        let is_full = stored.as_ref().is_err_and(is_full);
        if !is_full {
            stored.map_err(failed(&directory, "storing the manifest in"))?;
        }
        self.remove_files(&run)?;
        if is_full {
            contents.store(&*self.disk, &directory).map_err(failed(&directory, "storing the manifest in"))?;
        }
        self.contents = Some(contents);
        self.disk.sync_dir(&directory).map_err(failed(&directory, "removing files from"))?;
        let end = run.iter().rev().find_map(|file| file.span.map(|span| span.end)).unwrap_or_default();
        tracing::info!("{} files up to LSN {end} have left the archive: {why}", run.len());
        Ok(true)
    }

    fn remove_files(&self, files: &[Archived]) -> Result<(), ArchiveError> {
        for file in files {
            let path = self.options.directory.join(file.file_name());
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, "removing")(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn prune(&mut self) -> Result<Stage, ArchiveError> {
        let Retain { time, bytes } = self.options.retain;
        let now = self.clock.unix_millis();
        let contents = self.contents();
        let held = contents.bytes();
        let run = &contents.files[..contents.oldest_run()];
        let Some(newest) = run.iter().map(|file| file.label.superseded).max() else { return Ok(Stage::Rest(None)) };
        let age = Duration::from_millis(u64::try_from(now.0.saturating_sub(newest.0)).unwrap_or(0));
        let why = if bytes.is_some_and(|most| held > most) {
            "there is more than aof-retain-size"
        } else if time.is_some_and(|longest| age >= longest) {
            "they are older than aof-retain-time"
        } else if self.relieve()? {
            return Ok(Stage::Prune);
        } else {
            return Ok(Stage::Rest(time.map(|longest| longest - age)));
        };
        self.drop_oldest_run(why)?;
        Ok(Stage::Prune)
    }
}
