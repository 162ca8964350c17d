use std::io;

use super::*;
use crate::persist::rdb::{RdbEntry, read};

const FIXTURES: [&[u8]; 8] = [
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/encodings.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/encodings-uncompressed.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/streams.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/stream.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/function.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/lfu.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/lru.rdb")),
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/empty.rdb")),
];

struct InMemory<'a>(&'a [u8]);

impl DiskFile for InMemory<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = &self.0[(offset as usize).min(self.0.len())..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("only read")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("only read")
    }

    fn sync_all(&self) -> io::Result<()> {
        unreachable!("only read")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("only read")
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// Everything that a sink is told, in words.
#[derive(Debug, Default, PartialEq)]
struct Told(Vec<String>);

impl RdbSink for Told {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        self.0.push(format!("{entry:?}"));
        Ok(())
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.0.push(format!("library {}", text.escape_ascii()));
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        // Who reads by the index has read these fields already.
        if !name.starts_with(b"graven-") {
            self.0.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
        }
        Ok(())
    }

    fn sizes(&mut self, db: u32, keys: u64, expiries: u64) {
        self.0.push(format!("sizes of {db}: {keys}, {expiries}"));
    }
}

fn front_to_end(bytes: &[u8]) -> (Told, Result<Loaded, String>) {
    let (file, mut told) = (InMemory(bytes), Told::default());
    let mut source = FileSource::new(&file).expect("memory tells its length");
    let loaded = read(&mut source, &Limits::default(), &mut told);
    (told, loaded.map_err(|error| error.to_string()))
}

fn in_parallel(bytes: &[u8], division: Division) -> (Told, Result<Loaded, String>) {
    let (file, limits, mut told) = (InMemory(bytes), Limits::default(), Told::default());
    let take = |sink: Told| {
        told.0.extend(sink.0);
        Ok(())
    };
    let loaded = match read_parallel(&file, &limits, division, Told::default, take) {
        Ok(Read::Whole(loaded)) => Ok(loaded),
        Ok(Read::Upto(place)) => read_on(&file, place, &limits, &mut told),
        Err(error) => Err(error),
    };
    (told, loaded.map_err(|error| error.to_string()))
}

/// What stock has written, and a file of ours with blocks.
fn files() -> Vec<Vec<u8>> {
    let by_stock = FIXTURES.iter().map(|file| file.to_vec());
    by_stock.chain([crate::persist::rdb::writer::tests::file_of_blocks()]).collect()
}

/// Whether a file is whole or not, several threads find in it what one does.
#[test]
fn what_several_threads_read_is_what_one_reads() {
    for bytes in &files() {
        for (decoders, portion_bytes) in [(0, 1), (1, 100), (2, 3000), (3, 1 << 20)] {
            let division = Division { decoders, portion_bytes };
            assert_eq!(in_parallel(bytes, division), front_to_end(bytes), "{division:?}");
        }
    }
}

/// What is damaged is told by the words, and at the place, of a reading from front to end.
#[test]
fn damage_is_told_as_by_one_thread() {
    let division = Division { decoders: 2, portion_bytes: 700 };
    for bytes in &files() {
        let step = bytes.len() / 60 + 1;
        for at in (0..bytes.len()).step_by(step) {
            assert_eq!(in_parallel(&bytes[..at], division), front_to_end(&bytes[..at]), "cut at {at}");
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= flip;
                assert_eq!(in_parallel(&damaged, division), front_to_end(&damaged), "{flip} at {at}");
            }
        }
    }
}

/// A sink that is not taken ends the reading, whatever the others are at.
#[test]
fn a_refusal_ends_the_reading() {
    let division = Division { decoders: 2, portion_bytes: 100 };
    let mut taken = 0;
    let take = |_: Told| {
        taken += 1;
        if taken < 3 { Ok(()) } else { Err("no more".into()) }
    };
    let read = read_parallel(&InMemory(FIXTURES[0]), &Limits::default(), division, Told::default, take);
    assert!(read.expect_err("refused").to_string().ends_with("no more"));
    assert_eq!(taken, 3);
}
