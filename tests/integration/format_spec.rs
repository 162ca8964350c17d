//! The documents' own bytes: what `format-spec/` shows is decoded as what it says, so that text and code cannot drift.

use graven::env::disk::read_file;
use graven::env::disk::sim::SimDisk;
use graven::env::{Disk, DiskFile, OpenMode, UnixMillis};
use graven::keyspace::{AccessClock, AccessPolicy, Keyspace, Ttl};
use graven::persist::archive::{Contents, Unpacked};
use graven::persist::log::{Item, OpenedSegment, SegmentReader, format};
use graven::persist::rdb::{self, BLOCK_FIELD_BYTES, Index, RdbEntry, RdbOptions, RdbSink, Refusal, SavedAccess};
use graven::persist::{CloseState, Lineage, Lsn, Manifest, Position, SaveStep, Scanned, Timeline, scan};
use graven::value::{Limits, Str, Value};
use std::path::Path;
use std::sync::Arc;

/// The bytes of the first `hex` block of a document.
fn shown(document: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec").join(document);
    let text = std::fs::read_to_string(path).expect("the document");
    let block = text.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a hex block");
    let digits = block.lines().filter_map(|line| line.get(10..57)).flat_map(str::split_whitespace);
    digits.map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}

#[test]
fn the_segment_in_the_document_reads_as_the_document_says() {
    let bytes = shown("log.md");
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/segment"), OpenMode::CreateNew).expect("a file");
    file.write_all_at(&bytes, 0).expect("written");
    let OpenedSegment::Segment(mut reader) = SegmentReader::open(&*file).expect("readable") else {
        panic!("not a segment");
    };
    assert_eq!((reader.header().number, reader.header().first, reader.header().db), (1, Lsn(1), 0));
    let (mut commands, mut before) = (Vec::new(), Lsn(1));
    loop {
        match reader.next().expect("readable") {
            Item::Frame { header, payload } => {
                assert_eq!(header.durable, before, "each frame says that the one before is durable");
                before = header.end();
                let Scanned::Command { words, .. } = scan(payload, 0) else { panic!("no command") };
                let words: Vec<_> = words.into_iter().map(|word| String::from_utf8_lossy(&payload[word])).collect();
                commands.push(words.join(" "));
            }
            Item::Sealed => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(commands, ["set a 1", "lpush l 1 2 3", "incr a"]);
    assert_eq!(reader.lsn(), Lsn(0x5c));
    assert_eq!(bytes.len() as u64, reader.offset() + format::END_BYTES as u64);
    assert_eq!(&bytes[0x270..0x270 + 12], b"#GRAVEN-END ");
}

#[test]
fn the_widths_in_the_document_are_those_of_the_code() {
    assert_eq!(
        (format::SEGMENT_HEADER_BYTES, format::FRAME_HEADER_BYTES, format::END_BYTES, format::FRAME_BYTES_MAX),
        (213, 99, 50, 1 << 20)
    );
}

#[test]
fn the_manifest_in_the_document_reads_as_the_document_says() {
    let manifest = Manifest::decode(&shown("manifest.md")).expect("a manifest");
    assert!(matches!(manifest.state, CloseState::Closed { .. } | CloseState::Open));
    assert_eq!(manifest.files[0].name, "appendonly.aof.1.incr.aof");
}

#[test]
fn the_archive_in_the_document_reads_as_the_document_says() {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/4.zst"), OpenMode::CreateNew).expect("a file");
    let bytes = shown("archive.md");
    file.write_all_at(&bytes, 0).expect("written");
    let unpacked = Unpacked::open(file).expect("a file of the archive");
    unpacked.verify().expect("all of it");
    let mut content = vec![0; unpacked.packed.raw as usize];
    unpacked.read_exact_at(&mut content, 0).expect("reads");
    assert!(content.starts_with(b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\n0\r\n*3"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/archive.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let block = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a manifest");
    let contents = Contents::decode(block.as_bytes()).expect("a manifest");
    let [named] = &contents.files[..] else { panic!("one file") };
    assert_eq!((named.label.clone(), contents.next), (unpacked.label.clone(), 5));
    assert_eq!((named.raw, named.crc, named.packed), (81, unpacked.packed.crc, bytes.len() as u64));
}

fn snapshot_position() -> Position {
    let [timeline, parent] =
        [b"0123456789abcdef0123456789abcdef01234567", &[b'0'; 40]].map(|digits| Timeline::parse(digits));
    let (timeline, parent) = (timeline.expect("digits"), parent.expect("digits"));
    Position { lineage: Lineage { timeline, parent, fork: Lsn(1) }, lsn: Lsn(42) }
}

/// The file of the document, written anew.
fn snapshot() -> Vec<u8> {
    let mut store = Keyspace::new(10, Limits::default());
    let text = |text: &[u8]| Value::from(Str::encode(text));
    store.db_mut(0).set(b"greeting", text(b"hello"), Ttl::Clear, 1);
    store.db_mut(9).set(b"answer", text(b"42"), Ttl::At(UnixMillis(1_700_000_000_000)), 2);
    let options = RdbOptions {
        path: "/dump.rdb".into(),
        version: 10,
        compression: true,
        checksum: true,
        sync_every: None,
        access: SavedAccess::Nothing,
        clock: AccessClock::new(AccessPolicy::Lru, UnixMillis(0)),
        fields: vec![("redis-ver", "7.2.4".into())],
        libraries: Vec::new(),
        position: Some(snapshot_position()),
        block_bytes: Some(1),
        helpers: 0,
    };
    let disk = SimDisk::new();
    let mut writer = rdb::begin(Arc::new(disk.clone()), store.snapshot(), options);
    while writer.step().expect("writes") == SaveStep::Worked {}
    read_file(&disk, Path::new("/dump.rdb")).expect("a file")
}

#[derive(Default)]
struct Keys(Vec<String>);

impl RdbSink for Keys {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        let Value::Str(text) = &entry.value else { return Err("a string was written".into()) };
        let (key, text) = (String::from_utf8_lossy(entry.key), String::from_utf8_lossy(&text.to_vec()).into_owned());
        self.0.push(format!("{} {key} {text} {:?}", entry.db, entry.expiry.map(|at| at.0)));
        Ok(())
    }

    fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Err("none was written".into())
    }
}

#[test]
fn the_snapshot_in_the_document_reads_as_the_document_says() {
    let bytes = shown("snapshot.md");
    assert_eq!(bytes, snapshot(), "what is written now");
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/dump.rdb"), OpenMode::CreateNew).expect("a file");
    file.write_all_at(&bytes, 0).expect("written");
    let (limits, mut all) = (Limits::default(), Keys::default());
    rdb::read(&mut rdb::FileSource::new(&*file).expect("a length"), &limits, &mut all).expect("reads");
    assert_eq!(all.0, ["0 greeting hello None", "9 answer 42 Some(1700000000000)"]);
    let index = Index::read(&*file).expect("readable").expect("an index");
    assert_eq!(index.position, Some(snapshot_position()));
    assert_eq!((index.head.len, index.blocks[0].offset, index.blocks[1].db), (26, 26 + BLOCK_FIELD_BYTES, 9));
    let mut second = Keys::default();
    rdb::read_block(&*file, &index.blocks[1], &limits, &mut second).expect("reads");
    assert_eq!(second.0, all.0[1..]);
    assert_eq!(rdb::damaged_blocks(&*file, &index).expect("readable"), []);
    let end = bytes.len() - 203;
    assert_eq!((BLOCK_FIELD_BYTES, &bytes[end..end + 14]), (71, &b"\xfa\x0agraven-end\x40\xb4"[..]));
}
