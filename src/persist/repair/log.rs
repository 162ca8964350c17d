//! Planning: reads everything that a log may consist of, in order, up to and beyond each gap.

use super::journal::{hidden, made_sequence};
use super::order::{self, Candidate, Kind};
use super::{Crossing, Extent, KeptFile, KeysOf, Loss, Plan, Seam, Stretch, Unused};
use crate::env::disk::read_file;
use crate::env::{Disk, OpenMode};
use crate::persist::chain::{related, visit};
use crate::persist::log::format::{FrameHeader, SegmentHeader};
use crate::persist::log::{Item, OpenedSegment, SegmentReader, WriterOptions};
use crate::persist::position::position_of;
use crate::persist::recovery::later_dump;
use crate::persist::resp_scan::{Scanned, scan};
use crate::persist::{CloseState, DamageKind, Lsn, Manifest, OpenError, OpenOptions, founding, strays};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a word, and words of a command, that are kept to be shown.
const SHOWN_BYTES: usize = 80;
const SHOWN_WORDS: usize = 8;

/// Plans the repair of a data directory.
///
/// # Errors
/// When something cannot be read.
pub fn plan(
    disk: &Arc<dyn Disk>,
    options: &OpenOptions,
    crossing: Crossing,
    keys_of: KeysOf<'_>,
) -> Result<Plan, OpenError> {
    let later = if options.append_only { later_dump(disk, options)? } else { None };
    let disk = &**disk;
    let writer = WriterOptions {
        directory: options.directory.join(&options.append_directory),
        prefix: options.append_file.clone(),
        segment_bytes_max: options.segment_bytes_max,
    };
    let seam = Seam { lineage: None, number: 0, lsn: Lsn::FIRST, chain: 0, db: 0, plain: 0 };
    let plan = Plan {
        losses: Vec::new(),
        unused: Vec::new(),
        notes: Vec::new(),
        frames: 0,
        commands: 0,
        keys: 0,
        position: None,
        end: Lsn::FIRST,
        base: None,
        kept: Vec::new(),
        stretches: Vec::new(),
        seam,
        manifest: None,
        dump: None,
        single: None,
        from_dump: false,
    };
    let mut planner = Planner {
        disk,
        options,
        crossing,
        keys_of,
        plan,
        broken: false,
        stopped: false,
        closed: None,
        before: None,
        plain_bytes: 0,
        watched: Vec::new(),
        hidden: HashSet::new(),
    };
    let dump = options.directory.join(&options.dump_file);
    if disk.exists(&dump).map_err(OpenError::io(&dump))? {
        planner.plan.dump = Some(planner.base_file(&dump, options.dump_file.clone(), 1)?.0);
    }
    let single = options.directory.join(&options.append_file);
    if options.append_only {
        if disk.exists(&writer.directory).unwrap_or(false) {
            planner.hidden = hidden(disk, &writer).map_err(OpenError::io(&writer.directory))?;
            if later.is_some() {
                planner.dump_instead(&writer);
            } else {
                planner.log(&writer)?;
            }
        } else if disk.exists(&single).map_err(OpenError::io(&single))? {
            planner.plan.single = Some(planner.base_file(&single, options.append_file.clone(), 1)?.0);
        }
    }
    Ok(planner.plan)
}

pub(super) struct Planner<'p> {
    pub(super) disk: &'p dyn Disk,
    pub(super) options: &'p OpenOptions,
    pub(super) crossing: Crossing,
    pub(super) keys_of: KeysOf<'p>,
    pub(super) plan: Plan,
    /// A gap was gone over: files can no longer be kept as they are.
    pub(super) broken: bool,
    /// The log ends before a gap.
    pub(super) stopped: bool,
    /// Where the manifest says that the log was closed, and the chain value there.
    pub(super) closed: Option<(Lsn, u32)>,
    /// The last command that was read.
    pub(super) before: Option<Vec<Vec<u8>>>,
    /// Bytes of the commands without frames that were read last.
    pub(super) plain_bytes: u64,
    /// Gaps that were gone over, by the number of the loss.
    pub(super) watched: Vec<usize>,
    /// Files that do not count: of a repair, or of a new log, that was cut off.
    pub(super) hidden: HashSet<String>,
}

/// How a segment is read: what is before it, and which comes next.
struct Around<'a> {
    next: Option<&'a SegmentHeader>,
    name: &'a str,
    sequence: u64,
}

impl Planner<'_> {
    pub(super) fn loss(&self, path: &Path, range: Range<u64>, reason: impl Into<String>) -> Loss {
        Loss {
            path: path.to_owned(),
            range,
            from: None,
            to: None,
            reason: reason.into(),
            keys: None,
            commands: 0,
            names: Vec::new(),
            crossed: false,
            before: self.before.clone(),
            after: None,
            touched: 0,
            touched_keys: HashSet::new(),
        }
    }

    /// Takes note of a gap in the log; whether it is gone over.
    pub(super) fn gap(&mut self, mut loss: Loss, may_cross: bool) -> bool {
        loss.crossed = may_cross && !self.stopped;
        self.stopped |= !may_cross;
        self.broken = true;
        if loss.crossed {
            self.watched.push(self.plan.losses.len());
        }
        self.plan.losses.push(loss);
        may_cross
    }

    /// A command that is kept or taken over.
    pub(super) fn command(&mut self, db: u32, words: &[&[u8]]) {
        self.plan.commands += 1;
        if !self.watched.is_empty() {
            let keys: Vec<(u32, Vec<u8>)> = (self.keys_of)(words).into_iter().map(|key| (db, key)).collect();
            let shown = shown(words);
            for at in &self.watched {
                let loss = &mut self.plan.losses[*at];
                loss.after.get_or_insert_with(|| shown.clone());
                // By name alone: in which database a command stood that does not verify is not certain.
                let is_named = |key: &&(u32, Vec<u8>)| loss.names.iter().any(|(_, name)| *name == key.1);
                let touched: Vec<_> = keys.iter().filter(is_named).cloned().collect();
                loss.touched += u64::from(!touched.is_empty());
                loss.touched_keys.extend(touched);
            }
        }
        self.before = Some(shown(words));
    }

    /// The dump stands later than the log, so that a start loads it instead. Where it is damaged, what is left of it becomes the
    /// base of a log.
    fn dump_instead(&mut self, writer: &WriterOptions) {
        let content = read_file(self.disk, &writer.manifest_path()).ok();
        self.plan.manifest = content.and_then(|content| Manifest::decode(&content).ok());
        let Some(dump) = self.plan.dump.clone().filter(|dump| !matches!(dump.extent, Extent::Whole)) else { return };
        let position = position_of(self.disk, &dump.path).ok().flatten();
        self.plan.notes.push(format!(
            "{} stands later than the log beside it and is what a start loads: what is left of it becomes the base of the log, \
             which goes to the kept files",
            dump.path.display()
        ));
        self.plan.position = position;
        self.plan.end = position.map_or(Lsn::FIRST, |position| position.lsn);
        let name = writer.first_base_name();
        self.plan.base = Some(KeptFile { name, ..dump });
        self.plan.from_dump = true;
    }

    fn log(&mut self, writer: &WriterOptions) -> Result<(), OpenError> {
        let manifest_path = writer.manifest_path();
        match read_file(self.disk, &manifest_path) {
            Ok(content) => match Manifest::decode(&content) {
                Ok(manifest) => self.plan.manifest = Some(manifest),
                Err(error) => {
                    self.plan.notes.push(format!(
                        "{}: line {} {}; which files make up the log is told by what is in them",
                        manifest_path.display(),
                        error.line,
                        error.reason
                    ));
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let there = self.disk.list(&writer.directory).map_err(OpenError::io(&writer.directory))?;
                let single = self.options.directory.join(&self.options.append_file);
                let of_log = |name: &String| {
                    let known = strays::sequence_of(name, writer).or(strays::base_sequence_of(name, writer));
                    known.or(made_sequence(name, writer)).is_some() && !self.hidden.contains(name)
                };
                if !there.iter().any(of_log) {
                    if self.disk.exists(&single).map_err(OpenError::io(&single))? {
                        let name = self.options.append_file.clone();
                        self.plan.single = Some(self.base_file(&single, name, 1)?.0);
                    }
                    return Ok(());
                }
                self.plan.notes.push(format!(
                    "{} is missing; which files make up the log is told by what is in them",
                    manifest_path.display()
                ));
            }
            Err(source) => return Err(OpenError::Io { path: manifest_path, source }),
        }
        if let Some(Manifest { state: CloseState::Closed { end, chain, .. }, .. }) = &self.plan.manifest {
            self.closed = Some((*end, *chain));
        }
        let begun = founding::leftovers(self.disk, writer, self.plan.manifest.as_ref());
        self.hidden.extend(begun.map_err(OpenError::io(&writer.directory))?);
        self.find_base(writer)?;
        let manifest = self.plan.manifest.clone();
        let position = self.plan.position;
        let ordered = order::order(self.disk, writer, manifest.as_ref(), position.as_ref(), &self.hidden)?;
        let named: HashSet<&String> =
            manifest.iter().flat_map(|manifest| manifest.incremental().map(|file| &file.name)).collect();
        let is_history =
            |name: &String| manifest.iter().any(|manifest| manifest.history().any(|file| file.name == *name));
        for unused in ordered.unused {
            let name = unused.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let superseded =
                is_history(&name) || (unused.frames == 0 && unused.commands == 0 && !named.contains(&name));
            // What a rewrite has superseded is no part of the log, and no loss.
            if !superseded {
                self.plan.unused.push(unused);
            }
        }
        let there: HashSet<&String> = ordered.files.iter().map(|file| &file.name).collect();
        for name in named.iter().filter(|name| !there.contains(**name)) {
            let path = writer.directory.join(name);
            if !self.disk.exists(&path).map_err(OpenError::io(&path))? {
                self.plan.notes.push(format!("{} is named by the manifest and missing", path.display()));
            }
        }
        let in_order: Vec<&String> = ordered.files.iter().map(|file| &file.name).collect();
        let as_named: Vec<&String> =
            manifest.iter().flat_map(|manifest| manifest.incremental().map(|file| &file.name)).collect();
        let taken_in = in_order.starts_with(&as_named) && manifest.is_some();
        if manifest.is_some() && in_order != as_named && !taken_in && !in_order.is_empty() {
            self.plan
                .notes
                .push("the manifest names other files, or in another order, than those that make up the log".into());
        } else if taken_in && in_order.len() > as_named.len() {
            // A start takes in one that a crash left unnamed; more than that it refuses.
            let mut adopted = manifest.clone().unwrap_or_default();
            let start = strays::take_in(self.disk, writer, &mut adopted);
            if start.is_err() || adopted.incremental().count() != in_order.len() {
                self.plan.notes.push("the manifest does not name the last files of the log".into());
            }
        }
        self.read(&ordered.files)?;
        Ok(())
    }

    /// Reads the files of the log in order.
    fn read(&mut self, files: &[Candidate]) -> Result<(), OpenError> {
        let mut last: Option<SegmentHeader> = None;
        for (at, Candidate { path, name, sequence, kind }) in files.iter().enumerate() {
            let file = self.disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
            let next = files[at + 1..].iter().find_map(|file| match &file.kind {
                Kind::Segment(header) => Some(header),
                _ => None,
            });
            let is_last = at + 1 == files.len();
            match kind {
                Kind::Stock => self.stock(&*file, path, name, *sequence, is_last)?,
                Kind::Headless => {
                    let reason = DamageKind::BadSegmentHeader.to_string();
                    let mut reader = SegmentReader::open_headless(&*file).map_err(OpenError::io(path))?;
                    let len = file.len().map_err(OpenError::io(path))?;
                    let found = match &mut reader {
                        Some(reader) => reader.resync().map_err(OpenError::io(path))?,
                        None => false,
                    };
                    if let (Some(reader), true) = (&mut reader, found) {
                        self.plan.notes.push(format!("{}: {reason}; its frames do", path.display()));
                        if reader.lsn() != self.plan.end {
                            let mut loss = self.loss(path, 0..reader.offset(), reason);
                            (loss.from, loss.to) = (Some(self.plan.end), Some(reader.lsn()));
                            let may_cross = self.crossing != Crossing::Never;
                            self.gap(loss, may_cross);
                        }
                        self.broken = true;
                        self.frames(reader, path, &Around { next, name, sequence: *sequence })?;
                    } else {
                        let mut loss = self.loss(path, 0..len, format!("{reason}, and nothing in the file does"));
                        self.readable(&*file, path, 0..len, &mut loss)?;
                        loss.from = Some(self.plan.end);
                        loss.to = next.map(|next| next.previous_end);
                        let may_cross = self.crossing == Crossing::Always;
                        self.gap(loss, may_cross);
                    }
                }
                Kind::Segment(header) => {
                    let OpenedSegment::Segment(mut reader) =
                        SegmentReader::open(&*file).map_err(OpenError::io(path))?
                    else {
                        continue;
                    };
                    self.enter(path, header, last.as_ref());
                    let next = next.filter(|next| next.number == header.number + 1 && related(header, next));
                    self.frames(&mut reader, path, &Around { next, name, sequence: *sequence })?;
                    last = Some(*header);
                }
            }
        }
        let Some((closed, chain)) = self.closed.filter(|_| !self.stopped && !self.broken) else { return Ok(()) };
        if self.plan.end < closed {
            let path = files.last().map(|file| file.path.clone()).unwrap_or_default();
            let mut loss = self.loss(&path, 0..0, DamageKind::EndsBeforeClose.to_string());
            (loss.from, loss.to) = (Some(self.plan.end), Some(closed));
            self.plan.losses.push(loss);
        } else if (self.plan.end, self.plan.seam.chain) != (closed, chain) && self.plan.seam.plain == 0 {
            let reason = "the manifest says that the log was closed before its end: it is older than the log";
            self.plan.notes.push(reason.into());
        }
        Ok(())
    }

    /// Before a segment: whether it goes on where the log stands.
    fn enter(&mut self, path: &Path, header: &SegmentHeader, last: Option<&SegmentHeader>) {
        if self.broken || self.stopped {
            self.missing(path, header, last);
            return;
        }
        let end = self.plan.end;
        let continues = match (last, self.plan.position) {
            (None, Some(base)) => header.first == base.lsn,
            (None, None) => header.number == 1 && header.first == header.previous_end,
            (Some(last), _) => {
                header.number == last.number + 1
                    && header.previous_end <= end
                    && (header.previous_chain == self.plan.seam.chain || header.previous_end < end)
            }
        };
        if !continues {
            self.missing(path, header, last);
            if !self.broken {
                // It stands where it should, and refers to another file before it than the one that is there.
                let reason = DamageKind::NotTheNext.to_string();
                let mut loss = self.loss(path, 0..0, reason);
                (loss.from, loss.to) = (Some(end), Some(header.first));
                let may_cross = self.crossing != Crossing::Never;
                self.gap(loss, may_cross);
            }
        } else if last.is_none() {
            // Of the first one the header says where it stands.
            self.plan.seam = Seam { lsn: header.first, chain: header.previous_chain, ..self.plan.seam };
            self.plan.end = header.first;
        }
    }

    /// Takes note of what lies between the log so far and a segment, if anything does.
    fn missing(&mut self, path: &Path, header: &SegmentHeader, last: Option<&SegmentHeader>) {
        let expected = last.map_or(1, |last| last.number + 1);
        let begins = match (last, self.plan.position) {
            (None, None) => header.number == 1,
            (None, Some(base)) => header.first <= base.lsn,
            (Some(_), _) => header.number == expected && header.previous_end <= self.plan.end,
        };
        if begins {
            return;
        }
        let reason = match header.number.saturating_sub(expected) {
            0 => "what stands before this segment is missing".to_owned(),
            1 => format!("the segment with number {expected} is missing"),
            count => format!("the {count} segments from number {expected} on are missing"),
        };
        let mut loss = self.loss(path, 0..0, reason);
        (loss.from, loss.to) = (Some(self.plan.end), Some(header.first));
        let may_cross = self.crossing == Crossing::Always;
        self.gap(loss, may_cross);
        self.plan.end = header.first;
    }

    /// Reads the frames of a segment, up to where the next one says that it ends.
    fn frames(&mut self, reader: &mut SegmentReader<'_>, path: &Path, around: &Around<'_>) -> Result<(), OpenError> {
        let Around { next, name, sequence } = *around;
        let io_error = || OpenError::io(path);
        let until = next.map(|next| (next.previous_end, next.previous_chain));
        let header = *reader.header();
        let len = reader.file_len();
        let mut unused: Option<Unused> = None;
        // Where the frames that are being read begin.
        let mut run = reader.offset();
        let kept =
            |extent| KeptFile { path: path.to_owned(), name: name.to_owned(), sequence, extent, is_segment: true };
        // Whether this file was kept from its beginning on, so far without a gap.
        let mut whole_so_far = !self.broken && !self.stopped;
        loop {
            let (offset, lsn, chain) = (reader.offset(), reader.lsn(), reader.chain());
            let reached = until.is_some_and(|(end, at)| lsn > end || (lsn == end && chain == at));
            let item = if reached { None } else { Some(reader.next().map_err(io_error())?) };
            let kind = match item {
                Some(Item::Frame { header: frame, payload }) => {
                    if self.stopped {
                        let left = unused.get_or_insert_with(|| Unused {
                            path: path.to_owned(),
                            reason: "it lies behind the gap at which the log ends".into(),
                            frames: 0,
                            commands: 0,
                            bytes: 0,
                        });
                        left.frames += u64::from(frame.len > 0);
                        left.bytes += frame.len;
                        each_command(&frame, payload, |_, _| left.commands += 1);
                    } else {
                        self.plan.frames += u64::from(frame.len > 0);
                        let mut db = frame.db;
                        each_command(&frame, payload, |selected, words| {
                            db = selected;
                            self.command(selected, words);
                        });
                        self.plan.end = frame.end().max(self.plan.end);
                        if whole_so_far {
                            self.plan.seam.db = db;
                        }
                    }
                    continue;
                }
                None => None,
                Some(Item::Sealed | Item::EndOfFile) if until.is_none_or(|(end, _)| lsn >= end) => None,
                Some(Item::Sealed | Item::EndOfFile) => Some(DamageKind::EndsEarly),
                Some(Item::Bad(kind)) => Some(kind),
            };
            // The end of a run.
            let here = Seam {
                lineage: Some(header.lineage),
                number: header.number,
                lsn,
                chain,
                db: self.plan.seam.db,
                plain: 0,
            };
            if let Some(visit) = if kind.is_some() || next.is_some() { visit(reader, next, path)? } else { None } {
                self.visited(
                    path,
                    visit.start,
                    len,
                    here,
                    whole_so_far.then_some(kept(Extent::Whole)),
                    run..offset,
                    next,
                )?;
                break;
            }
            let Some(kind) = kind else {
                self.run_ends(path, here, whole_so_far.then_some(kept(Extent::Whole)), run..offset);
                break;
            };
            let mark = reader.mark();
            let found = reader.resync().map_err(io_error())?;
            let (to, goes_on) = if found { (reader.offset(), Some(reader.lsn())) } else { (len, None) };
            // What the next segment holds too is none of this one any more.
            if until.is_some_and(|(end, _)| lsn >= end) {
                self.run_ends(path, here, whole_so_far.then_some(kept(Extent::Whole)), run..offset);
                break;
            }
            let durable = mark.max(reader.mark()) > lsn || self.closed.is_some() || kind == DamageKind::BytesBehindEnd;
            if !found && next.is_none() && !durable && !self.stopped {
                self.plan.notes.push(format!(
                    "{}: a tail of {} bytes from offset {offset} on was torn by a crash, above everything that is known to have been \
                     durable",
                    path.display(),
                    len - offset
                ));
                if whole_so_far {
                    self.plan.seam = here;
                    self.plan.kept.push(kept(Extent::Prefix(offset)));
                } else {
                    self.take_over(path, run..offset);
                }
                break;
            }
            let mut loss = self.loss(path, offset..to, kind.to_string());
            loss.from = Some(lsn);
            loss.to =
                goes_on.or(until.map(|(end, _)| end)).or(Some(mark.max(reader.mark())).filter(|mark| *mark > lsn));
            self.readable_in(reader, offset..to, &mut loss)?;
            if !self.stopped {
                if whole_so_far {
                    self.plan.seam = here;
                    self.plan.kept.push(kept(Extent::Prefix(offset)));
                } else {
                    self.take_over(path, run..offset);
                }
                whole_so_far = false;
                let may_cross = self.crossing != Crossing::Never;
                self.gap(loss, may_cross);
            } else {
                self.plan.losses.push(loss);
            }
            if !found {
                if let Some((end, _)) = until {
                    self.plan.end = self.plan.end.max(end);
                }
                break;
            }
            run = to;
        }
        self.plan.unused.extend(unused);
        Ok(())
    }

    /// A file ends with a run of frames: it is kept as it is where nothing was wrong before, else the run is taken over.
    fn run_ends(&mut self, path: &Path, here: Seam, whole: Option<KeptFile>, run: Range<u64>) {
        if let Some(whole) = whole {
            self.plan.seam = here;
            self.plan.kept.push(whole);
        } else if !self.stopped {
            self.take_over(path, run);
        }
    }

    pub(super) fn take_over(&mut self, path: &Path, range: Range<u64>) {
        if !range.is_empty() {
            self.plan.stretches.push(Stretch::Frames { path: path.to_owned(), range });
        }
    }
}

/// The commands of a frame, each with the database that is selected where it stands.
fn each_command(header: &FrameHeader, payload: &[u8], mut each: impl FnMut(u32, &[&[u8]])) {
    let (mut at, mut db) = (0, header.db);
    while at < payload.len() {
        match scan(payload, at) {
            Scanned::Command { words, end } => {
                let words: Vec<&[u8]> = words.into_iter().map(|word| &payload[word]).collect();
                if words.len() == 2 && words[0].eq_ignore_ascii_case(b"select") {
                    db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                }
                each(db, &words);
                at = end;
            }
            Scanned::Comment { end } => at = end,
            Scanned::Incomplete | Scanned::Garbage => return,
        }
    }
}

/// A command as it is shown: its first words, shortened.
fn shown(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().take(SHOWN_WORDS).map(|word| word[..word.len().min(SHOWN_BYTES)].to_vec()).collect()
}

/// The path that a plan's directory has beside its log.
pub(super) fn log_directory(options: &OpenOptions) -> PathBuf {
    options.directory.join(&options.append_directory)
}
