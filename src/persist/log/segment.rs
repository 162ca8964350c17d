//! One segment file being written.
//!
//! Invariant: `size` and `chain` speak of whole frames; bytes behind them are fill, or remains of a failed write.

use super::fill::{FILL_LINE_BYTES, Spare, bytes_to_border, discard, filler, short_line_at};
use super::format::{EndMark, SegmentHeader};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::persist::{Lineage, Lsn};
use crate::resp::Woven;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a new segment stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct SegmentPlace {
    pub lineage: Lineage,
    pub number: u64,
    pub first: Lsn,
    pub db: u32,
    pub previous_end: Lsn,
    pub previous_chain: u32,
}

/// See the module's header.
pub struct Segment {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    name: String,
    sequence: u64,
    header: SegmentHeader,
    size: u64,
    chain: u32,
    empty: bool,
    /// Up to here the file is filled ahead; 0: it is not.
    filled: u64,
}

impl Segment {
    /// Begins a segment in a temporary file beside its place. It may be appended to before [`Segment::publish`], so that
    /// a file under a segment's name is whole and durable from its first moment.
    pub fn draft(
        disk: &dyn Disk,
        directory: &Path,
        name: String,
        sequence: u64,
        place: SegmentPlace,
        salt: u64,
    ) -> io::Result<Self> {
        let path = directory.join(format!("{name}.tmp"));
        let file: Arc<dyn DiskFile> = Arc::from(disk.open(&path, OpenMode::Truncate)?);
        let header = header_for(place, salt);
        let (bytes, chain) = header.encode();
        file.write_all_at(&bytes, 0)?;
        Ok(Self { file, path, name, sequence, header, size: bytes.len() as u64, chain, empty: true, filled: 0 })
    }

    /// As [`Segment::draft`], over a file that is filled ahead, which keeps its name until [`Segment::publish`].
    pub fn draft_over(spare: Spare, name: String, sequence: u64, place: SegmentPlace, salt: u64) -> io::Result<Self> {
        let Spare { file, path, bytes: filled } = spare;
        let header = header_for(place, salt);
        let (bytes, chain) = header.encode();
        file.write_all_at(&bytes, 0)?;
        Ok(Self { file, path, name, sequence, header, size: bytes.len() as u64, chain, empty: true, filled })
    }

    /// What was filled ahead, once more without a header, where it was not begun after all.
    pub fn into_spare(self, disk: &dyn Disk) -> Option<Spare> {
        if !self.is_filled() || !self.empty {
            self.discard(disk);
            return None;
        }
        let is_draft = self.path.extension().is_some_and(|extension| extension == "tmp");
        let path = if is_draft { self.path.clone() } else { self.path.with_added_extension("ahead.tmp") };
        let cleared = || {
            self.file.write_all_at(&filler(FILL_LINE_BYTES as usize), 0)?;
            if is_draft { Ok(()) } else { disk.rename(&self.path, &path) }
        };
        match cleared() {
            Ok(()) => Some(Spare { file: self.file, path, bytes: self.filled }),
            Err(_) => {
                self.discard(disk);
                None
            }
        }
    }

    /// Gives up a draft that is not published, and the room that it takes.
    pub fn discard(self, disk: &dyn Disk) {
        if self.path.extension().is_some_and(|extension| extension == "tmp") {
            discard(disk, &self.path);
        }
    }

    /// Gives a draft its name; content and name are durable when this returns. Replaces a file of that name, which must
    /// be a draft of before that the manifest does not name, or a segment without frames.
    pub fn publish(&mut self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        let path = directory.join(&self.name);
        disk.rename(&self.path, &path)?;
        self.path = path;
        disk.sync_dir(directory)
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    pub fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    pub fn file_path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes of the header and of whole frames.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Chain value of the last whole frame.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// No frame was written.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Bytes that are filled ahead behind what was written.
    pub fn filled_left(&self) -> u64 {
        self.filled.saturating_sub(self.size)
    }

    /// It was filled ahead.
    pub fn is_filled(&self) -> bool {
        self.filled > 0
    }

    /// Appends whole frames, whose last has this chain value. On an error nothing counts as written.
    pub fn append(&mut self, frames: &Woven, chain: u32) -> io::Result<()> {
        let mut end = self.size;
        self.end_fill_line(end + frames.len() as u64)?;
        for slice in frames.slices(0, 0) {
            self.file.write_all_at(slice, end)?;
            end += slice.len() as u64;
        }
        self.size = end;
        self.chain = chain;
        self.empty = false;
        Ok(())
    }

    /// What will end at `end` is followed by a line, before it is there.
    fn end_fill_line(&self, end: u64) -> io::Result<()> {
        match short_line_at(end) {
            Some(line) if end < self.filled => self.file.write_all_at(line, end),
            _ => Ok(()),
        }
    }

    /// Ends what was written at a multiple of `align` bytes; how many it took.
    pub fn pad(&mut self, align: u64) -> io::Result<u64> {
        let bytes = bytes_to_border(self.size, align);
        // The fill is lines that end at such borders.
        if bytes > 0 && self.size + bytes > self.filled {
            self.file.write_all_at(&filler(bytes as usize), self.size)?;
        }
        self.size += bytes;
        Ok(bytes)
    }

    /// Cuts away what a failed write left behind the last whole frame, and with it what was filled ahead.
    pub fn cut_to_size(&mut self) -> io::Result<()> {
        if self.file.len()? > self.size {
            self.file.set_len(self.size)?;
        }
        self.filled = 0;
        Ok(())
    }

    /// Cuts off what was filled ahead, durably. A crash in between may leave zeros there: nothing may stand behind them yet that
    /// says where the segment ends.
    pub fn cut_fill(&mut self) -> io::Result<()> {
        if self.is_filled() {
            self.cut_to_size()?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// Cuts off what was filled ahead, writes the end annotation and syncs; returns the size of the file.
    pub fn seal(&mut self, end: Lsn) -> io::Result<u64> {
        self.cut_fill()?;
        let (line, _) = EndMark { end, previous: self.chain }.encode(self.header.salt, self.size);
        self.file.write_all_at(&line, self.size)?;
        self.file.sync_all()?;
        Ok(self.size + line.len() as u64)
    }

    /// Cuts a file that can no longer be trusted to its durable beginning, durably: in place, or, where that fails, by
    /// a copy of that beginning under the same name.
    pub fn cut_for_good(&mut self, disk: &dyn Disk, size: u64) -> io::Result<()> {
        let cut = disk.open(&self.path, OpenMode::ReadWrite).and_then(|file| {
            if file.len()? > size {
                file.set_len(size)?;
            }
            file.sync_all()
        });
        if cut.is_err() {
            let file = disk.open(&self.path, OpenMode::Read)?;
            let mut durable = vec![0; size as usize];
            file.read_exact_at(&mut durable, 0)?;
            if SegmentHeader::decode(&durable).is_none_or(|(header, _)| header != self.header) {
                return Err(io::Error::other("the durable beginning of the segment cannot be read back"));
            }
            crate::env::disk::replace_file(disk, &self.path, &durable)?;
        }
        self.size = size;
        Ok(())
    }
}

fn header_for(place: SegmentPlace, salt: u64) -> SegmentHeader {
    let SegmentPlace { lineage, number, first, db, previous_end, previous_chain } = place;
    SegmentHeader { lineage, number, first, db, salt, previous_end, previous_chain }
}
