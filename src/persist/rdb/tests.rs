mod golden;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use quickcheck::quickcheck;

use super::*;
use crate::ds::{Intset, Listpack, ListpackSlice};
use crate::env::{DiskFile, UnixMillis};
use crate::value::{Limits, Node, Value, ValueRef};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rdb/", $name))
    };
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Zset(Vec<(Vec<u8>, f64)>),
    Stream(String),
}

impl From<&Value> for Content {
    fn from(value: &Value) -> Self {
        match value {
            Value::Str(string) => Self::Str(string.to_vec()),
            Value::List(list) => Self::List(list.iter().map(|item| item.to_vec()).collect()),
            Value::Set(set) => Self::Set(set.iter().map(|item| item.to_vec()).collect()),
            Value::Hash(hash) => Self::Hash(hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect()),
            Value::Zset(zset) => Self::Zset(zset.iter().map(|(member, score)| (member.to_vec(), score)).collect()),
            Value::Stream(stream) => Self::Stream(stream.to_text()),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    content: Content,
    encoding: &'static str,
    expiry: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

#[derive(Debug, Default, PartialEq)]
struct Collected {
    keys: BTreeMap<(u32, Vec<u8>), Seen>,
    aux: BTreeMap<Vec<u8>, Vec<u8>>,
    libraries: Vec<Vec<u8>>,
    sizes: Vec<(u32, u64, u64)>,
    offsets: Vec<u64>,
    left_out: Vec<String>,
}

impl RdbSink for Collected {
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
        let seen = Seen {
            content: Content::from(&entry.value),
            encoding: entry.value.encoding(),
            expiry: entry.expiry.map(|UnixMillis(at)| at),
            idle_seconds: entry.idle_seconds,
            frequency: entry.frequency,
        };
        self.offsets.push(entry.offset);
        match self.keys.insert((entry.db, entry.key.to_vec()), seen) {
            None => Ok(()),
            Some(_) => Err("the key occurs twice".into()),
        }
    }

    fn library(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.libraries.push(text.to_vec());
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.aux.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    fn left_out(&mut self, what: &str) {
        self.left_out.push(what.to_owned());
    }

    fn sizes(&mut self, db: u32, keys: u64, expiries: u64) {
        self.sizes.push((db, keys, expiries));
    }
}

fn load(bytes: &[u8]) -> (Collected, Result<Loaded, RdbError>) {
    let mut sink = Collected::default();
    let loaded = read_bytes(bytes, &Limits::default(), &mut sink);
    (sink, loaded)
}

fn texts<const N: usize>(elements: [&str; N]) -> Vec<Vec<u8>> {
    elements.iter().map(|element| element.as_bytes().to_vec()).collect()
}

fn string(text: impl AsRef<[u8]>) -> Content {
    Content::Str(text.as_ref().to_vec())
}

fn list<const N: usize>(elements: [&str; N]) -> Content {
    Content::List(texts(elements))
}

fn set(elements: impl IntoIterator<Item = String>) -> Content {
    Content::Set(elements.into_iter().map(String::into_bytes).collect())
}

fn hash(pairs: impl IntoIterator<Item = (String, String)>) -> Content {
    Content::Hash(pairs.into_iter().map(|(f, v)| (f.into_bytes(), v.into_bytes())).collect())
}

fn zset(pairs: impl IntoIterator<Item = (String, f64)>) -> Content {
    Content::Zset(pairs.into_iter().map(|(member, score)| (member.into_bytes(), score)).collect())
}

fn owned<const N: usize>(elements: [&str; N]) -> impl Iterator<Item = String> {
    elements.map(str::to_owned).into_iter()
}

const FAR: i64 = 4_102_444_800_000;

/// What `encodings.commands` makes: key, content, encoding here, expiry.
fn expected() -> Vec<(&'static str, Content, &'static str, Option<i64>)> {
    let skiplist = (1..=200).map(|i| (format!("member {i}"), f64::from(i) / 8.0));
    let edges = |name: &str, score| std::iter::once((name.to_owned(), score));
    let packed_zset = [
        ("lowest", f64::NEG_INFINITY),
        ("zero", 0.0),
        ("eins", 1.0),
        ("one", 1.0),
        ("two", 2.5),
        ("42", 17.0),
        ("huge", 1e300),
        ("highest", f64::INFINITY),
    ];
    let packed_hash = [("field", "value"), ("number", "42"), ("", "empty-field"), ("empty", "")];
    vec![
        ("int8", string("-7"), "int", None),
        ("int16", string("-1234"), "int", None),
        ("int32", string("123456789"), "int", None),
        ("int64", string("9223372036854775807"), "int", None),
        ("empty", string(""), "embstr", None),
        ("short", string("hello"), "embstr", None),
        ("binary", string(b"\x00\xff\r\n\x80"), "embstr", None),
        ("leading-zero", string("007"), "embstr", None),
        ("long-plain", string("The quick brown fox jumps over the lazy dog, twice, and then rests."), "raw", None),
        ("lzf", string("abcdefgh".repeat(500)), "raw", None),
        ("lzf-one-byte", string("a".repeat(70_000)), "raw", None),
        (
            "list-small",
            list(["a", "b", "c", "1", "-1", "4096", "70000", "", "9223372036854775807"]),
            "listpack",
            Some(FAR),
        ),
        (
            "list-large",
            Content::List((1..=3000).map(|i| format!("element {i}").into_bytes()).collect()),
            "quicklist",
            None,
        ),
        ("list-plain", list(["before", &"p".repeat(2000), "between", &"q".repeat(9000), "after"]), "quicklist", None),
        ("list-wide", list([&"w".repeat(5000), &"x".repeat(5000), "17"]), "quicklist", None),
        ("set-int16", set(owned(["1", "-2", "300"])), "intset", None),
        ("set-int32", set(owned(["1", "-2", "70000"])), "intset", None),
        ("set-int64", set(owned(["1", "-2", "5000000000"])), "intset", None),
        ("set-table", set(owned(["a", "b", "3", ""])), "listpack", None),
        ("set-large", set((1..=700).map(|i| i.to_string())), "hashtable", None),
        ("zset-listpack", zset(packed_zset.map(|(m, s)| (m.to_owned(), s))), "listpack", None),
        (
            "zset-skiplist",
            zset(edges("lowest", f64::NEG_INFINITY).chain(skiplist).chain(edges("highest", f64::INFINITY))),
            "skiplist",
            None,
        ),
        ("zset-long-member", zset([("m".repeat(65), 1.5)]), "skiplist", None),
        ("hash-listpack", hash(packed_hash.map(|(f, v)| (f.to_owned(), v.to_owned()))), "listpack", None),
        ("hash-table", hash((1..=200).map(|i| (format!("field {i}"), i.to_string()))), "hashtable", None),
        ("hash-long-value", hash([("f".to_owned(), "v".repeat(65))]), "hashtable", None),
        ("expires-late", string("here"), "embstr", Some(FAR + 123)),
        ("expires-early", string("gone"), "embstr", Some(1000)),
    ]
}

fn check_encodings(bytes: &[u8], with_checksum: bool) {
    let (sink, loaded) = load(bytes);
    let loaded = loaded.unwrap();
    let mut keys = sink.keys;
    for (key, content, encoding, expiry) in expected() {
        let seen = keys.remove(&(0, key.into())).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(seen, Seen { content, encoding, expiry, idle_seconds: None, frequency: None }, "{key}");
    }
    assert_eq!(keys.remove(&(9, b"other-database".to_vec())).unwrap().content, string("yes"));
    assert!(keys.is_empty(), "{:?}", keys.keys());
    assert_eq!((loaded.version, loaded.keys, loaded.empty_keys), (10, 29, 0));
    assert_eq!((loaded.end, loaded.checksum.is_some()), (bytes.len() as u64, with_checksum));
    assert_eq!(sink.aux[&b"redis-ver"[..]], b"7.0.15");
    assert_eq!(sink.sizes, [(0, 28, 3), (9, 1, 0)]);
    assert!(sink.offsets.is_sorted());
}

#[test]
fn every_encoding_of_a_stock_file_is_read() {
    check_encodings(fixture!("encodings.rdb"), true);
    check_encodings(fixture!("encodings-uncompressed.rdb"), false);
}

#[test]
fn access_data_reaches_the_sink() {
    let (sink, loaded) = load(fixture!("lfu.rdb"));
    loaded.unwrap();
    assert!(
        sink.keys.values().all(|seen| seen.frequency.is_some_and(|count| count >= 5) && seen.idle_seconds.is_none())
    );
    let (sink, loaded) = load(fixture!("lru.rdb"));
    loaded.unwrap();
    assert!(sink.keys.values().all(|seen| seen.idle_seconds.is_some() && seen.frequency.is_none()));
}

#[test]
fn a_base_and_an_empty_file_are_read() {
    let (sink, loaded) = load(fixture!("base.rdb"));
    assert_eq!(loaded.unwrap().keys, 3);
    assert_eq!(sink.aux[&b"aof-base"[..]], b"1");
    assert_eq!(sink.keys[&(0, b"b".to_vec())].content, list(["x", "y"]));
    let (sink, loaded) = load(fixture!("empty.rdb"));
    assert_eq!((loaded.unwrap().keys, sink.keys.len()), (0, 0));
}

#[test]
fn streams_are_read() {
    let (sink, loaded) = load(fixture!("streams.rdb"));
    assert_eq!(loaded.unwrap().keys, 4);
    let read = |key: &[u8]| match &sink.keys[&(0, key.to_vec())].content {
        Content::Stream(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(b"plain"), "last 1-1 deleted 0-0 added 1; 1-1 [(b\"field\", b\"value\")]");
    assert_eq!(
        read(b"mixed"),
        "last 18446744073709551615-1 deleted 2-1 added 6; 1-1 [(b\"a\", 1), (b\"b\", b\"two\")]; \
         1-2 [(b\"a\", -70000), (b\"b\", 5000000000)]; 2-2 [(b\"a\", 3), (b\"b\", 4)]; \
         3-0 [(b\"a\", 3), (b\"b\", 4)]; 18446744073709551615-1 [(b\"c\", b\"a text that is so long that it is worth \
         compressing, compressing, compressing\")]"
    );
    assert_eq!(read(b"emptied"), "last 5-5 deleted 5-5 added 1; group readers last 0-0 read None");
    assert_eq!(
        read(b"jobs"),
        "last 5-1 deleted 0-0 added 5; 2-1 [(b\"n\", 2)]; 3-1 [(b\"n\", 3)]; 4-1 [(b\"n\", 4)]; 5-1 [(b\"n\", 5)]; \
         group idle last 5-1 read None, consumer nobody seen 1795263081318 active Some(1795263081318) ; \
         group workers last 5-1 read Some(5), 2-1 bob 1000 7, 4-1 alice 2000 1, 5-1 bob 3000 1, \
         consumer alice seen 1795263081323 active Some(1795263081323) 4-1, \
         consumer bob seen 1795263081324 active Some(1795263081324) 2-1 5-1"
    );
    assert!(matches!(load(fixture!("stream.rdb")).0.keys[&(0, b"events".to_vec())].content, Content::Stream(_)));
}

/// In an append-only file the commands begin where the RDB part ends.
#[test]
fn the_end_is_reported_where_commands_follow() {
    let mut bytes = fixture!("base.rdb").to_vec();
    let end = bytes.len() as u64;
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    assert!(is_rdb(&bytes));
    assert_eq!(load(&bytes).1.unwrap().end, end);
}

#[test]
fn libraries_of_functions_are_handed_over() {
    let (sink, loaded) = load(fixture!("function.rdb"));
    loaded.unwrap();
    let texts: Vec<_> = sink.libraries.iter().map(|text| String::from_utf8_lossy(text)).collect();
    assert!(texts.len() == 1 && texts[0].starts_with("#!lua name="), "{texts:?}");
}

#[test]
fn what_is_not_supported_stops_by_name() {
    let message = |bytes: &[u8]| load(bytes).1.unwrap_err().to_string();
    let module = |operation: &[u8]| {
        let mut bytes = b"REDIS0011".to_vec();
        bytes.extend_from_slice(operation);
        // "ReJSON-RL" with encoding version 3.
        let id = b"ReJSON-RL".iter().fold(0u64, |id, c| {
            let characters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            id << 6 | characters.iter().position(|known| known == c).unwrap() as u64
        });
        bytes.push(0x81);
        bytes.extend_from_slice(&(id << 10 | 3).to_be_bytes());
        bytes
    };
    assert_eq!(
        message(&module(b"\x07\x01k")),
        "RDB at offset 9, reading key \"k\" of database 0: key of type ReJSON-RL (of a module) is not supported yet"
    );
    assert_eq!(
        message(&[&module(b"\xf7")[..], &[9]].concat()),
        "RDB at offset 19, reading data of a module: data of a module (ReJSON-RL) of kind 9 is not supported yet"
    );
    let aux = [&module(b"\xf7")[..], b"\x02\x01\x01\x7f\xff\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\x03abc\0"].concat();
    let (sink, loaded) = load(&[&aux[..], b"\x00\x01k\x01v\xff", &[0; 8]].concat());
    assert_eq!(loaded.unwrap().keys, 1);
    assert_eq!(sink.left_out, ["data of the module with the type ReJSON-RL, which is not there"]);
    for (header, version) in [(b"REDIS0014", 14), (b"REDIS0080", 80), (b"VALKEY081", 81), (b"REDIS0000", 0)] {
        let expected =
            format!("RDB at offset 0, reading header: version {version} is not supported, 1 to 13 and Valkey's 80 are");
        assert_eq!(message(header), expected);
    }
    assert_eq!(message(b"REDIS00+1\xff"), "RDB at offset 0, reading header: not an RDB file");
    assert_eq!(message(b"*1\r\n$4\r\nPING\r\n"), "RDB at offset 0, reading header: not an RDB file");
    assert_eq!(message(b"REDIS0011\xf2"), "RDB at offset 9, reading operation: unknown operation 242");
    for header in [b"REDIS0012", b"VALKEY080"] {
        for form in 22..=25 {
            let file = [&header[..], &[form], b"\x01k\x01"].concat();
            assert_eq!(
                message(&file),
                "RDB at offset 9, reading key \"k\" of database 0: key of type hash whose fields expire is not supported yet"
            );
        }
    }
    assert_eq!(
        message(b"VALKEY080\xf3"),
        "RDB at offset 9, reading operation 243: a slot's import or a module's data about a key is not supported yet"
    );
}

#[test]
fn a_wrong_checksum_is_told() {
    let mut bytes = fixture!("base.rdb").to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(load(&bytes).1.unwrap_err().problem, RdbProblem::Checksum { .. }));
    // A changed value is noticed by the checksum alone.
    let mut bytes = fixture!("base.rdb").to_vec();
    let at = bytes.windows(2).rposition(|w| w == b"\x81y").unwrap();
    bytes[at + 1] = b'z';
    let (sink, loaded) = load(&bytes);
    assert!(matches!(loaded.unwrap_err().problem, RdbProblem::Checksum { .. }));
    assert_eq!(sink.keys[&(0, b"b".to_vec())].content, list(["x", "z"]));
    // A checksum of zero is none.
    let checksum = bytes.len() - 8;
    bytes[checksum..].fill(0);
    assert_eq!(load(&bytes).1.unwrap().checksum, None);
}

/// Files of the first versions have no checksum, and expiry in seconds.
#[test]
fn old_versions_are_read() {
    let (sink, loaded) = load(b"REDIS0003\xfe\x02\xfd\x10\x27\x00\x00\x00\x01k\x01v\xff");
    assert_eq!(loaded.unwrap(), Loaded { version: 3, keys: 1, empty_keys: 0, end: 22, checksum: None });
    assert_eq!(sink.keys[&(2, b"k".to_vec())].expiry, Some(10_000_000));
    assert_eq!(sink.offsets, [11]);
}

#[test]
fn an_empty_collection_is_left_out_and_counted() {
    let (sink, loaded) = load(b"REDIS0004\xfc\x01\0\0\0\0\0\0\0\x02\x01k\x00\x00\x01l\x01v\xff");
    let loaded = loaded.unwrap();
    assert_eq!((loaded.keys, loaded.empty_keys), (1, 1));
    assert_eq!(
        sink.keys.into_iter().map(|((_, key), seen)| (key, seen.expiry)).collect::<Vec<_>>(),
        [(b"l".to_vec(), None)]
    );
}

#[test]
fn a_refusal_names_the_key() {
    let (_, loaded) = load(b"REDIS0004\x00\x01k\x01v\x00\x01k\x01w\xff");
    assert_eq!(
        loaded.unwrap_err().to_string(),
        "RDB at offset 14, reading key \"k\" of database 0: the key occurs twice"
    );
}

/// Layouts after Redis 7.4's and Valkey 9's rdb.c: header, slot sizes in front of a database's keys, checksum of zero.
#[test]
fn files_of_newer_servers_are_read() {
    let slot = b"\xf4\x41\x02\x01\x00";
    for (header, version) in [(b"REDIS0012", 12), (b"REDIS0013", 13), (b"VALKEY080", 80)] {
        let file = [&header[..], b"\xfe\x00\xfb\x01\x00", slot, b"\x00\x01k\x01v\xff", &[0; 8]].concat();
        assert!(is_rdb(&file));
        let (sink, loaded) = load(&file);
        let loaded = loaded.unwrap();
        assert_eq!((loaded.version, loaded.keys, loaded.end), (version, 1, file.len() as u64));
        assert_eq!(sink.keys[&(0, b"k".to_vec())].content, Content::Str(b"v".to_vec()));
    }
}

/// Every cut of a file is an error that points into what is left.
#[test]
fn every_cut_is_told() {
    let whole = fixture!("base.rdb");
    for cut in 0..whole.len() {
        let error = load(&whole[..cut]).1.unwrap_err();
        assert!(error.offset <= cut as u64, "cut at {cut}: {error}");
    }
    let whole = fixture!("encodings.rdb");
    for cut in (0..whole.len()).step_by(97) {
        assert!(load(&whole[..cut]).1.is_err());
    }
}

quickcheck! {
    /// Changed bytes are noticed by the checksum at the latest, and never panic.
    fn damage_never_goes_unnoticed(flips: Vec<(usize, u8)>) -> bool {
        let whole = fixture!("encodings.rdb");
        let mut bytes = whole.to_vec();
        for (at, mask) in flips {
            // What follows the end mark is a checksum that must not become zero, which means "none".
            let at = at % (bytes.len() - 8);
            bytes[at] ^= mask;
        }
        bytes == whole || load(&bytes).1.is_err()
    }
}

/// A file that gives at most so many bytes at a time, and fails from an offset on.
struct SlowFile<'a> {
    bytes: &'a [u8],
    at_once: usize,
    fails_from: u64,
    reads: AtomicUsize,
}

impl DiskFile for SlowFile<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rest = &self.bytes[offset as usize..];
        let count = buf.len().min(rest.len()).min(self.at_once);
        if offset + count as u64 > self.fails_from {
            return Err(io::Error::other("input/output error"));
        }
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

#[test]
fn a_file_reads_as_its_bytes_do() {
    let big = {
        // A string longer than the buffer, between short ones.
        let mut bytes = b"REDIS0009\x00\x01a\x01b\x00\x01c\x80\x00\x0f\x42\x40".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 1_000_000));
        bytes.extend_from_slice(b"\x00\x01d\x01e\xff\0\0\0\0\0\0\0\0");
        bytes
    };
    for bytes in [&fixture!("encodings.rdb")[..], fixture!("encodings-uncompressed.rdb"), &big] {
        let (expected, loaded) = load(bytes);
        for at_once in [bytes.len(), 7777] {
            let file = SlowFile { bytes, at_once, fails_from: u64::MAX, reads: AtomicUsize::new(0) };
            let mut sink = Collected::default();
            let from_file = read(&mut FileSource::new(&file).unwrap(), &Limits::default(), &mut sink).unwrap();
            assert_eq!(&from_file, loaded.as_ref().unwrap());
            assert_eq!(sink, expected);
            assert!(file.reads.into_inner() <= bytes.len().div_ceil(at_once) + 8);
        }
    }
    let bytes = fixture!("encodings.rdb");
    let file = SlowFile { bytes, at_once: 4096, fails_from: 9000, reads: AtomicUsize::new(0) };
    let error = read(&mut FileSource::new(&file).unwrap(), &Limits::default(), &mut Collected::default()).unwrap_err();
    assert!(error.to_string().contains("input/output error"), "{error}");
}

/// Packed forms have the very bytes that the stock server gives the same elements.
#[test]
fn packed_forms_are_built_as_stock_builds_them() {
    #[derive(Default)]
    struct Rebuilt {
        listpacks: usize,
        intsets: usize,
    }
    impl RdbSink for Rebuilt {
        fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), Refusal> {
            let listpacks: Vec<Cow<'_, ListpackSlice>> = match entry.value.as_ref() {
                ValueRef::Hash(hash) => hash.packed().into_iter().map(Cow::Borrowed).collect(),
                ValueRef::List(list) => {
                    let nodes = list.nodes().filter_map(|node| match node {
                        Node::Packed(listpack) => Some(listpack),
                        Node::Plain(_) => None,
                    });
                    nodes.collect()
                }
                ValueRef::Set(set) => {
                    if let Some(intset) = set.intset() {
                        let mut rebuilt = Intset::new();
                        intset.iter().for_each(|number| assert!(rebuilt.add(number)));
                        assert_eq!(rebuilt.as_bytes(), intset.as_bytes());
                        self.intsets += 1;
                    }
                    Vec::new()
                }
                ValueRef::Str(_) | ValueRef::Zset(_) | ValueRef::Stream(_) => Vec::new(),
            };
            for listpack in listpacks {
                let rebuilt: Listpack = listpack.iter().collect();
                assert_eq!(rebuilt.as_bytes(), listpack.as_bytes());
                self.listpacks += 1;
            }
            Ok(())
        }

        fn library(&mut self, _: &[u8]) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let mut rebuilt = Rebuilt::default();
    read_bytes(fixture!("encodings.rdb"), &Limits::default(), &mut rebuilt).unwrap();
    assert!(rebuilt.listpacks >= 10 && rebuilt.intsets == 3, "{} {}", rebuilt.listpacks, rebuilt.intsets);
}
