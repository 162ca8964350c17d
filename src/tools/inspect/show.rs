//! Commands, frames and keys as lines.

use super::choice::Chosen;
use super::{Met, Options, Subject, Watching, written};
use crate::engine::quote;
use crate::env::UnixMillis;
use crate::keyspace::Entry;
use crate::persist::log::format::FrameHeader;
use crate::persist::rdb::RdbEntry;
use crate::persist::{Flow, Form, Gap, Spot, Visitor};
use crate::tools::inspect::spread::Memory;
use crate::tools::{Exit, json, moment};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;

/// Bytes of a word that are shown, unless all are asked for.
const SHOWN_BYTES: usize = 200;

/// A gap as a line of a report: as a comment among commands, or as JSON.
pub fn gap_line(gap: &Gap<'_>, as_json: bool) -> String {
    let Gap { path, from, to, lsn, next, keys, reason, torn } = gap;
    if as_json {
        let (lsn, next) = (lsn.map(|lsn| lsn.0), next.map(|lsn| lsn.0));
        return json!({ "gap": { "file": path, "offset": from, "to_offset": to, "lsn": lsn, "to_lsn": next, "keys": keys,
                       "reason": reason, "torn": torn } })
        .to_string();
    }
    let mut line = format!("# {}: {reason}, at offset {from}", path.display());
    let write = |line: &mut String, text: std::fmt::Arguments<'_>| line.write_fmt(text).unwrap_or_default();
    if to > from {
        write(&mut line, format_args!(", {} bytes", to - from));
    }
    if let Some(lsn) = lsn {
        write(&mut line, format_args!(", LSN {lsn}"));
    }
    if let Some(next) = next {
        write(&mut line, format_args!("; goes on at LSN {next}"));
    }
    if let Some(keys) = keys {
        write(&mut line, format_args!("; {keys} keys are in it"));
    }
    if *torn {
        line.push_str("; torn by a crash, a start cuts it off");
    }
    line
}

/// Shows commands or frames.
pub struct Show<'o> {
    options: &'o Options,
    frames: bool,
    chosen: Chosen,
    out: BufWriter<&'o mut dyn Write>,
    /// A frame whose commands are being counted.
    frame: Option<Framed>,
    shown: u64,
    met: Met,
    failed: Option<Exit>,
    line: String,
}

struct Framed {
    header: FrameHeader,
    file: String,
    offset: u64,
    commands: u64,
    /// One of them is wanted.
    wanted: bool,
}

impl<'o> Show<'o> {
    pub fn new(options: &'o Options, frames: bool, chosen: Chosen, out: &'o mut dyn Write) -> Self {
        let out = BufWriter::with_capacity(256 << 10, out);
        let (met, line) = (Met::default(), String::new());
        Self { options, frames, chosen, out, frame: None, shown: 0, met, failed: None, line }
    }

    fn put(&mut self, line: &str) -> Flow {
        let result = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written(result, &mut self.failed)
    }

    /// Shows something that counts.
    fn count(&mut self, line: &str) -> Flow {
        self.put(line)?;
        self.shown += 1;
        if self.options.limit.is_some_and(|limit| self.shown >= limit) { Break(()) } else { Continue(()) }
    }

    fn end_frame(&mut self) -> Flow {
        let Some(Framed { header, file, offset, commands, wanted }) = self.frame.take() else { return Continue(()) };
        let FrameHeader { lsn, len, db, time, durable, .. } = header;
        if !(self.chosen.is_within(Some(lsn), Some(UnixMillis(time))) && (wanted || self.chosen.takes_every_command()))
        {
            return Continue(());
        }
        let line = if self.options.json {
            json!({ "file": file, "offset": offset, "lsn": lsn.0, "end": header.end().0, "bytes": len, "commands": commands,
                    "db": db, "time_ms": time, "durable": durable.0, "mark": len == 0 })
            .to_string()
        } else if len == 0 {
            format!("{lsn}  {}  mark, durable to {durable}, {file} offset {offset}", moment::show(UnixMillis(time)))
        } else {
            let end = header.end();
            let time = moment::show(UnixMillis(time));
            format!(
                "{lsn}  {time}  [{db}] {len} bytes, {commands} commands, to {end}, durable to {durable}, {file} offset {offset}"
            )
        };
        self.count(&line)
    }

    fn command_line(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> String {
        let Spot { path, offset, lsn, time, db, .. } = *spot;
        if self.options.json {
            let words: Json = words.iter().map(|word| json::text(word)).collect();
            let (lsn, time) = (lsn.map(|lsn| lsn.0), time.map(|time| time.0));
            return json!({ "file": path, "offset": offset, "lsn": lsn, "time_ms": time, "db": db, "command": words })
                .to_string();
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let place = match lsn {
            Some(lsn) => write!(line, "{lsn}"),
            None => write!(line, "@{offset}"),
        };
        place.unwrap_or_default();
        let time = time.map_or_else(|| "-".into(), moment::show);
        write!(line, "  {time}  [{db}]").unwrap_or_default();
        for word in words {
            line.push(' ');
            let shown = if self.options.full { word.len() } else { word.len().min(SHOWN_BYTES) };
            quote(&mut line, &word[..shown]);
            if shown < word.len() {
                write!(line, "...({} bytes)", word.len()).unwrap_or_default();
            }
        }
        line
    }
}

impl Visitor for Show<'_> {
    fn file(&mut self, path: &Path, form: &Form) -> Flow {
        self.end_frame()?;
        if self.options.json {
            return Continue(());
        }
        let what = match form {
            Form::Segment(header) => {
                let lineage = header.lineage;
                format!("segment {} of timeline {} from LSN {} on", header.number, lineage.timeline, header.first)
            }
            Form::Rdb => "keys in RDB form, see --show keys".into(),
            Form::Commands => "commands without frames".into(),
        };
        self.put(&format!("# {}: {what}", path.display()))
    }

    fn frame(&mut self, path: &Path, offset: u64, header: &FrameHeader) -> Flow {
        if self.frames {
            self.end_frame()?;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.frame = Some(Framed { header: *header, file, offset, commands: 0, wanted: false });
        }
        if self.chosen.is_behind(Some(header.lsn)) { Break(()) } else { Continue(()) }
    }

    fn command(&mut self, spot: &Spot<'_>, words: &[&[u8]]) -> Flow {
        if self.chosen.is_behind(spot.lsn) {
            return Break(());
        }
        if self.frames {
            let wanted = self.chosen.takes_command(spot, words);
            if let Some(frame) = &mut self.frame {
                frame.commands += 1;
                frame.wanted |= wanted;
            }
            return Continue(());
        }
        if !self.chosen.takes_command(spot, words) {
            return Continue(());
        }
        let line = self.command_line(spot, words);
        let flow = self.count(&line);
        self.line = line;
        flow
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        self.end_frame()?;
        self.met.see(gap);
        self.put(&gap_line(gap, self.options.json))
    }

    fn wants_keys(&self) -> bool {
        false
    }

    fn idle(&mut self) -> Flow {
        self.end_frame()?;
        let result = self.out.flush();
        written(result, &mut self.failed)
    }
}

impl Watching for Show<'_> {
    fn finish(&mut self) -> Result<Met, Exit> {
        let _ = self.idle();
        self.failed.map_or(Ok(self.met), Err)
    }

    fn visitor(&mut self) -> &mut dyn Visitor {
        self
    }
}

impl Met {
    pub fn see(&mut self, gap: &Gap<'_>) {
        self.torn |= gap.torn;
        self.damage |= !gap.torn;
    }
}

/// Shows keys, or the memory they take.
pub struct Keys<'o> {
    chosen: Chosen,
    out: BufWriter<&'o mut dyn Write>,
    memory: Option<Memory>,
    limit: Option<u64>,
    shown: u64,
    met: Met,
    failed: Option<Exit>,
}

impl<'o> Keys<'o> {
    pub fn new(options: &'o Options, subject: Subject, chosen: Chosen, out: &'o mut dyn Write) -> Self {
        let memory = match subject {
            Subject::Memory => Some(Memory::by_prefix(options)),
            Subject::MemoryKeys => Some(Memory::by_key(options)),
            _ => None,
        };
        let out = BufWriter::with_capacity(256 << 10, out);
        let mut keys = Self { chosen, out, memory, limit: options.limit, shown: 0, met: Met::default(), failed: None };
        if let (Some(memory), false) = (&keys.memory, options.json) {
            let header = memory.header();
            let _ = keys.put(&header);
        }
        keys
    }

    fn put(&mut self, line: &str) -> Flow {
        let result = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written(result, &mut self.failed)
    }

    fn count(&mut self, line: &str) -> Flow {
        self.put(line)?;
        self.shown += 1;
        if self.limit.is_some_and(|limit| self.shown >= limit) { Break(()) } else { Continue(()) }
    }

    /// A key as the keyspace holds it.
    pub fn entry(&mut self, db: u32, entry: &Entry) -> Flow {
        if !self.chosen.takes_key(db, entry.key()) {
            return Continue(());
        }
        match &mut self.memory {
            Some(memory) => match memory.add(db, entry) {
                Some(line) => self.count(&line),
                None => Continue(()),
            },
            None => self.count(&Json::Object(json::key(db, entry.key(), entry.value(), entry.expiry())).to_string()),
        }
    }

    pub fn finish(&mut self) -> Result<Met, Exit> {
        let lines = self.memory.as_mut().map(Memory::finish).unwrap_or_default();
        let limit = usize::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        for line in lines.into_iter().take(limit) {
            if self.put(&line).is_break() {
                break;
            }
        }
        let flushed: io::Result<()> = self.out.flush();
        let _ = written(flushed, &mut self.failed);
        self.failed.map_or(Ok(self.met), Err)
    }
}

impl Visitor for Keys<'_> {
    fn key(&mut self, _: &Path, entry: RdbEntry<'_>) -> Flow {
        let RdbEntry { db, key, value, expiry, idle_seconds, frequency, .. } = entry;
        if !self.chosen.takes_key(db, key) {
            return Continue(());
        }
        if self.memory.is_some() {
            return self.entry(db, &Entry::new(key, value, expiry, 0));
        }
        let mut line = json::key(db, key, value.as_ref(), expiry);
        if let Some(idle) = idle_seconds {
            line.insert("idle_seconds".into(), idle.into());
        }
        if let Some(frequency) = frequency {
            line.insert("frequency".into(), frequency.into());
        }
        self.count(&Json::Object(line).to_string())
    }

    fn library(&mut self, _: &Path, text: &[u8]) -> Flow {
        if self.memory.is_some() {
            return Continue(());
        }
        self.put(&json!({ "library": json::text(text) }).to_string())
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Flow {
        self.met.see(gap);
        // Beside the lines, which are for machines.
        complain!("{}", gap_line(gap, false));
        Continue(())
    }
}

impl Watching for Keys<'_> {
    fn finish(&mut self) -> Result<Met, Exit> {
        Keys::finish(self)
    }

    fn visitor(&mut self) -> &mut dyn Visitor {
        self
    }
}
