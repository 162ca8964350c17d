//! Opening a data directory: what is loaded, what is believed, what is cut, and where the log goes on.
//!
//! Invariants
//! - Until everything has been loaded nothing on disk is changed: a refusal leaves the directory as it was.
//! - Only bytes above every mark that verified are ever cut, and a copy of them is kept.
//! - Each step of taking over is durable before the next begins and may be repeated: a crash in recovery is an ordinary
//!   crash.
//! - No segment is appended to by a second process.

mod choice;

use self::choice::Own;
pub use self::choice::later_dump;
use super::base::Reading;
use super::chain::{self, ChainEnd, Tail};
use super::dumps;
use super::feed::{self, Feed};
use super::loader::{self, PlainLoaded};
use super::log::{LogBuffer, LogWriter, Progress, Segment, SegmentPlace, SyncPolicy, WriterOptions};
use super::manifest::{BaseIdentity, CloseState, FileEntry, FileKind, Manifest, SavedDump};
use super::position::position_of;
use super::replay::Replay;
use super::{DamageKind, Lineage, Lsn, OpenError, Position, Timeline, founding, generations, repair, strays, sums};
use crate::env::disk::{DiskLock, parent, read_file, replace_file};
use crate::env::{Clock, Disk, Entropy, OpenMode, SeededEntropy, UnixMillis};
use crate::value::Limits;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which directory is opened, and how.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `dir`.
    pub directory: PathBuf,
    /// `appendonly`.
    pub append_only: bool,
    /// `appenddirname`.
    pub append_directory: String,
    /// `appendfilename`.
    pub append_file: String,
    /// `dbfilename`.
    pub dump_file: String,
    /// `aof-load-truncated`.
    pub load_truncated: bool,
    /// `aof-segment-size`.
    pub segment_bytes_max: u64,
    /// `aof-unsynced-bytes-max`.
    pub unsynced_bytes_max: u64,
    /// `aof-timestamp-enabled`.
    pub timestamps: bool,
    /// `aof-preallocate`.
    pub preallocate: bool,
    /// `aof-align`, in bytes; 0: not.
    pub align: u64,
    /// `aof-disable-auto-gc`: superseded files stay.
    pub keep_superseded: bool,
    pub policy: SyncPolicy,
    pub limits: Limits,
    pub reading: Reading,
}

/// A log in the present directory, under the names that stock gives its files.
impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            directory: ".".into(),
            append_only: true,
            append_directory: "appendonlydir".into(),
            append_file: "appendonly.aof".into(),
            dump_file: "dump.rdb".into(),
            load_truncated: true,
            segment_bytes_max: 256 << 20,
            unsynced_bytes_max: 64 << 20,
            timestamps: false,
            preallocate: false,
            align: 0,
            keep_superseded: false,
            policy: SyncPolicy::Always,
            limits: Limits::default(),
            reading: Reading::default(),
        }
    }
}

/// What was loaded, for the log and INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    pub keys: u64,
    pub commands: u64,
    pub files: u64,
    pub bytes: u64,
    /// Frames of ours that verified.
    pub frames: u64,
    pub end: Lsn,
    pub clean: bool,
    /// A torn tail that was cut: file, offset, bytes.
    pub torn: Option<(PathBuf, u64, u64)>,
    /// Stock servers wrote into a segment of ours: commands of theirs.
    pub visited: Option<u64>,
    /// The source, in words: what kind of data was found.
    pub source: &'static str,
    /// What lies beside it and was left where it is.
    pub not_loaded: Option<NotLoaded>,
}

/// Data of another history, or of one that cannot be told: the configuration chose the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLoaded {
    Dump(PathBuf),
    Log(PathBuf),
}

/// An opened directory.
pub struct Opened {
    /// Held for as long as the directory is in use.
    pub lock: Box<dyn DiskLock>,
    pub report: LoadReport,
    /// Without `appendonly` there is none.
    pub log: Option<OpenedLog>,
    /// The history that goes on from here; where, the report's `end` says.
    pub lineage: Lineage,
    /// The dump in place, where what was loaded is it or stands behind it: a save may replace it.
    pub known_dump: Option<BaseIdentity>,
    /// The last timeline of a log that is not opened and from whose end the data descends.
    pub log_below: Option<Timeline>,
}

/// A log ready for writing.
pub struct OpenedLog {
    pub writer: LogWriter,
    pub buffer: Arc<LogBuffer>,
    pub lineage: Lineage,
}

/// What recovery needs of the world.
pub struct World {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Box<dyn Entropy>,
}

/// Opens a data directory: locks it, loads what it holds into `replay`, and prepares the log.
///
/// # Errors
/// When the directory is in use or what it holds cannot be believed; nothing was changed then.
pub fn open(world: World, options: &OpenOptions, replay: &mut dyn Replay) -> Result<Opened, OpenError> {
    let World { disk, clock, mut entropy } = world;
    let lock = take_lock(&*disk, &options.directory)?;
    let mut recovery = Recovery { disk, options, report: LoadReport::default() };
    if !options.append_only {
        let choice::WithoutLog { lineage, known_dump, log_below } =
            choice::load_without_log(&mut recovery, replay, &mut *entropy)?;
        return Ok(Opened { lock, report: recovery.report, log: None, lineage, known_dump, log_below });
    }
    let own = recovery.compare()?;
    let found = recovery.load(replay, |recovery, feed| recovery.load_with_log(own, feed))?;
    recovery.report.bytes = found.bytes;
    let known_dump = recovery.known_dump(own, &found)?;
    let log = recovery.take_over(found, known_dump, clock, entropy)?;
    let (lineage, known_dump) = (log.lineage, known_dump.map(|known| known.identity));
    Ok(Opened { lock, report: recovery.report, log: Some(log), lineage, known_dump, log_below: None })
}

/// Loads what a start would load, into a `replay`, and says what that start would find. Takes no lock and changes nothing.
///
/// # Errors
/// Why a server would refuse to start.
pub fn examine(disk: Arc<dyn Disk>, options: &OpenOptions, replay: &mut dyn Replay) -> Result<LoadReport, OpenError> {
    let mut recovery = Recovery { disk, options, report: LoadReport::default() };
    if !options.append_only {
        choice::load_without_log(&mut recovery, replay, &mut SeededEntropy::new(0))?;
        return Ok(recovery.report);
    }
    let (own, feed) = (recovery.compare()?, &mut Feed::direct(replay, options.reading.clone()));
    let Found { manifest, end, bytes, .. } = recovery.load_with_log(own, feed)?;
    recovery.report.bytes = bytes;
    recovery.report.end = end.end;
    recovery.report.clean = end.clean && matches!(manifest.state, CloseState::Closed { .. });
    recovery.report.torn = end.torn.map(|torn| (torn.path, torn.offset, torn.bytes));
    Ok(recovery.report)
}

/// As [`examine`], of one file: keys, commands, or commands behind keys.
///
/// # Errors
/// Why a server would refuse to start on it.
pub fn examine_file(
    disk: &dyn Disk,
    path: &Path,
    limits: &Limits,
    reading: Reading,
    replay: &mut dyn Replay,
) -> Result<(), OpenError> {
    let loaded = loader::load_plain(disk, path, limits, &mut Feed::direct(replay, reading))?;
    let options = OpenOptions::default();
    loaded.rest.map_or(Ok(()), |kind| chain::judge_plain(path, &loaded, kind, true, &options))
}

fn take_lock(disk: &dyn Disk, directory: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    if !disk.exists(directory).map_err(OpenError::io(directory))? {
        create_durable_directory(disk, directory).map_err(OpenError::io(directory))?;
    }
    let path = directory.join("graven.lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse { path: directory.to_owned() },
        _ => OpenError::Io { path, source: error },
    })
}

pub(super) fn create_durable_directory(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    disk.sync_dir(parent(path))
}

/// From this many bytes on, reading and parsing get a thread of their own.
const LOAD_AHEAD_FROM: u64 = 1 << 20;

struct Recovery<'r> {
    disk: Arc<dyn Disk>,
    options: &'r OpenOptions,
    report: LoadReport,
}

/// What was found and loaded, before anything is changed.
struct Found {
    manifest: Manifest,
    /// Files to be moved into the log before the manifest names them.
    adopt: Option<Adopt>,
    end: ChainEnd,
    bytes: u64,
    /// Nothing stands in it.
    is_empty: bool,
    /// The log in place stands before what was loaded: its directory is set aside.
    retire: bool,
}

impl Found {
    /// Where the log ends, if it says so.
    fn position(&self) -> Option<Position> {
        self.end.lineage.map(|lineage| Position { lineage, lsn: self.end.end })
    }
}

/// A dump that the log has passed, and where.
#[derive(Clone, Copy)]
struct KnownDump {
    identity: BaseIdentity,
    lsn: Lsn,
}

/// A file from outside that becomes the base.
struct Adopt {
    from: PathBuf,
    name: String,
    /// Copied, where the original keeps its own use; moved otherwise.
    copy: bool,
}

impl Recovery<'_> {
    fn log_directory(&self) -> PathBuf {
        self.options.directory.join(&self.options.append_directory)
    }

    fn writer_options(&self) -> WriterOptions {
        WriterOptions {
            directory: self.log_directory(),
            prefix: self.options.append_file.clone(),
            segment_bytes_max: self.options.segment_bytes_max,
        }
    }

    fn dump_path(&self) -> PathBuf {
        self.options.directory.join(&self.options.dump_file)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenError> {
        self.disk.exists(path).map_err(OpenError::io(path))
    }

    /// The dump in place, where the log stands behind it or begins with it.
    fn known_dump(&self, own: Option<Own>, found: &Found) -> Result<Option<KnownDump>, OpenError> {
        match (own, &found.adopt) {
            (Some(own), _) => Ok(Some(KnownDump { identity: own.dump, lsn: own.lsn })),
            (None, Some(adopt)) if adopt.copy => {
                let identity = strays::base_identity(&*self.disk, &adopt.from).map_err(OpenError::io(&adopt.from))?;
                Ok(Some(KnownDump { identity, lsn: found.end.end }))
            }
            _ => Ok(None),
        }
    }

    /// Sets the log's directory aside: what was loaded instead stands later.
    fn retire_log(&self, now: UnixMillis) -> io::Result<()> {
        let directory = self.log_directory();
        let to = generations::superseded(&*self.disk, &directory, now)?;
        self.disk.rename(&directory, &to)?;
        self.disk.sync_dir(&self.options.directory)?;
        tracing::warn!("{} stands before the dump that was loaded: it is now {}", directory.display(), to.display());
        Ok(())
    }

    /// Roughly; where a file does not tell its size, loading will say why.
    fn bytes_to_load(&self) -> u64 {
        let directory = self.log_directory();
        let files = self.disk.list(&directory).unwrap_or_default().into_iter().map(|name| directory.join(name));
        let outside = [self.dump_path(), self.options.directory.join(&self.options.append_file)];
        let size = |path: PathBuf| self.disk.open(&path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
        files.chain(outside).map(size).sum()
    }

    /// Loads, and applies on this thread; what is large is loaded by another one.
    fn load<T: Send>(
        &mut self,
        replay: &mut dyn Replay,
        load: impl FnOnce(&mut Self, &mut Feed<'_>) -> Result<T, OpenError> + Send,
    ) -> Result<T, OpenError> {
        let reading = self.options.reading.clone();
        if self.bytes_to_load() < LOAD_AHEAD_FROM {
            return load(self, &mut Feed::direct(replay, reading));
        }
        let (queue, bundles) = feed::queue();
        std::thread::scope(|scope| {
            let loader = scope.spawn(move || {
                let mut feed = Feed::through(queue, reading);
                let loaded = load(self, &mut feed)?;
                feed.flush()?;
                Ok(loaded)
            });
            let applied = feed::apply(bundles, replay);
            let loaded = loader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            applied.and(loaded)
        })
    }

    fn load_log(&mut self, feed: &mut Feed<'_>) -> Result<Found, OpenError> {
        let directory = self.log_directory();
        let manifest_path = self.writer_options().manifest_path();
        if self.exists(&manifest_path)? {
            let content = read_file(&*self.disk, &manifest_path).map_err(OpenError::io(&manifest_path))?;
            let manifest = Manifest::decode(&content).map_err(|error| OpenError::BadManifest {
                path: manifest_path,
                line: error.line,
                reason: error.reason,
            })?;
            return self.load_manifest(manifest, feed);
        }
        if self.exists(&directory)? && strays::hold_data(&*self.disk, &self.writer_options(), &self.dump_path())? {
            return Err(OpenError::NoManifest { path: directory });
        }
        let single = self.options.directory.join(&self.options.append_file);
        if self.exists(&single)? {
            let adopt = Adopt { from: single, name: self.options.append_file.clone(), copy: false };
            return self.load_adopted(adopt, "append only file of one part", feed);
        }
        let dump = self.dump_path();
        if self.exists(&dump)? {
            let name = self.writer_options().first_base_name();
            return self.load_adopted(Adopt { from: dump, name, copy: true }, "dump", feed);
        }
        self.report.source = "nothing";
        let (manifest, end) = (Manifest::new(), ChainEnd::behind(None));
        Ok(Found { manifest, adopt: None, end, bytes: 0, is_empty: true, retire: false })
    }

    fn load_adopted(&mut self, adopt: Adopt, source: &'static str, feed: &mut Feed<'_>) -> Result<Found, OpenError> {
        let loaded = loader::load_plain(&*self.disk, &adopt.from, &self.options.limits, feed)?;
        self.accept_plain(&adopt.from, &loaded, true)?;
        self.report.source = source;
        let mut manifest = Manifest::new();
        manifest.files.push(FileEntry { name: adopt.name.clone(), sequence: 1, kind: FileKind::Base });
        let mut end = ChainEnd::behind(self.position_of(&adopt.from)?);
        end.db = loaded.db;
        end.cut_plain = loaded.rest.map(|_| (adopt.from.clone(), loaded.end));
        let is_empty = loaded.keys == 0 && loaded.commands == 0;
        Ok(Found { manifest, adopt: Some(adopt), end, bytes: loaded.end, is_empty, retire: false })
    }

    fn load_manifest(&mut self, mut manifest: Manifest, feed: &mut Feed<'_>) -> Result<Found, OpenError> {
        self.report.source = "append only log";
        let directory = self.log_directory();
        strays::take_in(&*self.disk, &self.writer_options(), &mut manifest)?;
        let (mut bytes, mut adopt, mut position) = (0, None, None);
        if let Some(base) = manifest.base() {
            let mut path = directory.join(&base.name);
            let single = self.options.directory.join(&base.name);
            if !self.exists(&path)? && base.name == self.options.append_file && self.exists(&single)? {
                // An adoption that was interrupted between naming and moving.
                adopt = Some(Adopt { from: single.clone(), name: base.name.clone(), copy: false });
                path = single;
            }
            if !self.exists(&path)? {
                return Err(OpenError::MissingFile { path });
            }
            let identity = strays::base_identity(&*self.disk, &path).map_err(OpenError::io(&path))?;
            if manifest.base_identity.is_some_and(|named| named != identity) {
                if let Some(damage) = sums::damage(&*self.disk, &path).map_err(OpenError::io(&path))? {
                    return Err(OpenError::Rotten(damage));
                }
                let reason = "it is not the file that the manifest names: another size or content".into();
                return Err(OpenError::BadBase { path, reason });
            }
            position = self.position_of(&path)?;
            let loaded = loader::load_plain(&*self.disk, &path, &self.options.limits, feed)?;
            if loaded.end == 0 && matches!(loaded.rest, None | Some(DamageKind::ShortCommand)) {
                return Err(OpenError::BadBase { path, reason: "it is empty".into() });
            }
            chain::judge_base(&path, &loaded, self.options)?;
            self.accept_plain(&path, &loaded, manifest.incremental().next().is_none())?;
            bytes += loaded.end;
        }
        let end = chain::load(&*self.disk, &directory, &manifest, position, self.options, feed, &mut self.report)?;
        bytes += self.report.bytes;
        let is_empty = self.report.keys == 0 && self.report.commands == 0 && self.report.frames == 0;
        Ok(Found { manifest, adopt, end, bytes, is_empty, retire: false })
    }

    fn position_of(&self, path: &Path) -> Result<Option<Position>, OpenError> {
        position_of(&*self.disk, path)
    }

    /// Counts a plain file; its end may be missing when it is the last of the log.
    fn accept_plain(&mut self, path: &Path, loaded: &PlainLoaded, last: bool) -> Result<(), OpenError> {
        self.report.keys += loaded.keys;
        self.report.commands += loaded.commands;
        self.report.files += 1;
        match loaded.rest {
            None => Ok(()),
            Some(kind) => chain::judge_plain(path, loaded, kind, last, self.options),
        }
    }

    /// Makes the log ours: everything has been loaded, from here on the disk is changed.
    fn take_over(
        &mut self,
        found: Found,
        known_dump: Option<KnownDump>,
        clock: Arc<dyn Clock>,
        mut entropy: Box<dyn Entropy>,
    ) -> Result<OpenedLog, OpenError> {
        let options = self.writer_options();
        let directory = options.directory.clone();
        let io_error = || OpenError::io(directory.clone());
        if found.retire {
            self.retire_log(clock.unix_millis()).map_err(io_error())?;
        }
        create_durable_directory(&*self.disk, &directory).map_err(io_error())?;
        let Found { mut manifest, adopt, end, .. } = found;
        let clean = end.clean && matches!(manifest.state, CloseState::Closed { .. });
        if let Some(settled) = repair::settle(&*self.disk, &options).map_err(io_error())? {
            tracing::warn!("A repair of {} had been cut off: it is {settled}", directory.display());
        }
        founding::clear(&*self.disk, &options, &manifest).map_err(io_error())?;
        strays::remove_drafts(&*self.disk, &options).map_err(io_error())?;
        if let Some(adopt) = &adopt {
            self.adopt(adopt, &end, &manifest, &options).map_err(io_error())?;
        } else if let Some((path, offset)) = &end.cut_plain {
            self.keep_torn(path, *offset).map_err(io_error())?;
            self.cut(path, *offset).map_err(io_error())?;
        }
        if let Some(mend) = &end.mend {
            self.mend(mend).map_err(io_error())?;
        }
        if let (Some(base), None) = (manifest.base(), manifest.base_identity) {
            let path = directory.join(&base.name);
            manifest.base_identity = Some(strays::base_identity(&*self.disk, &path).map_err(io_error())?);
        }
        self.remove_unnamed_bases(&end, &manifest, &options).map_err(io_error())?;
        let gone = self.remove_superseded(&manifest, &options).map_err(io_error())?;
        manifest.forget(&gone);
        let lineage = self.lineage(&end, clean, &mut *entropy);
        // Up to where it left its parent a timeline is the parent, and this one may be replaced before it has a frame.
        let timeline = end.kept.map_or(lineage.timeline, |kept| kept.timeline);
        let noted = known_dump.map(|KnownDump { identity, lsn }| SavedDump { timeline, lsn, identity });
        let is_news = std::mem::replace(&mut manifest.saved_dump, noted) != noted;
        if end.reuse.is_some() && (manifest.state != CloseState::Open || !gone.is_empty() || is_news) {
            // The manifest says how the segment that is replaced ended: no longer, before it is.
            manifest.state = CloseState::Open;
            manifest.store(&*self.disk, &options.manifest_path()).map_err(|failed| io_error()(failed.error))?;
        }
        let segment = self.open_segment(&end, &mut manifest, lineage, &options, &mut *entropy).map_err(io_error())?;
        self.finish_cuts(&end).map_err(io_error())?;
        self.report.clean = clean;
        self.report.end = end.end;
        let progress = Arc::new(Progress::new(end.end, self.options.policy));
        self.measure(&manifest, &options, &progress);
        if self.report.visited.is_some() {
            progress.ask_rebase();
        }
        let buffer = Arc::new(LogBuffer::new(end.end, end.db, end.time, self.options.unsynced_bytes_max, progress));
        buffer.set_timestamps(self.options.timestamps);
        buffer.set_layout(self.options.preallocate, self.options.align);
        let writer = LogWriter::new(
            Arc::clone(&self.disk),
            clock,
            entropy,
            Arc::clone(&buffer),
            options,
            manifest,
            segment,
            end.time,
        );
        Ok(OpenedLog { writer, buffer, lineage })
    }

    /// Removes the files that a rewrite has superseded and could not remove: what they hold is in the base. Their names.
    fn remove_superseded(&self, manifest: &Manifest, options: &WriterOptions) -> io::Result<Vec<String>> {
        if self.options.keep_superseded || manifest.history().next().is_none() {
            return Ok(Vec::new());
        }
        let gone: Vec<String> = manifest.history().map(|file| file.name.clone()).collect();
        for name in &gone {
            match self.disk.remove(&options.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => tracing::info!("Removed the superseded file {name}"),
            }
        }
        self.disk.sync_dir(&options.directory)?;
        Ok(gone)
    }

    /// Removes bases that a crash left before a manifest named them: the log that was loaded has passed where they stand.
    fn remove_unnamed_bases(&self, end: &ChainEnd, manifest: &Manifest, options: &WriterOptions) -> io::Result<()> {
        let Some(lineage) = end.lineage else { return Ok(()) };
        let here = Position { lineage, lsn: end.end };
        for name in self.disk.list(&options.directory)? {
            let named = manifest.files.iter().any(|file| file.name == name);
            if named || strays::base_sequence_of(&name, options).is_none() {
                continue;
            }
            let path = options.directory.join(&name);
            let position = position_of(&*self.disk, &path).ok().flatten();
            if position.is_some_and(|position| position.is_passed_by(&here)) {
                match self.disk.remove(&path) {
                    Ok(()) => tracing::info!("Removed {name}, a base that was never named"),
                    Err(error) => tracing::warn!("{} is not needed and cannot be removed: {error}", path.display()),
                }
            }
        }
        Ok(())
    }

    fn lineage(&self, end: &ChainEnd, clean: bool, entropy: &mut dyn Entropy) -> Lineage {
        match end.lineage {
            None => Lineage::root(Timeline::draw(entropy)),
            Some(lineage) if clean => lineage,
            Some(_) => match end.kept {
                Some(kept) => kept.child(Timeline::draw(entropy), end.end),
                None => Lineage::root(Timeline::draw(entropy)),
            },
        }
    }

    /// Tells the counters how large the log is.
    fn measure(&self, manifest: &Manifest, options: &WriterOptions, progress: &Progress) {
        let size = |file: &FileEntry| {
            let opened = self.disk.open(&options.directory.join(&file.name), OpenMode::Read);
            // For INFO and the next rewrite's moment alone: a file that does not tell counts nothing.
            opened.and_then(|file| file.len()).unwrap_or(0)
        };
        let base = manifest.base().map_or(0, size);
        progress.stats.size.store(base + manifest.incremental().map(size).sum::<u64>(), Ordering::Relaxed);
        progress.stats.base_size.store(base, Ordering::Relaxed);
    }

    /// Brings a file from outside in as the base, and names it.
    fn adopt(&mut self, adopt: &Adopt, end: &ChainEnd, manifest: &Manifest, options: &WriterOptions) -> io::Result<()> {
        let to = options.directory.join(&adopt.name);
        if let Some((path, offset)) = &end.cut_plain {
            self.keep_torn(path, *offset)?;
            self.cut(path, *offset)?;
        }
        let named = Manifest { state: CloseState::Open, ..manifest.clone() };
        if adopt.copy {
            dumps::copy(&*self.disk, &adopt.from, &to)?;
            return Ok(named.store(&*self.disk, &options.manifest_path())?);
        }
        named.store(&*self.disk, &options.manifest_path())?;
        self.disk.rename(&adopt.from, &to)?;
        self.disk.sync_dir(&options.directory)?;
        self.disk.sync_dir(&self.options.directory)
    }

    /// Opens the segment that the log goes on in: behind the last one, with the frames that were above its last mark;
    /// or in place of one that holds no frame.
    fn open_segment(
        &mut self,
        end: &ChainEnd,
        manifest: &mut Manifest,
        lineage: Lineage,
        options: &WriterOptions,
        entropy: &mut dyn Entropy,
    ) -> io::Result<Segment> {
        if let Some(torn) = &end.torn {
            self.keep_torn(&torn.path, torn.offset)?;
            self.report.torn = Some((torn.path.clone(), torn.offset, torn.bytes));
        }
        let place = SegmentPlace {
            lineage,
            number: end.number,
            first: end.marked.lsn.max(end.first),
            db: end.marked.db,
            previous_end: end.marked.lsn,
            previous_chain: end.marked.chain,
        };
        let (name, sequence) = end.reuse.clone().unwrap_or_else(|| {
            let sequence = manifest.next_sequence();
            (options.segment_name(sequence), sequence)
        });
        let (directory, salt) = (&options.directory, entropy.next_u64());
        let mut segment = Segment::draft(&*self.disk, directory, name, sequence, place, salt)?;
        if let Tail::Frames { path, frames } = &end.tail {
            chain::copy_frames(&*self.disk, path, frames, &mut segment, end.marked.lsn)?;
        }
        segment.publish(&*self.disk, directory)?;
        if end.reuse.is_none() {
            manifest.add_incremental(segment.name().to_owned(), sequence);
            manifest.segments_from.get_or_insert(sequence);
            manifest.state = CloseState::Open;
            manifest.store(&*self.disk, &options.manifest_path())?;
        }
        Ok(segment)
    }

    /// Cuts what the new segment has taken over, and what was torn. The new segment's header says where each older one
    /// ends, so this is for stock servers' sake and for the eye.
    fn finish_cuts(&mut self, end: &ChainEnd) -> io::Result<()> {
        for (path, offset) in &end.cuts {
            self.cut(path, *offset)?;
        }
        Ok(())
    }

    fn cut(&self, path: &Path, offset: u64) -> io::Result<()> {
        let path = if self.disk.exists(path)? {
            path.to_owned()
        } else {
            self.log_directory().join(path.file_name().unwrap_or_default())
        };
        let file = self.disk.open(&path, OpenMode::ReadWrite)?;
        if file.len()? > offset {
            file.set_len(offset)?;
        }
        file.sync_all()
    }

    /// Leaves out of a file what stock could not load, all at once, and keeps a copy from there on.
    fn mend(&self, mend: &chain::Mend) -> io::Result<()> {
        let mut content = read_file(&*self.disk, &mend.path)?;
        content.truncate(mend.end as usize);
        for (from, to) in mend.leave_out.iter().rev() {
            content.drain(*from as usize..*to as usize);
        }
        self.keep_torn(&mend.path, mend.leave_out[0].0)?;
        replace_file(&*self.disk, &mend.path, &content)
    }

    /// Keeps a copy of what will be cut, beside the file.
    fn keep_torn(&self, path: &Path, offset: u64) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::Read)?;
        let len = file.len()?.saturating_sub(offset);
        if len == 0 {
            return Ok(());
        }
        let mut torn = vec![0; len as usize];
        file.read_exact_at(&mut torn, offset)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{offset}.torn"));
        let directory = path.parent().unwrap_or(Path::new("."));
        let copy = directory.join(name);
        let out = self.disk.open(&copy, OpenMode::Truncate)?;
        out.write_all_at(&torn, 0)?;
        out.sync_all()?;
        self.disk.sync_dir(directory)
    }
}
