use std::collections::VecDeque;

use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(usize),
    RemoveEqual(bool, u8, Vec<u8>),
    Trim(usize, usize),
    RemoveFrom(bool, u8),
    Hold,
}

fn element(g: &mut Gen) -> Vec<u8> {
    match u8::arbitrary(g) % 8 {
        0 => vec![b'L'; 4000 + usize::from(u16::arbitrary(g) % 6000)],
        1 => Vec::arbitrary(g),
        2..=4 => (u8::arbitrary(g) % 4).to_string().into_bytes(),
        5 => i64::arbitrary(g).to_string().into_bytes(),
        _ => vec![b'm'; usize::from(u8::arbitrary(g))],
    }
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 16 {
            0..=4 => {
                let count = u8::arbitrary(g) % 12;
                Self::Push(bool::arbitrary(g), (0..count).map(|_| element(g)).collect())
            }
            5..=6 => Self::Pop(bool::arbitrary(g)),
            7..=8 => Self::Set(usize::arbitrary(g), element(g)),
            9..=10 => Self::Insert(usize::arbitrary(g), element(g)),
            11 => Self::Remove(usize::arbitrary(g)),
            12 => Self::RemoveEqual(bool::arbitrary(g), u8::arbitrary(g) % 6, element(g)),
            13 if u8::arbitrary(g) % 4 == 0 => Self::Trim(usize::arbitrary(g), usize::arbitrary(g)),
            14 => Self::RemoveFrom(bool::arbitrary(g), u8::arbitrary(g) % 16),
            _ => Self::Hold,
        }
    }
}

type Model = VecDeque<Vec<u8>>;

fn end(front: bool) -> End {
    if front { End::Front } else { End::Back }
}

fn agrees(list: &List, model: &Model) -> bool {
    let len = model.len();
    let (from, to) = (len / 3, len - len / 4);
    let forward = list.iter_range(from..to).map(|item| item.to_vec());
    let backward = list.iter_range_back(from..to).map(|item| item.to_vec());
    list.len() == len
        && list.is_empty() == model.is_empty()
        && list.iter().map(|item| item.to_vec()).eq(model.iter().cloned())
        && list.iter().len() == len
        && forward.eq(model.range(from..to).cloned())
        && backward.eq(model.range(from..to).rev().cloned())
        && (0..len).step_by(len / 7 + 1).all(|i| list.get(i).is_some_and(|item| item.eq_bytes(&model[i])))
        && list.get(len).is_none()
        && list.positions(b"1", false, len / 2).eq((0..len / 2).filter(|i| model[*i] == b"1"))
        && list.positions(b"1", true, usize::MAX).eq((0..len).rev().filter(|i| model[*i] == b"1"))
}

fn saved_and_built_again(list: &List, limits: &Limits) -> List {
    let mut builder = ListBuilder::new(limits);
    for node in list.as_ref().nodes() {
        match node {
            Node::Packed(listpack) => builder.push_node(listpack.into_owned()),
            Node::Plain(bytes) => builder.push_plain(bytes),
        }
    }
    builder.finish(limits)
}

fn behaves_like_a_deque(ops: Vec<Op>, size: i8) -> bool {
    let limits = Limits { list_max_listpack_size: i64::from(size) % 6, ..Limits::default() };
    let (mut ours, mut model) = (List::new(), Model::new());
    let mut held = Vec::new();
    for op in ops {
        match op {
            Op::Push(front, elements) => {
                ours.extend(end(front), elements.iter().map(Vec::as_slice), &limits);
                for element in elements {
                    if front { model.push_front(element) } else { model.push_back(element) }
                }
            }
            Op::Pop(front) => {
                let expected = if front { model.pop_front() } else { model.pop_back() };
                if ours.pop(end(front), &limits) != expected {
                    return false;
                }
            }
            Op::Set(index, element) => {
                let index = index % (model.len() + 1);
                let there = index < model.len();
                if ours.set(index, &element, &limits) != there {
                    return false;
                }
                if there {
                    model[index] = element;
                }
            }
            Op::Insert(index, element) => {
                let index = index % (model.len() + 1);
                ours.insert(index, &element, &limits);
                model.insert(index, element);
            }
            Op::Remove(index) => {
                let index = index % (model.len() + 1);
                ours.remove(index, &limits);
                model.remove(index);
            }
            Op::RemoveEqual(front, max, element) => {
                let matching: Vec<_> = (0..model.len()).filter(|i| model[*i] == element).collect();
                let count = matching.len().min(usize::from(max));
                let gone = if front { &matching[..count] } else { &matching[matching.len() - count..] };
                gone.iter().rev().for_each(|i| {
                    model.remove(*i);
                });
                if ours.remove_equal(&element, end(front), usize::from(max), &limits) != count {
                    return false;
                }
            }
            Op::Trim(a, b) => {
                let (a, b) = (a % (model.len() + 1), b % (model.len() + 3));
                ours.trim(a..b, &limits);
                model = if a < b { model.range(a..b.min(model.len())).cloned().collect() } else { Model::new() };
            }
            Op::RemoveFrom(front, count) => {
                ours.remove_from(end(front), usize::from(count), &limits);
                let count = usize::from(count).min(model.len());
                model.drain(if front { 0..count } else { model.len() - count..model.len() });
            }
            Op::Hold => held.push((ours.clone(), model.clone())),
        }
        if !agrees(&ours, &model) || !agrees(&saved_and_built_again(&ours, &limits), &model) {
            return false;
        }
    }
    held.iter().all(|(ours, model)| agrees(ours, model))
}

#[test]
fn a_list_behaves_like_a_deque_in_both_encodings() {
    QuickCheck::new().tests(300).quickcheck(behaves_like_a_deque as fn(Vec<Op>, i8) -> bool);
}

fn list(elements: impl IntoIterator<Item = String>, limits: &Limits) -> List {
    let mut list = List::new();
    for element in elements {
        list.push(End::Back, element.as_bytes(), limits);
    }
    list
}

/// The thresholds of the stock server: 8 KiB of listpack by default, half of it to shrink back.
#[test]
fn the_encoding_changes_where_it_does_in_the_stock_server() {
    let limits = Limits::default();
    // 7 bytes of header and end, 103 for an element of 100.
    let mut list = list((0..79).map(|_| "x".repeat(100)), &limits);
    assert_eq!(list.encoding(), "listpack");
    list.push(End::Back, &[b'x'; 100], &limits);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 80));
    list.remove_from(End::Back, 1, &limits);
    list.remove_from(End::Front, 39, &limits);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 40));
    list.remove_from(End::Front, 1, &limits);
    assert_eq!((list.encoding(), list.len()), ("listpack", 39));

    let mut list = List::new();
    list.push(End::Back, &[b'x'; 8192], &limits);
    assert_eq!(list.encoding(), "quicklist");
    list.set(0, b"small", &limits);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn counted_nodes_hold_what_the_limit_says() {
    let limits = Limits { list_max_listpack_size: 4, ..Limits::default() };
    let mut list = list((0..9).map(|n| n.to_string()), &limits);
    assert_eq!(list.encoding(), "quicklist");
    let sizes: Vec<_> = list
        .as_ref()
        .nodes()
        .map(|node| match node {
            Node::Packed(listpack) => listpack.len(),
            Node::Plain(_) => 0,
        })
        .collect();
    assert_eq!(sizes, [4, 4, 1]);
    list.remove_from(End::Back, 6, &limits);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 3));
    list.remove_from(End::Back, 1, &limits);
    assert_eq!((list.encoding(), list.len()), ("listpack", 2));
}
