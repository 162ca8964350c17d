//! `graven diff`: which keys two data sets do not have in common, and which have other values or deadlines.
//!
//! Both are loaded as a start would, portion by portion where they are large. Values are compared by what they hold: the order of a set's members, and encodings, say
//! nothing.

use super::export::open_error;
use super::place::Place;
use super::portions::{Parts, Portions, load_each, scratch};
use super::{Exit, json};
use crate::command::glob_matches;
use crate::env::Disk;
use crate::keyspace::Entry;
use crate::persist::Flow;
use crate::value::ValueRef;
use crate::value::payload::dump;
use clap::Args;
use serde_json::{Value as Json, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// The options of the verb.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A data directory, a segment, an append-only file or an RDB file.
    pub one: PathBuf,
    /// What it is compared with.
    pub other: PathBuf,
    /// Only keys that match this pattern.
    #[arg(long, value_name = "GLOB")]
    pub key: Option<String>,
    /// Only this database.
    #[arg(long, value_name = "N")]
    pub db: Option<u32>,
    /// Deadlines are not compared.
    #[arg(long)]
    pub ignore_expiry: bool,
    /// Where portions of large data sets are sorted, in files without a name; where temporary files go, unless this says otherwise.
    #[arg(long, value_name = "DIR")]
    pub temp: Option<PathBuf>,
    /// Each difference as a JSON object on a line of its own.
    #[arg(long)]
    pub json: bool,
}

/// How many differences of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub only_one: u64,
    pub only_other: u64,
    pub changed: u64,
    pub same: u64,
}

/// Compares, and shows each difference.
///
/// # Errors
/// Why not, in one line, and how the tool ends.
pub fn diff(disk: &Arc<dyn Disk>, options: &Options, out: &mut dyn Write) -> Result<Differences, (String, Exit)> {
    let find = |path: &PathBuf| super::find(&**disk, path).map_err(|exit| (String::new(), exit));
    let (first, second) = (find(&options.one)?, find(&options.other)?);
    let parts = Parts::of(disk, &[&first, &second]).map_err(|error| open_error(&error))?;
    let scratch = scratch(disk, options.temp.as_deref(), None);
    let portions = Portions::of_each(&parts, disk, &[&first, &second], &scratch).map_err(|error| open_error(&error))?;
    let mut compared = Compared { options, out: io::BufWriter::new(out), found: Differences::default(), failed: None };
    let mut sources = [String::new(), String::new()];
    for part in 0..parts.count {
        let loaded = load_each(&portions, part).map_err(|error| open_error(&error))?;
        let Ok([one, other]) = <[_; 2]>::try_from(loaded) else { unreachable!("two places, two data sets") };
        let is_of = |entry: &Entry| parts.part_of(entry.key()) == part;
        one.each(&mut |db, entry| match is_of(entry) {
            true => compared.first(db, entry, other.get(db, entry.key())),
            false => Flow::Continue(()),
        });
        if compared.failed.is_some() {
            break;
        }
        other.each(&mut |db, entry| match one.get(db, entry.key()) {
            None if is_of(entry) => compared.second(db, entry),
            _ => Flow::Continue(()),
        });
        sources = [one.source, other.source];
    }
    for (path, place, source) in [(&options.one, first, &sources[0]), (&options.other, second, &sources[1])] {
        if let (Place::Directory(_), false) = (place, options.json) {
            complain!("{}: {source}", path.display());
        }
    }
    let Compared { mut out, found, failed, .. } = compared;
    match failed.map_or_else(|| out.flush(), Err) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((format!("standard output: {error}"), Exit::Io)),
        _ => Ok(found),
    }
}

struct Compared<'o> {
    options: &'o Options,
    out: io::BufWriter<&'o mut dyn Write>,
    found: Differences,
    failed: Option<io::Error>,
}

impl Compared<'_> {
    fn is_wanted(&self, db: u32, key: &[u8]) -> bool {
        let Options { key: pattern, db: wanted, .. } = self.options;
        let matches = |pattern: &String| pattern == "*" || glob_matches(pattern.as_bytes(), key);
        wanted.is_none_or(|wanted| wanted == db) && pattern.as_ref().is_none_or(matches)
    }

    fn first(&mut self, db: u32, entry: &Entry, other: Option<&Entry>) -> Flow {
        if !self.is_wanted(db, entry.key()) {
            return Flow::Continue(());
        }
        let Some(other) = other else {
            self.found.only_one += 1;
            return self.show('-', db, entry.key(), "only in the first", &[]);
        };
        let (own, others) = (entry.value(), other.value());
        let mut reasons = Vec::new();
        if own.kind() != others.kind() {
            reasons.push(format!("type {} and {}", own.kind().name(), others.kind().name()));
        } else if !is_same(own, others) {
            reasons.push(match own.len() == others.len() {
                true => "value".to_owned(),
                false => format!("value, of length {} and {}", own.len(), others.len()),
            });
        }
        if !self.options.ignore_expiry && entry.expiry() != other.expiry() {
            let shown = |entry: &Entry| entry.expiry().map_or_else(|| "never".to_owned(), super::moment::show);
            reasons.push(format!("expires {} and {}", shown(entry), shown(other)));
        }
        if reasons.is_empty() {
            self.found.same += 1;
            return Flow::Continue(());
        }
        self.found.changed += 1;
        self.show('~', db, entry.key(), "differs", &reasons)
    }

    fn second(&mut self, db: u32, entry: &Entry) -> Flow {
        if !self.is_wanted(db, entry.key()) {
            return Flow::Continue(());
        }
        self.found.only_other += 1;
        self.show('+', db, entry.key(), "only in the second", &[])
    }

    fn show(&mut self, sign: char, db: u32, key: &[u8], what: &str, reasons: &[String]) -> Flow {
        let line = if self.options.json {
            json!({ "difference": what, "db": db, "key": json::text(key), "in": reasons }).to_string()
        } else {
            let mut line = format!("{sign} {db}:{}", key.escape_ascii());
            if !reasons.is_empty() {
                line += &format!("  {}", reasons.join("; "));
            }
            line
        };
        match writeln!(self.out, "{line}") {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                Flow::Break(())
            }
        }
    }
}

fn is_same(one: ValueRef<'_>, other: ValueRef<'_>) -> bool {
    if let (ValueRef::Str(one), ValueRef::Str(other)) = (one, other) {
        return one.as_bytes(&mut itoa::Buffer::new()) == other.as_bytes(&mut itoa::Buffer::new());
    }
    // Alike in their encodings, too: no other look is needed.
    dump(one, false) == dump(other, false) || comparable(one) == comparable(other)
}

/// A value in one form, whatever its encoding: what has no order is sorted.
fn comparable(value: ValueRef<'_>) -> Json {
    let mut json = json::value(value);
    if let (ValueRef::Set(_) | ValueRef::Hash(_), Json::Array(members)) = (value, &mut json) {
        members.sort_by_cached_key(ToString::to_string);
    }
    json
}
