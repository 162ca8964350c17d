//! A file of each version, assembled byte by byte after the rdb.c, rdb.h and t_stream.c of the server that wrote it, with
//! every form of value that this version introduced.

use super::*;
use crate::persist::rdb::checksum::sum;
use crate::value::payload::object;
use crate::value::payload::tests::{Bytes, describe, listpack, ziplist};

/// What a file held, a line for each key.
#[derive(Default)]
struct Lines(Vec<String>);

impl RdbSink for Lines {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        let RdbEntry { db, key, value, expiry, idle_seconds, frequency, .. } = entry;
        let mut line = format!("{db} {} {}", String::from_utf8_lossy(key), describe(&value));
        for (name, number) in [
            ("expiry", expiry.map(|at| at.0)),
            ("idle", idle_seconds.map(|seconds| seconds as i64)),
            ("frequency", frequency.map(i64::from)),
        ] {
            if let Some(number) = number {
                line.push_str(&format!(" | {name} {number}"));
            }
        }
        self.0.push(line);
        Ok(())
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.0.push(format!("library {}", String::from_utf8_lossy(text)));
        Ok(())
    }
}

struct File {
    bytes: Bytes,
    sealed: bool,
}

fn file(header: &str) -> File {
    let sealed = !matches!(header, "REDIS0001" | "REDIS0002" | "REDIS0003" | "REDIS0004");
    File { bytes: Bytes(header.as_bytes().to_vec()), sealed }
}

impl File {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes = self.bytes.raw(bytes);
        self
    }

    /// The form, the key, and object bytes as `make` builds them.
    fn key(mut self, form: u8, key: &str, make: impl FnOnce(Bytes) -> Bytes) -> Self {
        self.bytes = make(self.bytes.raw(&[form]).string(key));
        self
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.bytes = self.bytes.raw(&[0xfa]).string(name).string(value);
        self
    }

    /// The end mark; from version 5 on, the checksum.
    fn end(self) -> Vec<u8> {
        let sealed = self.sealed;
        let mut bytes = self.raw(&[0xff]).bytes.0;
        if sealed {
            bytes.extend_from_slice(&sum(&bytes).to_le_bytes());
        }
        bytes
    }
}

fn check(bytes: &[u8], version: u32, expected: &[&str]) {
    let mut lines = Lines::default();
    let loaded = read_bytes(bytes, &Limits::default(), &mut lines).unwrap_or_else(|error| panic!("{version}: {error}"));
    assert_eq!(lines.0, expected, "version {version}");
    assert_eq!((loaded.version, loaded.end, loaded.checksum.is_some()), (version, bytes.len() as u64, version >= 5));
    for cut in 0..bytes.len() {
        let error = read_bytes(&bytes[..cut], &Limits::default(), &mut Lines::default()).unwrap_err();
        assert!(error.offset <= cut as u64, "version {version} cut at {cut}: {error}");
    }
}

const PAIRS: [&[u8]; 4] = [b"f", b"v", b"n", b"42"];

/// Redis 1.2 and 2.0: strings, and collections element by element; deadlines in seconds; no checksum.
#[test]
fn version_1() {
    let bytes = file("REDIS0001")
        .raw(&[0xfe, 3])
        .key(object::STRING, "s", |b| b.string("text"))
        .key(object::STRING, "i", |b| b.raw(&[0xc1, 0x39, 0x30]))
        .key(object::LIST, "l", |b| b.length(2).string("a").raw(&[0xc0, 7]))
        .key(object::SET, "t", |b| b.length(2).string("x").string("y"))
        .key(object::ZSET, "z", |b| b.length(2).string("m").raw(b"\x041.25").string("top").raw(&[254]))
        .raw(&[0xfd, 0, 0xf1, 0x53, 0x65])
        .key(object::HASH, "h", |b| b.length(1).string("f").string("v"))
        .end();
    let expected = [
        "3 s string embstr text",
        "3 i string int 12345",
        "3 l list listpack a 7",
        "3 t set listpack x y",
        "3 z zset listpack m:1.25 top:inf",
        "3 h hash listpack f=v | expiry 1700000000000",
    ];
    check(&bytes, 1, &expected);
}

/// Redis 2.2 and 2.4: zipmaps, ziplists, intsets.
#[test]
fn version_2() {
    let bytes = file("REDIS0002")
        .raw(&[0xfe, 0])
        .key(object::HASH_ZIPMAP, "zipmap", |b| b.string(b"\x02\x01f\x01\x00v\x01n\x03\x01042!\xff".as_slice()))
        .key(object::LIST_ZIPLIST, "list", |b| b.string(ziplist(&[b"a", b"70000", b"-1"])))
        .key(object::SET_INTSET, "intset", |b| b.string(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0".as_slice()))
        .key(object::ZSET_ZIPLIST, "zset", |b| b.string(ziplist(&[b"one", b"1", b"two", b"2.5"])))
        .end();
    let expected = [
        "0 zipmap hash listpack f=v n=042",
        "0 list list listpack a 70000 -1",
        "0 intset set intset -1 5",
        "0 zset zset listpack one:1 two:2.5",
    ];
    check(&bytes, 2, &expected);
}

/// Redis 2.6 on its way: deadlines in milliseconds (3), hashes as ziplists (4), a checksum (5).
#[test]
fn versions_3_to_5() {
    for version in 3..=5 {
        let bytes = file(&format!("REDIS{version:04}"))
            .raw(&[0xfe, 0, 0xfc])
            .raw(&1_700_000_000_123_i64.to_le_bytes())
            .key(object::HASH_ZIPLIST, "h", |b| b.string(ziplist(&PAIRS)))
            .end();
        check(&bytes, version, &["0 h hash listpack f=v n=42 | expiry 1700000000123"]);
    }
}

/// Redis 2.8 and 3.0: integers of 8 and 24 bits in ziplists, compressed strings.
#[test]
fn version_6() {
    let bytes = file("REDIS0006")
        .raw(&[0xfe, 0])
        .key(object::LIST_ZIPLIST, "l", |b| b.string(ziplist(&[b"12", b"100", b"8388607", b"-8388608"])))
        .key(object::STRING, "lzf", |b| b.raw(&[0xc3, 5, 10, 1, b'a', b'b', 0xc0, 1]))
        .end();
    check(&bytes, 6, &["0 l list listpack 12 100 8388607 -8388608", "0 lzf string embstr ababababab"]);
}

/// Redis 3.2: AUX fields, sizes of databases, quicklists of ziplists.
#[test]
fn version_7() {
    let bytes = file("REDIS0007")
        .field("redis-ver", "3.2.0")
        .field("redis-bits", "64")
        .raw(&[0xfe, 1, 0xfb, 1, 0])
        .key(object::LIST_QUICKLIST, "l", |b| b.length(2).string(ziplist(&[b"a", b"b"])).string(ziplist(&[b"3"])))
        .end();
    check(&bytes, 7, &["1 l list quicklist a b 3"]);
}

/// Redis 4.0: scores in binary, lengths of 64 bits, data of modules.
#[test]
fn version_8() {
    let bytes = file("REDIS0008")
        .raw(b"\xf7\x81\x45\x20\x00\x00\x00\x00\x00\x01\x02\x01\x02\x2a\x00")
        .raw(&[0xfe, 0])
        .key(object::ZSET_2, "z", |b| b.length(1).string("m").raw(&(-0.5_f64).to_le_bytes()))
        .key(object::STRING, "s", |b| b.raw(&[0x81, 0, 0, 0, 0, 0, 0, 0, 2]).raw(b"xy"))
        .end();
    check(&bytes, 8, &["0 z zset listpack m:-0.5", "0 s string embstr xy"]);
}

/// A stream of one entry, 1-1, with field and value; its listpack as t_stream.c lays it out.
fn stream_node(bytes: Bytes) -> Bytes {
    let id = [1_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat();
    let node = listpack(&[b"1", b"0", b"1", b"f", b"0", b"2", b"0", b"0", b"v", b"4"]);
    // Number of nodes; ID and listpack of each; number of entries; last ID.
    bytes.length(1).string(id).string(node).length(1).length(1).length(1)
}

/// A group that has delivered that entry to one consumer.
fn group(bytes: Bytes, with_read: bool, with_active: bool) -> Bytes {
    let id = [1_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat();
    let mut bytes = bytes.length(1).string("g").length(1).length(1);
    if with_read {
        bytes = bytes.length(1);
    }
    bytes = bytes.length(1).raw(&id).raw(&2000_i64.to_le_bytes()).length(3);
    bytes = bytes.length(1).string("c").raw(&3000_i64.to_le_bytes());
    if with_active {
        bytes = bytes.raw(&1000_i64.to_le_bytes());
    }
    bytes.length(1).raw(&id)
}

/// Redis 5 and 6: streams, what is known of the uses of keys.
#[test]
fn version_9() {
    let bytes = file("REDIS0009")
        .raw(&[0xfe, 0])
        .raw(&[0xf8, 0x41, 0x00])
        .key(object::STREAM_LISTPACKS, "x", |b| group(stream_node(b), false, false))
        .raw(&[0xf9, 17])
        .key(object::STRING, "s", |b| b.string("v"))
        .end();
    let expected = [
        "0 x stream stream last 1-1 deleted 0-0 added 1; 1-1 [(b\"f\", b\"v\")]; \
         group g last 1-1 read Some(1), 1-1 c 2000 3, consumer c seen 3000 active Some(3000) 1-1 | idle 256",
        "0 s string embstr v | frequency 17",
    ];
    check(&bytes, 9, &expected);
}

/// Redis 7.0: listpacks, quicklists with plain nodes, functions, streams that know what was deleted.
#[test]
fn version_10() {
    let bytes = file("REDIS0010")
        .raw(b"\xf5\x05lib-1")
        .raw(&[0xfe, 0])
        .key(object::HASH_LISTPACK, "h", |b| b.string(listpack(&PAIRS)))
        .key(object::ZSET_LISTPACK, "z", |b| b.string(listpack(&[b"m", b"1.5"])))
        .key(object::LIST_QUICKLIST_2, "l", |b| {
            b.length(2).length(1).string("plain").length(2).string(listpack(&[b"packed", b"7"]))
        })
        .key(object::STREAM_LISTPACKS_2, "x", |b| {
            let tail = stream_node(b).length(1).length(1).length(0).length(0).length(1);
            group(tail, true, false)
        })
        .end();
    let expected = [
        "library lib-1",
        "0 h hash listpack f=v n=42",
        "0 z zset listpack m:1.5",
        "0 l list quicklist plain packed 7",
        "0 x stream stream last 1-1 deleted 0-0 added 1; 1-1 [(b\"f\", b\"v\")]; \
         group g last 1-1 read Some(1), 1-1 c 2000 3, consumer c seen 3000 active Some(3000) 1-1",
    ];
    check(&bytes, 10, &expected);
}

/// Redis 7.2 and Valkey 8: sets as listpacks, a second time of consumers. Redis 7.4 (12) and 8 (13), and Valkey 9 (80), add
/// sizes of slots.
#[test]
fn versions_11_to_13_and_80() {
    for (header, version) in [("REDIS0011", 11), ("REDIS0012", 12), ("REDIS0013", 13), ("VALKEY080", 80)] {
        let slots: &[u8] = if version > 11 { b"\xf4\x41\x02\x01\x00" } else { b"" };
        let bytes = file(header)
            .raw(&[0xfe, 0, 0xfb, 2, 0])
            .raw(slots)
            .key(object::SET_LISTPACK, "t", |b| b.string(listpack(&[b"a", b"2"])))
            .key(object::STREAM_LISTPACKS_3, "x", |b| {
                let tail = stream_node(b).length(1).length(1).length(0).length(0).length(1);
                group(tail, true, true)
            })
            .end();
        let expected = [
            "0 t set listpack 2 a",
            "0 x stream stream last 1-1 deleted 0-0 added 1; 1-1 [(b\"f\", b\"v\")]; \
             group g last 1-1 read Some(1), 1-1 c 2000 3, consumer c seen 3000 active Some(1000) 1-1",
        ];
        check(&bytes, version, &expected);
    }
}

/// Whatever a hostile file claims: an error that says where and at what, before anything is set aside for the claim.
#[test]
fn hostile_files_are_refused_with_their_place() {
    let huge = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let node = |items: &[&[u8]]| listpack(items);
    let id = [0; 16];
    for (what, file, expected) in [
        ("a key's length", file("REDIS0010").raw(&[0]).raw(&huge), "reading key: the input ends after"),
        (
            "a string's length",
            file("REDIS0010").key(0, "k", |b| b.raw(&huge)),
            "reading string of key \"k\" of database 0: the input ends after",
        ),
        (
            "an AUX field's length",
            file("REDIS0010").raw(&[0xfa]).raw(&huge),
            "reading name of an AUX field: the input ends after",
        ),
        ("a database's number", file("REDIS0010").raw(&[0xfe]).raw(&huge), "reading database number: database number"),
        (
            "a list's length",
            file("REDIS0010").key(object::LIST_QUICKLIST_2, "k", |b| b.raw(&huge)),
            "number of nodes of a list of key \"k\" of database 0: the input ends after",
        ),
        (
            "what a compressed string unpacks to",
            file("REDIS0010").key(0, "k", |b| b.raw(&[0xc3, 2]).raw(&huge).raw(&[0, b'a'])),
            "reading string of key \"k\" of database 0: compressed bytes are damaged",
        ),
        (
            "a listpack that ends inside an element",
            file("REDIS0010").key(object::HASH_LISTPACK, "k", |b| {
                let mut bytes = node(&PAIRS);
                bytes[6] = 0xbf;
                b.string(bytes)
            }),
            "reading packed hash of key \"k\" of database 0",
        ),
        (
            "a listpack that says it is longer",
            file("REDIS0010").key(object::ZSET_LISTPACK, "k", |b| {
                let mut bytes = node(&PAIRS);
                bytes[0] += 1;
                b.string(bytes)
            }),
            "reading packed sorted set of key \"k\" of database 0",
        ),
        (
            "a stream's node that promises more entries",
            file("REDIS0010").key(object::STREAM_LISTPACKS_2, "k", |b| {
                b.length(1).string(id).string(node(&[b"9", b"0", b"1", b"f", b"0"])).length(9)
            }),
            "reading node of a stream of key \"k\" of database 0",
        ),
        (
            "fields twice",
            file("REDIS0010").key(object::HASH, "k", |b| b.length(2).string("f").string("1").string("f").string("2")),
            "reading field of a hash of key \"k\" of database 0: an element occurs twice",
        ),
        (
            "a set as large as the rest of the file",
            file("REDIS0010").key(object::SET, "k", |b| b.raw(&[0x80, 0x00, 0xff, 0xff, 0xff])),
            "reading length of a set of key \"k\" of database 0: the input ends after",
        ),
    ] {
        let bytes = file.end();
        let error = read_bytes(&bytes, &Limits::default(), &mut Lines::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(error.offset <= bytes.len() as u64);
    }
}
