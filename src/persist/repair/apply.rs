//! Applying a plan: into a new directory, or in place with every file that is replaced kept.
//!
//! In place, copies of what will be replaced are durable first, then the new segment is, then the manifest that names it; cuts
//! follow. Where a crash comes in between, the next start may refuse: what was there is in the directory of the kept files.

use super::log::log_directory;
use super::{Extent, KeptFile, Plan, Seam, Stretch};
use crate::env::disk::{DiskLock, FromFront, parent};
use crate::env::{Disk, DiskFile, Entropy, OpenMode};
use crate::persist::log::format::{FRAME_HEADER_BYTES, FrameHeader, select};
use crate::persist::log::{Item, OpenedSegment, Segment, SegmentPlace, SegmentReader, WriterOptions};
use crate::persist::recovery::create_durable_directory;
use crate::persist::resp_scan::{Scanned, scan};
use crate::persist::tape::{Next, Tape};
use crate::persist::{CloseState, FileEntry, FileKind, Lineage, Lsn, Manifest, OpenOptions, Timeline, strays};
use crate::resp::Woven;
use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

const CHUNK_BYTES: usize = 1 << 20;

/// Where the repaired directory is made.
#[derive(Clone, Debug)]
pub enum Target {
    /// A directory that does not exist, or is empty.
    Into(PathBuf),
    /// The directory at hand; what is replaced goes into this one beside its log.
    InPlace { kept: String },
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

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
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
            Target::InPlace { kept } => work.in_place(kept),
        }
    }
}

struct Work<'w> {
    plan: &'w Plan,
    disk: &'w dyn Disk,
    options: &'w OpenOptions,
    entropy: &'w mut dyn Entropy,
    applied: Applied,
}

impl<'w> Work<'w> {
    fn into_directory(mut self, directory: &Path) -> Result<Applied, RepairError> {
        make_empty(self.disk, directory)?;
        self.applied.directory = directory.to_owned();
        let log = directory.join(&self.options.append_directory);
        let outside = [&self.plan.dump, &self.plan.single];
        for file in outside.into_iter().flatten() {
            self.write(file, &directory.join(&file.name))?;
        }
        if self.plan.base.is_some() || !self.plan.kept.is_empty() || !self.plan.stretches.is_empty() {
            self.disk.create_dir(&log).map_err(failed(&log))?;
            let kept = self.numbered(1);
            for (file, name, _) in &kept {
                self.write(file, &log.join(name))?;
            }
            if let Some(base) = &self.plan.base {
                self.write(base, &log.join(&base.name))?;
            }
            self.disk.sync_dir(&log).map_err(failed(&log))?;
            let next = kept.last().map_or(1, |(_, _, sequence)| sequence + 1);
            let segment = self.segment(&log, next)?;
            self.manifest(&log, kept, segment, false)?;
        }
        self.disk.sync_dir(directory).map_err(failed(directory))?;
        Ok(self.applied)
    }

    fn in_place(mut self, kept_name: &str) -> Result<Applied, RepairError> {
        let directory = self.options.directory.clone();
        let _lock = self.lock(&directory)?;
        self.applied.directory = directory.clone();
        let log = log_directory(self.options);
        let aside = directory.join(kept_name);
        make_empty(self.disk, &aside)?;
        for file in [&self.plan.dump, &self.plan.single].into_iter().flatten() {
            self.replace(file, &aside)?;
        }
        if self.plan.base.is_some() || !self.plan.kept.is_empty() || !self.plan.stretches.is_empty() {
            let writer = self.writer(&log);
            let names = self.disk.list(&log).map_err(failed(&log))?;
            let highest = names.iter().filter_map(|name| strays::sequence_of(name, &writer)).max().unwrap_or(0);
            let kept = self.numbered(highest + 1);
            let next = kept.iter().map(|(_, _, sequence)| *sequence).max().unwrap_or(0).max(highest) + 1;
            // What is to be replaced is kept first.
            for (file, _, _) in &kept {
                if !matches!(file.extent, Extent::Whole) {
                    self.keep_copy(&file.path, &aside)?;
                }
            }
            let manifest_path = writer.manifest_path();
            if self.disk.exists(&manifest_path).map_err(failed(&manifest_path))? {
                self.keep_copy(&manifest_path, &aside)?;
            }
            for (file, name, _) in &kept {
                if *name != file.name {
                    self.write(file, &log.join(name))?;
                }
            }
            let segment = self.segment(&log, next)?;
            if let Some(base) = &self.plan.base {
                self.replace(base, &aside)?;
            }
            for (file, name, _) in kept.iter().filter(|(file, name, _)| *name == file.name) {
                if matches!(file.extent, Extent::Ranges(_)) {
                    self.write(file, &log.join(name))?;
                }
            }
            self.disk.sync_dir(&log).map_err(failed(&log))?;
            let named: HashSet<String> = kept.iter().map(|(_, name, _)| name.clone()).collect();
            let cuts: Vec<KeptFile> = kept
                .iter()
                .filter(|(file, name, _)| *name == file.name && matches!(file.extent, Extent::Prefix(_)))
                .map(|(file, _, _)| (*file).clone())
                .collect();
            let made = segment.clone();
            self.manifest(&log, kept, segment, true)?;
            for file in &cuts {
                if let Extent::Prefix(len) = file.extent {
                    let open = self.disk.open(&file.path, OpenMode::ReadWrite).map_err(failed(&file.path))?;
                    open.set_len(len).and_then(|()| open.sync_all()).map_err(failed(&file.path))?;
                }
            }
            // What has no place any more is out of the way of the next start.
            for name in names {
                let stays = named.contains(&name) || made.as_ref().is_some_and(|(made, _)| *made == name);
                if strays::sequence_of(&name, &writer).is_some() && !stays {
                    let (from, to) = (log.join(&name), aside.join(&name));
                    self.disk.rename(&from, &to).map_err(failed(&from))?;
                    self.applied.kept.push(to);
                }
            }
            self.disk.sync_dir(&log).map_err(failed(&log))?;
        }
        self.disk.sync_dir(&aside).map_err(failed(&aside))?;
        self.disk.sync_dir(&directory).map_err(failed(&directory))?;
        Ok(self.applied)
    }

    fn lock(&self, directory: &Path) -> Result<Box<dyn DiskLock>, RepairError> {
        let path = directory.join("graven.lock");
        self.disk.lock(&path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => RepairError::InUse { path: directory.to_owned() },
            _ => RepairError::Io { path, source },
        })
    }

    fn writer(&self, log: &Path) -> WriterOptions {
        WriterOptions {
            directory: log.to_owned(),
            prefix: self.options.append_file.clone(),
            segment_bytes_max: self.options.segment_bytes_max,
        }
    }

    /// The files that stay, with names whose sequences increase: their own, or new ones from `first` on.
    fn numbered(&self, first: u64) -> Vec<(&'w KeptFile, String, u64)> {
        let kept: &'w [KeptFile] = &self.plan.kept;
        // What stands under the name of another file has sequence 0.
        let increase = kept.windows(2).all(|pair| pair[0].sequence < pair[1].sequence)
            && kept.iter().all(|file| file.sequence > 0);
        let writer = self.writer(Path::new(""));
        let renamed = |(sequence, file)| (file, writer.segment_name(sequence), sequence);
        match increase {
            true => kept.iter().map(|file| (file, file.name.clone(), file.sequence)).collect(),
            false => (first..).zip(kept).map(renamed).collect(),
        }
    }

    /// Writes what is kept of a file, whole and durable but for its name.
    fn write(&mut self, file: &KeptFile, to: &Path) -> Result<(), RepairError> {
        let draft = to.with_added_extension("tmp");
        let from = self.disk.open(&file.path, OpenMode::Read).map_err(failed(&file.path))?;
        let made = || -> io::Result<()> {
            let mut out = BufWriter::new(FromFront::new(self.disk.open(&draft, OpenMode::Truncate)?));
            match &file.extent {
                Extent::Whole => copy(&*from, 0..from.len()?, &mut out)?,
                Extent::Prefix(len) => copy(&*from, 0..*len, &mut out)?,
                Extent::Ranges(ranges) => ranges.iter().try_for_each(|range| copy(&*from, range.clone(), &mut out))?,
                Extent::Keys(salvage, ranges) => {
                    salvage.write(&*from, &mut out)?;
                    ranges.iter().try_for_each(|range| copy(&*from, range.clone(), &mut out))?;
                }
            }
            out.flush()?;
            out.get_ref().file().sync_all()?;
            self.disk.rename(&draft, to)
        };
        made().map_err(failed(to))?;
        self.applied.written.push(to.to_owned());
        Ok(())
    }

    /// Puts what is kept of a file in its place, if that is not all of it; the file itself is kept.
    fn replace(&mut self, file: &KeptFile, aside: &Path) -> Result<(), RepairError> {
        if matches!(file.extent, Extent::Whole) {
            return Ok(());
        }
        self.keep_copy(&file.path, aside)?;
        self.write(file, &file.path.clone())?;
        let directory = parent(&file.path);
        self.disk.sync_dir(directory).map_err(failed(directory))
    }

    fn keep_copy(&mut self, path: &Path, aside: &Path) -> Result<(), RepairError> {
        let to = aside.join(path.file_name().unwrap_or_default());
        let copied = || -> io::Result<()> {
            let from = self.disk.open(path, OpenMode::Read)?;
            let mut out = BufWriter::new(FromFront::new(self.disk.open(&to, OpenMode::CreateNew)?));
            copy(&*from, 0..from.len()?, &mut out)?;
            out.flush()?;
            out.get_ref().file().sync_all()?;
            self.disk.sync_dir(aside)
        };
        copied().map_err(failed(&to))?;
        self.applied.kept.push(to);
        Ok(())
    }

    /// Writes what is taken over gaps into one new segment; its name and sequence.
    fn segment(&mut self, log: &Path, sequence: u64) -> Result<Option<(String, u64)>, RepairError> {
        if self.plan.stretches.is_empty() {
            return Ok(None);
        }
        let name = self.writer(log).segment_name(sequence);
        let Seam { lineage, number, lsn, chain, db, plain } = self.plan.seam;
        let timeline = Timeline::draw(self.entropy);
        let first = lsn.plus(plain);
        let lineage = lineage.map_or(Lineage::root(timeline), |lineage| lineage.child(timeline, first));
        let place = SegmentPlace { lineage, number: number + 1, first, db, previous_end: lsn, previous_chain: chain };
        let salt = self.entropy.next_u64();
        let path = log.join(&name);
        let made = || -> io::Result<()> {
            let segment = Segment::draft(self.disk, log, name.clone(), sequence, place, salt)?;
            let mut over = Over { segment, lsn: first, db, time: 0 };
            for stretch in &self.plan.stretches {
                match stretch {
                    Stretch::Frames { path, range } => over.frames(self.disk, path, range)?,
                    Stretch::Commands { path, range } => over.commands(self.disk, path, range)?,
                    Stretch::Part { path, offset, bytes } => over.part(self.disk, path, *offset, *bytes)?,
                }
            }
            over.segment.publish(self.disk, log)
        };
        made().map_err(failed(&path))?;
        self.applied.written.push(path);
        Ok(Some((name, sequence)))
    }

    fn manifest(
        &mut self,
        log: &Path,
        kept: Vec<(&KeptFile, String, u64)>,
        segment: Option<(String, u64)>,
        in_place: bool,
    ) -> Result<(), RepairError> {
        let mut manifest = Manifest::new();
        let path = self.writer(log).manifest_path();
        if let Some(base) = &self.plan.base {
            let entry = FileEntry { name: base.name.clone(), sequence: base.sequence, kind: FileKind::Base };
            manifest.files.push(entry);
            let there = log.join(&base.name);
            let base_path = if self.disk.exists(&there).unwrap_or(false) { there } else { base.path.clone() };
            manifest.base_identity = Some(strays::base_identity(self.disk, &base_path).map_err(failed(&base_path))?);
        }
        if let (Some(before), true) = (&self.plan.manifest, in_place) {
            // Still to be deleted, by whoever starts next.
            manifest.files.extend(before.history().cloned());
        }
        let ours: Vec<u64> =
            kept.iter().filter(|(file, _, _)| file.is_segment).map(|(_, _, sequence)| *sequence).collect();
        for (_, name, sequence) in kept {
            manifest.add_incremental(name, sequence);
        }
        let mut segments_from = ours.first().copied();
        if let Some((name, sequence)) = segment {
            manifest.add_incremental(name, sequence);
            segments_from.get_or_insert(sequence);
        }
        manifest.segments_from = segments_from;
        let known = self.plan.manifest.as_ref();
        if segments_from.is_some() || known.is_some_and(|known| known.state != CloseState::Unknown) {
            manifest.state = CloseState::Open;
        } else {
            manifest.base_identity = None;
        }
        if self.plan.dump.as_ref().is_some_and(|dump| matches!(dump.extent, Extent::Whole)) {
            manifest.saved_dump = known.and_then(|known| known.saved_dump);
        }
        if manifest.files.is_empty() {
            return Ok(());
        }
        manifest.store(self.disk, &path).map_err(|error| failed(&path)(error.error))?;
        self.applied.written.push(path);
        Ok(())
    }
}

/// A directory that holds nothing yet.
fn make_empty(disk: &dyn Disk, directory: &Path) -> Result<(), RepairError> {
    match disk.list(directory) {
        Ok(names) if names.is_empty() => return Ok(()),
        Ok(_) => return Err(RepairError::NotEmpty { path: directory.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(RepairError::Io { path: directory.to_owned(), source }),
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
