//! The documents' own bytes: what `format-spec/` shows is decoded as what it says, so that text and code cannot drift.

use graven::env::disk::sim::SimDisk;
use graven::env::{Disk, OpenMode};
use graven::persist::log::{Item, OpenedSegment, SegmentReader, format};
use graven::persist::{CloseState, Lsn, Manifest, Scanned, scan};
use std::path::Path;

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
