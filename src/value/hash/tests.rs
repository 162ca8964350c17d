use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::env::SeededEntropy;

fn small() -> Limits {
    Limits { hash_max_listpack_entries: 8, hash_max_listpack_value: 16, ..Limits::default() }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, Vec<u8>),
    SetNumber(u8, i64),
    Remove(u8),
    Hold,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let field = u8::arbitrary(g) % 24;
        match u8::arbitrary(g) % 8 {
            0 => Self::Set(field, Vec::arbitrary(g)),
            1..=2 => Self::Set(field, vec![b'v'; usize::from(u8::arbitrary(g) % 15)]),
            3..=4 => Self::SetNumber(field, i64::arbitrary(g)),
            5..=6 => Self::Remove(field),
            _ => Self::Hold,
        }
    }
}

/// Every other field looks like a number, so that packed numbers and texts are both looked up.
fn field(n: u8) -> Vec<u8> {
    if n.is_multiple_of(2) { n.to_string().into_bytes() } else { format!("f{n}").into_bytes() }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(hash: &Hash) -> Model {
    hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
}

fn agrees(hash: &Hash, model: &Model) -> bool {
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, |field, value| {
            scanned.insert(field.to_vec(), value.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    hash.len() == model.len()
        && hash.is_empty() == model.is_empty()
        && hash.iter().count() == model.len()
        && contents(hash) == *model
        && scanned == *model
        && (0..24).all(|n| {
            let field = field(n);
            hash.contains(&field) == model.contains_key(&field)
                && hash.get(&field).map(|value| value.to_vec()).as_ref() == model.get(&field)
        })
}

quickcheck! {
    fn behaves_like_a_map_in_both_encodings(ops: Vec<Op>) -> bool {
        let limits = small();
        let (mut ours, mut model) = (Hash::new(), Model::new());
        let mut held = Vec::new();
        let mut packed = true;
        for op in ops {
            let set = |ours: &mut Hash, model: &mut Model, n: u8, value: Vec<u8>| {
                let fresh = ours.set(&field(n), &value, &limits);
                let same = fresh == model.insert(field(n), value.clone()).is_none();
                (same, value.len() > 16 || model.len() > 8)
            };
            let (same, grown) = match op {
                Op::Set(n, value) => set(&mut ours, &mut model, n, value),
                Op::SetNumber(n, value) => set(&mut ours, &mut model, n, value.to_string().into_bytes()),
                Op::Remove(n) => (ours.remove(&field(n)) == model.remove(&field(n)).is_some(), false),
                Op::Hold => {
                    held.push((ours.clone(), model.clone()));
                    (true, false)
                }
            };
            packed &= !grown;
            if !same || !agrees(&ours, &model) || (ours.encoding() == "listpack") != packed || ours.as_ref().packed().is_some() != packed {
                return false;
            }
        }
        held.iter().all(|(ours, model)| agrees(ours, model))
    }

    fn random_choices_are_members_and_differ(len: u8, count: u8, seed: u64) -> bool {
        let mut hash = Hash::new();
        for n in 0..u16::from(len) {
            hash.set(n.to_string().as_bytes(), b"v", &small());
        }
        let mut entropy = SeededEntropy::new(seed);
        let picked = hash.random_distinct(usize::from(count), &mut entropy);
        let different: std::collections::BTreeSet<_> = picked.iter().map(|(field, _)| field.to_vec()).collect();
        different.len() == picked.len() && picked.len() == usize::from(count.min(len))
            && different.iter().all(|field| hash.contains(field)) && hash.random(&mut entropy).is_some() == (len > 0)
    }
}

/// The thresholds of the stock server, one below and one above.
#[test]
fn the_packed_form_ends_where_it_does_in_the_stock_server() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    for n in 0..128 {
        hash.set(n.to_string().as_bytes(), &[b'x'; 64], &limits);
    }
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"0", b"again", &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"one more", b"", &limits);
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 129));
    hash.remove(b"0");
    assert_eq!(hash.encoding(), "hashtable");

    for (field, value) in [(64, 65), (65, 64)] {
        let mut hash = Hash::new();
        hash.set(&vec![b'x'; field], &vec![b'x'; value], &limits);
        assert_eq!(hash.encoding(), "hashtable");
    }
    let mut hash = Hash::new();
    hash.expect(128, &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.expect(129, &limits);
    assert_eq!(hash.encoding(), "hashtable");
}

/// Every field is chosen about equally often, in both encodings.
#[test]
fn random_choice_is_fair() {
    for len in [7u64, 300] {
        let mut hash = Hash::new();
        for n in 0..len {
            hash.set(n.to_string().as_bytes(), b"v", &small());
        }
        let mut entropy = SeededEntropy::new(1);
        let mut counts = vec![0u64; len as usize];
        for _ in 0..len * 200 {
            let (field, _) = hash.random(&mut entropy).unwrap();
            counts[field.as_int().unwrap() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (120..=280).contains(count)), "{counts:?}");
    }
}
