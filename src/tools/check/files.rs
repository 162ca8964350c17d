//! Each file of a directory by itself, and whether it follows the one before.

use super::report::{Behind, Damaged, FileReport, Role, Verdict};
use super::{manifest, manifest_path};
use crate::env::disk::read_file;
use crate::env::{Disk, OpenMode};
use crate::persist::archive::{
    Archived, ArchivedKind, Contents, DIRECTORY, LookError, MANIFEST_NAME, PackedError, Unpacked, look, unlisted,
};
use crate::persist::rdb::Salvage;
use crate::persist::{
    CloseState, DamageKind, FileEntry, FileKind, Manifest, OpenError, OpenOptions, SegmentSurvey, generations,
    position_of, survey_plain, survey_segment,
};
use crate::value::Limits;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The files of a data directory.
pub struct Files<'f> {
    pub disk: &'f dyn Disk,
    pub options: &'f OpenOptions,
    pub in_use: bool,
}

/// A file of which nothing is known but its path.
pub fn lone(disk: &dyn Disk, path: &Path) -> FileReport {
    let bytes = size(disk, path);
    if disk.open(path, OpenMode::Read).and_then(|file| Unpacked::is_one(&*file)).unwrap_or(false) {
        return of_archived(disk, path);
    }
    match segment_survey(disk, path) {
        Ok(Some(survey)) => {
            let mut report = of_segment(path, &survey);
            let durable = survey.mark > survey.end || survey.damage == Some(DamageKind::BytesBehindEnd);
            if let Some(kind) = survey.damage {
                report.verdict = if durable { Verdict::Damaged } else { Verdict::Torn };
                report.damage = Some(damaged(disk, path, survey.offset, Some(survey.end.0), kind.to_string()));
                report.behind = (survey.behind.frames > 0).then(|| Behind::from(survey.behind));
            }
            report
        }
        Ok(None) => of_plain(disk, path, Role::SingleFile, true),
        Err(error) => unreadable(path, Role::SingleFile, bytes, &error),
    }
}

fn size(disk: &dyn Disk, path: &Path) -> u64 {
    disk.open(path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0)
}

fn segment_survey(disk: &dyn Disk, path: &Path) -> Result<Option<SegmentSurvey>, OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    survey_segment(&*disk.open(path, OpenMode::Read).map_err(io_error)?, path)
}

/// Surveys several segments, each by one of a few threads; in their order.
fn surveyed(disk: &dyn Disk, paths: &[PathBuf]) -> Vec<Result<Option<SegmentSurvey>, OpenError>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(at) else { return done };
            done.push((at, segment_survey(disk, path)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..processors.min(paths.len())).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, survey)| survey).collect()
}

fn blank(path: &Path, role: Role, verdict: Verdict, bytes: u64) -> FileReport {
    FileReport {
        file: path.to_owned(),
        role,
        verdict,
        bytes,
        lsn: None,
        chain: None,
        times: None,
        frames: 0,
        commands: 0,
        keys: 0,
        damage: None,
        behind: None,
        note: None,
    }
}

fn unreadable(path: &Path, role: Role, bytes: u64, error: &OpenError) -> FileReport {
    let missing = matches!(error, OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    let verdict = match error {
        OpenError::Io { .. } if !missing => Verdict::Unreadable,
        _ => Verdict::Damaged,
    };
    let reason = if missing { "it is missing".into() } else { error.to_string() };
    FileReport { damage: Some(Damaged { offset: 0, line: 1, lsn: None, reason }), ..blank(path, role, verdict, bytes) }
}

fn of_segment(path: &Path, survey: &SegmentSurvey) -> FileReport {
    let commands_of_stock = survey.visit.map_or(0, |(_, visit)| visit.commands);
    let note = match (survey.sealed, survey.visit) {
        (_, Some((at, _))) => Some(format!("{commands_of_stock} commands by a stock server from offset {at} on")),
        (true, None) => Some("sealed".into()),
        (false, None) => None,
    };
    FileReport {
        lsn: Some([survey.header.first.0, survey.end.0]),
        chain: Some(format!("{:08x}", survey.chain)),
        times: survey.times.map(|(first, last)| [first, last]),
        frames: survey.whole.frames,
        commands: survey.whole.commands + commands_of_stock,
        note,
        ..blank(path, Role::Segment, Verdict::Sound, survey.size)
    }
}

/// A base or a stock file; `last`: a crash may have cut it inside a command.
fn of_plain(disk: &dyn Disk, path: &Path, role: Role, last: bool) -> FileReport {
    plain_with_end(disk, path, role, last).0
}

/// The same, and where a base of commands says that it ends.
fn plain_with_end(disk: &dyn Disk, path: &Path, role: Role, last: bool) -> (FileReport, Option<u64>) {
    let bytes = size(disk, path);
    match survey_plain(disk, path, &Limits::default()) {
        Err(error @ OpenError::BadBase { .. }) => {
            let mut report = unreadable(path, role, bytes, &error);
            saved_keys(disk, path, &mut report);
            (report, None)
        }
        Err(error) => (unreadable(path, role, bytes, &error), None),
        Ok(survey) => {
            let torn = last && survey.damage == Some(DamageKind::ShortCommand);
            let verdict = match survey.damage {
                None => Verdict::Sound,
                Some(_) if torn => Verdict::Torn,
                Some(_) => Verdict::Damaged,
            };
            let damage = survey.damage.map(|kind| damaged(disk, path, survey.end, None, kind.to_string()));
            let (keys, commands) = (survey.keys, survey.commands);
            let lsn = position_of(disk, path).ok().flatten().map(|position| [position.lsn.0; 2]);
            (FileReport { keys, commands, damage, lsn, ..blank(path, role, verdict, bytes) }, survey.closed)
        }
    }
}

/// A file of the archive, all of it read.
fn of_archived(disk: &dyn Disk, path: &Path) -> FileReport {
    describe_archived(disk, path, look(disk, path).as_ref())
}

fn describe_archived(disk: &dyn Disk, path: &Path, looked: Result<&Archived, &LookError>) -> FileReport {
    let bytes = size(disk, path);
    match looked {
        Ok(found) => {
            let kind = match found.label.kind {
                ArchivedKind::Base => "a base",
                ArchivedKind::Incremental => "a segment",
            };
            FileReport {
                lsn: found.span.map(|span| [span.first.0, span.end.0]),
                times: found.times.map(|(from, to)| [from, to]),
                note: Some(format!("{kind} of {} bytes, {} in the log", found.raw, found.label.original)),
                ..blank(path, Role::Archived, Verdict::Sound, bytes)
            }
        }
        Err(LookError::Packed(PackedError::Io(error))) => {
            let source = std::io::Error::new(error.kind(), error.to_string());
            unreadable(path, Role::Archived, bytes, &OpenError::Io { path: path.to_owned(), source })
        }
        Err(LookError::Packed(PackedError::Damaged { offset, reason })) => {
            let damage = Some(Damaged { offset: *offset, line: 1, lsn: None, reason: (*reason).to_owned() });
            FileReport { damage, ..blank(path, Role::Archived, Verdict::Damaged, bytes) }
        }
        Err(LookError::Inside(error)) => unreadable(path, Role::Archived, bytes, error),
    }
}

/// Where a damaged RDB file is damaged first, and how much of it verifies all the same: its other blocks, or the keys that can
/// be decoded.
fn saved_keys(disk: &dyn Disk, path: &Path, report: &mut FileReport) {
    let Ok(file) = disk.open(path, OpenMode::Read) else { return };
    let Ok(salvage) = Salvage::look(&*file, &Limits::default()) else { return };
    let lost: Option<u64> = salvage.lost.iter().map(|lost| lost.keys).sum();
    report.keys = salvage.keys;
    report.note = Some(match lost {
        Some(lost) => format!("repair can save these; {lost} keys are lost"),
        None => "repair can save these; how many are lost is not known".into(),
    });
    if let (Some(lost), Some(damage)) = (salvage.lost.first(), &mut report.damage) {
        *damage = damaged(disk, path, lost.range.start, None, std::mem::take(&mut damage.reason));
    }
}

/// A damage with the line it stands in.
fn damaged(disk: &dyn Disk, path: &Path, offset: u64, lsn: Option<u64>, reason: String) -> Damaged {
    const CHUNK: u64 = 1 << 20;
    let mut line = 1;
    if let Ok(file) = disk.open(path, OpenMode::Read) {
        let (mut at, mut chunk) = (0, Vec::new());
        while at < offset {
            chunk.resize((offset - at).min(CHUNK) as usize, 0);
            if file.read_exact_at(&mut chunk, at).is_err() {
                break;
            }
            line += memchr::memchr_iter(b'\n', &chunk).count() as u64;
            at += chunk.len() as u64;
        }
    }
    Damaged { offset, line, lsn, reason }
}

impl Files<'_> {
    /// A report on each, the manifest first, then in the order in which a start reads them.
    pub fn all(&self) -> Vec<FileReport> {
        let mut reports = Vec::new();
        let log = self.options.directory.join(&self.options.append_directory);
        let mut named: Vec<PathBuf> = vec![manifest_path(self.options)];
        if self.options.append_only {
            reports.extend(self.manifest());
        }
        if let Some(manifest) = manifest(self.disk, self.options) {
            named.extend(manifest.files.iter().map(|file| log.join(&file.name)));
            let last = manifest.incremental().next().is_none();
            reports.extend(manifest.base().map(|base| self.base(&log.join(&base.name), &manifest, last)));
            self.segments(&manifest, &log, &mut reports);
            for file in manifest.files.iter().filter(|file| file.kind == FileKind::History) {
                let path = log.join(&file.name);
                let bytes = size(self.disk, &path);
                reports.push(blank(&path, Role::History, Verdict::Sound, bytes));
            }
        }
        for name in self.disk.list(&log).unwrap_or_default() {
            let path = log.join(&name);
            if !named.contains(&path) {
                let bytes = size(self.disk, &path);
                reports.extend(self.unnamed(&name).map(|role| blank(&path, role, Verdict::Sound, bytes)));
            }
        }
        for (name, role) in [(&self.options.append_file, Role::SingleFile), (&self.options.dump_file, Role::Dump)] {
            let path = self.options.directory.join(name);
            if self.disk.exists(&path).unwrap_or(false) && self.disk.list(&path).is_err() {
                reports.push(of_plain(self.disk, &path, role, true));
            }
        }
        let dump = self.options.directory.join(&self.options.dump_file);
        for (_, path) in generations(self.disk, &dump).unwrap_or_default() {
            reports.push(of_plain(self.disk, &path, Role::EarlierDump, true));
        }
        self.archive(&mut reports);
        reports
    }

    /// The archive: its manifest, what that names, and what it does not.
    fn archive(&self, reports: &mut Vec<FileReport>) {
        let directory = self.options.directory.join(DIRECTORY);
        let path = directory.join(MANIFEST_NAME);
        let contents = match Contents::read(self.disk, &directory) {
            Ok(None) => Contents::default(),
            Ok(Some(Ok(contents))) => {
                let note = Some(format!("{} files, {} bytes", contents.files.len(), contents.bytes()));
                let bytes = size(self.disk, &path);
                reports.push(FileReport { note, ..blank(&path, Role::ArchiveManifest, Verdict::Sound, bytes) });
                contents
            }
            Ok(Some(Err(error))) => {
                let reason = format!("the line {}; a server makes it anew of the files", error.reason);
                let damage = Some(Damaged { offset: 0, line: error.line as u64, lsn: None, reason });
                let bytes = size(self.disk, &path);
                reports.push(FileReport { damage, ..blank(&path, Role::ArchiveManifest, Verdict::Damaged, bytes) });
                Contents::default()
            }
            Err(source) => {
                let error = OpenError::Io { path: path.clone(), source };
                return reports.push(unreadable(&path, Role::ArchiveManifest, 0, &error));
            }
        };
        for file in &contents.files {
            let path = directory.join(file.file_name());
            let found = look(self.disk, &path);
            let mut report = describe_archived(self.disk, &path, found.as_ref());
            if found.is_ok_and(|found| found != *file) {
                report.verdict = Verdict::Damaged;
                let reason = "it is not the file that the manifest of the archive names".into();
                report.damage = Some(Damaged { offset: 0, line: 1, lsn: None, reason });
            }
            reports.push(report);
        }
        for file in unlisted(self.disk, &directory, &contents).unwrap_or_default() {
            let mut report = describe_archived(self.disk, &file.path, file.found.as_ref());
            let note = report.note.take().map_or(String::new(), |note| format!("{note}, "));
            report.note = Some(format!("{note}not named by the manifest of the archive"));
            reports.push(report);
        }
    }

    fn manifest(&self) -> Option<FileReport> {
        let path = manifest_path(self.options);
        if !self.disk.exists(&path).unwrap_or(true) {
            return None;
        }
        let content = match read_file(self.disk, &path) {
            Ok(content) => content,
            Err(source) => {
                let error = OpenError::Io { path: path.clone(), source };
                return Some(unreadable(&path, Role::Manifest, 0, &error));
            }
        };
        let report = blank(&path, Role::Manifest, Verdict::Sound, content.len() as u64);
        Some(match Manifest::decode(&content) {
            Ok(manifest) => {
                let state = match manifest.state {
                    CloseState::Open => "open",
                    CloseState::Closed { .. } => "closed",
                    CloseState::Unknown => "by a stock server",
                };
                let crc = crc32fast::hash(&content);
                FileReport { note: Some(format!("{} files, {state}, crc {crc:08x}", manifest.files.len())), ..report }
            }
            Err(error) => {
                let lines = content.split_inclusive(|byte| *byte == b'\n').take(error.line.saturating_sub(1));
                let damage = Damaged {
                    offset: lines.map(<[u8]>::len).sum::<usize>() as u64,
                    line: error.line as u64,
                    lsn: None,
                    reason: format!("the line {}", error.reason),
                };
                FileReport { verdict: Verdict::Damaged, damage: Some(damage), ..report }
            }
        })
    }

    fn base(&self, path: &Path, manifest: &Manifest, last: bool) -> FileReport {
        let (mut report, end) = plain_with_end(self.disk, path, Role::Base, last);
        if let Some(end) = end
            && end < report.bytes
            && report.damage.is_none()
            && !path.ends_with(&self.options.append_file)
        {
            report.verdict = Verdict::Damaged;
            report.damage = Some(damaged(self.disk, path, end, None, DamageKind::BytesBehindEnd.to_string()));
        }
        let identity = crate::persist::base_identity(self.disk, path);
        if let (Some(named), Ok(there)) = (manifest.base_identity, identity)
            && named != there
            && report.damage.is_none()
        {
            report.verdict = Verdict::Damaged;
            let reason = "it is not the file that the manifest names: another size or content".into();
            report.damage = Some(Damaged { offset: 0, line: 1, lsn: None, reason });
        }
        report
    }

    fn segments(&self, manifest: &Manifest, log: &Path, reports: &mut Vec<FileReport>) {
        let entries: Vec<&FileEntry> = manifest.incremental().collect();
        let paths: Vec<PathBuf> = entries.iter().map(|entry| log.join(&entry.name)).collect();
        let surveys = surveyed(self.disk, &paths);
        let mut before: Option<&SegmentSurvey> = None;
        for (at, (entry, survey)) in entries.iter().zip(&surveys).enumerate() {
            let path = log.join(&entry.name);
            let last = at + 1 == entries.len();
            let ours = manifest.segments_from.is_some_and(|first| entry.sequence >= first);
            reports.push(match survey {
                Err(error) => unreadable(&path, Role::Segment, size(self.disk, &path), error),
                Ok(None) if ours => {
                    let reason = DamageKind::BadSegmentHeader.to_string();
                    let damage = Some(damaged(self.disk, &path, 0, None, reason));
                    FileReport { damage, ..blank(&path, Role::Segment, Verdict::Damaged, size(self.disk, &path)) }
                }
                Ok(None) => of_plain(self.disk, &path, Role::StockIncremental, last),
                Ok(Some(survey)) => {
                    let next = surveys[at + 1..].iter().find_map(|next| next.as_ref().ok().and_then(Option::as_ref));
                    let report = self.segment(&path, survey, before, next, manifest);
                    before = Some(survey);
                    report
                }
            });
        }
    }

    fn segment(
        &self,
        path: &Path,
        survey: &SegmentSurvey,
        before: Option<&SegmentSurvey>,
        next: Option<&SegmentSurvey>,
        manifest: &Manifest,
    ) -> FileReport {
        let mut report = of_segment(path, survey);
        let taken_over = next.is_some_and(|next| survey.end >= next.header.previous_end);
        let closed = match manifest.state {
            CloseState::Closed { end, chain, .. } if next.is_none() => Some((end, chain)),
            _ => None,
        };
        let follows = before.is_none_or(|before| {
            let header = &survey.header;
            header.number == before.header.number + 1 && header.previous_end <= before.end
        });
        let (verdict, kind, offset) = match survey.damage {
            _ if !follows => (Verdict::Damaged, DamageKind::NotTheNext, 0),
            // No start reads what stands there: the next segment says that this one ends before it.
            Some(kind) if taken_over => (Verdict::Torn, kind, survey.offset),
            Some(kind) if next.is_some() => (Verdict::Damaged, kind, survey.offset),
            Some(kind) => {
                let durable = survey.mark > survey.end || kind == DamageKind::BytesBehindEnd || closed.is_some();
                let verdict = match (durable, self.in_use) {
                    (true, _) => Verdict::Damaged,
                    (false, true) => Verdict::InFlight,
                    (false, false) => Verdict::Torn,
                };
                (verdict, kind, survey.offset)
            }
            None if next.is_some_and(|next| survey.end < next.header.previous_end) => {
                (Verdict::Damaged, DamageKind::EndsEarly, survey.offset)
            }
            None if closed.is_some_and(|closed| survey.visit.is_none() && closed != (survey.end, survey.chain)) => {
                (Verdict::Damaged, DamageKind::EndsBeforeClose, survey.offset)
            }
            None => return report,
        };
        report.verdict = verdict;
        if verdict != Verdict::InFlight {
            report.damage = Some(damaged(self.disk, path, offset, Some(survey.end.0), kind.to_string()));
            report.behind = (survey.behind.frames > 0).then(|| Behind::from(survey.behind));
        }
        report
    }

    /// What a file is that the manifest does not name.
    fn unnamed(&self, name: &str) -> Option<Role> {
        if name.ends_with(".torn") {
            Some(Role::TornCopy)
        } else if name.ends_with(".tmp") || name.ends_with(".repair") {
            Some(Role::Draft)
        } else {
            name.starts_with(&self.options.append_file).then_some(Role::Stray)
        }
    }
}
