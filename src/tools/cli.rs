//! The verbs and their options.

use super::Exit;
use super::backup;
use super::check::{self, Report};
use super::find;
use super::inspect::{self, inspect};
use super::looking::LookingDisk;
use crate::env::Disk;
use crate::env::disk::OsDisk;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Tools for data directories of graven and of stock servers.
#[derive(Parser)]
#[command(name = "graven", disable_help_flag = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Verify a data directory, or a file of one, byte by byte; works beside a running server.
    ///
    /// Exit codes: 0 everything verifies; 1 damage; 2 no data directory, or wrong options; 3 a tail torn by a crash, which
    /// the next start cuts off by itself; 4 something could not be read.
    Check {
        /// A data directory, its log's directory, a manifest, a segment, an append-only file or an RDB file.
        path: PathBuf,
        /// Report for machines.
        #[arg(long)]
        json: bool,
    },
    /// Show what is on the disk: commands and frames of a log, keys of an RDB file, and how they are spread.
    ///
    /// Works beside a running server, and behind damage: what does not verify is told as a gap. Exit codes: 0 everything that was
    /// asked for was shown; 1 damage was met; 2 no data directory, or wrong options; 3 a tail torn by a crash was met, which the
    /// next start cuts off by itself; 4 something could not be read.
    Inspect(Box<inspect::Options>),
    /// Copy a data directory, beside a running server too: everything acknowledged before the call is in the copy.
    ///
    /// The copy is a data directory on which graven and stock servers start, with the checksums of its files in SHA256SUMS.
    /// Exit codes: 0 made; 1 what was copied is damaged, a server would not start on it; 2 no data directory, or wrong
    /// options; 4 something could not be read or written, or the server did not answer.
    #[command(allow_missing_positional = true)]
    Backup(backup::Arguments),
}

/// Runs the verb that stands first, if one does.
pub fn run(argv: &[OsString]) -> Option<ExitCode> {
    let verb = argv.get(1)?.to_str()?;
    Cli::command().find_subcommand(verb)?;
    Some(match Cli::try_parse_from(argv) {
        Err(error) => {
            // To a closed pipe nothing can be said.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS }
        }
        Ok(Cli { verb: Verb::Check { path, json } }) => check_verb(path, json).into(),
        Ok(Cli { verb: Verb::Inspect(options) }) => {
            let disk: Arc<dyn Disk> = Arc::new(LookingDisk::new(Arc::new(OsDisk), false));
            inspect(&disk, &options, &mut std::io::stdout().lock()).into()
        }
        Ok(Cli { verb: Verb::Backup(arguments) }) => backup::run(arguments).into(),
    })
}

fn check_verb(path: PathBuf, json: bool) -> Exit {
    let looking = LookingDisk::new(Arc::new(OsDisk), !json && std::io::stderr().is_terminal());
    let disk: Arc<dyn Disk> = Arc::new(looking.clone());
    let place = match find(&*disk, &path) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    let report = check::check(&disk, &place);
    looking.finish();
    if json {
        print_json(&report)
    } else {
        print_line(&report.to_string())
    }
    report.exit()
}

fn print_json(report: &Report) {
    // Paths that are no text are shown as near as text comes; everything else is numbers and words.
    let text = serde_json::to_string_pretty(report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    print_line(&text);
}

/// Prints a text; a reader that has gone away is no error of the tool's.
pub fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}
