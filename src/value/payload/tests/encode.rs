//! What is written reads back as it was; what stock 7.0 makes of it, `tests/python/test_payloads.py` asks it.

use quickcheck::quickcheck;

use super::{Elements, describe};
use crate::value::payload::{Encoder, VERSION, decode, dump, is_for_stock_7_0, object, restore};
use crate::value::{End, Hash, Limits, List, Set, Str, Value, Zset};

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
    list_compress_depth: 0,
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
    vec![string.into(), list.into(), set.into(), whole.into(), hash.into(), zset.into()]
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
                read.is_ok_and(|read| describe(&read) == describe(value))
            },
        )
    }

    fn payloads_restore_and_their_damage_does_not(elements: Elements, at: usize, mask: u8) -> bool {
        let limits = Limits::default();
        values(&elements.0, &limits).iter().filter(|value| !value.is_empty()).all(|value| {
            let mut payload = dump(value.as_ref(), true);
            let whole = restore(&payload, &limits, false).is_ok_and(|read| describe(&read) == describe(value));
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
    let packed = |set| {
        vec![
            object::STRING,
            object::LIST_QUICKLIST_2,
            set,
            object::SET_INTSET,
            object::HASH_LISTPACK,
            object::ZSET_LISTPACK,
        ]
    };
    assert_eq!(forms(&Limits::default(), 10), packed(object::SET));
    assert_eq!(forms(&Limits::default(), 11), packed(object::SET_LISTPACK));
    let large = vec![object::STRING, object::LIST_QUICKLIST_2, object::SET, object::SET, object::HASH, object::ZSET_2];
    assert_eq!(forms(&LARGE, 11), large);
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
