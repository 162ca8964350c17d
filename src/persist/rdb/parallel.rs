//! Reads an RDB file with several threads: one reads portions of it, others decode them, the caller receives what they
//! made in the order of the file. A portion is a block of ours, where the file has an index to believe; in a file by
//! anybody else it is as many records as fit, whose ends are found without decoding them.
//!
//! Invariants
//! - Whatever a decoder makes of a portion, the reader makes of it from front to end too: the same code runs on both.
//! - The first damage in the file is the one that is reported, in the words of a reading from front to end: where a
//!   portion is wrong, or records cannot be told apart, parallel reading ends ([`Read::Upto`]) and [`read_on`] meets it.
//! - Memory is bounded by [`PORTIONS_AHEAD`] and the largest value in the file.

use super::checksum::{joined, sum};
use super::format::HEADER_LEN;
use super::index::{BLOCK_FIELD_BYTES, Index, IndexedBlock};
use super::reader::{Body, Loaded, RdbError, RdbProblem, RdbSink, Refusal, Until, check_sum, fail, header, read};
use super::records::{Record, record};
use super::source::FileSource;
use crate::env::DiskFile;
use crate::persist::ordered::Ordered;
use crate::value::Limits;
use crate::value::payload::{Input, SliceSource, Source};

/// Portions on their way, at least.
const PORTIONS_AHEAD: usize = 32;

/// How the work is divided.
#[derive(Clone, Copy, Debug)]
pub struct Division {
    /// Threads that decode, beside the caller's.
    pub decoders: usize,
    /// Bytes of records that are decoded together, about.
    pub portion_bytes: usize,
}

/// How far a parallel reading came.
#[derive(Debug)]
pub enum Read {
    Whole(Loaded),
    /// Whoever received the portions has everything before this place.
    Upto(Place),
}

/// A place between two records, and what came before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    offset: u64,
    /// The database that is selected there.
    db: u32,
    /// The checksum of all bytes before it.
    sum: u64,
    version: u32,
    /// The number of the block that begins there, in a file with blocks.
    block: u32,
    keys: u64,
    empty_keys: u64,
}

/// Whole records, and where they stand.
struct Portion {
    place: Place,
    bytes: Vec<u8>,
    /// Where the records begin in them.
    begin: usize,
    /// Where they end, and the block that they have to be; the field that closes it lies behind.
    block: Option<(usize, IndexedBlock)>,
}

/// What is handed over in the order of the file.
enum Job {
    Decode(Portion),
    /// The end of the file: offset behind it, and its checksum.
    End(Result<(u64, Option<u64>), RdbError>),
    /// Records cannot be told apart from there on.
    Lost(Place),
}

enum Made<S> {
    Portion { sink: S, keys: u64, empty_keys: u64 },
    End(Result<(u64, Option<u64>), RdbError>),
    ReadOn(Place),
}

/// Reads a file as [`super::read`] does, with several threads: each portion goes into a sink of its own, and the sinks
/// come to `take` in order.
///
/// # Errors
/// The header is wrong, or the checksum; or `take` refused a sink.
pub fn read_parallel<S: RdbSink + Send>(
    file: &dyn DiskFile,
    limits: &Limits,
    division: Division,
    sink: impl Fn() -> S + Sync,
    mut take: impl FnMut(S) -> Result<(), Refusal>,
) -> Result<Read, RdbError> {
    let io_error = |error: std::io::Error| fail(0, "header", RdbProblem::Value(error.into()));
    let mut source = FileSource::new(file).map_err(io_error)?;
    let version = header(&mut Input::new(&mut source))?;
    let place = Place { offset: source.offset(), sum: source.checksum(), version, ..Place::default() };
    let len = place.offset + source.remaining();
    let index = Index::read(file).map_err(io_error)?;
    let finder = Finder { file, len, portion_bytes: division.portion_bytes, place, bytes: Vec::new(), at: 0 };
    let queue = Ordered::<Job, Made<S>>::new(PORTIONS_AHEAD * division.portion_bytes);
    let run = |job| match job {
        Job::Decode(portion) => portion.decode(limits, sink()),
        Job::End(end) => Made::End(end),
        Job::Lost(place) => Made::ReadOn(place),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            match index {
                Some(index) => finder.read_blocks(&index, &queue),
                None => finder.find(&queue),
            }
            queue.close();
        });
        for _ in 0..division.decoders {
            scope.spawn(|| queue.work(run));
        }
        let read = receive(&queue, run, &mut take, version);
        // Whoever is still at work has nobody left to work for.
        queue.give_up();
        read
    })
}

/// Takes what is made, to the end of the file or to where it has to be read from front to end.
fn receive<S>(
    queue: &Ordered<Job, Made<S>>,
    run: impl Fn(Job) -> Made<S>,
    take: &mut impl FnMut(S) -> Result<(), Refusal>,
    version: u32,
) -> Result<Read, RdbError> {
    let (mut all_keys, mut all_empty_keys) = (0, 0);
    while let Some(made) = queue.receive(&run) {
        match made {
            Made::Portion { sink, keys, empty_keys } => {
                take(sink).map_err(|refusal| fail(0, "keys", RdbProblem::Refused(refusal)))?;
                all_keys += keys;
                all_empty_keys += empty_keys;
            }
            Made::End(end) => {
                let (end, checksum) = end?;
                return Ok(Read::Whole(Loaded { version, keys: all_keys, empty_keys: all_empty_keys, end, checksum }));
            }
            Made::ReadOn(place) => {
                return Ok(Read::Upto(Place { keys: all_keys, empty_keys: all_empty_keys, ..place }));
            }
        }
    }
    unreachable!("the end of a file, or its first damage, is always handed over")
}

/// Reads on from a place to the end, front to end.
///
/// # Errors
/// As [`super::read`].
pub fn read_on(file: &dyn DiskFile, place: Place, limits: &Limits, sink: &mut dyn RdbSink) -> Result<Loaded, RdbError> {
    let Place { offset, db, sum, version, block, .. } = place;
    let io_error = |error: std::io::Error| fail(offset, "records", RdbProblem::Value(error.into()));
    if offset <= HEADER_LEN as u64 {
        return read(&mut FileSource::new(file).map_err(io_error)?, limits, sink);
    }
    let mut source = FileSource::stretch(file, offset..file.len().map_err(io_error)?);
    let body = Body::new(Input::new(&mut source), limits, sink).beginning(db, block);
    let (keys, empty_keys) = body.read(Until::EndMark)?;
    let sum = joined(sum, source.checksum(), source.offset() - offset);
    let checksum = check_sum(&mut Input::new(&mut source), version, sum)?;
    let (keys, empty_keys) = (place.keys + keys, place.empty_keys + empty_keys);
    Ok(Loaded { version, keys, empty_keys, end: source.offset(), checksum })
}

impl Portion {
    fn decode<S: RdbSink>(&self, limits: &Limits, mut sink: S) -> Made<S> {
        let end = self.block.map_or(self.bytes.len(), |(end, _)| end);
        if let Some((end, block)) = &self.block {
            let is_whole = block.crc.is_none_or(|crc| crc == sum(&self.bytes[..*end]));
            if !is_whole || self.bytes[*end..] != block.field() {
                return Made::ReadOn(self.place);
            }
        }
        let mut source = SliceSource::at(&self.bytes[self.begin..end], self.place.offset + self.begin as u64);
        let body = Body::new(Input::new(&mut source), limits, &mut sink).beginning(self.place.db, self.place.block);
        match body.read(Until::EndOfInput) {
            Ok((keys, empty_keys)) if self.block.is_none_or(|(_, block)| block.keys == keys + empty_keys) => {
                Made::Portion { sink, keys, empty_keys }
            }
            _ => Made::ReadOn(self.place),
        }
    }
}

/// Finds portions.
struct Finder<'f> {
    file: &'f dyn DiskFile,
    len: u64,
    portion_bytes: usize,
    /// Where the bytes that are held begin.
    place: Place,
    bytes: Vec<u8>,
    /// Up to where they were looked at.
    at: usize,
}

impl Finder<'_> {
    /// Reads the blocks of an index.
    fn read_blocks<S>(mut self, index: &Index, queue: &Ordered<Job, Made<S>>) {
        self.place = Place { offset: 0, sum: 0, ..self.place };
        for block in std::iter::once(&index.head).chain(&index.blocks) {
            let place = Place { block: block.number, db: block.db, ..self.place };
            let end = block.len as usize;
            let mut bytes = vec![0; end + BLOCK_FIELD_BYTES as usize];
            if self.file.read_exact_at(&mut bytes, block.offset).is_err() {
                queue.give(Job::Lost(place), 0);
                return;
            }
            let len = bytes.len() as u64;
            let with_block = joined(place.sum, block.crc.unwrap_or(0), block.len);
            let with_field = joined(with_block, sum(&bytes[end..]), BLOCK_FIELD_BYTES);
            self.place = Place { offset: place.offset + len, sum: with_field, ..place };
            let begin = if block.number == 0 { HEADER_LEN } else { 0 };
            let portion = Portion { place, bytes, begin, block: Some((end, *block)) };
            if !queue.give(Job::Decode(portion), len as usize) {
                return;
            }
        }
        // What is left locates the blocks, and was looked at with the index.
        let mut declared = [0; 8];
        let read = self.file.read_exact_at(&mut declared, self.len - 8);
        let end = read.map(|()| (self.len, Some(u64::from_le_bytes(declared)).filter(|sum| *sum != 0)));
        let error = |error: std::io::Error| fail(self.len, "checksum", RdbProblem::Value(error.into()));
        queue.give(Job::End(end.map_err(error)), 0);
    }

    fn find<S>(mut self, queue: &Ordered<Job, Made<S>>) {
        let mut db = self.place.db;
        loop {
            match record(&self.bytes, self.at) {
                Record::Field { end } => self.at = end,
                Record::SelectDb { end, db: selected } => (self.at, db) = (end, selected),
                Record::Key { end } => {
                    self.at = end;
                    // Nothing before this place belongs to what follows.
                    if self.at >= self.portion_bytes && !self.give(db, queue) {
                        return;
                    }
                }
                Record::Short if self.held() < self.len => {
                    if self.read_more().is_err() {
                        break;
                    }
                }
                Record::End { end } => {
                    // The end mark is summed, and is none of the portion.
                    self.at = end - 1;
                    if self.give(db, queue) {
                        let end = self.end();
                        queue.give(Job::End(end), 0);
                    }
                    return;
                }
                Record::Short | Record::Unknown => break,
            }
        }
        queue.give(Job::Lost(self.place), 0);
    }

    /// Offset in the file up to which it was read.
    fn held(&self) -> u64 {
        self.place.offset + self.bytes.len() as u64
    }

    /// A record that is larger than what is held is read in steps that double.
    fn read_more(&mut self) -> std::io::Result<()> {
        let (held, offset) = (self.bytes.len(), self.held());
        let more = self.portion_bytes.max(held).min(usize::try_from(self.len - offset).unwrap_or(usize::MAX));
        self.bytes.resize(held + more, 0);
        self.file.read_exact_at(&mut self.bytes[held..], offset)
    }

    /// Hands over what was looked at; false when nobody takes it any more.
    fn give<S>(&mut self, db: u32, queue: &Ordered<Job, Made<S>>) -> bool {
        let mut rest = Vec::with_capacity(self.portion_bytes + (self.bytes.len() - self.at));
        rest.extend_from_slice(&self.bytes[self.at..]);
        self.bytes.truncate(self.at);
        let (place, bytes) = (self.place, std::mem::replace(&mut self.bytes, rest));
        let len = bytes.len() as u64;
        let sum = joined(place.sum, sum(&bytes), len);
        self.place = Place { offset: place.offset + len, sum, db, ..place };
        self.at = 0;
        bytes.is_empty() || queue.give(Job::Decode(Portion { place, bytes, begin: 0, block: None }), len as usize)
    }

    /// Reads the end mark and what stands behind it.
    fn end(&self) -> Result<(u64, Option<u64>), RdbError> {
        let Place { offset, sum: before, version, .. } = self.place;
        let mut source = FileSource::stretch(self.file, offset..self.len);
        let mark = source.take(1).map(<[u8]>::to_vec);
        let mark = mark.map_err(|error| fail(offset, "operation", RdbProblem::Value(error.into())))?;
        let sum = joined(before, sum(&mark), 1);
        let checksum = check_sum(&mut Input::new(&mut source), version, sum)?;
        Ok((source.offset(), checksum))
    }
}

#[cfg(test)]
mod tests;
