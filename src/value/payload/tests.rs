mod encode;

use std::collections::BTreeSet;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::ds::{Intset, Listpack, parse_canonical_i64};
use crate::value::Item;

/// Builds object bytes.
#[derive(Clone, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn form(form: u8) -> Self {
        Self(vec![form])
    }

    pub(crate) fn length(mut self, length: usize) -> Self {
        match length {
            0..=0x3f => self.0.push(length as u8),
            0x40..=0x3fff => self.0.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
            _ => {
                self.0.push(0x80);
                self.0.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
        self
    }

    pub(crate) fn string(self, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.length(content.len()).raw(content)
    }

    pub(crate) fn raw(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self
    }
}

/// A ziplist as old servers wrote it: one way to write each element, like theirs.
pub(crate) fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
    let (mut entries, mut before, mut tail) = (Vec::new(), 0usize, 10);
    for element in elements {
        tail = 10 + entries.len();
        let start = entries.len();
        if before < 254 {
            entries.push(before as u8);
        } else {
            entries.push(0xfe);
            entries.extend_from_slice(&(before as u32).to_le_bytes());
        }
        match parse_canonical_i64(element) {
            Some(n @ 0..=12) => entries.push(0xf1 + n as u8),
            Some(n) if i8::try_from(n).is_ok() => entries.extend_from_slice(&[0xfe, n as u8]),
            Some(n) if i16::try_from(n).is_ok() => {
                entries.push(0xc0);
                entries.extend_from_slice(&n.to_le_bytes()[..2]);
            }
            Some(n @ -0x80_0000..=0x7f_ffff) => {
                entries.push(0xf0);
                entries.extend_from_slice(&n.to_le_bytes()[..3]);
            }
            Some(n) if i32::try_from(n).is_ok() => {
                entries.push(0xd0);
                entries.extend_from_slice(&n.to_le_bytes()[..4]);
            }
            Some(n) => {
                entries.push(0xe0);
                entries.extend_from_slice(&n.to_le_bytes());
            }
            None => {
                match element.len() {
                    len @ 0..=63 => entries.push(len as u8),
                    len @ 64..=16_383 => entries.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
                    len => {
                        entries.push(0x80);
                        entries.extend_from_slice(&(len as u32).to_be_bytes());
                    }
                }
                entries.extend_from_slice(element);
            }
        }
        before = entries.len() - start;
    }
    let mut bytes = (11 + entries.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(tail as u32).to_le_bytes());
    bytes.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    bytes.extend(entries);
    bytes.push(0xff);
    bytes
}

pub(crate) fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let mut listpack = Listpack::new();
    elements.iter().for_each(|element| listpack.push_back(element));
    listpack.as_bytes().to_vec()
}

/// A value as text: type, encoding and elements, unordered ones sorted.
pub(crate) fn describe(value: &Value) -> String {
    let text = |item: Item<'_>| String::from_utf8_lossy(&item.to_vec()).into_owned();
    let elements: Vec<String> = match value {
        Value::Str(string) => vec![String::from_utf8_lossy(&string.to_vec()).into_owned()],
        Value::List(list) => list.iter().map(text).collect(),
        Value::Set(set) => set.iter().map(text).collect::<BTreeSet<_>>().into_iter().collect(),
        Value::Hash(hash) => {
            let pairs = hash.iter().map(|(field, value)| format!("{}={}", text(field), text(value)));
            pairs.collect::<BTreeSet<_>>().into_iter().collect()
        }
        Value::Zset(zset) => zset.iter().map(|(member, score)| format!("{}:{score}", text(member))).collect(),
        Value::Stream(stream) => vec![stream.to_text()],
    };
    format!("{} {} {}", value.kind().name(), value.encoding(), elements.join(" "))
}

fn check(bytes: Bytes, expected: &str) {
    match decode(&bytes.0, &Limits::default()) {
        Ok(value) => assert_eq!(describe(&value), expected),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

const ELEMENTS: [&[u8]; 12] =
    [b"a", b"0", b"12", b"13", b"-128", b"-32768", b"70000", b"-8388609", b"2147483648", b"", b"x y", b"007"];
const LISTED: &str = "a 0 12 13 -128 -32768 70000 -8388609 2147483648  x y 007";

#[test]
fn strings_have_four_forms() {
    let form = || Bytes::form(object::STRING);
    check(form().string("plain"), "string embstr plain");
    check(form().string("12"), "string int 12");
    check(form().raw(&[0xc0, 0x80]), "string int -128");
    check(form().raw(&[0xc1, 0x00, 0x80]), "string int -32768");
    check(form().raw(&[0xc2, 0, 0, 0, 0x80]), "string int -2147483648");
    // Literal "ab", then eight bytes copied from two back.
    check(
        form().raw(&[0xc3, 6, 10, 1, b'a', b'b', 0xc0, 1]),
        "at offset 4, reading string: the input ends after 5 of 6 bytes",
    );
    check(form().raw(&[0xc3, 5, 10, 1, b'a', b'b', 0xc0, 1]), "string embstr ababababab");
    check(
        form().raw(&[0xc3, 5, 11, 1, b'a', b'b', 0xc0, 1]),
        "at offset 9, reading string: compressed bytes are damaged",
    );
    check(form().raw(&[0x81, 0, 0, 0, 0, 0, 0, 0, 2]).raw(b"xy"), "string embstr xy");
}

#[test]
fn lists_in_every_form() {
    let large = "L".repeat(9000);
    let elementwise = ELEMENTS.iter().fold(Bytes::form(object::LIST).length(ELEMENTS.len()), |b, e| b.string(e));
    check(elementwise, &format!("list listpack {LISTED}"));
    check(Bytes::form(object::LIST_ZIPLIST).string(ziplist(&ELEMENTS)), &format!("list listpack {LISTED}"));
    let nodes = Bytes::form(object::LIST_QUICKLIST).length(3);
    let nodes = nodes.string(ziplist(&ELEMENTS)).string(ziplist(&[])).string(ziplist(&[b"z"]));
    check(nodes, &format!("list quicklist {LISTED} z"));
    let nodes = Bytes::form(object::LIST_QUICKLIST_2).length(3);
    let nodes =
        nodes.length(2).string(listpack(&ELEMENTS)).length(1).string(&large).length(2).string(listpack(&[b"z"]));
    check(nodes, &format!("list quicklist {LISTED} {large} z"));
    let long: Vec<_> = (0..300).map(|i| format!("{i} {}", "x".repeat(200)).into_bytes()).collect();
    let long: Vec<_> = long.iter().map(Vec::as_slice).collect();
    let value = decode(&Bytes::form(object::LIST_ZIPLIST).string(ziplist(&long)).0, &Limits::default()).unwrap();
    assert_eq!((value.encoding(), value.len()), ("quicklist", 300));
}

#[test]
fn sets_in_every_form() {
    let mut intset = Intset::new();
    [5, -70_000, 3].iter().for_each(|n| assert!(intset.add(*n)));
    check(Bytes::form(object::SET_INTSET).string(intset.as_bytes()), "set intset -70000 3 5");
    check(Bytes::form(object::SET).length(2).string("b").string("1"), "set listpack 1 b");
    check(Bytes::form(object::SET).length(2).string("2").string("1"), "set intset 1 2");
    check(Bytes::form(object::SET_LISTPACK).string(listpack(&[b"b", b"1"])), "set listpack 1 b");
    let many = (0..200).fold(Bytes::form(object::SET).length(200), |b, i| b.string(format!("m{i}")));
    assert_eq!(decode(&many.0, &Limits::default()).unwrap().encoding(), "hashtable");
    let few = Limits { set_max_intset_entries: 2, set_max_listpack_entries: 1, ..Limits::default() };
    for packed in [
        Bytes::form(object::SET_INTSET).string(intset.as_bytes()),
        Bytes::form(object::SET_LISTPACK).string(listpack(&[b"b", b"1"])),
    ] {
        assert_eq!(decode(&packed.0, &few).unwrap().encoding(), "hashtable");
    }
}

#[test]
fn sorted_sets_in_every_form() {
    let expected = "zset listpack low:-inf b:1 a:2.5 high:inf";
    let text = Bytes::form(object::ZSET).length(4);
    let text =
        text.string("a").raw(b"\x032.5").string("low").raw(&[255]).string("high").raw(&[254]).string("b").raw(b"\x011");
    check(text, expected);
    let binary = [("a", 2.5f64), ("low", f64::NEG_INFINITY), ("high", f64::INFINITY), ("b", 1.0)];
    let binary =
        binary.iter().fold(Bytes::form(object::ZSET_2).length(4), |b, (m, s)| b.string(m).raw(&s.to_le_bytes()));
    check(binary, expected);
    let packed: [&[u8]; 8] = [b"low", b"-inf", b"b", b"1", b"a", b"2.5", b"high", b"inf"];
    check(Bytes::form(object::ZSET_ZIPLIST).string(ziplist(&packed)), expected);
    check(Bytes::form(object::ZSET_LISTPACK).string(listpack(&packed)), expected);
    // Out of order is put in order.
    let packed: [&[u8]; 8] = [b"high", b"inf", b"b", b"1", b"a", b"2.5", b"low", b"-inf"];
    check(Bytes::form(object::ZSET_LISTPACK).string(listpack(&packed)), expected);
    let many = (0..200u8).fold(Bytes::form(object::ZSET_2).length(200), |b, i| {
        b.string(format!("m{i}")).raw(&f64::from(200 - i).to_le_bytes())
    });
    let Ok(Value::Zset(zset)) = decode(&many.0, &Limits::default()) else { panic!("a sorted set") };
    assert_eq!(
        (zset.encoding(), zset.rank(b"m199"), zset.rank(b"m0")),
        ("skiplist", Some((0, 1.0)), Some((199, 200.0)))
    );
    let few = Limits { zset_max_listpack_entries: 3, ..Limits::default() };
    let value = decode(&Bytes::form(object::ZSET_LISTPACK).string(listpack(&packed)).0, &few).unwrap();
    assert_eq!(describe(&value), "zset skiplist low:-inf b:1 a:2.5 high:inf");
}

#[test]
fn hashes_in_every_form() {
    let expected = "hash listpack =empty-field f=v n=42";
    let packed: [&[u8]; 6] = [b"f", b"v", b"n", b"42", b"", b"empty-field"];
    check(packed.iter().fold(Bytes::form(object::HASH).length(3), |b, e| b.string(e)), expected);
    check(Bytes::form(object::HASH_ZIPLIST).string(ziplist(&packed)), expected);
    check(Bytes::form(object::HASH_LISTPACK).string(listpack(&packed)), expected);
    // Two spare bytes behind a value, and a length in five bytes.
    let zipmap = b"\x03\x01f\x01\x02v??\x01n\xfe\x02\0\0\0\x0042\x00\x0b\x00empty-field\xff";
    check(Bytes::form(object::HASH_ZIPMAP).string(zipmap), expected);
    let few = Limits { hash_max_listpack_entries: 2, ..Limits::default() };
    let value = decode(&Bytes::form(object::HASH_LISTPACK).string(listpack(&packed)).0, &few).unwrap();
    assert_eq!(describe(&value), "hash hashtable =empty-field f=v n=42");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(Bytes::form(object::MODULE_2), "at offset 1, reading value: a value of a module's type is not supported");
    check(Bytes::form(8), "at offset 1, reading value: unknown form of value: 8");
    check(Bytes::default(), "at offset 0, reading form of the value: the input ends after 0 of 1 bytes");
    check(Bytes::form(object::SET).length(0), "at offset 2, reading value: the collection is empty");
    check(Bytes::form(object::STRING).string("a").raw(b"b"), "at offset 3, reading end of the value: 1 bytes follow");
    check(Bytes::form(object::STRING).raw(&[0xc4]), "at offset 2, reading string: the byte 0xc4 starts no length");
    check(Bytes::form(object::STRING).raw(&[0x82]), "at offset 2, reading string: the byte 0x82 starts no length");
    // A count that the input has no room for is refused before anything is set aside for it.
    check(
        Bytes::form(object::ZSET_2).raw(&[0x81, 0x7f, 0, 0, 0, 0, 0, 0, 0]),
        "at offset 10, reading length of a sorted set: the input ends after 0 of 18302628885633695744 bytes",
    );
    check(
        Bytes::form(object::STRING).raw(&[0xc3, 1, 0x80, 0x40, 0, 0, 0, 0]),
        "at offset 8, reading string: compressed bytes are damaged",
    );
    let twice = Bytes::form(object::SET).length(2).string("a").string("a");
    check(twice, "at offset 6, reading member of a set: an element occurs twice");
    let twice = Bytes::form(object::HASH).length(2).string("a").string("1").string("a").string("2");
    check(twice, "at offset 10, reading field of a hash: an element occurs twice");
    let one = 1f64.to_le_bytes();
    let twice = Bytes::form(object::ZSET_2).length(2).string("a").raw(&one).string("a").raw(&one);
    check(twice, "at offset 22, reading member of a sorted set: an element occurs twice");
    let nan = Bytes::form(object::ZSET_2).length(1).string("a").raw(&f64::NAN.to_le_bytes());
    check(nan, "at offset 12, reading score: a score is not a number");
    check(
        Bytes::form(object::ZSET).length(1).string("a").raw(&[253]),
        "at offset 5, reading score: a score is not a number",
    );
    check(
        Bytes::form(object::ZSET).length(1).string("a").raw(b"\x03nan"),
        "at offset 8, reading score: a score is not a number",
    );
    for (form, elements, problem) in [
        (object::HASH_LISTPACK, &[&b"a"[..]][..], "reading packed hash: an element without a partner"),
        (object::HASH_LISTPACK, &[b"1", b"x", b"1", b"y"], "reading packed hash: an element occurs twice"),
        (object::ZSET_LISTPACK, &[b"a"], "reading packed sorted set: an element without a partner"),
        (object::ZSET_LISTPACK, &[b"a", b"b"], "reading packed sorted set: a score is not a number"),
        (object::ZSET_LISTPACK, &[b"a", b"nan"], "reading packed sorted set: a score is not a number"),
        (object::ZSET_LISTPACK, &[b"a", b"1", b"a", b"2"], "reading packed sorted set: an element occurs twice"),
        (object::SET_LISTPACK, &[b"a", b"a"], "reading set as listpack: an element occurs twice"),
    ] {
        let error = decode(&Bytes::form(form).string(listpack(elements)).0, &Limits::default()).unwrap_err();
        assert!(error.to_string().ends_with(problem), "{error}");
    }
    let twice = Bytes::form(object::HASH_ZIPMAP).string(b"\x02\x01f\x01\x00v\x01f\x01\x00w\xff");
    check(twice, "at offset 14, reading hash as zipmap: an element occurs twice");
    let kind = Bytes::form(object::LIST_QUICKLIST_2).length(1).length(3).string("");
    check(kind, "at offset 3, reading kind of a list node: unknown kind of list node: 3");
}

/// A number stored as text is the same member as the number itself.
#[test]
fn a_number_and_its_text_are_the_same_member() {
    // 7 as a number, then "7" as a string of one byte.
    let bytes = [14, 0, 0, 0, 2, 0, 7, 1, 0x81, b'7', 2, 0xff];
    let mut bytes = bytes.to_vec();
    bytes[0] = bytes.len() as u8;
    let error = decode(&Bytes::form(object::SET_LISTPACK).string(&bytes).0, &Limits::default()).unwrap_err();
    assert!(matches!(error.problem, Problem::Duplicate), "{error}");
}

#[derive(Clone, Debug)]
pub(super) struct Elements(pub(super) Vec<Vec<u8>>);

impl Arbitrary for Elements {
    fn arbitrary(g: &mut Gen) -> Self {
        let count = usize::arbitrary(g) % 20;
        Self(
            (0..count)
                .map(|_| match u8::arbitrary(g) % 4 {
                    0 => i64::arbitrary(g).to_string().into_bytes(),
                    1 => (i64::arbitrary(g) % 300).to_string().into_bytes(),
                    2 => vec![b'x'; usize::from(u16::arbitrary(g) % 600)],
                    _ => Vec::arbitrary(g),
                })
                .collect(),
        )
    }
}

quickcheck! {
    fn a_ziplist_holds_what_was_put_in(elements: Elements) -> bool {
        let slices: Vec<_> = elements.0.iter().map(Vec::as_slice).collect();
        let listpack = super::ziplist::to_listpack(&ziplist(&slices)).unwrap();
        listpack.iter().map(|item| item.to_vec()).eq(elements.0)
    }

    fn foreign_bytes_never_panic(form: u8, bytes: Vec<u8>) -> bool {
        let mut input = vec![form % 22];
        input.extend(bytes);
        decode(&input, &Limits::default()).map_or(true, |value| !value.is_empty())
    }

    /// Damage inside packed forms is refused or gives a value that can be walked.
    fn damaged_packed_forms_never_panic(elements: Elements, form: usize, flips: Vec<(usize, u8)>) -> bool {
        let slices: Vec<_> = elements.0.iter().map(Vec::as_slice).collect();
        let forms = [
            object::LIST_ZIPLIST, object::ZSET_ZIPLIST, object::HASH_ZIPLIST, object::HASH_LISTPACK,
            object::ZSET_LISTPACK, object::SET_LISTPACK, object::SET_INTSET, object::HASH_ZIPMAP,
        ];
        let form = forms[form % forms.len()];
        let old = matches!(form, object::LIST_ZIPLIST | object::ZSET_ZIPLIST | object::HASH_ZIPLIST);
        let mut blob = if old { ziplist(&slices) } else { listpack(&slices) };
        for (at, mask) in flips {
            let at = at % blob.len();
            blob[at] ^= mask;
        }
        decode(&Bytes::form(form).string(blob).0, &Limits::default()).map_or(true, |value| !describe(&value).is_empty())
    }
}
