//! The configuration in force: one value per directive, read from lines, shown and changed by CONFIG.
//!
//! Invariants
//! - A change that fails leaves every value as it was.
//! - A directive whose absence would change safety holds its default, or the server does not start.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

use super::declarations::{DIRECTIVES, RETIRED};
use super::directive::{Change, Directive, Effect, Kind};
use super::file::{ConfigError, Line};
use super::value::{Value, parse};
use crate::command::{glob_matches_nocase, quoted};

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Those of a stock server: with a configuration file, or under its name.
    Stock,
    /// Ours: everything is kept, and acknowledged when it is durable.
    Own,
}

/// A renamed or removed command (`rename-command`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub line: Line,
    pub from: Vec<u8>,
    /// Empty: the command is removed.
    pub to: Vec<u8>,
}

/// The values in force.
#[derive(Clone, Debug)]
pub struct Config {
    values: Vec<Value>,
    profile: Profile,
    /// The line that set a directive last.
    written: Vec<Option<Line>>,
    renames: Vec<Rename>,
    /// Lines that declare users.
    users: Vec<Line>,
}

/// Positions in `DIRECTIVES` by name and alias.
static BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let names = DIRECTIVES.iter().enumerate();
    names.flat_map(|(at, d)| [Some((d.name, at)), d.alias.map(|alias| (alias, at))]).flatten().collect()
});

fn find(name: &[u8]) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    BY_NAME.get(str::from_utf8(&name).ok()?).copied()
}

/// The present name of a directive, in lower case; other words as they are.
pub(super) fn canonical_name(word: &[u8]) -> String {
    match find(word) {
        Some(at) => DIRECTIVES[at].name.to_owned(),
        None => String::from_utf8_lossy(word).to_lowercase(),
    }
}

impl Config {
    /// The defaults of a profile.
    ///
    /// # Panics
    /// When a declared default does not parse, which a test rules out.
    pub fn new(profile: Profile) -> Self {
        let values = DIRECTIVES.iter().map(|directive| default_value(directive, profile)).collect();
        Self { values, profile, written: vec![None; DIRECTIVES.len()], renames: Vec::new(), users: Vec::new() }
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub fn renames(&self) -> &[Rename] {
        &self.renames
    }

    /// Lines that declare users: `user`, the name, its rules.
    pub fn users(&self) -> &[Line] {
        &self.users
    }

    /// Reads lines over the defaults.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn load(&mut self, lines: &[Line]) -> Result<(), ConfigError> {
        for line in lines {
            self.load_line(line)?;
        }
        for (at, directive) in DIRECTIVES.iter().enumerate() {
            if let Some(line) = &self.written[at]
                && let Some(reason) = self.unsafe_without(directive, &self.values[at])
            {
                return Err(ConfigError::at(line, reason));
            }
        }
        Ok(())
    }

    fn load_line(&mut self, line: &Line) -> Result<(), ConfigError> {
        let (name, words) = (&line.words[0], &line.words[1..]);
        let Some(at) = find(name) else {
            return self.load_statement(line);
        };
        let directive = &DIRECTIVES[at];
        if words.is_empty() {
            return Err(ConfigError::at(line, "wrong number of arguments"));
        }
        let current = &self.values[at];
        let mut value =
            parse(directive.kind, directive.name, words, Some(current)).map_err(|e| ConfigError::at(line, e))?;
        // Save points add up over lines; an empty one, or the first line, starts afresh.
        if let (Value::Save(points), Value::Save(before)) = (&mut value, current)
            && self.written[at].is_some()
            && !points.is_empty()
        {
            points.splice(0..0, before.iter().copied());
        }
        self.values[at] = normalised(directive, value);
        self.written[at] = Some(line.clone());
        Ok(())
    }

    fn load_statement(&mut self, line: &Line) -> Result<(), ConfigError> {
        match line.words.as_slice() {
            [name, from, to] if name == b"rename-command" => {
                self.renames.push(Rename { line: line.clone(), from: from.to_ascii_lowercase(), to: to.clone() });
                Ok(())
            }
            [name, _, ..] if name == b"user" => {
                self.users.push(line.clone());
                Ok(())
            }
            [name, _, ..] if name == b"loadmodule" || name == b"db" => Err(ConfigError::at(
                line,
                format!(
                    "'{}' is not supported by this version of graven, and ignoring it would change what is protected",
                    quoted(name)
                ),
            )),
            [name, _] if RETIRED.iter().any(|retired| name == retired.as_bytes()) => Ok(()),
            _ => Err(ConfigError::at(line, "Bad directive or wrong number of arguments")),
        }
    }

    /// Why a value cannot be accepted although it parses.
    fn unsafe_without(&self, directive: &Directive, value: &Value) -> Option<String> {
        if directive.effect != Effect::StopsStart || *value == default_value(directive, self.profile) {
            return None;
        }
        Some(format!(
            "'{}' is not supported by this version of graven, and ignoring it would change what is protected",
            directive.name
        ))
    }

    /// Directives that were written somewhere and do nothing yet.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let all = DIRECTIVES.iter().zip(&self.written);
        all.filter(|(d, line)| d.effect == Effect::NoEffectYet && line.is_some()).map(|(d, _)| d.name).collect()
    }

    /// `dir` as it was resolved: CONFIG GET shows where the data is, not how it was written.
    pub fn resolve_directory(&mut self, dir: &Path) {
        if let Some(at) = BY_NAME.get("dir") {
            self.values[*at] = Value::Text(dir.as_os_str().as_bytes().to_vec());
        }
    }

    /// The value of a directive.
    ///
    /// # Panics
    /// When no directive has this name: names here are our own.
    pub fn value(&self, name: &str) -> &Value {
        match BY_NAME.get(name) {
            Some(at) => &self.values[*at],
            None => panic!("no directive is called {name}"),
        }
    }

    /// The value that a directive has where nobody sets it.
    pub(super) fn default_of(&self, directive: &Directive) -> Value {
        default_value(directive, self.profile)
    }

    pub(super) fn is_default(&self, directive: &Directive) -> bool {
        *self.value(directive.name) == self.default_of(directive)
    }

    /// CONFIG GET: names and values, each name once. Names without wildcards are echoed as they were asked for.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], at: usize| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_vec(), self.values[at].render()));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
                if let Some(at) = find(pattern) {
                    add(pattern, at);
                }
                continue;
            }
            for (at, directive) in DIRECTIVES.iter().enumerate() {
                for name in [Some(directive.name), directive.alias].into_iter().flatten() {
                    if glob_matches_nocase(pattern, name.as_bytes()) {
                        add(name.as_bytes(), at);
                    }
                }
            }
        }
        found
    }

    /// CONFIG SET: the configuration with all of `pairs` changed, and the names of what differs.
    ///
    /// # Errors
    /// The error line of the first pair that cannot be set; then nothing is changed.
    pub fn with(&self, pairs: &[(&[u8], &[u8])]) -> Result<(Self, Vec<&'static str>), String> {
        let mut next = self.clone();
        let mut set: Vec<usize> = Vec::new();
        for (name, _) in pairs {
            let Some(at) = find(name) else {
                return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{}'", quoted(name)));
            };
            self.may_change(&DIRECTIVES[at]).map_err(|reason| failed(name, &reason))?;
            if DIRECTIVES[at].name.as_bytes().eq_ignore_ascii_case(name) && set.contains(&at) {
                return Err(failed(name, "duplicate parameter"));
            }
            set.push(at);
        }
        for ((name, text), at) in pairs.iter().zip(&set) {
            let directive = &DIRECTIVES[*at];
            let value = parse(directive.kind, directive.name, &[text.to_vec()], Some(&next.values[*at]))
                .map_err(|reason| failed(name, &reason))?;
            if let Some(reason) = self.unsafe_without(directive, &value) {
                return Err(failed(name, &reason));
            }
            next.values[*at] = normalised(directive, value);
        }
        let differs = |at: &usize| next.values[*at] != self.values[*at];
        let mut changed: Vec<&'static str> =
            set.iter().filter(|at| differs(at)).map(|at| DIRECTIVES[*at].name).collect();
        changed.dedup();
        Ok((next, changed))
    }

    fn may_change(&self, directive: &Directive) -> Result<(), String> {
        let protected = matches!(self.value("enable-protected-configs"), Value::Choice("no"));
        match directive.change {
            Change::Never => Err("can't set immutable config".into()),
            Change::Protected if protected => Err("can't set protected config".into()),
            Change::Protected | Change::Anytime => Ok(()),
        }
    }
}

/// The error line of a CONFIG SET that failed at one argument.
pub fn failed(name: &[u8], reason: &str) -> String {
    let name = String::from_utf8_lossy(name).to_lowercase();
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// Values that stock corrects silently.
fn normalised(directive: &Directive, value: Value) -> Value {
    match (directive.name, value) {
        ("hz", Value::Int(hz)) => Value::Int(hz.clamp(1, 500)),
        ("repl-backlog-size", Value::Bytes(bytes)) => Value::Bytes(bytes.max(16 * 1024)),
        (_, value) => value,
    }
}

fn default_value(directive: &Directive, profile: Profile) -> Value {
    let text = match profile {
        Profile::Own => directive.own_default.unwrap_or(directive.default),
        Profile::Stock => directive.default,
    };
    if let Kind::Directory = directive.kind {
        return Value::Text(text.as_bytes().to_vec());
    }
    match parse(directive.kind, directive.name, &[text.as_bytes().to_vec()], None) {
        Ok(value) => normalised(directive, value),
        Err(reason) => panic!("default of {}: {reason}", directive.name),
    }
}
