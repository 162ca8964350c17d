//! The tools of the binary: what they print, their options and exit codes. What they find out is the library's.
//!
//! Invariant: a tool changes nothing that it was not told to change, and says what it found in one place only: its
//! report, as text or, with `--json`, for machines.

/// Says something on standard error; whoever read there may have gone away, which is no reason to fail.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod backup;
mod check;
mod cli;
mod dataset;
mod diff;
mod doctor;
mod export;
mod inspect;
mod json;
mod looking;
mod moment;
mod place;
mod portions;
mod repair;
mod restore;
mod stock;
mod target;
#[cfg(test)]
mod tests;

pub use backup::{
    AskError, Asked, Backup, BackupError, BackupOptions, Login, ask, backup_to_directory, backup_to_stream,
};
pub use check::{Damaged, FileReport, Report, Role, Start, Verdict, check};
pub use place::{Place, PlaceError};

use crate::env::Disk;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the tool that a command line asks for: by the program's name (those of stock's tools) or by its first word.
/// `None` when it asks for none: it is the server's then.
pub fn run(argv: &[OsString]) -> Option<ExitCode> {
    let called = argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    match called.rsplit('/').next() {
        Some("redis-check-aof" | "valkey-check-aof") => Some(stock::check_aof(&called, &argv[1..])),
        Some("redis-check-rdb" | "valkey-check-rdb") => Some(stock::check_rdb(&called, &argv[1..])),
        _ => cli::run(argv),
    }
}

/// The place that a path names; the error is said.
fn find(disk: &dyn Disk, path: &Path) -> Result<Place, Exit> {
    Place::find(disk, path).map_err(|error| {
        complain!("{error}");
        match error {
            PlaceError::Io { .. } => Exit::Io,
            PlaceError::Nothing { .. } => Exit::Usage,
        }
    })
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything verifies.
    Sound = 0,
    /// Damage: a server would refuse to start, or would lose what was durable.
    Damaged = 1,
    /// The command line, or what it names, makes no sense; nothing was looked at.
    Usage = 2,
    /// A tail that a crash has torn, which the next start cuts off by itself.
    Torn = 3,
    /// Something could not be read.
    Io = 4,
    /// What is compared cannot be loaded.
    Unloadable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
