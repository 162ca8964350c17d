//! Append-only files as redis-check-aof tells of them and mends them.

use super::{Bench, Failed, open, os_text, rdb};
use crate::env::disk::{parent, read_file, replace_file};
use crate::env::{Disk, OpenMode};
use crate::persist::rdb::is_rdb;
use crate::persist::{CloseState, Manifest, Next, Tape, survey_segment};
use std::io;
use std::path::{Path, PathBuf};

/// What is to be done with what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Check,
    /// Cut an invalid tail, after asking.
    Fix,
    /// Cut what was logged after this time, in seconds.
    Until(i64),
}

/// One file among others.
struct Part<'p> {
    path: PathBuf,
    /// As the messages name it.
    shown: &'p str,
    /// Only the last one may be cut.
    last: bool,
}

/// Checks a file, or all those that a manifest names.
///
/// # Errors
/// When one is not valid and was not mended.
pub fn check(bench: &mut Bench<'_>, path: &Path, wanted: Wanted) -> Result<(), Failed> {
    open(bench.disk, path)?;
    let content = if path.to_string_lossy().ends_with(".manifest") { read_file(bench.disk, path).ok() } else { None };
    let manifest = match content.map(|content| Manifest::decode(&content)) {
        None => None,
        Some(Ok(manifest)) => Some(manifest),
        Some(Err(error)) => {
            bench.say("Start checking Multi Part AOF");
            bench.say("*** FATAL AOF MANIFEST FILE ERROR ***");
            bench.say(format_args!("Reading the manifest file, at line {}", error.line));
            if let Ok(content) = read_file(bench.disk, path)
                && let Some(line) = content.split(|byte| *byte == b'\n').nth(error.line.saturating_sub(1))
            {
                bench.say(format_args!(">>> '{}'", String::from_utf8_lossy(line)));
            }
            bench.say("Invalid AOF manifest file format");
            complain!("The line {}", error.reason);
            return Err(Failed::said());
        }
    };
    let Some(manifest) = manifest else {
        bench.say("Start checking Old-Style AOF");
        let shown = path.to_string_lossy();
        let cut = part(bench, &Part { path: path.to_owned(), shown: &shown, last: true }, "AOF", wanted)?;
        return reopen_beside(bench, path, cut);
    };
    bench.say("Start checking Multi Part AOF");
    let directory = parent(path);
    let incremental: Vec<_> = manifest.incremental().collect();
    let mut cut = false;
    if let Some(base) = manifest.base() {
        let path = directory.join(&base.name);
        let form = if starts_as_rdb(bench.disk, &path)? { "RDB" } else { "AOF" };
        bench.say(format_args!("Start to check BASE AOF ({form} format)."));
        cut |= part(bench, &Part { path, shown: &base.name, last: incremental.is_empty() }, "BASE AOF", wanted)?;
    }
    if !incremental.is_empty() {
        bench.say("Start to check INCR files.");
    }
    for (at, entry) in incremental.iter().enumerate() {
        let (path, last) = (directory.join(&entry.name), at + 1 == incremental.len());
        cut |= part(bench, &Part { path, shown: &entry.name, last }, "INCR AOF", wanted)?;
    }
    if cut {
        reopen(bench, path, &manifest)?;
    }
    bench.say("All AOF files and manifest are valid");
    Ok(())
}

fn starts_as_rdb(disk: &dyn Disk, path: &Path) -> Result<bool, Failed> {
    let file = open(disk, path)?;
    let mut head = [0; 9];
    let shown = file.len().map_err(|error| Failed::because(os_text(&error)))?.min(head.len() as u64) as usize;
    file.read_exact_at(&mut head[..shown], 0).map_err(|error| Failed::because(os_text(&error)))?;
    Ok(is_rdb(&head[..shown]))
}

/// How far a file is valid.
struct Valid {
    up_to: u64,
    line: u64,
    /// Why not to its end.
    problem: Option<(u64, String)>,
    /// Where what is later than a time begins.
    later: Option<u64>,
}

/// Checks one file; whether it was cut.
fn part(bench: &mut Bench<'_>, part: &Part<'_>, kind: &str, wanted: Wanted) -> Result<bool, Failed> {
    let Part { path, shown, last } = part;
    let file = bench.disk.open(path, OpenMode::Read).map_err(|error| {
        Failed::because(format_args!("Cannot open file {}: {}, aborting...", path.display(), os_text(&error)))
    })?;
    let size = file.len().map_err(|error| Failed::because(os_text(&error)))?;
    if size == 0 {
        bench.say(format_args!("{kind} {shown} is empty"));
        return Ok(false);
    }
    let mut from = 0;
    if starts_as_rdb(bench.disk, path)? {
        match rdb::check(bench, path, shown) {
            Ok(end) => {
                bench.say("RDB preamble is OK, proceeding with AOF tail...");
                from = end;
            }
            Err(Failed(None)) => return Err(Failed::because("RDB preamble of AOF file is not sane, aborting.")),
            Err(other) => return Err(other),
        }
    }
    let until = if let Wanted::Until(seconds) = wanted { Some(seconds) } else { None };
    let mut valid = commands(&*file, from, until).map_err(|error| Failed::because(os_text(&error)))?;
    frames(&*file, path, &mut valid)?;
    if let Wanted::Until(seconds) = wanted
        && (valid.later.is_some() || valid.up_to == size)
    {
        return truncate_to(bench, part, valid.later, seconds, kind);
    }
    match &valid.problem {
        Some((_, problem)) if problem == NO_COMMAND => bench.say(format_args!("AOF {shown} format error")),
        Some((offset, problem)) => bench.say(format_args!("0x{offset:>16x}: {problem}")),
        None => {}
    }
    let diff = size - valid.up_to;
    bench.say(format_args!(
        "AOF analyzed: filename={shown}, size={size}, ok_up_to={}, ok_up_to_line={}, diff={diff}",
        valid.up_to, valid.line
    ));
    if diff == 0 {
        bench.say(format_args!("{kind} {shown} is valid"));
        return Ok(false);
    }
    if wanted != Wanted::Fix {
        return Err(Failed::because(format_args!("AOF {shown} is not valid. Use the --fix option to try fixing it.")));
    }
    if !last {
        return Err(Failed::because(format_args!("Failed to truncate AOF {shown} because it is not the last file")));
    }
    bench.say(format_args!(
        "This will shrink the AOF {shown} from {size} bytes, with {diff} bytes, to {} bytes",
        valid.up_to
    ));
    let _ = write!(bench.out, "Continue? [y/N]: ").and_then(|()| bench.out.flush());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_err() || !answer.trim_start().to_lowercase().starts_with('y') {
        return Err(Failed::because("Aborting..."));
    }
    cut(bench.disk, path, valid.up_to)
        .map_err(|error| Failed::because(format_args!("Failed to truncate AOF {shown}: {}", os_text(&error))))?;
    bench.say(format_args!("Successfully truncated AOF {shown}"));
    Ok(true)
}

/// Where neither a command nor a comment begins.
const NO_COMMAND: &str = "no command begins here";

fn begins_nothing(file: &dyn crate::env::DiskFile, at: u64) -> io::Result<bool> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(!matches!(byte[0], b'*' | b'#'))
}

fn commands(file: &dyn crate::env::DiskFile, from: u64, until: Option<i64>) -> io::Result<Valid> {
    let mut tape = Tape::new(file, from)?;
    let mut valid = Valid { up_to: from, line: 1, problem: None, later: None };
    let mut transaction = false;
    // The stock tool counts no lines of comments.
    let mut comments = 0;
    loop {
        let at = tape.offset();
        let problem = match tape.next()? {
            Next::End if !transaction => break,
            Next::End => "Reached EOF before reading EXEC for MULTI".to_owned(),
            Next::Short => "the file ends inside a command".to_owned(),
            Next::Garbage(_) if begins_nothing(file, at)? => NO_COMMAND.to_owned(),
            Next::Garbage(byte) => format!("Expected a command, got: {:02x}", byte),
            Next::Timestamp(seconds) if until.is_some_and(|until| seconds > until) => {
                valid.later = Some(at);
                break;
            }
            Next::Command => {
                let words = tape.words();
                let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
                let problem = match (words.len(), transaction) {
                    (1, true) if is(b"multi") => "Unexpected MULTI",
                    (1, false) if is(b"exec") => "Unexpected EXEC",
                    _ => "",
                };
                transaction = (transaction || is(b"multi")) && !is(b"exec");
                problem.to_owned()
            }
            Next::Timestamp(_) | Next::Comment => {
                comments += 1;
                String::new()
            }
        };
        valid.line = tape.line - comments;
        if !problem.is_empty() {
            valid.problem = Some((at, problem));
            return Ok(valid);
        }
        if !transaction {
            valid.up_to = tape.offset();
        }
    }
    valid.line = tape.line - comments;
    debug_assert!(valid.later.is_some() || valid.up_to == tape.end());
    Ok(valid)
}

/// Lowers what is valid to what the frames of a segment of ours say.
fn frames(file: &dyn crate::env::DiskFile, path: &Path, valid: &mut Valid) -> Result<(), Failed> {
    let survey = survey_segment(file, path).map_err(Failed::because)?;
    let Some(survey) = survey else { return Ok(()) };
    let (Some(kind), None) = (survey.damage, survey.visit) else { return Ok(()) };
    if survey.offset < valid.up_to {
        valid.up_to = survey.offset;
        valid.problem = Some((survey.offset, format!("{kind} (LSN {})", survey.end)));
    }
    Ok(())
}

fn truncate_to(
    bench: &mut Bench<'_>,
    part: &Part<'_>,
    later: Option<u64>,
    seconds: i64,
    kind: &str,
) -> Result<bool, Failed> {
    let Part { path, shown, last } = part;
    let Some(offset) = later else {
        bench.say(format_args!("Truncate nothing in AOF {shown} to timestamp {seconds}"));
        bench.say(format_args!("{kind} {shown} is valid"));
        return Ok(false);
    };
    if !last {
        return Err(Failed::because(format_args!(
            "Failed to truncate AOF {shown} to timestamp {seconds} to offset {offset} because it is not the last file.\n\
             If you insist, please delete all files after this file according to the manifest file and delete the \
             corresponding records in manifest file manually. Then re-run redis-check-aof."
        )));
    }
    if offset == 0 {
        return Err(Failed::because(format_args!("AOF {shown} has nothing before timestamp {seconds}, aborting...")));
    }
    cut(bench.disk, path, offset).map_err(|error| {
        Failed::because(format_args!("Failed to truncate AOF {shown} to timestamp {seconds}: {}", os_text(&error)))
    })?;
    bench.say(format_args!("Successfully truncated AOF {shown} to timestamp {seconds}"));
    Ok(true)
}

/// Cuts a file, durably, and keeps what was cut beside it.
fn cut(disk: &dyn Disk, path: &Path, size: u64) -> io::Result<()> {
    let file = disk.open(path, OpenMode::ReadWrite)?;
    let mut tail = vec![0; (file.len()? - size) as usize];
    file.read_exact_at(&mut tail, size)?;
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".{size}.torn"));
    let kept = PathBuf::from(kept);
    replace_file(disk, &kept, &tail)?;
    file.set_len(size)?;
    file.sync_all()
}

/// A file of a log that was closed is shorter now: its manifest may no longer say where it ended.
fn reopen(bench: &mut Bench<'_>, path: &Path, manifest: &Manifest) -> Result<(), Failed> {
    if !matches!(manifest.state, CloseState::Closed { .. }) {
        return Ok(());
    }
    let opened = Manifest { state: CloseState::Open, ..manifest.clone() };
    opened.store(bench.disk, path).map_err(|failed| {
        Failed::because(format_args!("Failed to write {}: {}", path.display(), os_text(&failed.error)))
    })
}

/// As [`reopen`], of the manifest beside a file that was named by itself.
fn reopen_beside(bench: &mut Bench<'_>, path: &Path, cut: bool) -> Result<(), Failed> {
    let directory = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for beside in if cut { bench.disk.list(directory).unwrap_or_default() } else { Vec::new() } {
        let beside = directory.join(beside);
        if !beside.to_string_lossy().ends_with(".manifest") {
            continue;
        }
        let manifest = read_file(bench.disk, &beside).ok().and_then(|content| Manifest::decode(&content).ok());
        if let Some(manifest) = manifest.filter(|manifest| manifest.files.iter().any(|file| file.name == name)) {
            reopen(bench, &beside, &manifest)?;
        }
    }
    Ok(())
}
