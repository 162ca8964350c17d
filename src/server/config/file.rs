//! Configuration as written: lines of redis.conf, of standard input and of the command line.
//!
//! Lines are trimmed; empty ones and those that begin with `#` say nothing; words follow the quoting of `split_args`.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::value::os_text;
use crate::command::glob_matches;
use crate::resp::split_args;

/// Files included by files included ... deeper than this are refused.
const INCLUDE_DEPTH_MAX: usize = 16;

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted as stock does: the command line continues behind the file.
    pub number: usize,
    /// The file, or what stands for it.
    pub source: String,
    /// Trimmed.
    pub text: Vec<u8>,
    pub words: Vec<Vec<u8>>,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\nReading the configuration file, at line {} ({})\n>>> '{}'\n{reason}",
        crate::server::REDIS_VERSION, line.number, line.source, String::from_utf8_lossy(&line.text)
    )]
    Line { line: Box<Line>, reason: String },
    #[error("Fatal error, can't open config file '{path}': {reason}")]
    Open { path: String, reason: String },
}

impl ConfigError {
    pub fn at(line: &Line, reason: impl Into<String>) -> Self {
        Self::Line { line: Box::new(line.clone()), reason: reason.into() }
    }
}

/// Where a configuration comes from, in order of reading: later lines win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Whether standard input holds more of it (`-`).
    pub standard_input: bool,
    /// Lines made from the command line.
    pub options: Vec<u8>,
}

impl Sources {
    /// All lines, includes in their places.
    ///
    /// # Errors
    /// A file cannot be read, or a line's quotes do not balance.
    pub fn read(&self) -> Result<Vec<Line>, ConfigError> {
        let mut lines = Vec::new();
        let mut number = 0;
        if let Some(path) = &self.file {
            number += read_file(path, 0, &mut lines)?;
        }
        if self.standard_input {
            let mut text = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut text)
                .map_err(|error| ConfigError::Open { path: "-".into(), reason: os_text(&error) })?;
            number = parse_text(&text, "standard input", number, 0, &mut lines)?;
        }
        parse_text(&self.options, "command line", number + 1, 0, &mut lines)?;
        Ok(lines)
    }
}

/// Parses one text; returns the number of its last line.
pub(super) fn parse_text(
    text: &[u8],
    source: &str,
    mut number: usize,
    depth: usize,
    lines: &mut Vec<Line>,
) -> Result<usize, ConfigError> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    for raw in body.split(|byte| *byte == b'\n').filter(|_| !text.is_empty()) {
        number += 1;
        let trimmed = raw.trim_ascii();
        if trimmed.is_empty() || trimmed[0] == b'#' {
            continue;
        }
        let mut line = Line { number, source: source.to_owned(), text: trimmed.to_vec(), words: Vec::new() };
        line.words = match split_args(trimmed) {
            Some(words) if words.is_empty() => continue,
            Some(words) => words,
            None => return Err(ConfigError::at(&line, "Unbalanced quotes in configuration line")),
        };
        line.words[0].make_ascii_lowercase();
        match line.words.as_slice() {
            [include, pattern] if include == b"include" => read_included(pattern, depth + 1, &line, lines)?,
            _ => lines.push(line),
        }
    }
    Ok(number)
}

fn read_included(pattern: &[u8], depth: usize, line: &Line, lines: &mut Vec<Line>) -> Result<(), ConfigError> {
    if depth > INCLUDE_DEPTH_MAX {
        return Err(ConfigError::at(line, "too many nested includes"));
    }
    let path = Path::new(OsStr::from_bytes(pattern));
    if !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
        return read_file(path, depth, lines).map(drop);
    }
    for path in matching_files(path) {
        read_file(&path, depth, lines)?;
    }
    Ok(())
}

/// Files whose name matches the pattern's last part, sorted; no match is no error.
#[expect(clippy::disallowed_methods, reason = "configuration is read before there is a data directory")]
fn matching_files(pattern: &Path) -> Vec<PathBuf> {
    let parent = pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = pattern.file_name().unwrap_or_default().as_bytes();
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let entry = entry.file_name();
            glob_matches(name, entry.as_bytes()) && (!entry.as_bytes().starts_with(b".") || name.starts_with(b"."))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "configuration may be a pipe, and is read before there is a data directory"
)]
fn read_file(path: &Path, depth: usize, lines: &mut Vec<Line>) -> Result<usize, ConfigError> {
    let text = std::fs::read(path)
        .map_err(|error| ConfigError::Open { path: path.display().to_string(), reason: os_text(&error) })?;
    parse_text(&text, &path.display().to_string(), 0, depth, lines)
}
