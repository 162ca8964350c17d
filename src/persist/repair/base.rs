//! Bases, dumps and files of one part: which one is there, and how much of it can be kept.

use super::journal::made_sequence;
use super::log::Planner;
use super::{Crossing, Extent, KeptFile, Seam};
use crate::env::{DiskFile, OpenMode};
use crate::persist::log::WriterOptions;
use crate::persist::position::position_of;
use crate::persist::rdb::{self, Salvage};
use crate::persist::sums::{self, Block};
use crate::persist::tape::{Next, Tape};
use crate::persist::{DamageKind, OpenError, Position, strays, survey_plain};
use std::ops::Range;
use std::path::Path;

impl Planner<'_> {
    /// The base: the one that is named or, where it is missing, the last one that is there.
    pub(super) fn find_base(&mut self, writer: &WriterOptions) -> Result<(), OpenError> {
        let named =
            self.plan.manifest.as_ref().map(|manifest| manifest.base().map(|base| (base.name.clone(), base.sequence)));
        let mut there: Vec<(u64, String)> = Vec::new();
        for name in self.disk.list(&writer.directory).map_err(OpenError::io(&writer.directory))? {
            let of_repair = || made_sequence(&name, writer).filter(|_| name.contains(".base."));
            if self.hidden.contains(&name) {
                continue;
            }
            if let Some(sequence) = strays::base_sequence_of(&name, writer).or_else(of_repair) {
                there.push((sequence, name));
            }
        }
        there.sort();
        let is_there = |name: &str| there.iter().any(|(_, other)| other == name);
        let base = match named {
            // A log without a base begins with its first segment.
            Some(None) => return Ok(()),
            Some(Some((name, sequence))) if is_there(&name) || self.exists(&writer.directory.join(&name))? => {
                Some((sequence, name))
            }
            Some(Some((name, sequence))) => {
                let single = self.options.directory.join(&name);
                if name == self.options.append_file && self.exists(&single)? {
                    let (file, _) = self.base_file(&single, name, sequence)?;
                    self.plan.base = Some(file);
                    return Ok(());
                }
                let mut loss =
                    self.loss(&writer.directory.join(&name), 0..0, "the base is named by the manifest and missing");
                loss.before = None;
                let other = there.pop();
                if other.is_none() {
                    let may_cross = self.crossing == Crossing::Always;
                    self.gap(loss, may_cross);
                } else {
                    self.plan.notes.push(format!("{}: {}; an older one is there", loss.path.display(), loss.reason));
                }
                other
            }
            None => there.pop(),
        };
        let Some((sequence, name)) = base else { return Ok(()) };
        let path = writer.directory.join(&name);
        let identity = strays::base_identity(self.disk, &path).map_err(OpenError::io(&path))?;
        let is_other = self
            .plan
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.base_identity)
            .is_some_and(|said| said != identity);
        let losses = self.plan.losses.len();
        let opened = self.disk.open(&path, OpenMode::Read).map_err(OpenError::io(&path))?;
        let summed = sums::blocks(&*opened).map_err(OpenError::io(&path))?;
        let (mut file, position) = self.base_file(&path, name, sequence)?;
        let len = opened.len().map_err(OpenError::io(&path))?;
        if let (Some((_, end)), Extent::Whole) = (&summed, &file.extent)
            && *end < len
            && !path.ends_with(&self.options.append_file)
        {
            let mut loss = self.loss(&path, *end..len, DamageKind::BytesBehindEnd.to_string());
            self.readable(&*opened, &path, *end..len, &mut loss)?;
            (loss.crossed, loss.before) = (true, None);
            self.plan.losses.push(loss);
            file.extent = Extent::Prefix(*end);
        }
        let has_checksums = summed.is_some() || path.extension().is_some_and(|form| form == "rdb");
        if is_other && self.plan.losses.len() == losses && !has_checksums {
            let reason = "it is not the file that the manifest names, and commands have no checksums: which of them have \
                          changed cannot be told";
            let mut loss = self.loss(&path, 0..0, reason);
            (loss.crossed, loss.before) = (true, None);
            self.plan.losses.push(loss);
        } else if is_other && self.plan.losses.len() == losses {
            self.plan
                .notes
                .push(format!("{} is not the file that the manifest names: another size or content", path.display()));
        }
        self.plan.base = Some(file);
        self.plan.position = position;
        if let Some(position) = position {
            self.plan.seam = Seam { lineage: Some(position.lineage), lsn: position.lsn, ..self.plan.seam };
            self.plan.end = position.lsn;
        }
        Ok(())
    }

    pub(super) fn exists(&self, path: &Path) -> Result<bool, OpenError> {
        self.disk.exists(path).map_err(OpenError::io(path))
    }

    /// A base, a dump or a file of one part: how much of it can be kept, and where it stands.
    pub(super) fn base_file(
        &mut self,
        path: &Path,
        name: String,
        sequence: u64,
    ) -> Result<(KeptFile, Option<Position>), OpenError> {
        let kept = |extent| KeptFile { path: path.to_owned(), name: name.clone(), sequence, extent, is_segment: false };
        let limits = &self.options.limits;
        let file = self.disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
        let len = file.len().map_err(OpenError::io(path))?;
        if len == 0 {
            let loss = self.loss(path, 0..0, "the file is empty");
            self.plan.losses.push(loss);
            return Ok((kept(Extent::Whole), None));
        }
        let position = position_of(self.disk, path).ok().flatten();
        match survey_plain(self.disk, path, limits) {
            Ok(survey) if survey.damage.is_none() => {
                self.plan.keys += survey.keys;
                self.plan.commands += survey.commands;
                return Ok((kept(Extent::Whole), position));
            }
            Err(OpenError::Io { path, source }) => return Err(OpenError::Io { path, source }),
            _ => {}
        }
        let mut head = [0; 9];
        let shown = head.len().min(usize::try_from(len).unwrap_or(9));
        file.read_exact_at(&mut head[..shown], 0).map_err(OpenError::io(path))?;
        let as_rdb = rdb::is_rdb(&head[..shown]) || path.extension().is_some_and(|extension| extension == "rdb");
        if !as_rdb && let Some((blocks, end)) = sums::blocks(&*file).map_err(OpenError::io(path))? {
            let ranges = self.blocks(&*file, path, blocks, end..len)?;
            return Ok((kept(Extent::Summed(position, ranges)), position));
        }
        if !as_rdb {
            let ranges = self.commands(&*file, path, 0..len, true)?;
            return Ok((kept(Extent::Ranges(ranges)), position));
        }
        let salvage = Salvage::look(&*file, limits).map_err(OpenError::io(path))?;
        self.plan.keys += salvage.keys;
        for lost in &salvage.lost {
            let mut loss = self.loss(path, lost.range.clone(), lost.reason.clone());
            (loss.keys, loss.names, loss.crossed, loss.before) = (lost.keys, lost.names.clone(), true, None);
            self.watched.push(self.plan.losses.len());
            self.plan.losses.push(loss);
        }
        let behind = match salvage.end() {
            Some(end) if end < len => self.commands(&*file, path, end..len, true)?,
            _ => Vec::new(),
        };
        let position = salvage.position;
        Ok((kept(Extent::Keys(Box::new(salvage), behind)), position))
    }

    /// The stretches of a base of commands that verify, first lines and checksum lines left out; of what stands behind its end,
    /// those that can be read.
    fn blocks(
        &mut self,
        file: &dyn DiskFile,
        path: &Path,
        blocks: Vec<Block>,
        behind: Range<u64>,
    ) -> Result<Vec<Range<u64>>, OpenError> {
        let mut ranges = Vec::new();
        for Block { range, damage } in blocks {
            let Some(kind) = damage else {
                let mut tape = Tape::stretch(file, range.clone());
                let has_first_line =
                    range.start == 0 && matches!(tape.next().map_err(OpenError::io(path))?, Next::Comment);
                let begin = if has_first_line { tape.offset() } else { range.start };
                ranges.extend(self.commands(file, path, begin..range.end, false)?);
                continue;
            };
            let mut loss = self.loss(path, range.clone(), kind.to_string());
            self.readable(file, path, range, &mut loss)?;
            (loss.crossed, loss.before) = (true, None);
            self.watched.push(self.plan.losses.len());
            self.plan.losses.push(loss);
        }
        ranges.extend(self.commands(file, path, behind, true)?);
        Ok(ranges)
    }
}
