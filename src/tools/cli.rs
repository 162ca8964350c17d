//! The verbs and their options.

use super::Exit;
use super::backup;
use super::check;
use super::find;
use super::inspect::{self, inspect};
use super::looking::LookingDisk;
use super::place::Place;
use super::portions::scratch;
use super::{diff, doctor, export, repair, restore};
use crate::env::disk::OsDisk;
use crate::env::{Disk, SystemClock, SystemEntropy};
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::json;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Tools for data directories of graven and of stock servers.
#[derive(Parser)]
#[command(name = "graven", disable_help_subcommand = true)]
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
    /// Save what verifies of a damaged data directory; without --apply only say what that would be.
    ///
    /// Finds torn tails, damaged frames and blocks, lost or wrong manifests, missing and stray files, and files of stock servers
    /// that end too early or cannot be parsed. Names what is lost, in commands and keys. In place every file that is replaced is
    /// kept beside it. Exit codes: 0 nothing to repair, or repaired; 1 there is damage, and nothing was written yet; 2 no data
    /// directory, wrong options, in use, or nothing that can be repaired; 3 only what a start puts right by itself; 4 something
    /// could not be read or written.
    Repair(repair::Options),
    /// Make a new directory that holds what a log held at a moment; stock servers start on it too.
    ///
    /// Whole transactions only. The log must verify up to there. Exit codes: 0 made; 1 it does not verify; 2 the moment is not in
    /// the log, wrong options, or the new directory is not empty; 4 something could not be read or written.
    Restore(restore::Options),
    /// Write the data set of a directory or a file in another form.
    ///
    /// Loads as a start would, in portions where it is much. Exit codes: 0 written; 1 damage: a server would not start on it; 2 wrong options, or the
    /// file is there already; 4 something could not be read or written.
    Export(export::ExportOptions),
    /// Make a data directory of an RDB file, commands, or JSON lines; stock servers start on it too.
    ///
    /// Exit codes: 0 made; 1 what is imported is damaged; 2 wrong options, or the directory is not empty; 4 something could not be
    /// read or written.
    Import(export::ImportOptions),
    /// Compare two data sets key by key.
    ///
    /// Loads both as a start would, in portions where they are large. Exit codes: 0 they are the same; 1 they differ; 2 wrong options; 4 something could
    /// not be read; 5 damage: a server would not start on one of them.
    Diff(diff::Options),
    /// Say whether a directory, its disk and the system are fit for a log: one line for each question.
    ///
    /// Exit codes: 0 nothing is bad; 1 something is; 2 wrong options; 4 the directory cannot be read.
    Doctor(doctor::Options),
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
        Err(error) if error.use_stderr() => {
            complain!("{}", in_one_line(&error.to_string()));
            Exit::Usage.into()
        }
        Err(error) => told(print_line(&error.to_string())).into(),
        Ok(Cli { verb: Verb::Check { path, json } }) => check_verb(path, json).into(),
        Ok(Cli { verb: Verb::Repair(options) }) => repair_verb(&options).into(),
        Ok(Cli { verb: Verb::Restore(options) }) => restore_verb(&options).into(),
        Ok(Cli { verb: Verb::Export(options) }) => export_verb(&options).into(),
        Ok(Cli { verb: Verb::Import(options) }) => import_verb(&options).into(),
        Ok(Cli { verb: Verb::Diff(options) }) => diff_verb(&options).into(),
        Ok(Cli { verb: Verb::Doctor(options) }) => doctor_verb(&options).into(),
        Ok(Cli { verb: Verb::Inspect(options) }) => inspect_verb(&options).into(),
        Ok(Cli { verb: Verb::Backup(arguments) }) => backup::run(arguments).into(),
    })
}

/// What is wrong with a command line, without the pages that follow.
fn in_one_line(error: &str) -> String {
    let mut paragraphs = error.split("\n\n").filter(|paragraph| !paragraph.trim_start().starts_with("Usage:"));
    let wrong = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
    let tips = paragraphs.filter(|paragraph| paragraph.trim_start().starts_with("tip:"));
    let words = std::iter::once(wrong).chain(tips).flat_map(str::split_whitespace);
    words.collect::<Vec<_>>().join(" ")
}

/// Says why not, if not; an empty reason was said already.
fn told(result: Result<(), (String, Exit)>) -> Exit {
    match result {
        Ok(()) => Exit::Sound,
        Err((reason, exit)) => {
            if !reason.is_empty() {
                complain!("{reason}");
            }
            exit
        }
    }
}

/// What lies at a path, and the randomness for what is made of it.
fn place_and_entropy(disk: &dyn Disk, path: &Path) -> Result<(Place, SystemEntropy), Exit> {
    let place = find(disk, path)?;
    let entropy = SystemEntropy::new().map_err(|error| {
        complain!("no randomness: {error}");
        Exit::Io
    })?;
    Ok((place, entropy))
}

/// A disk to work on: a bar says how far it has come, where somebody looks and machines do not.
pub fn watched(json: bool) -> (LookingDisk, Arc<dyn Disk>) {
    let looking = LookingDisk::changing(Arc::new(OsDisk), !json && std::io::stderr().is_terminal());
    (looking.clone(), Arc::new(looking))
}

fn export_verb(options: &export::ExportOptions) -> Exit {
    // What goes to a terminal is not mixed with a bar.
    let (looking, disk) = watched(options.json || (options.out.is_none() && std::io::stdout().is_terminal()));
    let exported = export::export(&disk, options, &SystemClock::new(), &mut std::io::stdout().lock());
    looking.finish();
    told(exported.and_then(|export::Done { keys, source }| match (options.json, &options.out) {
        (true, Some(out)) => print_line(&json!({ "keys": keys, "source": source, "out": out }).to_string()),
        (is_json, _) => {
            match is_json {
                false => complain!("{keys} keys of {}: {source}", options.path.display()),
                true => complain!("{}", json!({ "keys": keys, "source": source })),
            }
            Ok(())
        }
    }))
}

fn import_verb(options: &export::ImportOptions) -> Exit {
    let (looking, disk) = watched(options.json);
    let imported = export::import(&disk, options, &SystemClock::new());
    looking.finish();
    told(imported.and_then(|export::Done { keys, source }| {
        print_line(&match options.json {
            true => json!({ "keys": keys, "source": source, "into": options.into }).to_string(),
            false => format!("{}: {keys} keys", options.into.display()),
        })
    }))
}

fn restore_verb(options: &restore::Options) -> Exit {
    let (looking, disk) = watched(options.json);
    let (place, mut entropy) = match place_and_entropy(&*disk, &options.path) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let restored = restore::restore(&disk, &place, options, &mut entropy);
    looking.finish();
    told(restored.and_then(|restored| {
        print_line(&if options.json { format!("{:#}", restored.to_json()) } else { restored.to_text() })
    }))
}

fn diff_verb(options: &diff::Options) -> Exit {
    let (looking, disk) = watched(options.json || std::io::stdout().is_terminal());
    let compared = diff::diff(&disk, options, &mut std::io::stdout().lock());
    looking.finish();
    match compared {
        Ok(found) => {
            let diff::Differences { only_one, only_other, changed, same } = found;
            complain!(
                "{only_one} only in the first, {only_other} only in the second, {changed} differ, {same} are the same"
            );
            if only_one + only_other + changed > 0 { Exit::Damaged } else { Exit::Sound }
        }
        // 1 says that they differ.
        Err((reason, Exit::Damaged)) => {
            told(Err((reason, Exit::Damaged)));
            Exit::Unloadable
        }
        Err(failed) => told(Err(failed)),
    }
}

fn doctor_verb(options: &doctor::Options) -> Exit {
    match doctor::examine(&OsDisk, &SystemClock::new(), &options.path) {
        Ok(answers) => {
            let printed = print_line(&if options.json {
                format!("{:#}", doctor::to_json(&answers))
            } else {
                doctor::to_text(&answers)
            });
            printed.map_or_else(|failed| told(Err(failed)), |()| doctor::exit(&answers))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            told(Err((format!("{} is no directory", options.path.display()), Exit::Usage)))
        }
        Err(error) => told(Err((format!("{}: {error}", options.path.display()), Exit::Io))),
    }
}

fn repair_verb(options: &repair::Options) -> Exit {
    let (looking, disk) = watched(options.json);
    let (place, mut entropy) = match place_and_entropy(&*disk, &options.path) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let repaired = repair::repair(&disk, &place, options, &SystemClock::new(), &mut entropy);
    looking.finish();
    match repaired {
        Ok(repaired) => {
            let text = if options.json { format!("{:#}", repaired.to_json()) } else { repaired.to_text() };
            print_line(&text).map_or_else(|failed| told(Err(failed)), |()| repaired.exit())
        }
        Err(failed) => told(Err((failed.to_string(), failed.exit()))),
    }
}

fn inspect_verb(options: &inspect::Options) -> Exit {
    // What goes to a terminal is not mixed with a bar; what is followed has no end.
    let shown = !options.json && !options.follow && std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
    let looking = LookingDisk::new(Arc::new(OsDisk), shown);
    let disk: Arc<dyn Disk> = Arc::new(looking.clone());
    let scratch = scratch(&(Arc::new(OsDisk) as Arc<dyn Disk>), options.temp.as_deref(), None);
    let exit = inspect(&disk, &scratch, options, &mut std::io::stdout().lock());
    looking.finish();
    exit
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
    // Paths that are no text are shown as near as text comes; everything else is numbers and words.
    let printed = match json {
        true => print_line(
            &serde_json::to_string_pretty(&report)
                .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string()),
        ),
        false => print_line(&report.to_string()),
    };
    printed.map_or_else(|failed| told(Err(failed)), |()| report.exit())
}

/// Prints a text; a reader that has gone away is no error of the tool's.
///
/// # Errors
/// It cannot be written where it is to go.
pub fn print_line(text: &str) -> Result<(), export::Failed> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((format!("standard output: {error}"), Exit::Io)),
        _ => Ok(()),
    }
}
