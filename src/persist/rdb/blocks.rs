//! One block of a file on its own: proven to be what was written, then read.

use std::io;

use super::checksum::sum;
use super::index::{BLOCK_FIELD_BYTES, Index, IndexedBlock};
use super::reader::{Body, RdbError, RdbProblem, RdbSink, Until, fail, header};
use super::source::FileSource;
use crate::env::DiskFile;
use crate::value::Limits;
use crate::value::payload::{Input, SliceSource, Source};

/// A block up to this length is read into memory once; a longer one, whose keys are huge, is read twice.
const HELD_BYTES_MAX: u64 = 16 << 20;
/// Bytes that are looked at together.
const SCAN_BYTES: u64 = 256 << 10;

/// Damaged blocks that are named one by one.
const NAMED_MAX: usize = 8;

/// A block that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedBlock {
    pub block: IndexedBlock,
    /// The checksum of its bytes as they are; `None` where they are whole, and the field behind them is not.
    pub actual: Option<u64>,
}

/// Reads the head of a file: the sink gets its fields and libraries. The file's version.
///
/// # Errors
/// It is not what was written, or the sink refused something.
pub fn read_head(file: &dyn DiskFile, index: &Index, limits: &Limits, sink: &mut dyn RdbSink) -> Result<u32, RdbError> {
    with_block(file, &index.head, |source| {
        let version = header(&mut Input::new(source))?;
        Body::new(Input::new(source), limits, sink).read(Until::EndOfInput)?;
        Ok(version)
    })
}

/// Reads one block: the sink gets its keys, once the block has proved to be what was written. How many keys it held, and
/// how many of them were empty collections and left out.
///
/// # Errors
/// It is not what was written, or the sink refused a key.
pub fn read_block(
    file: &dyn DiskFile,
    block: &IndexedBlock,
    limits: &Limits,
    sink: &mut dyn RdbSink,
) -> Result<(u64, u64), RdbError> {
    let (keys, empty_keys) =
        with_block(file, block, |source| Body::new(Input::new(source), limits, sink).read(Until::EndOfInput))?;
    if keys + empty_keys == block.keys { Ok((keys, empty_keys)) } else { Err(damaged(block)) }
}

/// The parts of a file that are not what was written, the head included.
///
/// # Errors
/// When the file cannot be read.
pub fn damaged_blocks(file: &dyn DiskFile, index: &Index) -> io::Result<Vec<DamagedBlock>> {
    let mut damaged = Vec::new();
    for block in std::iter::once(&index.head).chain(&index.blocks) {
        let actual = stretch_sum(file, block)?;
        let whole = block.crc.is_none_or(|crc| crc == actual);
        if !whole {
            damaged.push(DamagedBlock { block: *block, actual: Some(actual) });
        } else if !field_is_right(file, block)? {
            damaged.push(DamagedBlock { block: *block, actual: None });
        }
    }
    Ok(damaged)
}

/// Why a file could not be read, with the blocks that are damaged where it has an index to tell: for the operator.
pub fn explain(file: &dyn DiskFile, error: &RdbError) -> String {
    let index = Index::read(file).ok().flatten();
    let damaged = index.and_then(|index| Some((damaged_blocks(file, &index).ok()?, index.blocks.len())));
    match damaged {
        Some((damaged, count)) if !damaged.is_empty() => {
            let named = damaged.iter().take(NAMED_MAX).map(|DamagedBlock { block, .. }| {
                let IndexedBlock { number, offset, len, keys, db, .. } = block;
                format!("block {number} ({len} bytes from offset {offset} on, {keys} keys of database {db})")
            });
            let named = named.collect::<Vec<_>>().join(", ");
            format!("{error}; of its {count} blocks {} are damaged: {named}; the others are whole", damaged.len())
        }
        _ => error.to_string(),
    }
}

fn with_block<R>(
    file: &dyn DiskFile,
    block: &IndexedBlock,
    read: impl FnOnce(&mut dyn Source) -> Result<R, RdbError>,
) -> Result<R, RdbError> {
    let io_error = |error: io::Error| fail(block.offset, "a block", RdbProblem::Value(error.into()));
    if !field_is_right(file, block).map_err(io_error)? {
        return Err(damaged(block));
    }
    if block.len <= HELD_BYTES_MAX {
        let mut bytes = vec![0; block.len as usize];
        file.read_exact_at(&mut bytes, block.offset).map_err(io_error)?;
        if block.crc.is_some_and(|crc| crc != sum(&bytes)) {
            return Err(damaged(block));
        }
        return read(&mut SliceSource::at(&bytes, block.offset));
    }
    if block.crc.is_some() && Some(stretch_sum(file, block).map_err(io_error)?) != block.crc {
        return Err(damaged(block));
    }
    read(&mut FileSource::stretch(file, block.range()))
}

fn damaged(block: &IndexedBlock) -> RdbError {
    let IndexedBlock { number, offset, len, keys, .. } = *block;
    fail(offset, "a block", RdbProblem::Block { number, len, keys })
}

pub(super) fn stretch_sum(file: &dyn DiskFile, block: &IndexedBlock) -> io::Result<u64> {
    let mut source = FileSource::stretch(file, block.range());
    while source.remaining() > 0 {
        source.take(source.remaining().min(SCAN_BYTES) as usize)?;
    }
    Ok(source.checksum())
}

pub(super) fn field_is_right(file: &dyn DiskFile, block: &IndexedBlock) -> io::Result<bool> {
    let mut field = [0; BLOCK_FIELD_BYTES as usize];
    file.read_exact_at(&mut field, block.offset + block.len)?;
    Ok(field[..] == block.field())
}
