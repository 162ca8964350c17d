//! One segment file being written.
//!
//! Invariant: `size` and `chain` speak of whole frames; bytes behind them are remains of a failed write.

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
        Ok(Self { file, path, name, sequence, header, size: bytes.len() as u64, chain, empty: true })
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

    /// Appends whole frames, whose last has this chain value. On an error nothing counts as written.
    pub fn append(&mut self, frames: &Woven, chain: u32) -> io::Result<()> {
        let mut end = self.size;
        for slice in frames.slices(0, 0) {
            self.file.write_all_at(slice, end)?;
            end += slice.len() as u64;
        }
        self.size = end;
        self.chain = chain;
        self.empty = false;
        Ok(())
    }

    /// Cuts away what a failed write left behind the last whole frame.
    pub fn cut_to_size(&self) -> io::Result<()> {
        if self.file.len()? > self.size { self.file.set_len(self.size) } else { Ok(()) }
    }

    /// Writes the end annotation and syncs; returns the size of the file.
    pub fn seal(&self, end: Lsn) -> io::Result<u64> {
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
