use std::collections::BTreeMap;

use quickcheck::{Arbitrary, Gen, QuickCheck, quickcheck};

use super::*;
use crate::env::SeededEntropy;

fn small() -> Limits {
    Limits { zset_max_listpack_entries: 8, zset_max_listpack_value: 16, ..Limits::default() }
}

const SCORES: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.5,
    -2.25,
    1e300,
    -1e300,
    5e-324,
    f64::INFINITY,
    f64::NEG_INFINITY,
    9_007_199_254_740_993.0,
    4.611_686_018_427_388e18,
    -9.3e18,
];

#[derive(Clone, Debug)]
enum Op {
    Set(u8, f64),
    SetLong(u8, f64),
    Remove(u8),
    RemoveRange(u8, u8),
    Pop(bool),
    Hold,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let member = u8::arbitrary(g) % 40;
        let score = if bool::arbitrary(g) { *g.choose(&SCORES).unwrap() } else { f64::from(i8::arbitrary(g)) / 4.0 };
        match u8::arbitrary(g) % 16 {
            0 => Self::SetLong(member, score),
            1..=9 => Self::Set(member, score),
            10..=11 => Self::Remove(member),
            12 => Self::RemoveRange(u8::arbitrary(g) % 40, u8::arbitrary(g) % 4),
            13 => Self::Pop(bool::arbitrary(g)),
            _ => Self::Hold,
        }
    }
}

/// Every other member looks like a number.
fn member(n: u8) -> Vec<u8> {
    if n.is_multiple_of(2) { n.to_string().into_bytes() } else { format!("m{n}").into_bytes() }
}

type Model = BTreeMap<Vec<u8>, f64>;

fn ordered(model: &Model) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(member, score)| (member.clone(), *score)).collect();
    all.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
    all
}

fn owned<'a>(pairs: impl Iterator<Item = (Item<'a>, f64)>) -> Vec<(Vec<u8>, f64)> {
    pairs.map(|(member, score)| (member.to_vec(), score)).collect()
}

fn bounds(score: f64) -> [Bound<f64>; 3] {
    [Bound::Included(score), Bound::Excluded(score), Bound::Unbounded]
}

fn agrees(zset: &Zset, model: &Model) -> bool {
    let all = ordered(model);
    let len = all.len();
    let (from, to) = (len / 3, len - len / 4);
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = zset.scan(cursor, |member, score| {
            scanned.insert(member.to_vec(), score);
        });
        if cursor == 0 {
            break;
        }
    }
    let spans = SCORES.iter().flat_map(|score| bounds(*score)).all(|bound| {
        let from = zset.as_ref().score_span(bound, Bound::Included(1.5));
        let until = zset.as_ref().score_span(Bound::Excluded(-1.0), bound);
        let expected_from = |score: f64| !score_before(score, bound) && score <= 1.5;
        let expected_until = |score: f64| score > -1.0 && score_until(score, bound);
        owned(zset.iter_range(from)).iter().eq(all.iter().filter(|(_, score)| expected_from(*score)))
            && owned(zset.iter_range(until)).iter().eq(all.iter().filter(|(_, score)| expected_until(*score)))
    });
    zset.len() == len
        && zset.is_empty() == model.is_empty()
        && owned(zset.iter()) == all
        && owned(zset.iter_range(from..to)) == all[from..to]
        && owned(zset.iter_range_back(from..to)).iter().rev().eq(&all[from..to])
        && scanned == *model
        && spans
        && all.iter().enumerate().all(|(rank, (member, score))| {
            zset.rank(member) == Some((rank, *score))
                && zset.score(member) == Some(*score)
                && zset.nth(rank).is_some_and(|(item, s)| item.eq_bytes(member) && s == *score)
        })
        && zset.nth(len).is_none()
        && (0..40).all(|n| zset.score(&member(n)) == model.get(&member(n)).copied())
        && zset.rank(b"never").is_none()
}

fn behaves_like_a_sorted_map(ops: Vec<Op>) -> bool {
    let limits = small();
    let (mut ours, mut model) = (Zset::new(), Model::new());
    let mut held = Vec::new();
    let mut packed = true;
    for op in ops {
        let same = match op {
            Op::Set(n, score) => ours.set(&member(n), score, &limits) == model.insert(member(n), score),
            Op::SetLong(n, score) => {
                let long = format!("{n:020}").into_bytes();
                packed = false;
                ours.set(&long, score, &limits) == model.insert(long, score)
            }
            Op::Remove(n) => ours.remove(&member(n)) == model.remove(&member(n)),
            Op::RemoveRange(start, count) => {
                let all = ordered(&model);
                let range = usize::from(start)..usize::from(start) + usize::from(count);
                let gone: Vec<_> = all.iter().skip(range.start).take(range.len()).collect();
                gone.iter().for_each(|(member, _)| {
                    model.remove(member);
                });
                let whole = gone.len() == all.len();
                packed |= whole && !gone.is_empty();
                ours.remove_range(range) == gone.len()
            }
            Op::Pop(min) => {
                let all = ordered(&model);
                let expected = if min { all.first() } else { all.last() };
                expected.inspect(|(member, _)| {
                    model.remove(member);
                });
                packed |= all.len() == 1;
                (if min { ours.pop_min() } else { ours.pop_max() }).as_ref() == expected
            }
            Op::Hold => {
                held.push((ours.clone(), model.clone()));
                true
            }
        };
        packed &= model.len() <= 8;
        if !same
            || !agrees(&ours, &model)
            || (ours.encoding() == "listpack") != packed
            || ours.as_ref().is_packed() != packed
        {
            return false;
        }
    }
    held.iter().all(|(ours, model)| agrees(ours, model))
}

#[test]
fn a_sorted_set_behaves_like_a_sorted_map_in_both_encodings() {
    QuickCheck::new().tests(300).quickcheck(behaves_like_a_sorted_map as fn(Vec<Op>) -> bool);
}

quickcheck! {
    fn members_are_found_between_bounds(members: Vec<Vec<u8>>, min: Vec<u8>, max: Vec<u8>, packed: bool) -> bool {
        let limits = if packed { Limits::default() } else { Limits { zset_max_listpack_entries: 0, ..Limits::default() } };
        let mut zset = Zset::new();
        members.iter().for_each(|member| {
            zset.set(member, 0.0, &limits);
        });
        let mut sorted: Vec<_> = members.clone();
        sorted.sort();
        sorted.dedup();
        let check = |min, max, inside: &dyn Fn(&[u8]) -> bool| {
            owned(zset.iter_range(zset.as_ref().lex_span(min, max))).iter().map(|(m, _)| m).eq(sorted.iter().filter(|m| inside(m)))
        };
        check(LexBound::Included(&min), LexBound::Excluded(&max), &|m| m >= min.as_slice() && m < max.as_slice())
            && check(LexBound::Excluded(&min), LexBound::Included(&max), &|m| m > min.as_slice() && m <= max.as_slice())
            && check(LexBound::Lowest, LexBound::Included(&max), &|m| m <= max.as_slice())
            && check(LexBound::Included(&min), LexBound::Highest, &|m| m >= min.as_slice())
            && check(LexBound::Highest, LexBound::Lowest, &|_| false)
            && check(LexBound::Lowest, LexBound::Highest, &|_| true)
    }

    fn random_choices_are_members_and_differ(len: u8, count: u8, seed: u64) -> bool {
        let mut zset = Zset::new();
        for n in 0..u16::from(len) {
            zset.set(n.to_string().as_bytes(), f64::from(n), &small());
        }
        let mut entropy = SeededEntropy::new(seed);
        let picked = zset.random_distinct(usize::from(count), &mut entropy);
        let different: std::collections::BTreeSet<_> = picked.iter().map(|(member, _)| member.to_vec()).collect();
        different.len() == picked.len() && picked.len() == usize::from(count.min(len))
            && picked.iter().all(|(member, score)| member.as_int() == Some(*score as i64))
            && zset.random(&mut entropy).is_some() == (len > 0)
    }
}

/// The thresholds of the stock server, one below and one above.
#[test]
fn the_packed_form_ends_where_it_does_in_the_stock_server() {
    let limits = Limits::default();
    let mut zset = Zset::new();
    for n in 0..128 {
        zset.set(format!("{n:064}").as_bytes(), f64::from(n), &limits);
    }
    assert_eq!(zset.encoding(), "listpack");
    zset.set(b"one more", 0.5, &limits);
    assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
    zset.remove(b"one more");
    assert_eq!(zset.encoding(), "skiplist");
    let mut zset = Zset::new();
    zset.set(&[b'x'; 65], 1.0, &limits);
    assert_eq!(zset.encoding(), "skiplist");
}

/// A packed score is a number when it is whole, otherwise text that reads back as the same double.
#[test]
fn packed_scores_read_back() {
    for score in SCORES {
        let mut zset = Zset::new();
        zset.set(b"m", score, &Limits::default());
        assert_eq!(zset.score(b"m"), Some(score));
    }
    let mut zset = Zset::new();
    zset.set(b"m", 3.0, &Limits::default());
    zset.set(b"n", 0.1, &Limits::default());
    let listpack = zset.as_ref().to_listpack().unwrap();
    assert_eq!(&listpack.as_bytes()[6..], b"\x81n\x02\x830.1\x04\x81m\x02\x03\x01\xff");
}

/// What RDB files hold comes back byte for byte, whatever the scores.
#[test]
fn listpacks_are_the_same_after_a_round() {
    let mut zset = Zset::new();
    for (n, score) in SCORES.into_iter().enumerate() {
        zset.set(&member(n as u8), score, &Limits::default());
    }
    let listpack = zset.as_ref().to_listpack().unwrap();
    let again = Zset::from_listpack(&listpack, &Limits::default()).unwrap();
    assert!(again.as_ref().is_packed());
    assert_eq!(again.as_ref().to_listpack().unwrap().as_bytes(), listpack.as_bytes());
}
