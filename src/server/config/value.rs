//! Values of directives: from the words of a line to a typed value, and back to the text that CONFIG GET shows.

use std::path::{Path, PathBuf};

use super::directive::Kind;

/// A value of some `Kind`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Octal(u32),
    Bytes(u64),
    Percent(u64),
    Choice(&'static str),
    Flags(Vec<&'static str>),
    Text(Vec<u8>),
    Words(Vec<Vec<u8>>),
    Save(Vec<SavePoint>),
    BufferLimits([BufferLimit; 3]),
    OomScores([i64; 3]),
    Percentiles(Vec<f64>),
    /// Classes in stock's order of writing.
    Events(String),
}

/// Save after `seconds` when at least `changes` were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

/// How much a connection may have waiting for it. Zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// Classes of connections, in the order of `Value::BufferLimits`.
pub(super) const CLIENT_CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// Parses the words behind a directive's name. `current` is the value so far: buffer limits change by class.
///
/// # Errors
/// The text that a stock server answers.
pub fn parse(kind: Kind, name: &str, words: &[Vec<u8>], current: Option<&Value>) -> Result<Value, String> {
    if kind.takes_many() {
        return match words {
            // One quoted argument may hold all the words.
            [all] if !all.is_empty() => {
                parse_many(kind, name, &all.split(|byte| *byte == b' ').collect::<Vec<_>>(), current)
            }
            [_] => parse_many(kind, name, &[], current),
            words => parse_many(kind, name, &words.iter().map(Vec::as_slice).collect::<Vec<_>>(), current),
        };
    }
    match words {
        [word] => parse_one(kind, name, word),
        _ => Err("wrong number of arguments".into()),
    }
}

fn parse_one(kind: Kind, name: &str, word: &[u8]) -> Result<Value, String> {
    match kind {
        Kind::Bool => match word.to_ascii_lowercase().as_slice() {
            b"yes" => Ok(Value::Bool(true)),
            b"no" => Ok(Value::Bool(false)),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Kind::Int { min, max } => {
            let value = integer(word).ok_or("argument couldn't be parsed into an integer")?;
            in_range(value, min, max).map(Value::Int)
        }
        Kind::Octal { max } => str::from_utf8(word)
            .ok()
            .and_then(|word| u32::from_str_radix(word, 8).ok())
            .filter(|value| *value <= max)
            .map(Value::Octal)
            .ok_or_else(|| "argument couldn't be parsed as an octal number".into()),
        Kind::Memory { min, max } => {
            let value = memory(word).ok_or("argument must be a memory value")?;
            in_range(value, min, max).map(Value::Bytes)
        }
        Kind::MemoryOrPercent => match word.strip_suffix(b"%") {
            Some(digits) => match integer(digits) {
                Some(percent @ 0..=100) => Ok(Value::Percent(percent as u64)),
                Some(101..) => Err("percentage argument must be less or equal to 100".into()),
                _ => Err("argument must be a memory or percent value".into()),
            },
            None => memory(word).map(Value::Bytes).ok_or_else(|| "argument must be a memory or percent value".into()),
        },
        Kind::Choice(choices) => one_of(choices, word).map(Value::Choice).ok_or_else(|| must_be_one_of(choices)),
        Kind::Text => Ok(Value::Text(word.to_vec())),
        Kind::FileName => match word {
            [] | b"." | b".." => Err(format!("{name} can't be empty")),
            word if word.contains(&b'/') => Err(format!("{name} can't be a path, just a filename")),
            word => Ok(Value::Text(word.to_vec())),
        },
        Kind::Hostname => {
            if word.len() >= 256 {
                Err("Hostnames must be less than 256 characters".into())
            } else if word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
                Ok(Value::Text(word.to_vec()))
            } else {
                Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into())
            }
        }
        Kind::Directory => directory(word).map(Value::Text),
        Kind::Title => {
            if is_title(word) {
                Ok(Value::Text(word.to_vec()))
            } else {
                Err("template format is invalid or contains unknown variables".into())
            }
        }
        Kind::Events => events(word).map(Value::Events),
        Kind::Flags(_)
        | Kind::Words
        | Kind::Save
        | Kind::BufferLimits
        | Kind::OomScores
        | Kind::Percentiles
        | Kind::Endpoint => Err("wrong number of arguments".into()),
    }
}

fn parse_many(kind: Kind, name: &str, words: &[&[u8]], current: Option<&Value>) -> Result<Value, String> {
    match kind {
        Kind::Flags(known) => {
            let mut flags = Vec::new();
            for word in words {
                flags.push(one_of(known, word).ok_or_else(|| must_be_one_of(known))?);
            }
            if flags.is_empty() { Err(must_be_one_of(known)) } else { Ok(Value::Flags(flags)) }
        }
        Kind::Words if words.len() > 16 => Err("Too many bind addresses specified.".into()),
        Kind::Words => Ok(Value::Words(words.iter().map(|word| word.to_vec()).collect())),
        Kind::Save => {
            if !words.len().is_multiple_of(2) {
                return Err("Invalid save parameters".into());
            }
            let point = |pair: &[&[u8]]| {
                let seconds = integer(pair[0]).filter(|seconds| *seconds >= 1)?;
                let changes = integer(pair[1]).filter(|changes| *changes >= 0)?;
                Some(SavePoint { seconds: seconds as u64, changes: changes as u64 })
            };
            words.chunks(2).map(point).collect::<Option<_>>().map(Value::Save).ok_or("Invalid save parameters".into())
        }
        Kind::BufferLimits => {
            let Some(Value::BufferLimits(limits)) = current else {
                return buffer_limits([BufferLimit::default(); 3], words);
            };
            buffer_limits(*limits, words)
        }
        Kind::OomScores => {
            let [init, first, second] = words else { return Err("wrong number of arguments".into()) };
            let mut scores = [0; 3];
            for (score, word) in scores.iter_mut().zip([init, first, second]) {
                *score = integer(word)
                    .filter(|score| (-2000..=2000).contains(score))
                    .ok_or_else(|| format!("Invalid {name}, elements must be between -2000 and 2000."))?;
            }
            Ok(Value::OomScores(scores))
        }
        Kind::Percentiles => {
            let percentile = |word: &&[u8]| {
                let value: f64 = str::from_utf8(word).ok()?.parse().ok()?;
                (0.0..=100.0).contains(&value).then_some(value)
            };
            words
                .iter()
                .map(percentile)
                .collect::<Option<_>>()
                .map(Value::Percentiles)
                .ok_or_else(|| format!("{name} parameters should sit between [0.0,100.0]"))
        }
        Kind::Endpoint => match words {
            [] => Ok(Value::Words(Vec::new())),
            [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => {
                Ok(Value::Words(Vec::new()))
            }
            [host, port] => match integer(port) {
                Some(1..=65535) => Ok(Value::Words(vec![host.to_vec(), port.to_vec()])),
                _ => Err("Invalid master port".into()),
            },
            _ => Err("wrong number of arguments".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}

impl Value {
    /// The value as CONFIG GET shows it.
    pub fn render(&self) -> Vec<u8> {
        match self {
            Self::Bool(true) => b"yes".to_vec(),
            Self::Bool(false) => b"no".to_vec(),
            Self::Int(value) => value.to_string().into_bytes(),
            Self::Octal(value) => format!("{value:o}").into_bytes(),
            Self::Bytes(value) => value.to_string().into_bytes(),
            Self::Percent(value) => format!("{value}%").into_bytes(),
            Self::Choice(word) => word.as_bytes().to_vec(),
            Self::Flags(words) => words.join(" ").into_bytes(),
            Self::Text(text) => text.clone(),
            Self::Words(words) => words.join(&b' '),
            Self::Save(points) => join(points, |point| format!("{} {}", point.seconds, point.changes)),
            Self::BufferLimits(limits) => {
                join(&CLIENT_CLASSES.iter().zip(limits).collect::<Vec<_>>(), |(class, limit)| {
                    format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
                })
            }
            Self::OomScores(scores) => join(scores, i64::to_string),
            Self::Percentiles(values) => join(values, f64::to_string),
            Self::Events(classes) => classes.as_bytes().to_vec(),
        }
    }
}

fn join<T>(items: &[T], text: impl Fn(&T) -> String) -> Vec<u8> {
    items.iter().map(text).collect::<Vec<_>>().join(" ").into_bytes()
}

fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if !digits.first().is_some_and(u8::is_ascii_digit) || (digits[0] == b'0' && word.len() > 1) {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

fn in_range<T: PartialOrd + std::fmt::Display>(value: T, min: T, max: T) -> Result<T, String> {
    if value < min || value > max {
        return Err(format!("argument must be between {min} and {max} inclusive"));
    }
    Ok(value)
}

/// Digits and a unit; no digits are zero, as with stock.
pub fn memory(word: &[u8]) -> Option<u64> {
    let split = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(word.len());
    let unit: u64 = match word[split..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let digits = word[..split].iter();
    let number = digits.fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.saturating_mul(unit))
}

fn one_of(words: &'static [&'static str], word: &[u8]) -> Option<&'static str> {
    words.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(word)).copied()
}

fn must_be_one_of(words: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", words.join(", "))
}

fn buffer_limits(mut limits: [BufferLimit; 3], words: &[&[u8]]) -> Result<Value, String> {
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks(4) {
        let class = match group[0].to_ascii_lowercase().as_slice() {
            b"normal" => 0,
            b"slave" | b"replica" => 1,
            b"pubsub" => 2,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
            (memory(group[1]), memory(group[2]), integer(group[3]).and_then(|seconds| u64::try_from(seconds).ok()))
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        limits[class] = BufferLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(Value::BufferLimits(limits))
}

/// The absolute path of an existing directory, against the working directory.
fn directory(word: &[u8]) -> Result<Vec<u8>, String> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let path = Path::new(std::ffi::OsStr::from_bytes(word));
    let found: PathBuf = path.canonicalize().map_err(|error| os_text(&error))?;
    if !found.is_dir() {
        return Err("Not a directory".into());
    }
    Ok(found.into_os_string().into_vec())
}

/// The system's text for an error, without Rust's `(os error n)`.
pub(super) fn os_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

fn is_title(template: &[u8]) -> bool {
    const VARIABLES: [&[u8]; 7] =
        [b"title", b"listen-addr", b"server-mode", b"port", b"tls-port", b"unixsocket", b"config-file"];
    let mut rest = template;
    while let Some(open) = rest.iter().position(|byte| matches!(byte, b'{' | b'}')) {
        let Some(close) = rest[open..].iter().position(|byte| *byte == b'}') else { return false };
        if rest[open] == b'}' || !VARIABLES.contains(&&rest[open + 1..open + close]) {
            return false;
        }
        rest = &rest[open + close + 1..];
    }
    true
}

/// Class letters in stock's order: `A` or the classes it stands for, then where they are published, then the rest.
fn events(word: &[u8]) -> Result<String, String> {
    const ALL: &str = "g$lshzxetd";
    if let Some(unknown) = word.iter().find(|byte| !b"Ag$lshzxetdKEmn".contains(byte)) {
        let _ = unknown;
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into());
    }
    let has = |class: char| word.contains(&(class as u8)) || (word.contains(&b'A') && ALL.contains(class));
    let mut classes = String::new();
    if ALL.chars().all(has) {
        classes.push('A');
    } else {
        classes.extend(ALL.chars().filter(|class| has(*class)));
    }
    classes.extend("KEmn".chars().filter(|class| has(*class)));
    Ok(classes)
}
