use std::collections::BTreeSet;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::env::SeededEntropy;

fn small() -> Limits {
    Limits { set_max_intset_entries: 10, set_max_listpack_entries: 6, set_max_listpack_value: 12, ..Limits::default() }
}

#[derive(Clone, Debug)]
enum Op {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Pop,
    Hold,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let member = match u8::arbitrary(g) % 8 {
            0..=4 => (i64::arbitrary(g) % 16).to_string().into_bytes(),
            5 => (i64::arbitrary(g) << 40 >> (u8::arbitrary(g) % 40)).to_string().into_bytes(),
            6 => format!("m{}", u8::arbitrary(g) % 8).into_bytes(),
            _ => Vec::arbitrary(g),
        };
        match u8::arbitrary(g) % 8 {
            0..=4 => Self::Add(member),
            5 => Self::Remove(member),
            6 => Self::Pop,
            _ => Self::Hold,
        }
    }
}

type Model = BTreeSet<Vec<u8>>;

fn contents(set: &Set) -> Model {
    set.iter().map(|item| item.to_vec()).collect()
}

fn agrees(set: &Set, model: &Model) -> bool {
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, |member| {
            scanned.insert(member.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    set.len() == model.len()
        && set.is_empty() == model.is_empty()
        && set.iter().count() == model.len()
        && contents(set) == *model
        && scanned == *model
        && model.iter().all(|member| set.contains(member))
        && set.iter().all(|item| set.contains_item(item))
        && [&b"17"[..], b"017", b"m9", b"-"].iter().all(|member| set.contains(member) == model.contains(*member))
}

quickcheck! {
    fn behaves_like_a_set_in_all_encodings(ops: Vec<Op>, seed: u64) -> bool {
        let limits = small();
        let mut entropy = SeededEntropy::new(seed);
        let (mut ours, mut model) = (Set::new(), Model::new());
        let mut held = Vec::new();
        for op in ops {
            let before = ours.encoding();
            let same = match op {
                Op::Add(member) => ours.add(&member, &limits) == model.insert(member),
                Op::Remove(member) => ours.remove(&member) == model.remove(&member),
                Op::Pop => match ours.pop(&mut entropy) {
                    Some(member) => model.remove(&member),
                    None => model.is_empty(),
                },
                Op::Hold => {
                    held.push((ours.clone(), model.clone()));
                    true
                }
            };
            let upwards = match before {
                "intset" => true,
                "listpack" => ours.encoding() != "intset",
                _ => ours.encoding() == "hashtable",
            };
            let within = match ours.encoding() {
                "intset" => model.len() <= 10 && ours.intset().is_some(),
                "listpack" => model.len() <= 6 && model.iter().all(|m| m.len() <= 12) && ours.listpack().is_some(),
                _ => true,
            };
            if !same || !upwards || !within || !agrees(&ours, &model) {
                return false;
            }
        }
        held.iter().all(|(ours, model)| agrees(ours, model))
    }

    fn random_choices_are_members_and_differ(len: u8, count: u8, seed: u64, text: bool) -> bool {
        let mut set = Set::new();
        for n in 0..u16::from(len) {
            let member = if text { format!("m{n}") } else { n.to_string() };
            set.add(member.as_bytes(), &small());
        }
        let picked = set.random_distinct(usize::from(count), &mut SeededEntropy::new(seed));
        let different: BTreeSet<_> = picked.iter().map(|item| item.to_vec()).collect();
        different.len() == picked.len() && picked.len() == usize::from(count.min(len))
            && different.iter().all(|member| set.contains(member))
    }
}

fn built(members: impl IntoIterator<Item = String>) -> Set {
    let mut set = Set::new();
    for member in members {
        set.add(member.as_bytes(), &Limits::default());
    }
    set
}

/// Encodings as the stock server 7.2 chooses them.
#[test]
fn encodings_are_those_of_the_stock_server() {
    let numbers = |n: i64| (0..n).map(|i| i.to_string());
    let texts = |n: i64| (0..n).map(|i| format!("m{i}"));
    for (set, encoding) in [
        (built(numbers(512)), "intset"),
        (built(numbers(513)), "hashtable"),
        (built(texts(128)), "listpack"),
        (built(texts(129)), "hashtable"),
        (built(numbers(127).chain(texts(1))), "listpack"),
        (built(numbers(128).chain(texts(1))), "hashtable"),
        (built(["x".repeat(64)]), "listpack"),
        (built(["x".repeat(65)]), "hashtable"),
        (built(["1".to_owned(), "x".repeat(65)]), "hashtable"),
        (built(["01".to_owned()]), "listpack"),
    ] {
        assert_eq!(set.encoding(), encoding, "{} members", set.len());
    }
}

#[test]
fn the_first_form_follows_the_first_member_and_the_count() {
    let limits = Limits::default();
    for (first, count, encoding) in
        [("1", 512, "intset"), ("1", 513, "hashtable"), ("a", 128, "listpack"), ("a", 129, "hashtable")]
    {
        assert_eq!(Set::for_members(first.as_bytes(), count, &limits).encoding(), encoding);
    }
    let mut set = built(["1".to_owned()]);
    set.expect(512, &limits);
    assert_eq!(set.encoding(), "intset");
    set.expect(513, &limits);
    assert_eq!(set.encoding(), "hashtable");
}

#[test]
fn a_result_of_integers_can_be_packed_again() {
    let limits = Limits::default();
    let mut set = Set::for_members(b"a", 1, &limits);
    set.add(b"3", &limits);
    set.add(b"1", &limits);
    assert_eq!(set.encoding(), "listpack");
    set.prefer_intset(&limits);
    assert_eq!((set.encoding(), set.len()), ("intset", 2));
    set.add(b"x", &limits);
    set.prefer_intset(&limits);
    assert_eq!(set.encoding(), "listpack");
}
