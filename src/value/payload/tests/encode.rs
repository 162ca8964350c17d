//! What is written reads back as it was; what stock 7.0 makes of it, `tests/python/test_payloads.py` asks it.

use quickcheck::quickcheck;

use super::{Elements, describe};
use crate::value::payload::{Encoder, VERSION, decode, dump, is_for_stock_7_0, object, restore};
use crate::value::{End, Group, Hash, Limits, List, Set, Str, Stream, StreamId, Value, Zset};

/// Limits by which hardly anything is packed.
const LARGE: Limits = Limits {
    hash_max_listpack_entries: 1,
    set_max_intset_entries: 1,
    set_max_listpack_entries: 1,
    zset_max_listpack_entries: 1,
    list_max_listpack_size: 3,
    hash_max_listpack_value: 64,
    set_max_listpack_value: 64,
    zset_max_listpack_value: 64,
    list_packed_threshold: 0,
    list_compress_depth: 0,
    stream_node_max_bytes: 100,
    stream_node_max_entries: 2,
    hll_sparse_max_bytes: 3000,
    hash_seed: crate::ds::HashSeed(1, 2),
};

/// A value of each type from the same elements.
fn values(elements: &[Vec<u8>], limits: &Limits) -> Vec<Value> {
    let (mut list, mut set, mut hash, mut zset) = (List::new(), Set::new(), Hash::new(), Zset::new());
    let mut whole = Set::new();
    for (at, element) in elements.iter().enumerate() {
        list.push(End::Back, element, limits);
        set.add(element, limits);
        whole.add(at.pow(3).to_string().as_bytes(), limits);
        hash.set(element, format!("{at} {}", "v".repeat(at)).as_bytes(), limits);
        zset.set(element, at as f64 * 1.5 - 4.0, limits);
    }
    let string = elements.first().map_or(Str::from_int(-1), |element| Str::encode(element));
    let stream = stream(elements, limits);
    vec![string.into(), list.into(), set.into(), whole.into(), hash.into(), zset.into(), stream.into()]
}

/// A stream of the elements, some of them deleted, with two groups, the second of which has read something.
fn stream(elements: &[Vec<u8>], limits: &Limits) -> Stream {
    let mut stream = Stream::new();
    let id = |at: usize| StreamId::new(at as u64 / 3 * 1000 + 1, at as u64);
    for (at, element) in elements.iter().enumerate() {
        let fields: &[&[u8]] = if at % 4 == 3 { &[element, b"x", b"y", element] } else { &[b"field", element] };
        stream.add(id(at), fields, limits);
    }
    (0..elements.len()).step_by(5).for_each(|at| assert!(stream.delete(id(at))));
    let mut group = Group::new(b"second", stream.last_id(), Some(elements.len() as u64));
    for (consumer, active_at) in [("idle", None), ("busy", Some(1234)), ("5", Some(7))] {
        assert!(group.add_consumer(consumer.as_bytes(), 1234));
        group.edit_consumer(consumer.as_bytes(), |consumer| consumer.active_at = active_at);
    }
    for (at, _) in elements.iter().enumerate() {
        group.assign(if at % 3 == 0 { b"5" } else { b"busy" }, [(id(at), at as i64, 1 + at as u64 * 70)]);
    }
    assert!(stream.add_group(Group::new(b"1", StreamId::MIN, None)) && stream.add_group(group));
    stream
}

/// What version 10 makes of the text of a stream.
fn one_time(text: &str) -> String {
    ["None", "Some(7)"].iter().fold(text.to_owned(), |text, active| {
        text.replace(&format!("seen 1234 active {active}"), "seen 1234 active Some(1234)")
    })
}

fn encoded(value: &Value, version: u16, compression: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(version, compression);
    let mut bytes = vec![encoder.form(value.as_ref())];
    encoder.value(value.as_ref(), &mut bytes).unwrap();
    bytes
}

quickcheck! {
    fn values_read_back(elements: Elements, large: bool, version_11: bool, compression: bool) -> bool {
        let limits = if large { LARGE } else { Limits::default() };
        let version = VERSION + u16::from(version_11);
        values(&elements.0, &limits).iter().filter(|value| !value.is_empty() || matches!(value, Value::Str(_))).all(
            |value| {
                let read = decode(&encoded(value, version, compression), &limits);
                let expected = describe(value);
                // Version 10 has one time for a consumer.
                let expected = if version_11 { expected } else { one_time(&expected) };
                read.is_ok_and(|read| describe(&read) == expected)
            },
        )
    }

    fn payloads_restore_and_their_damage_does_not(elements: Elements, at: usize, mask: u8) -> bool {
        let limits = Limits::default();
        values(&elements.0, &limits).iter().filter(|value| !value.is_empty()).all(|value| {
            let mut payload = dump(value.as_ref(), true);
            let expected = one_time(&describe(value));
            let whole = restore(&payload, &limits, false).is_ok_and(|read| describe(&read) == expected);
            let at = at % payload.len();
            payload[at] ^= mask | 1;
            whole && is_for_stock_7_0(&dump(value.as_ref(), false)) && restore(&payload, &limits, false).is_err()
        })
    }
}

#[test]
fn forms_are_those_of_the_version() {
    let elements: Vec<Vec<u8>> = (0..10).map(|n| format!("m{n}").into_bytes()).collect();
    let forms = |limits: &Limits, version| {
        values(&elements, limits).iter().map(|v| encoded(v, version, true)[0]).collect::<Vec<_>>()
    };
    let packed = |set, stream| {
        vec![
            object::STRING,
            object::LIST_QUICKLIST_2,
            set,
            object::SET_INTSET,
            object::HASH_LISTPACK,
            object::ZSET_LISTPACK,
            stream,
        ]
    };
    assert_eq!(forms(&Limits::default(), 10), packed(object::SET, object::STREAM_LISTPACKS_2));
    assert_eq!(forms(&Limits::default(), 11), packed(object::SET_LISTPACK, object::STREAM_LISTPACKS_3));
    let mut large =
        vec![object::STRING, object::LIST_QUICKLIST_2, object::SET, object::SET, object::HASH, object::ZSET_2];
    large.push(object::STREAM_LISTPACKS_3);
    assert_eq!(forms(&LARGE, 11), large);
}

/// The first form, of servers before 7.0: no more than entries and last ID, and groups that do not count.
#[test]
fn the_first_form_of_a_stream_is_read() {
    let elements: Vec<Vec<u8>> = (0..3).map(|n| format!("m{n}").into_bytes()).collect();
    let mut value = Stream::new();
    for (at, element) in elements.iter().enumerate() {
        value.add(StreamId::new(at as u64 + 1, 0), &[b"f", element], &Limits::default());
    }
    let mut bytes = vec![object::STREAM_LISTPACKS, 1, 16];
    bytes.extend_from_slice(&StreamId::new(1, 0).to_bytes());
    let node = value.nodes().next().unwrap().to_listpack();
    bytes.push(node.byte_len() as u8);
    bytes.extend_from_slice(node.as_bytes());
    // Length, last ID, two groups.
    bytes.extend_from_slice(b"\x03\x03\0\x02");
    bytes.extend_from_slice(b"\x01a\x01\0\0\0");
    bytes.extend_from_slice(b"\x01b\x02\0\x01");
    bytes.extend_from_slice(&StreamId::new(2, 0).to_bytes());
    bytes.extend_from_slice(b"\x05\0\0\0\0\0\0\0\x02\x01\x02me\x06\0\0\0\0\0\0\0\x01");
    bytes.extend_from_slice(&StreamId::new(2, 0).to_bytes());
    let text = "stream stream last 3-0 deleted 0-0 added 3; 1-0 [(b\"f\", b\"m0\")]; 2-0 [(b\"f\", b\"m1\")]; \
                3-0 [(b\"f\", b\"m2\")]; group a last 1-0 read Some(1); group b last 2-0 read None, 2-0 me 5 2, \
                consumer me seen 6 active Some(6) 2-0";
    assert_eq!(describe(&decode(&bytes, &Limits::default()).unwrap()), text);
    let told = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap_err().to_string();
    let pending = |text: &str| format!("reading what is pending in a group: {text}");
    let len = bytes.len();
    for (at, byte, expected) in [
        (2, 15, "reading ID of a node of a stream: an ID that is not of 16 bytes".to_owned()),
        (len - 1, 1, pending("a pending entry that has no consumer, or is not known to the group")),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] = byte;
        assert!(told(&damaged).contains(&expected), "{}", told(&damaged));
    }
}

quickcheck! {
    /// Whatever is done to the bytes of a stream: it is refused, or what it becomes can be written and read again.
    fn damaged_streams_are_refused_or_sound(elements: Elements, flips: Vec<(usize, u8)>) -> bool {
        let mut bytes = encoded(&stream(&elements.0, &LARGE).into(), 11, false);
        for (at, mask) in flips {
            let at = 1 + at % (bytes.len() - 1);
            bytes[at] ^= mask;
        }
        match decode(&bytes, &LARGE) {
            Err(_) => true,
            Ok(value) => {
                let again = decode(&encoded(&value, 11, false), &LARGE).map(|value| describe(&value));
                again.is_ok_and(|again| again == describe(&value))
            }
        }
    }
}

#[test]
fn strings_are_written_as_short_as_they_can_be() {
    let long = "a".repeat(100);
    for (text, compression, bytes) in [
        ("", true, &b"\0\0"[..]),
        ("abc", true, b"\0\x03abc"),
        ("-128", true, b"\0\xc0\x80"),
        ("-129", true, b"\0\xc1\x7f\xff"),
        ("32768", true, b"\0\xc2\0\x80\0\0"),
        ("2147483648", true, b"\0\x0a2147483648"),
        ("007", true, b"\0\x03007"),
        (&long, true, b"\0\xc3\x05\x40\x64\x00a\xe0\x5a\x00"),
    ] {
        assert_eq!(encoded(&Str::encode(text.as_bytes()).into(), VERSION, compression), bytes, "{text}");
    }
    let plain = encoded(&Str::encode(long.as_bytes()).into(), VERSION, false);
    assert_eq!((&plain[..3], plain.len()), (&b"\0\x40\x64"[..], 103));
    let chunked = Value::Str(Str::encode("ab".repeat(5000).as_bytes()));
    let plain = encoded(&chunked, VERSION, false);
    assert_eq!((&plain[..6], plain.len()), (&b"\0\x67\x10aba"[..], 10_003));
    assert!(encoded(&chunked, VERSION, true).len() < 200);
}

#[test]
fn footers_are_compared() {
    let limits = Limits::default();
    let value = Value::Str(Str::encode(b"hello"));
    let good = dump(value.as_ref(), true);
    // What stock 7.0.15 dumps.
    assert_eq!(good, b"\x00\x05hello\n\x00cr\xdfve4 \n");
    let mut newer = good.clone();
    newer[7] = 12;
    assert!(restore(&newer, &limits, true).is_err());
    newer[7] = 11;
    assert!(restore(&newer, &limits, false).is_err(), "its sum is another");
    assert!(restore(&newer, &limits, true).is_ok(), "unless nobody compares");
    assert!(!is_for_stock_7_0(&newer));
    for len in 0..good.len() {
        assert!(restore(&good[..len], &limits, true).is_err(), "{len}");
    }
}
