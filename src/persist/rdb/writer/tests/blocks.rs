//! Blocks can be read one by one and are known when they are damaged; a bad index is no index.

use std::sync::OnceLock;

use quickcheck::quickcheck;

use super::*;
use crate::env::OpenMode;
use crate::persist::rdb::{
    BLOCK_FIELD_BYTES, FileSource, Index, IndexedBlock, RdbError, RdbProblem, damaged_blocks, explain,
    read as read_file_source, read_block, read_head,
};
use crate::persist::{Lineage, Lsn, Timeline};
use crate::value::{Group, Stream, StreamId};

const PATH: &str = "/dump.rdb";

fn position() -> Position {
    let [timeline, parent] = [&[b'a'; 40], &[b'7'; 40]].map(|digits| Timeline::parse(digits).expect("digits"));
    Position { lineage: Lineage { timeline, parent, fork: Lsn(17) }, lsn: Lsn(0x1_0000_0001) }
}

fn saved(options: RdbOptions) -> (SimDisk, Keyspace) {
    let (disk, store) = (SimDisk::new(), keyspace(1000));
    save(&disk, &store, options).unwrap();
    (disk, store)
}

fn indexed() -> RdbOptions {
    RdbOptions { position: Some(position()), ..options(SavedAccess::Nothing) }
}

fn open(disk: &SimDisk) -> Box<dyn crate::env::DiskFile> {
    disk.open(Path::new(PATH), OpenMode::Read).unwrap()
}

fn index(disk: &SimDisk) -> Option<Index> {
    Index::read(&*open(disk)).unwrap()
}

/// What the file says, read from front to end.
fn sequentially(disk: &SimDisk) -> Result<Seen, RdbError> {
    let (file, mut seen) = (open(disk), Seen::default());
    read_file_source(&mut FileSource::new(&*file).unwrap(), &Limits::default(), &mut seen)?;
    Ok(seen)
}

struct Ignored;

impl RdbSink for Ignored {
    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn each_block_reads_on_its_own() {
    let (disk, store) = saved(indexed());
    let (file, index) = (open(&disk), index(&disk).expect("an index"));
    assert_eq!((index.keys(), index.position), (1000, Some(position())));
    assert!(index.blocks.len() > 20, "{}", index.blocks.len());
    assert!(index.blocks.iter().enumerate().all(|(at, block)| block.number as usize == at + 1 && block.crc.is_some()));
    let (limits, mut seen) = (Limits::default(), Seen::default());
    assert_eq!(read_head(&*file, &index, &limits, &mut seen).unwrap(), 10);
    assert_eq!((seen.aux.len(), seen.libraries.len()), (2, 2));
    for block in index.blocks.iter().rev() {
        let before = seen.keys.len();
        assert_eq!(read_block(&*file, block, &limits, &mut seen).unwrap(), (block.keys, 0));
        assert_eq!(seen.keys.len() - before, block.keys as usize);
    }
    assert_eq!(seen.keys, held(&store));
    assert_eq!(seen.keys, sequentially(&disk).unwrap().keys);
    assert_eq!(damaged_blocks(&*file, &index).unwrap(), []);
    // Databases 0, 5 and 10; each announces its size once.
    assert_eq!(seen.sizes.len(), 3);
    let mut databases: Vec<u32> = index.blocks.iter().map(|block| block.db).collect();
    databases.dedup();
    assert_eq!(databases, [0, 5, 10]);
}

#[test]
fn blocks_end_near_their_size_and_grow_behind_the_first_gib() {
    let store = {
        let limits = Limits::default();
        let mut store = Keyspace::new(1, limits);
        for number in 0..3000 {
            store.db_mut(0).set(format!("{number}").as_bytes(), Value::from(Str::encode(&[b'x'; 1500])), Ttl::Clear, 1);
        }
        store
    };
    let disk = SimDisk::new();
    save(&disk, &store, RdbOptions { block_bytes: None, compression: false, ..indexed() }).unwrap();
    let index = index(&disk).unwrap();
    let lens: Vec<u64> = index.blocks.iter().map(|block| block.len).collect();
    assert_eq!(lens.len(), 5);
    assert!(lens[..4].iter().all(|len| (1 << 20..(1 << 20) + 1600).contains(len)), "{lens:?}");
    let mut form = RdbForm::new(RdbOptions { block_bytes: None, ..indexed() });
    form.block.offset = 1 << 30;
    assert_eq!(form.block_bytes(), 4 << 20);
}

#[test]
fn a_file_without_checksums_has_an_index_without_them() {
    let (disk, store) = saved(RdbOptions { checksum: false, position: None, ..indexed() });
    let (file, index) = (open(&disk), index(&disk).expect("an index"));
    assert!(index.position.is_none() && index.blocks.iter().all(|block| block.crc.is_none()));
    let mut seen = Seen::default();
    for block in &index.blocks {
        read_block(&*file, block, &Limits::default(), &mut seen).unwrap();
    }
    assert_eq!(seen.keys, held(&store));
}

#[test]
fn a_damaged_block_is_named() {
    let (disk, _) = saved(indexed());
    let index = index(&disk).unwrap();
    let hit = index.blocks[7];
    disk.flip(Path::new(PATH), hit.offset + hit.len / 2, 3).unwrap();
    let file = open(&disk);
    let damaged = damaged_blocks(&*file, &index).unwrap();
    assert!(damaged.len() == 1 && damaged[0].block == hit && damaged[0].actual.is_some(), "{damaged:?}");
    for block in &index.blocks {
        let mut seen = Seen::default();
        let read = read_block(&*file, block, &Limits::default(), &mut seen);
        if *block == hit {
            let error = read.unwrap_err();
            assert!(seen.keys.is_empty(), "nothing of it is applied");
            let expected = format!(
                "RDB at offset {}, reading a block: block 8 of {} bytes, which held {} keys, is not what was written",
                hit.offset, hit.len, hit.keys
            );
            assert_eq!(error.to_string(), expected);
        } else {
            read.unwrap();
        }
    }
}

/// A block whose bytes still parse is known by its checksum also when the file is read from front to end.
#[test]
fn reading_from_front_to_end_compares_blocks() {
    let (disk, _) = saved(RdbOptions { compression: false, ..indexed() });
    let index = index(&disk).unwrap();
    let bytes = read_file(&disk, Path::new(PATH)).unwrap();
    let text = bytes.windows(5).position(|window| window == b"xxxxx").unwrap() as u64;
    let hit = index.blocks.iter().find(|block| block.range().contains(&text)).unwrap();
    disk.flip(Path::new(PATH), text + 2, 0).unwrap();
    let error = sequentially(&disk).err().expect("an error");
    let text = explain(&*open(&disk), &error);
    let named = format!("1 are damaged: block {} ({} bytes from offset {} on,", hit.number, hit.len, hit.offset);
    assert!(text.contains(&named), "{text}");
    assert!(matches!(error.problem, RdbProblem::Block { number, .. } if number == hit.number), "{error}");
    assert_eq!(error.offset, hit.offset);
}

#[test]
fn a_field_behind_a_block_is_proven_too() {
    let (disk, _) = saved(indexed());
    let index = index(&disk).unwrap();
    let IndexedBlock { offset, len, .. } = index.blocks[3];
    disk.flip(Path::new(PATH), offset + len + 20, 0).unwrap();
    let damaged = damaged_blocks(&*open(&disk), &index).unwrap();
    assert!(damaged.len() == 1 && damaged[0].block.number == 4 && damaged[0].actual.is_none());
    assert!(read_block(&*open(&disk), &index.blocks[3], &Limits::default(), &mut Seen::default()).is_err());
}

quickcheck! {
    /// Whatever bit of a file is wrong: there is no index, or it is the one that was written and names what is damaged.
    fn damage_is_found_or_ends_the_index(at: u64, bit: u8, cut: bool) -> bool {
        static SAVED: OnceLock<SimDisk> = OnceLock::new();
        let disk = SAVED.get_or_init(|| saved(RdbOptions { block_bytes: Some(60_000), ..indexed() }).0).fork();
        let (whole, len) = (index(&disk).unwrap(), open(&disk).len().unwrap());
        let at = at % len;
        if cut {
            disk.truncate(Path::new(PATH), at).unwrap();
        } else {
            disk.flip(Path::new(PATH), at, bit % 8).unwrap();
        }
        let file = open(&disk);
        let read = read_file_source(&mut FileSource::new(&*file).unwrap(), &Limits::default(), &mut Ignored);
        assert!(read.is_err(), "the file's checksum sees everything");
        match index(&disk) {
            None => true,
            Some(found) => {
                let damaged = damaged_blocks(&*open(&disk), &found).unwrap();
                found == whole && damaged.len() == 1 && {
                    let block = damaged[0].block;
                    (block.offset..block.offset + block.len + BLOCK_FIELD_BYTES).contains(&at)
                }
            }
        }
    }
}

#[test]
fn files_of_others_have_no_index() {
    let disk = SimDisk::new();
    for bytes in
        [&b""[..], b"REDIS0010", &[0; 203], &[b'0'; 5000], include_bytes!("../../../../../tests/fixtures/rdb/base.rdb")]
    {
        replace_file(&disk, Path::new(PATH), bytes).unwrap();
        assert_eq!(index(&disk), None);
    }
}

#[test]
fn consumers_keep_their_times() {
    let limits = Limits::default();
    let mut stream = Stream::new();
    stream.add(StreamId::new(1, 1), &[b"f", b"v"], &limits);
    for (name, times) in [("one", &[(5, Some(4)), (6, None)][..]), ("two", &[(7, Some(7))])] {
        let mut group = Group::new(name.as_bytes(), StreamId::new(0, 0), None);
        for (number, (seen, active)) in times.iter().enumerate() {
            let consumer = format!("c{number}");
            assert!(group.add_consumer(consumer.as_bytes(), *seen));
            group.edit_consumer(consumer.as_bytes(), |consumer| consumer.active_at = *active);
        }
        assert!(stream.add_group(group));
    }
    let mut store = Keyspace::new(1, limits);
    store.db_mut(0).set(b"s", Value::from(stream), Ttl::At(UnixMillis(NOW.0 + 1)), 1);
    for version in [10, 11] {
        let disk = SimDisk::new();
        save(&disk, &store, RdbOptions { version, ..indexed() }).unwrap();
        assert_eq!(sequentially(&disk).unwrap().keys, held(&store), "version {version}");
        let text = read_file(&disk, Path::new(PATH)).unwrap();
        assert_eq!(text.windows(13).any(|window| window == b"graven-active"), version == 10);
    }
    // Times of another stream are refused.
    let disk = SimDisk::new();
    save(&disk, &store, RdbOptions { checksum: false, ..indexed() }).unwrap();
    let mut bytes = read_file(&disk, Path::new(PATH)).unwrap();
    let at = bytes.windows(13).position(|window| window == b"graven-active").unwrap() + 13;
    assert_eq!(bytes[at], 48);
    bytes[at] = 32;
    bytes.drain(at + 1..at + 17);
    replace_file(&disk, Path::new(PATH), &bytes).unwrap();
    let error = sequentially(&disk).err().expect("an error").to_string();
    assert!(
        error.ends_with("reading times of key \"s\" of database 0: they are not those of its consumers"),
        "{error}"
    );
}
