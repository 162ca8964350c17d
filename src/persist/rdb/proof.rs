//! Whether a file of ours is what was written, by its checksums alone: block for block, on several threads.
//!
//! Invariant: what is called proven is, byte by byte, what its writer summed, in records that fit together, as many as
//! the index says. Anything else is left to the reader, which decodes and says what is wrong.

use super::blocks::field_is_right;
use super::checksum::sum;
use super::index::{Index, IndexedBlock};
use super::reader::Loaded;
use super::records::{Record, record};
use crate::env::DiskFile;
use crate::persist::rdb::{RdbEntry, RdbSink, Refusal, read_head};
use crate::value::Limits;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A block beyond this is summed piece by piece, and its records are left to the reader.
const HELD_BYTES_MAX: u64 = 64 << 20;

/// What the file holds, if all of it is proven; `None` where it has no index or no checksums, or something is not what was
/// written.
///
/// # Errors
/// When the file cannot be read.
pub fn prove(file: &dyn DiskFile, limits: &Limits, processors: usize) -> io::Result<Option<Loaded>> {
    let Some(index) = Index::read(file)? else { return Ok(None) };
    let held = |block: &IndexedBlock| block.crc.is_some() && block.len <= HELD_BYTES_MAX;
    if index.head.crc.is_none() || !index.blocks.iter().all(held) {
        return Ok(None);
    }
    // The head is small, and is decoded: what it says must be known.
    let Ok(version) = read_head(file, &index, limits, &mut Nothing) else { return Ok(None) };
    let (next, whole) = (AtomicUsize::new(0), AtomicBool::new(true));
    let work = || -> io::Result<()> {
        let mut bytes = Vec::new();
        while whole.load(Ordering::Relaxed) {
            let Some(block) = index.blocks.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            if !is_whole(file, block, &mut bytes)? {
                whole.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..processors.min(index.blocks.len())).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = |other: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(joined).fold(own, |before, result| before.and(result))
    })?;
    if !whole.into_inner() {
        return Ok(None);
    }
    let len = file.len()?;
    let mut declared = [0; 8];
    file.read_exact_at(&mut declared, len - 8)?;
    let checksum = Some(u64::from_le_bytes(declared)).filter(|sum| *sum != 0);
    Ok(Some(Loaded { version, keys: index.keys(), empty_keys: 0, end: len, checksum }))
}

fn is_whole(file: &dyn DiskFile, block: &IndexedBlock, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(block.len as usize, 0);
    file.read_exact_at(bytes, block.offset)?;
    Ok(block.crc == Some(sum(bytes)) && field_is_right(file, block)? && keys(bytes) == Some(block.keys))
}

/// How many keys stand in these records, if they are whole.
fn keys(bytes: &[u8]) -> Option<u64> {
    let (mut at, mut keys) = (0, 0);
    while at < bytes.len() {
        at = match record(bytes, at) {
            Record::Key { end } => {
                keys += 1;
                end
            }
            Record::Field { end } | Record::SelectDb { end, .. } => end,
            Record::End { .. } | Record::Short | Record::Unknown => return None,
        };
    }
    Some(keys)
}

struct Nothing;

impl RdbSink for Nothing {
    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::disk::read_file;
    use crate::env::disk::sim::SimDisk;
    use crate::env::{Disk, OpenMode};
    use crate::persist::SaveStep;
    use crate::persist::rdb::{RdbOptions, Salvage, begin};
    use crate::persist::tests::compaction::{rdb_options, snapshot};
    use crate::persist::tests::model::State;
    use std::path::Path;
    use std::sync::Arc;

    /// Forty keys in several blocks.
    fn file() -> Vec<u8> {
        let state: State =
            (0..40).map(|number| ((number % 2, format!("k{number}")), format!("{number:>60}"))).collect();
        let disk = SimDisk::new();
        let options = RdbOptions { block_bytes: Some(300), ..rdb_options("/f") };
        let mut writer = begin(Arc::new(disk.clone()), snapshot(&state), options);
        while writer.step().expect("no fault") == SaveStep::Worked {}
        read_file(&disk, Path::new("/f")).expect("is there")
    }

    fn on_disk(content: &[u8]) -> Box<dyn DiskFile> {
        let file = SimDisk::new().open(Path::new("/f"), OpenMode::CreateNew).expect("made");
        file.write_all_at(content, 0).expect("written");
        file
    }

    #[test]
    fn a_whole_file_is_proven_and_no_other() {
        let whole = file();
        for processors in [1, 3] {
            let proven = prove(&*on_disk(&whole), &Limits::default(), processors).expect("reads").expect("is whole");
            assert_eq!((proven.keys, proven.end, proven.version), (40, whole.len() as u64, 10));
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            let proven = prove(&*on_disk(&flipped), &Limits::default(), 1).expect("reads");
            assert_eq!(proven, None, "a bit of byte {at}");
            let cut = prove(&*on_disk(&whole[..at]), &Limits::default(), 1).expect("reads");
            assert_eq!(cut, None, "cut at {at}");
        }
    }

    /// Whatever the end of the file was, its blocks are saved, and of the last one what stands before the cut.
    #[test]
    fn blocks_are_found_without_an_index() {
        let whole = file();
        let index = Index::read(&*on_disk(&whole)).expect("reads").expect("has one");
        for at in (index.head.len as usize + 100)..whole.len() {
            let salvage = Salvage::look(&*on_disk(&whole[..at]), &Limits::default()).expect("reads");
            let end =
                |block: &IndexedBlock| (block.offset + block.len) as usize + super::super::BLOCK_FIELD_BYTES as usize;
            let (in_blocks, blocks): (Vec<u64>, u64) =
                (index.blocks.iter().filter(|block| end(block) <= at).map(|block| block.keys).collect(), index.keys());
            let keys: u64 = in_blocks.iter().sum();
            assert!(salvage.keys >= keys && salvage.keys <= blocks, "cut at {at}: {} of {keys}", salvage.keys);
            assert!(!salvage.lost.is_empty(), "cut at {at}: nothing is said");
        }
        // A bit in one block and the index gone: the others are saved, that one is not.
        let block = &index.blocks[1];
        let mut damaged = whole[..whole.len() - 40].to_vec();
        damaged[(block.offset + block.len / 2) as usize] ^= 4;
        let salvage = Salvage::look(&*on_disk(&damaged), &Limits::default()).expect("reads");
        assert_eq!(salvage.keys, 40 - block.keys);
        assert_eq!(salvage.lost.iter().filter(|lost| lost.range.start == block.offset).count(), 1);
    }
}
