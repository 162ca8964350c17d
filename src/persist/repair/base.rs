//! Bases, dumps and files of one part: which one is there, and how much of it can be kept.

use super::inventory::{BaseFound, Content, Inventory, Place};
use super::log::Planner;
use super::{Crossing, Extent, KeptFile, Seam};
use crate::env::{DiskFile, OpenMode};
use crate::persist::log::WriterOptions;
use crate::persist::position::position_of;
use crate::persist::rdb::{self, Salvage};
use crate::persist::sums::{self, Block};
use crate::persist::tape::{Next, Tape};
use crate::persist::{DamageKind, Manifest, OpenError, Position, strays, survey_plain};
use std::ops::Range;
use std::path::Path;

impl Planner<'_> {
    /// The base, under whatever name it stands; what stands under its name and is of another log is left aside.
    pub(super) fn find_base(&mut self, writer: &WriterOptions, inventory: &Inventory) -> Result<(), OpenError> {
        let manifest = self.plan.manifest.clone();
        let named = manifest.as_ref().and_then(Manifest::base);
        let item = match inventory.base(manifest.as_ref(), &writer.prefix) {
            BaseFound::NotNeeded => return Ok(()),
            BaseFound::At(item) => item,
            BaseFound::Missing { foreign } => {
                let path = named.map_or(writer.directory.clone(), |named| writer.directory.join(&named.name));
                let reason = match foreign {
                    None => "the base is named by the manifest and missing",
                    Some(_) => "the base is missing: what stands under its name is of another log",
                };
                let mut loss = self.loss(&path, 0..0, reason);
                loss.before = None;
                let may_cross = self.crossing == Crossing::Always;
                self.gap(loss, may_cross);
                return Ok(());
            }
        };
        let path = item.path.clone();
        if matches!(item.content, Content::Empty) {
            let mut loss = self.loss(&path, 0..0, "the base is empty");
            loss.before = None;
            let may_cross = self.crossing == Crossing::Always;
            self.gap(loss, may_cross);
            return Ok(());
        }
        let is_named = named.is_some_and(|named| named.name == item.name) && item.place != Place::Dump;
        let (name, sequence) = match (named, item.place) {
            (Some(named), _) if is_named => (named.name.clone(), named.sequence),
            (_, Place::Base(sequence)) => (item.name.clone(), sequence),
            (Some(named), _) => (named.name.clone(), named.sequence),
            (None, _) => (writer.base_name(1, item.as_commands), 1),
        };
        if !is_named && (named.is_some() || item.name != name) {
            self.plan.notes.push(format!(
                "{} is the base of the log, and not what the manifest names so, or what stands under that name",
                path.display()
            ));
        }
        if item.place == Place::Single {
            let (file, _) = self.base_file(&path, name, sequence)?;
            self.plan.base = Some(file);
            return Ok(());
        }
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
        let before = self.plan.keys + self.plan.commands;
        let (mut file, position) = self.base_file(&path, name, sequence)?;
        self.base_keys = self.plan.keys + self.plan.commands - before;
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
        let holds_nothing = match &file.extent {
            Extent::Ranges(ranges) | Extent::Summed(_, ranges) => ranges.is_empty(),
            _ => false,
        };
        if holds_nothing {
            // No start believes a base without a command.
            self.broken = true;
            return Ok(());
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
