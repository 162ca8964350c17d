//! `redis-check-aof` and `redis-check-rdb`: their options, what they print, and their exit codes, for scripts that run them.
//!
//! In segments of ours they verify the frames too. Invariant: what `--fix` cuts is kept beside the file.

mod aof;
mod rdb;

use crate::env::disk::OsDisk;
use crate::env::{Clock, Disk, OpenMode, SystemClock, UnixMillis};
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a tool ends with exit code 1; what it has to say is printed already, or is this.
pub struct Failed(Option<String>);

impl Failed {
    fn because(reason: impl fmt::Display) -> Self {
        Self(Some(reason.to_string()))
    }

    /// All was said.
    fn said() -> Self {
        Self(None)
    }
}

/// What both tools need.
pub struct Bench<'b> {
    pub disk: &'b dyn Disk,
    pub out: &'b mut dyn Write,
    pub now: UnixMillis,
}

impl Bench<'_> {
    /// Prints a line; a reader that has gone away is no error.
    fn say(&mut self, line: impl fmt::Display) {
        let _ = writeln!(self.out, "{line}");
    }
}

/// Prints a line; whoever read may have gone away.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn ended(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(reason)) => {
            if let Some(reason) = reason {
                print(&reason);
            }
            ExitCode::FAILURE
        }
    }
}

fn version(called: &str) -> ExitCode {
    let name = called.rsplit('/').next().unwrap_or_default();
    print(&format!("{name} {} (graven {})", crate::REDIS_VERSION, crate::server::GRAVEN_VERSION));
    ExitCode::SUCCESS
}

/// `redis-check-rdb <file>`.
pub fn check_rdb(called: &str, arguments: &[OsString]) -> ExitCode {
    let [path] = arguments else {
        complain!("Usage: {called} <rdb-file-name>");
        return ExitCode::FAILURE;
    };
    if path == "-v" || path == "--version" {
        return version(called);
    }
    let mut bench = Bench { disk: &OsDisk, out: &mut std::io::stdout().lock(), now: SystemClock::new().unix_millis() };
    ended(rdb::check(&mut bench, Path::new(path), &path.to_string_lossy()).map(|_| ()))
}

/// `redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>`.
pub fn check_aof(called: &str, arguments: &[OsString]) -> ExitCode {
    let usage = || {
        print(&format!("Usage: {called} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"));
        ExitCode::FAILURE
    };
    let (path, wanted) = match arguments {
        [path] if path == "-v" || path == "--version" => return version(called),
        [path] => (path, aof::Wanted::Check),
        [option, path] if option == "--fix" => (path, aof::Wanted::Fix),
        [option, until, path] if option == "--truncate-to-timestamp" => match until.to_str().map(str::parse) {
            // Stock takes the beginning of time for none at all.
            Some(Ok(0)) => (path, aof::Wanted::Check),
            Some(Ok(seconds)) => (path, aof::Wanted::Until(seconds)),
            _ => {
                print("Invalid timestamp, aborting...");
                return ExitCode::FAILURE;
            }
        },
        _ => return usage(),
    };
    let mut bench = Bench { disk: &OsDisk, out: &mut std::io::stdout(), now: SystemClock::new().unix_millis() };
    ended(aof::check(&mut bench, &PathBuf::from(path), wanted))
}

/// Opens a file for reading, or fails as stock does.
fn open(disk: &dyn Disk, path: &Path) -> Result<Box<dyn crate::env::DiskFile>, Failed> {
    disk.open(path, OpenMode::Read)
        .map_err(|error| Failed::because(format!("Cannot open file {}: {}", path.display(), os_text(&error))))
}

/// The system's words for an error.
fn os_text(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned())
}
