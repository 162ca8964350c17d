//! What can go wrong with a data directory, and what an operator should do about it.

use super::Lsn;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// How bytes on disk contradict what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DamageKind {
    #[error("the segment header does not verify")]
    BadSegmentHeader,
    #[error("the file is empty")]
    EmptyFile,
    #[error("the file ends inside a frame header")]
    ShortHeader,
    #[error("a frame header does not verify")]
    BadHeader,
    #[error("the file ends inside a frame")]
    ShortPayload,
    #[error("a frame's payload has the wrong checksum")]
    BadPayload,
    #[error("a frame does not follow the one before it")]
    BrokenChain,
    #[error("bytes follow what the file says is its end")]
    BytesBehindEnd,
    #[error("the file ends before the position at which the next segment begins")]
    EndsEarly,
    #[error("the segment does not follow the one before it: it is from elsewhere, older, or swapped")]
    NotTheNext,
    #[error("the log ends before the position at which it was closed")]
    EndsBeforeClose,
    #[error("a command in it cannot be parsed")]
    BadCommand,
    #[error("the file ends inside a command")]
    ShortCommand,
    #[error("the commands from here to the next checksum line are not those that were written")]
    BadSum,
    #[error("the base ends without its last checksum line")]
    NoLastSum,
}

/// Damage with its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {kind} at offset {offset}, LSN {lsn}", file.display())]
pub struct Damage {
    pub file: PathBuf,
    pub offset: u64,
    pub lsn: Lsn,
    pub kind: DamageKind,
}

/// Why a data directory was not opened. Nothing on disk was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error(
        "the data directory {} is in use by another server; stop that one first, or choose another `dir`",
        path.display()
    )]
    InUse { path: PathBuf },

    #[error("Invalid AOF manifest file format: {} line {line} {reason}", path.display())]
    BadManifest { path: PathBuf, line: usize, reason: &'static str },

    #[error(
        "{} holds files of an append only log but no manifest; put the manifest back, or move the files away to start \
         without them",
        path.display()
    )]
    NoManifest { path: PathBuf },

    #[error("{} is named by the manifest but missing; put it back from a backup", path.display())]
    MissingFile { path: PathBuf },

    #[error(
        "Bad file format reading the append only file: {0}. Bytes that were durable have changed since: nothing was \
         loaded and nothing changed. Restore the file from a copy"
    )]
    Rotten(Damage),

    #[error(
        "Unexpected end of file reading the append only file: {0}. The tail was torn by a crash and \
         `aof-load-truncated no` forbids to cut it: set it to yes to cut at the last whole frame"
    )]
    Truncated(Damage),

    #[error(
        "{} holds data, but `appendonly` is off and there is no dump, or an empty one. To load it: --appendonly yes. To start \
         empty: mv '{}' '{}.left-out'",
        path.display(), path.display(), path.display()
    )]
    DataElsewhere { path: PathBuf, directory: PathBuf },

    #[error(
        "the log in {} is empty, but {} holds keys. To load the dump: mv '{}' '{}.left-out'. To start empty: mv '{}' '{}.left-out'",
        log.display(), dump.display(), log.display(), log.display(), dump.display(), dump.display()
    )]
    EmptyLog { dump: PathBuf, log: PathBuf },

    #[error(
        "{} holds writes, the manifest does not name it, and it does not continue the log: the manifest is older than \
         the log, or the file is from elsewhere. Put the right manifest back, or move the file away",
        path.display()
    )]
    Stray { path: PathBuf },

    #[error("the base {} cannot be loaded: {reason}", path.display())]
    BadBase { path: PathBuf, reason: String },

    #[error("{} offset {offset}: {reason}", path.display())]
    BadReplay { path: PathBuf, offset: u64, reason: String },
}

impl OpenError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
