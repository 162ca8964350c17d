//! What a check has found, for people and for machines.

use crate::persist::{Contents, LoadReport, OpenError};
use crate::tools::Exit;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What holds of a file or a directory; the worst of a directory's files is the directory's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte verifies, or is a stock server's and parses.
    Sound,
    /// A running server is writing behind what verifies.
    InFlight,
    /// A crash has torn the tail, above everything that is known to have been durable: the next start cuts it off.
    Torn,
    /// What was durable does not verify.
    Damaged,
    /// It could not be read.
    Unreadable,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Manifest,
    Base,
    Segment,
    /// An incremental file of a stock server's.
    StockIncremental,
    /// Superseded, named for deletion.
    History,
    Dump,
    /// An earlier generation of it.
    EarlierDump,
    /// An append-only file of one part, from Redis 6 and before.
    SingleFile,
    /// A copy of what was cut.
    TornCopy,
    /// Written when a process ended; never read.
    Draft,
    /// Not named by the manifest.
    Stray,
    /// What the archive holds.
    ArchiveManifest,
    /// A superseded file of the log, packed.
    Archived,
}

/// The first damage of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Bytes before it.
    pub offset: u64,
    /// Lines (ended by LF) before it, plus one.
    pub line: u64,
    /// Position in the log, where one is known.
    pub lsn: Option<u64>,
    pub reason: String,
}

/// One file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    pub file: PathBuf,
    pub role: Role,
    pub verdict: Verdict,
    pub bytes: u64,
    /// First position, and the one behind the last that verifies.
    pub lsn: Option<[u64; 2]>,
    /// Of a segment the chain value there: it covers the header and every frame that verifies.
    pub chain: Option<String>,
    /// Times of the first and the last frame, ms since the epoch.
    pub times: Option<[i64; 2]>,
    pub frames: u64,
    pub commands: u64,
    pub keys: u64,
    pub damage: Option<Damaged>,
    /// What verifies by itself behind the damage.
    pub behind: Option<Behind>,
    /// What else there is to say.
    pub note: Option<String>,
}

/// See [`FileReport::behind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Behind {
    pub frames: u64,
    pub commands: u64,
    pub bytes: u64,
}

impl From<Contents> for Behind {
    fn from(contents: Contents) -> Self {
        let Contents { frames, commands, bytes } = contents;
        Self { frames, commands, bytes }
    }
}

/// What a start on the directory would do.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    pub would_start: bool,
    /// What it would load, or why it would refuse.
    pub says: String,
}

/// A whole check.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub path: PathBuf,
    pub verdict: Verdict,
    /// A server has the directory open.
    pub in_use: bool,
    /// Of a directory.
    pub start: Option<Start>,
    pub files: Vec<FileReport>,
}

impl Start {
    pub(super) fn of(loaded: &Result<LoadReport, OpenError>, in_use: bool) -> Self {
        match loaded {
            Ok(report) => {
                let LoadReport { files, keys, commands, frames, end, .. } = report;
                let mut says = format!(
                    "{}: {files} files, {keys} keys of a base, {commands} commands, {frames} frames, up to LSN {end}, {}",
                    report.source,
                    if report.clean { "closed cleanly" } else { "not closed" },
                );
                if let (Some((file, offset, bytes)), false) = (&report.torn, in_use) {
                    says += &format!("; would cut {bytes} bytes of a torn tail from {} at {offset}", file.display());
                }
                if let Some(commands) = report.visited {
                    says += &format!("; {commands} commands by a stock server");
                }
                Self { would_start: true, says }
            }
            Err(error) => Self { would_start: false, says: error.to_string() },
        }
    }
}

impl Report {
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Sound | Verdict::InFlight => Exit::Sound,
            Verdict::Torn => Exit::Torn,
            Verdict::Damaged => Exit::Damaged,
            Verdict::Unreadable => Exit::Io,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Sound => "sound",
            Self::InFlight => "in flight",
            Self::Torn => "torn",
            Self::Damaged => "DAMAGED",
            Self::Unreadable => "UNREADABLE",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = if self.in_use { " (in use by a running server)" } else { "" };
        writeln!(out, "{}: {}{used}", self.path.display(), self.verdict)?;
        if let Some(start) = &self.start {
            let would = if start.would_start { "a start would load" } else { "a start would refuse" };
            writeln!(out, "{would}: {}", start.says)?;
        }
        for file in &self.files {
            writeln!(out, "{file}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<10} {}  {} bytes", self.verdict, self.file.display(), self.bytes)?;
        if let Some([first, end]) = self.lsn {
            write!(out, ", LSN {first} to {end}")?;
        }
        if let Some(chain) = &self.chain {
            write!(out, ", chain {chain}")?;
        }
        for (count, what) in [(self.frames, "frames"), (self.keys, "keys"), (self.commands, "commands")] {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        if let Some(note) = &self.note {
            write!(out, ", {note}")?;
        }
        if let Some(Damaged { offset, line, lsn, reason }) = &self.damage {
            write!(out, "\n           at offset {offset}, line {line}")?;
            if let Some(lsn) = lsn {
                write!(out, ", LSN {lsn}")?;
            }
            write!(out, ": {reason}")?;
        }
        if let Some(Behind { frames, commands, bytes }) = self.behind {
            write!(out, "\n           behind it verify {frames} frames, {commands} commands, {bytes} bytes")?;
        }
        Ok(())
    }
}
