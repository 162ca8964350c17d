//! Applying a plan: into a new directory, or in place ([`super::in_place`]).
//!
//! A new directory is made under another name and gets its own when everything in it is durable: one that was cut off is no data
//! directory, and is made anew by the next run.

use super::in_place::InPlace;
use super::{Extent, KeptFile, Plan, Seam, Stretch};
use crate::env::disk::{FromFront, parent};
use crate::env::{Disk, DiskFile, Entropy, OpenMode};
use crate::persist::archive::DIRECTORY;
use crate::persist::log::format::{FRAME_HEADER_BYTES, FrameHeader, select};
use crate::persist::log::{Item, OpenedSegment, Segment, SegmentPlace, SegmentReader, WriterOptions};
use crate::persist::position::position_line;
use crate::persist::recovery::create_durable_directory;
use crate::persist::resp_scan::{Scanned, scan};
use crate::persist::sums::SummedWriter;
use crate::persist::tape::{Next, Tape};
use crate::persist::{
    BaseIdentity, CloseState, FileEntry, FileKind, Lineage, Lsn, Manifest, OpenOptions, Timeline, strays,
};
use crate::resp::Woven;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

const CHUNK_BYTES: usize = 1 << 20;

/// Where the repaired directory is made.
pub enum Target {
    /// A directory that does not exist, or is empty.
    Into(PathBuf),
    /// The directory at hand; what is replaced goes into this one beside its log.
    InPlace { kept: String, held: InPlace },
}

/// What was made.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub directory: PathBuf,
    /// Files written anew.
    pub written: Vec<PathBuf>,
    /// Files that were replaced or left out, where they are kept now.
    pub kept: Vec<PathBuf>,
}

/// Why nothing was repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is in use by a server: stop it first", path.display())]
    InUse { path: PathBuf },
    #[error("{} is not empty: a repaired directory is made anew", path.display())]
    NotEmpty { path: PathBuf },
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_owned();
    move |source| RepairError::Io { path, source }
}

impl Plan {
    /// Carries the plan out. Everything is durable when it returns.
    ///
    /// # Errors
    /// See [`RepairError`]: what the plan was made of is whole.
    pub fn apply(
        &self,
        disk: &dyn Disk,
        options: &OpenOptions,
        target: &Target,
        entropy: &mut dyn Entropy,
    ) -> Result<Applied, RepairError> {
        let work = Work { plan: self, disk, options, entropy, applied: Applied::default() };
        match target {
            Target::Into(directory) => work.into_directory(directory),
            Target::InPlace { kept, held } => work.in_place(kept, held),
        }
    }
}

pub(super) struct Work<'w> {
    pub plan: &'w Plan,
    pub disk: &'w dyn Disk,
    pub options: &'w OpenOptions,
    pub entropy: &'w mut dyn Entropy,
    pub applied: Applied,
}

/// A file that the new manifest names.
pub(super) struct Named {
    pub name: String,
    pub sequence: u64,
    pub is_segment: bool,
}

impl<'w> Work<'w> {
    fn into_directory(mut self, directory: &Path) -> Result<Applied, RepairError> {
        if self.disk.list(directory).is_ok_and(|names| !names.is_empty()) {
            return Err(RepairError::NotEmpty { path: directory.to_owned() });
        }
        let making = directory.with_added_extension("unfinished");
        let log = making.join(&self.options.append_directory);
        make_anew(self.disk, &making, &log)?;
        if self.plan.has_log() {
            create_durable_directory(self.disk, &log).map_err(failed(&log))?;
            let kept = self.numbered();
            for (file, named) in &kept {
                self.write(file, &log.join(&named.name))?;
            }
            let base = match &self.plan.base {
                Some(base) => {
                    let path = log.join(&base.name);
                    self.write(base, &path)?;
                    let identity = strays::base_identity(self.disk, &path).map_err(failed(&path))?;
                    Some((base.name.clone(), base.sequence, identity))
                }
                None => None,
            };
            self.disk.sync_dir(&log).map_err(failed(&log))?;
            let mut named: Vec<Named> = kept.into_iter().map(|(_, named)| named).collect();
            let next = named.last().map_or(1, |last| last.sequence + 1);
            let path = log.join(self.writer(&log).segment_name(next));
            if let Some(mut segment) = self.segment(&log, path.file_name().unwrap_or_default(), next)? {
                segment.publish(self.disk, &log).map_err(failed(&path))?;
                self.applied.written.push(path);
                named.push(Named { name: segment.name().to_owned(), sequence: next, is_segment: true });
            }
            let manifest = self.manifest(base, &named);
            let path = self.writer(&log).manifest_path();
            if !manifest.files.is_empty() {
                manifest.store(self.disk, &path).map_err(|error| failed(&path)(error.error))?;
                self.applied.written.push(path);
            }
        }
        let outside = [&self.plan.dump, &self.plan.single];
        for file in outside.into_iter().flatten() {
            self.write(file, &making.join(&file.name))?;
        }
        if let Some(archive) = &self.plan.archive {
            self.applied.written.extend(archive.make_in(self.disk, &making)?);
        }
        self.disk.sync_dir(&making).map_err(failed(&making))?;
        self.disk.rename(&making, directory).map_err(failed(directory))?;
        self.disk.sync_dir(parent(directory)).map_err(failed(directory))?;
        for path in &mut self.applied.written {
            if let Ok(inside) = path.strip_prefix(&making) {
                *path = directory.join(inside);
            }
        }
        self.applied.directory = directory.to_owned();
        Ok(self.applied)
    }

    pub(super) fn writer(&self, log: &Path) -> WriterOptions {
        WriterOptions {
            directory: log.to_owned(),
            prefix: self.options.append_file.clone(),
            segment_bytes_max: self.options.segment_bytes_max,
        }
    }

    /// The files that stay, with names whose sequences increase: their own, or new ones.
    fn numbered(&self) -> Vec<(&'w KeptFile, Named)> {
        let kept: &'w [KeptFile] = &self.plan.kept;
        // What stands under the name of another file has sequence 0; a name that a repair gave is not for another one.
        let writer = self.writer(Path::new(""));
        let increase = kept.windows(2).all(|pair| pair[0].sequence < pair[1].sequence)
            && kept.iter().all(|file| strays::sequence_of(&file.name, &writer) == Some(file.sequence));
        let named = |(number, file): (u64, &'w KeptFile)| {
            let sequence = if increase { file.sequence } else { number };
            (file, Named { name: writer.segment_name(sequence), sequence, is_segment: file.is_segment })
        };
        (1..).zip(kept).map(named).collect()
    }

    /// Writes what is kept of a file, whole and durable but for its name.
    fn write(&mut self, file: &KeptFile, to: &Path) -> Result<(), RepairError> {
        let draft = to.with_added_extension("tmp");
        self.draft(file, &draft)?;
        self.disk.rename(&draft, to).map_err(failed(to))?;
        self.applied.written.push(to.to_owned());
        Ok(())
    }

    /// Writes what is kept of a file, durable but for its name.
    pub(super) fn draft(&self, file: &KeptFile, draft: &Path) -> Result<(), RepairError> {
        let from = self.disk.open(&file.path, OpenMode::Read).map_err(failed(&file.path))?;
        let made = || -> io::Result<()> {
            let mut out = BufWriter::new(FromFront::new(self.disk.open(draft, OpenMode::Truncate)?));
            match &file.extent {
                Extent::Whole => copy(&*from, 0..from.len()?, &mut out)?,
                Extent::Prefix(len) => copy(&*from, 0..*len, &mut out)?,
                Extent::Ranges(ranges) => ranges.iter().try_for_each(|range| copy(&*from, range.clone(), &mut out))?,
                Extent::Summed(position, ranges) => {
                    let mut out = SummedWriter::new(&mut out);
                    if let Some(position) = position {
                        out.write_all(&position_line(position))?;
                    }
                    for range in ranges {
                        copy(&*from, range.clone(), &mut out)?;
                        out.end_block(false)?;
                    }
                    out.end_block(true)?;
                }
                Extent::Keys(salvage, ranges) => {
                    salvage.write(&*from, &mut out)?;
                    ranges.iter().try_for_each(|range| copy(&*from, range.clone(), &mut out))?;
                }
            }
            out.flush()?;
            out.get_ref().file().sync_all()
        };
        made().map_err(failed(draft))
    }

    /// Writes what is taken over gaps into one new segment, which is still to get its name.
    pub(super) fn segment(&mut self, log: &Path, name: &OsStr, sequence: u64) -> Result<Option<Segment>, RepairError> {
        if self.plan.stretches.is_empty() {
            return Ok(None);
        }
        let name = name.to_string_lossy().into_owned();
        let Seam { lineage, number, lsn, chain, db, plain } = self.plan.seam;
        let timeline = Timeline::draw(self.entropy);
        let first = lsn.plus(plain);
        let lineage = lineage.map_or(Lineage::root(timeline), |lineage| lineage.child(timeline, first));
        let place = SegmentPlace { lineage, number: number + 1, first, db, previous_end: lsn, previous_chain: chain };
        let salt = self.entropy.next_u64();
        let made = || -> io::Result<Segment> {
            let segment = Segment::draft(self.disk, log, name.clone(), sequence, place, salt)?;
            let mut over = Over { segment, lsn: first, db, time: 0 };
            for stretch in &self.plan.stretches {
                match stretch {
                    Stretch::Frames { path, range } => over.frames(self.disk, path, range)?,
                    Stretch::Commands { path, range } => over.commands(self.disk, path, range)?,
                    Stretch::Part { path, offset, bytes } => over.part(self.disk, path, *offset, *bytes)?,
                }
            }
            Ok(over.segment)
        };
        made().map(Some).map_err(failed(&log.join(&name)))
    }

    /// The manifest of a base, with its name, sequence and identity, and of incremental files.
    pub(super) fn manifest(&self, base: Option<(String, u64, BaseIdentity)>, files: &[Named]) -> Manifest {
        let mut manifest = Manifest::new();
        if let Some((name, sequence, identity)) = base {
            manifest.files.push(FileEntry { name, sequence, kind: FileKind::Base });
            manifest.base_identity = Some(identity);
        }
        for Named { name, sequence, .. } in files {
            manifest.add_incremental(name.clone(), *sequence);
        }
        manifest.segments_from = files.iter().find(|file| file.is_segment).map(|file| file.sequence);
        let known = self.plan.manifest.as_ref();
        if manifest.segments_from.is_some() || known.is_some_and(|known| known.state != CloseState::Unknown) {
            manifest.state = CloseState::Open;
        } else {
            manifest.base_identity = None;
        }
        if let Some(dump) = self.plan.dump.as_ref().filter(|dump| matches!(dump.extent, Extent::Whole)) {
            let there = strays::base_identity(self.disk, &dump.path).ok();
            manifest.saved_dump =
                known.and_then(|known| known.saved_dump).filter(|saved| Some(saved.identity) == there);
        }
        manifest
    }
}

/// A directory that holds nothing yet.
pub(super) fn make_empty(disk: &dyn Disk, directory: &Path) -> Result<(), RepairError> {
    match disk.list(directory) {
        Ok(names) if names.is_empty() => return Ok(()),
        Ok(_) => return Err(RepairError::NotEmpty { path: directory.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(RepairError::Io { path: directory.to_owned(), source }),
    }
    create_durable_directory(disk, directory).map_err(failed(directory))
}

/// The same, of one that a run may have left unfinished: its files go.
fn make_anew(disk: &dyn Disk, directory: &Path, log: &Path) -> Result<(), RepairError> {
    let archive = directory.join(DIRECTORY);
    for place in [log, &archive, directory] {
        for name in disk.list(place).unwrap_or_default() {
            let path = place.join(name);
            if path != log && path != archive {
                disk.remove(&path).map_err(failed(&path))?;
            }
        }
    }
    create_durable_directory(disk, directory).map_err(failed(directory))
}

fn copy(from: &dyn DiskFile, range: Range<u64>, out: &mut dyn Write) -> io::Result<()> {
    let (mut at, mut chunk) = (range.start, Vec::new());
    while at < range.end {
        chunk.resize((range.end - at).min(CHUNK_BYTES as u64) as usize, 0);
        from.read_exact_at(&mut chunk, at)?;
        out.write_all(&chunk)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

/// Frames on their way into the new segment, with positions of their own.
pub struct Over {
    pub segment: Segment,
    /// Where the next frame begins, and the database that is selected there.
    pub lsn: Lsn,
    pub db: u32,
    pub time: i64,
}

impl Over {
    /// Appends whole units as one frame.
    pub fn append(&mut self, db: u32, time: i64, units: &[u8]) -> io::Result<()> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        let begins = self.db;
        if db != self.db {
            // What stood between, and selected it, is gone.
            bytes.extend_from_slice(&select(db));
        }
        bytes.extend_from_slice(units);
        self.db = selected_behind(units, db);
        self.time = self.time.max(time);
        let payload = &bytes[FRAME_HEADER_BYTES..];
        let header = FrameHeader {
            lsn: self.lsn,
            len: payload.len() as u64,
            db: begins,
            time: self.time,
            previous: self.segment.chain(),
            payload_crc: crc32fast::hash(payload),
            durable: self.lsn,
        };
        let salt = self.segment.header().salt;
        let chain = header.encode(salt, self.segment.size(), &mut bytes[..FRAME_HEADER_BYTES]);
        self.lsn = header.end();
        self.segment.append(&Woven { bytes, ..Woven::default() }, chain)
    }

    fn frames(&mut self, disk: &dyn Disk, path: &Path, range: &Range<u64>) -> io::Result<()> {
        let file = disk.open(path, OpenMode::Read)?;
        let mut reader = match SegmentReader::open(&*file)? {
            OpenedSegment::Segment(reader) => reader,
            _ => SegmentReader::open_headless(&*file)?.ok_or(io::ErrorKind::InvalidData)?,
        };
        reader.go_to(range.start)?;
        while reader.offset() < range.end {
            match reader.next()? {
                Item::Frame { header, payload } if header.len > 0 => self.append(header.db, header.time, payload)?,
                Item::Frame { .. } => {}
                Item::Sealed | Item::EndOfFile => break,
                Item::Bad(_) => return Err(io::Error::other(format!("{} changed while it was read", path.display()))),
            }
        }
        Ok(())
    }

    /// The first units of a frame.
    fn part(&mut self, disk: &dyn Disk, path: &Path, offset: u64, bytes: u64) -> io::Result<()> {
        let file = disk.open(path, OpenMode::Read)?;
        let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*file)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        reader.go_to(offset)?;
        match reader.next()? {
            Item::Frame { header, payload } => self.append(header.db, header.time, &payload[..bytes as usize]),
            _ => Err(io::Error::other(format!("{} changed while it was read", path.display()))),
        }
    }

    /// Commands without frames, several whole units in each frame. Stock's upper-case SELECT is written as ours is.
    fn commands(&mut self, disk: &dyn Disk, path: &Path, range: &Range<u64>) -> io::Result<()> {
        let file = disk.open(path, OpenMode::Read)?;
        let mut tape = Tape::stretch(&*file, range.clone());
        let (mut units, mut db, mut in_transaction) = (Vec::new(), 0, false);
        let mut begins = db;
        loop {
            match tape.next()? {
                Next::Command => {
                    let words = tape.words();
                    let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
                    if is(b"select") && words.len() == 2 {
                        db = std::str::from_utf8(words[1]).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                        units.extend_from_slice(&select(db));
                    } else {
                        in_transaction = (in_transaction || is(b"multi")) && !is(b"exec");
                        write!(units, "*{}\r\n", words.len())?;
                        for word in words {
                            write!(units, "${}\r\n", word.len())?;
                            units.extend_from_slice(word);
                            units.extend_from_slice(b"\r\n");
                        }
                    }
                    if units.len() >= CHUNK_BYTES && !in_transaction {
                        self.append(begins, self.time, &units)?;
                        units.clear();
                        begins = db;
                    }
                }
                Next::Comment | Next::Timestamp(_) => {}
                Next::End => break,
                Next::Short | Next::Garbage(_) => {
                    return Err(io::Error::other(format!("{} changed while it was read", path.display())));
                }
            }
        }
        if units.is_empty() { Ok(()) } else { self.append(begins, self.time, &units) }
    }
}

/// The database that is selected behind some units.
fn selected_behind(units: &[u8], mut db: u32) -> u32 {
    let mut at = 0;
    while let Scanned::Command { words, end } = scan(units, at) {
        if words.len() == 2 && units[words[0].clone()].eq_ignore_ascii_case(b"select") {
            let index = std::str::from_utf8(&units[words[1].clone()]).ok().and_then(|text| text.parse().ok());
            db = index.unwrap_or(db);
        }
        at = end;
    }
    db
}
