//! Compaction: a new base takes the place of the old one and of all segments before a cut of the log.
//!
//! The log is cut where the snapshot was taken, in the same hold of the engine: what is in the base is in front of the cut,
//! what is behind it goes to another segment. Nothing is written twice and nothing is buffered.
//!
//! A state machine: `step` does a bounded piece of work; a thread drives it in the server, a seed in a test.
//!
//! Invariants
//! - The manifest names the base after its content and its name are durable, and after the segment behind the cut is.
//! - What is superseded is deleted after that manifest is durable, and nothing else is.
//! - A failure before that leaves the log as it was; a base that nobody names is removed.

use super::draft::{DraftWriter, SaveError, SaveStep};
use super::log::{Cut, Done, LogBuffer, Order, Promise, WriterOptions};
use super::manifest::{BaseIdentity, FileEntry, FileKind};
use super::rdb::RdbOptions;
use super::{Position, command_base, rdb, strays};
use crate::env::Disk;
use crate::keyspace::Snapshot;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the base goes, and how it is written.
#[derive(Clone, Debug)]
pub struct BaseOptions {
    pub log: WriterOptions,
    /// Where the snapshot stands.
    pub position: Position,
    /// How it is written as an RDB file; its path is chosen here.
    pub rdb: RdbOptions,
    /// As commands instead (`aof-use-rdb-preamble no`).
    pub as_commands: bool,
    /// A base of commands says when it was begun (`aof-timestamp-enabled`); milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// `aof-disable-auto-gc`: superseded files stay.
    pub keep_superseded: bool,
}

/// Why there is no new base. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    #[error("{0}")]
    Save(#[from] SaveError),
    #[error("{doing} {}: {error}", path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{0}")]
    Log(String),
}

impl CompactionError {
    /// The error of the file system that it comes from, and where that was.
    pub fn io(&self) -> Option<(&Path, &io::Error)> {
        match self {
            Self::Save(SaveError { path, error, .. }) | Self::Io { path, error, .. } => Some((path, error)),
            Self::Log(_) => None,
        }
    }
}

/// What `step` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStep {
    Worked,
    /// The log's writer has to do something first; see [`Compaction::wait`].
    Waits,
    /// The base is named, and what it supersedes is gone.
    Done,
}

enum Stage {
    Begin,
    Base(Box<DraftWriter>, FileEntry),
    Roll(FileEntry, BaseIdentity),
    Name(FileEntry, Arc<Promise>),
    Delete { left: Vec<FileEntry>, gone: Vec<String> },
    Forget(Arc<Promise>),
    Done,
}

/// See the module's header.
pub struct Compaction {
    disk: Arc<dyn Disk>,
    buffer: Arc<LogBuffer>,
    cut: Cut,
    options: BaseOptions,
    snapshot: Option<Snapshot>,
    stage: Stage,
    keys: u64,
    base_bytes: u64,
}

impl Compaction {
    /// Begins with a snapshot, and a cut of the log that was made in the same hold of the engine.
    pub fn new(
        disk: Arc<dyn Disk>,
        buffer: Arc<LogBuffer>,
        cut: Cut,
        snapshot: Snapshot,
        mut options: BaseOptions,
    ) -> Self {
        options.rdb.position = Some(options.position);
        let stage = Stage::Begin;
        Self { disk, buffer, cut, options, snapshot: Some(snapshot), stage, keys: 0, base_bytes: 0 }
    }

    /// Keys written so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Bytes of the base, when it is whole.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes
    }

    /// The base is named: there is nothing left to give up.
    pub fn is_named(&self) -> bool {
        matches!(self.stage, Stage::Delete { .. } | Stage::Forget(_) | Stage::Done)
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    /// What failed; the compaction has ended then.
    pub fn step(&mut self) -> Result<CompactionStep, CompactionError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Begin => {
                let entry = self.choose_name()?;
                let mut options = self.options.rdb.clone();
                options.path = self.options.log.directory.join(&entry.name);
                let Some(snapshot) = self.snapshot.take() else { return Ok(CompactionStep::Done) };
                let disk = Arc::clone(&self.disk);
                let writer = if self.options.as_commands {
                    command_base::begin(disk, snapshot, options, self.options.position, self.options.timestamp)
                } else {
                    rdb::begin(disk, snapshot, options)
                };
                self.stage = Stage::Base(Box::new(writer), entry);
            }
            Stage::Base(writer, entry) => self.stage = self.write_base(writer, entry)?,
            Stage::Roll(entry, identity) => match self.rolled() {
                Err(error) => return Err(self.give_up(&entry, error)),
                Ok(None) => {
                    self.stage = Stage::Roll(entry, identity);
                    return Ok(CompactionStep::Waits);
                }
                Ok(Some(kept_from)) => {
                    let promise = self.buffer.order(Order::Base { entry: entry.clone(), identity, kept_from });
                    self.stage = Stage::Name(entry, promise);
                }
            },
            Stage::Name(entry, promise) => match promise.answer() {
                None => {
                    self.stage = Stage::Name(entry, promise);
                    return Ok(CompactionStep::Waits);
                }
                Some(Err(error)) => return Err(self.give_up(&entry, error)),
                Some(Ok(done)) => self.stage = self.delete_after(done),
            },
            Stage::Delete { left, gone } => self.stage = self.delete(left, gone),
            Stage::Forget(promise) => match promise.answer() {
                None => {
                    self.stage = Stage::Forget(promise);
                    return Ok(CompactionStep::Waits);
                }
                Some(Err(error)) => tracing::warn!("The manifest still names files that are gone: {error}"),
                Some(Ok(_)) => {}
            },
            Stage::Done => {}
        }
        Ok(if matches!(self.stage, Stage::Done) { CompactionStep::Done } else { CompactionStep::Worked })
    }

    /// Waits for the log's writer, at most this long.
    pub fn wait(&self, at_most: Duration) {
        match &self.stage {
            Stage::Roll(..) => self.cut.rolled.wait(at_most),
            Stage::Name(_, promise) | Stage::Forget(promise) => promise.wait(at_most),
            _ => {}
        }
    }

    /// Gives it up, unless the manifest may name the base already: then it has to go on.
    pub fn abandon(&mut self) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Base(mut writer, _) => writer.abandon(),
            Stage::Roll(entry, _) => self.remove_base(&entry),
            stage @ (Stage::Name(..) | Stage::Delete { .. } | Stage::Forget(_)) => {
                self.stage = stage;
                return false;
            }
            Stage::Begin | Stage::Done => {}
        }
        true
    }

    /// A name that no file has had: one that a manifest of before named, or that a crash left, is never replaced.
    fn choose_name(&self) -> Result<FileEntry, CompactionError> {
        let log = &self.options.log;
        let names = self.disk.list(&log.directory).map_err(|error| {
            let path = log.directory.clone();
            CompactionError::Io { path, doing: "listing", error }
        })?;
        let sequence = names.iter().filter_map(|name| strays::base_sequence_of(name, log)).max().unwrap_or(0) + 1;
        let name = log.base_name(sequence, self.options.as_commands);
        Ok(FileEntry { name, sequence, kind: FileKind::Base })
    }

    fn write_base(&mut self, mut writer: Box<DraftWriter>, entry: FileEntry) -> Result<Stage, CompactionError> {
        if let Some(Err(error)) = self.cut.rolled.answer() {
            writer.abandon();
            return Err(CompactionError::Log(error));
        }
        let step = writer.step()?;
        (self.keys, self.base_bytes) = (writer.keys(), writer.size());
        if step == SaveStep::Worked {
            return Ok(Stage::Base(writer, entry));
        }
        let path = self.options.log.directory.join(&entry.name);
        match strays::base_identity(&*self.disk, &path) {
            Ok(identity) => Ok(Stage::Roll(entry, identity)),
            Err(error) => {
                self.remove_base(&entry);
                Err(CompactionError::Io { path, doing: "reading back", error })
            }
        }
    }

    /// The first segment behind the cut, when the log goes on there.
    fn rolled(&self) -> Result<Option<u64>, String> {
        match self.cut.rolled.answer() {
            None => Ok(None),
            Some(Ok(Done::Rolled { sequence })) => Ok(Some(sequence)),
            Some(Ok(Done::Stored { .. })) => Err("the log was not cut".into()),
            Some(Err(error)) => Err(error),
        }
    }

    fn delete_after(&self, done: Done) -> Stage {
        match done {
            Done::Stored { superseded } if !self.options.keep_superseded && !superseded.is_empty() => {
                Stage::Delete { left: superseded, gone: Vec::new() }
            }
            _ => Stage::Done,
        }
    }

    /// Deletes one superseded file; behind the last one, has the manifest forget them. What cannot be deleted stays in the
    /// manifest, and the next start or rewrite tries again.
    fn delete(&self, mut left: Vec<FileEntry>, mut gone: Vec<String>) -> Stage {
        let directory = &self.options.log.directory;
        if let Some(file) = left.pop() {
            let path = directory.join(&file.name);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("Removing the superseded file {} failed: {error}", path.display());
                }
                _ => gone.push(file.name),
            }
            return Stage::Delete { left, gone };
        }
        match self.disk.sync_dir(directory) {
            Ok(()) if gone.is_empty() => Stage::Done,
            Ok(()) => Stage::Forget(self.buffer.order(Order::Forget(gone))),
            Err(error) => {
                tracing::warn!("Removing superseded files from {} may not last: {error}", directory.display());
                Stage::Done
            }
        }
    }

    fn give_up(&self, entry: &FileEntry, error: String) -> CompactionError {
        self.remove_base(entry);
        CompactionError::Log(error)
    }

    /// Removes a base that no manifest names.
    fn remove_base(&self, entry: &FileEntry) {
        let path = self.options.log.directory.join(&entry.name);
        if let Err(error) = self.disk.remove(&path) {
            tracing::warn!("Removing {} failed: {error}; it is not needed", path.display());
        }
    }
}
