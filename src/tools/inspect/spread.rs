//! How commands, types and keys are spread, and what memory they take.
//!
//! Invariant: at most [`NAMES_MAX`] names are kept; what comes when there are so many counts as one more, "(others)".

use super::choice::Chosen;
use super::show::gap_line;
use super::{Met, Options, Watching, written};
use crate::env::UnixMillis;
use crate::keyspace::Entry;
use crate::persist::rdb::RdbEntry;
use crate::persist::{Flow, Gap, Spot, Visitor};
use crate::tools::{Exit, json, moment};
use crate::value::{StreamId, ValueRef};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;

/// Names that are told apart.
pub const NAMES_MAX: usize = 100_000;
const OTHERS: &[u8] = b"(others)";

/// The part of a key that it shares with others: up to the so-manieth separator, which is in it; all of a key with fewer.
#[derive(Clone, Debug)]
pub struct Prefix {
    separator: Vec<u8>,
    depth: usize,
}

impl Prefix {
    fn of(options: &Options) -> Self {
        Self { separator: options.separator.clone().into_bytes(), depth: options.depth }
    }

    /// The prefix, and whether the key is longer.
    fn cut<'k>(&self, key: &'k [u8]) -> (&'k [u8], bool) {
        let mut ends = memchr::memmem::find_iter(key, &self.separator).map(|at| at + self.separator.len());
        match ends.nth(self.depth - 1) {
            Some(end) => (&key[..end], true),
            None => (key, false),
        }
    }

    /// As a pattern that its keys match.
    fn shown(&self, key: &[u8]) -> Vec<u8> {
        let (prefix, more) = self.cut(key);
        if more { [prefix, b"*"].concat() } else { prefix.to_vec() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    count: u64,
    bytes: u64,
}

type Counts = HashMap<Vec<u8>, Count>;

fn add(counts: &mut Counts, name: Vec<u8>, bytes: u64) {
    let full = counts.len() >= NAMES_MAX && !counts.contains_key(&name);
    let count = counts.entry(if full { OTHERS.to_vec() } else { name }).or_default();
    count.count += 1;
    count.bytes += bytes;
}

/// Counts what it is shown.
pub struct Spread<'o> {
    chosen: Chosen,
    prefix: Prefix,
    limit: usize,
    as_json: bool,
    out: &'o mut dyn Write,
    commands: Counts,
    types: Counts,
    prefixes: Counts,
    met: Met,
}

impl<'o> Spread<'o> {
    pub fn new(options: &'o Options, chosen: Chosen, out: &'o mut dyn Write) -> Self {
        let limit = options.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let (commands, types, prefixes) = (Counts::new(), Counts::new(), Counts::new());
        let prefix = Prefix::of(options);
        Self { chosen, prefix, limit, as_json: options.json, out, commands, types, prefixes, met: Met::default() }
    }

    fn sorted(&self, counts: &Counts) -> Vec<(Vec<u8>, Count)> {
        let mut sorted: Vec<_> = counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
        sorted.sort_by(|(a, one), (b, other)| (other.count, other.bytes).cmp(&(one.count, one.bytes)).then(a.cmp(b)));
        sorted.truncate(self.limit);
        sorted
    }
}

impl Visitor for Spread<'_> {
    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        if self.chosen.is_behind(spot.lsn) {
            return Break(());
        }
        if self.chosen.takes_command(spot, words) {
            add(&mut self.commands, words[0].to_ascii_lowercase(), spot.len);
            for key in self.chosen.keys(words) {
                add(&mut self.prefixes, self.prefix.shown(key), spot.len);
            }
        }
        Continue(())
    }

    fn key(&mut self, _: &Path, entry: RdbEntry<'_>) -> Flow {
        if self.chosen.takes_key(entry.db, entry.key) && self.chosen.is_within(None, None) {
            let bytes = (entry.key.len() + entry.value.heap_bytes()) as u64;
            add(&mut self.types, entry.value.kind().name().into(), bytes);
            add(&mut self.prefixes, self.prefix.shown(entry.key), bytes);
        }
        Continue(())
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        self.met.see(gap);
        complain!("{}", gap_line(gap, false));
        Continue(())
    }
}

impl Watching for Spread<'_> {
    fn finish(&mut self) -> Result<Met, Exit> {
        let tables = [("commands", &self.commands), ("types", &self.types), ("prefixes", &self.prefixes)];
        let tables = tables.map(|(title, counts)| (title, self.sorted(counts)));
        let text = if self.as_json {
            let table = |rows: &[(Vec<u8>, Count)]| -> Json {
                rows.iter()
                    .map(
                        |(name, count)| json!({ "name": json::text(name), "count": count.count, "bytes": count.bytes }),
                    )
                    .collect()
            };
            let report: serde_json::Map<String, Json> =
                tables.iter().map(|(title, rows)| ((*title).to_owned(), table(rows))).collect();
            format!("{}\n", Json::Object(report))
        } else {
            let mut text = String::new();
            for (title, rows) in tables.iter().filter(|(_, rows)| !rows.is_empty()) {
                text += &format!("{title:>12} {:>14}\n", "bytes");
                for (name, Count { count, bytes }) in rows {
                    text += &format!("{count:>12} {bytes:>14}  {}\n", name.escape_ascii());
                }
            }
            text
        };
        let mut failed = None;
        let _ = written(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()), &mut failed);
        failed.map_or(Ok(self.met), Err)
    }

    fn visitor(&mut self) -> &mut dyn Visitor {
        self
    }
}

/// Memory by key or by prefix, in the columns of redis-rdb-tools; by prefix one more says how many keys.
pub struct Memory {
    prefix: Option<Prefix>,
    as_json: bool,
    rows: HashMap<(u32, &'static str, Vec<u8>), Row>,
}

#[derive(Clone, Debug)]
struct Row {
    db: u32,
    kind: &'static str,
    key: Vec<u8>,
    bytes: u64,
    encoding: &'static str,
    elements: u64,
    largest: u64,
    expiry: Option<UnixMillis>,
    keys: u64,
}

impl Memory {
    pub fn by_prefix(options: &Options) -> Self {
        Self { prefix: Some(Prefix::of(options)), as_json: options.json, rows: HashMap::new() }
    }

    pub fn by_key(options: &Options) -> Self {
        Self { prefix: None, as_json: options.json, rows: HashMap::new() }
    }

    pub fn header(&self) -> String {
        let columns = "database,type,key,size_in_bytes,encoding,num_elements,len_largest_element,expiry";
        if self.prefix.is_some() { format!("{columns},num_keys") } else { columns.to_owned() }
    }

    /// Counts a key; the line that is to be shown of it at once, if one is.
    pub fn add(&mut self, db: u32, entry: &Entry) -> Option<String> {
        let value = entry.value();
        let (kind, encoding) = (value.kind().name(), value.encoding());
        let key = self.prefix.as_ref().map_or_else(|| entry.key().to_vec(), |prefix| prefix.shown(entry.key()));
        let row = Row {
            db,
            kind,
            key,
            bytes: entry.memory_bytes() as u64,
            encoding,
            elements: value.len() as u64,
            largest: largest(value),
            expiry: entry.expiry(),
            keys: 1,
        };
        if self.prefix.is_none() {
            return Some(self.line(&row));
        }
        let mut place = (db, kind, row.key.clone());
        if self.rows.len() >= NAMES_MAX && !self.rows.contains_key(&place) {
            place.2 = OTHERS.to_vec();
        }
        match self.rows.get_mut(&place) {
            None => {
                let key = place.2.clone();
                self.rows.insert(place, Row { key, ..row });
            }
            Some(sum) => {
                sum.bytes += row.bytes;
                sum.elements += row.elements;
                sum.largest = sum.largest.max(row.largest);
                sum.keys += 1;
                sum.encoding = if sum.encoding == encoding { encoding } else { "mixed" };
                // The first that goes.
                sum.expiry = [sum.expiry, row.expiry].into_iter().flatten().min();
            }
        }
        None
    }

    /// The lines of all prefixes, those that take most first.
    pub fn finish(&mut self) -> Vec<String> {
        let mut rows: Vec<Row> = std::mem::take(&mut self.rows).into_values().collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (a.db, &a.key, a.kind).cmp(&(b.db, &b.key, b.kind))));
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &Row) -> String {
        let Row { db, kind, key, bytes, encoding, elements, largest, expiry, keys } = row;
        if self.as_json {
            let mut line = json!({ "database": db, "type": kind, "key": json::text(key), "size_in_bytes": bytes,
                                   "encoding": encoding, "num_elements": elements, "len_largest_element": largest,
                                   "expires_at_ms": expiry.map(|expiry| expiry.0) });
            if let (Some(line), true) = (line.as_object_mut(), self.prefix.is_some()) {
                line.insert("num_keys".into(), (*keys).into());
            }
            return line.to_string();
        }
        let expiry = expiry.map(moment::show).unwrap_or_default();
        let line = format!("{db},{kind},{},{bytes},{encoding},{elements},{largest},{expiry}", csv(key));
        if self.prefix.is_some() { format!("{line},{keys}") } else { line }
    }
}

/// A field of a CSV file; bytes that are no text are shown as escapes.
fn csv(key: &[u8]) -> String {
    let text = match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Bytes of the largest element; of a string all.
fn largest(value: ValueRef<'_>) -> u64 {
    let mut text = itoa::Buffer::new();
    let mut len = |item: crate::value::Item<'_>| item.as_bytes(&mut text).len();
    let largest = match value {
        ValueRef::Str(string) => Some(string.len()),
        ValueRef::List(list) => list.iter().map(len).max(),
        ValueRef::Set(set) => set.iter().map(len).max(),
        ValueRef::Hash(hash) => hash.iter().map(|(field, value)| len(field).max(len(value))).max(),
        ValueRef::Zset(zset) => zset.iter().map(|(member, _)| len(member)).max(),
        ValueRef::Stream(stream) => {
            let entries = stream.range(StreamId::MIN, StreamId::MAX);
            entries.map(|entry| entry.fields.map(|(field, value)| len(field) + len(value)).sum()).max()
        }
    };
    largest.unwrap_or(0) as u64
}
