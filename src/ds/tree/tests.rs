use std::collections::BTreeSet;
use std::sync::Arc;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::node::Node;
use super::{Item, Tree};

/// A member of an ordered set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member(Arc<u32>);

impl Item for Member {
    type Key = u32;
    type Separator = u32;

    fn key(&self) -> &u32 {
        &self.0
    }

    fn separator(&self) -> u32 {
        *self.0
    }
}

/// A chunk of a sequence.
#[derive(Clone, Debug, PartialEq)]
struct Chunk(Arc<Vec<u16>>);

impl Item for Chunk {
    type Key = ();
    type Separator = ();

    fn key(&self) -> &() {
        &()
    }

    fn separator(&self) {}

    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Weights, separators, depth and emptiness are as promised.
fn check<T: Item<Separator: PartialEq>>(tree: &Tree<T>) {
    fn node<T: Item<Separator: PartialEq>, const L: usize>(at: &Node<T, L>) -> (usize, usize, Option<T::Separator>) {
        match at {
            Node::Leaf(leaf) => {
                assert!(!leaf.is_empty());
                (0, leaf.iter().map(Item::weight).sum(), leaf.first().map(Item::separator))
            }
            Node::Inner(inner) => {
                assert!(!inner.nodes.is_empty());
                let mut depths = BTreeSet::new();
                for (index, child) in inner.nodes.iter().enumerate() {
                    let (depth, weight, first) = node(child);
                    assert_eq!(weight, inner.weights[index]);
                    assert!(first.as_ref() == Some(&inner.separators[index]));
                    depths.insert(depth);
                }
                assert_eq!(depths.len(), 1);
                let depth = depths.first().map_or(0, |depth| depth + 1);
                (depth, inner.weights.iter().sum(), inner.separators.first().cloned())
            }
        }
    }
    let weight = tree.root.as_ref().map_or(0, |root| node(root).1);
    assert_eq!(weight, tree.len());
    assert!(!matches!(&tree.root, Some(Node::Inner(inner)) if inner.nodes.len() < 2));
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Remove(u32),
    RemoveAt(u32),
    Run(u32, bool),
    RemoveRun(u32),
    Seek(u32),
    Split(u32),
    Freeze,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let n = u32::arbitrary(g) % 6000;
        match u8::arbitrary(g) % 16 {
            0..4 => Self::Insert(n),
            4..6 => Self::Remove(n),
            6..8 => Self::RemoveAt(n),
            8..11 => Self::Run(n, bool::arbitrary(g)),
            11 => Self::RemoveRun(n),
            12..14 => Self::Seek(n),
            14 => Self::Freeze,
            _ => Self::Split(n),
        }
    }
}

fn insert(tree: &mut Tree<Member>, model: &mut BTreeSet<u32>, n: u32) {
    let replaced = tree.insert_by(|key| key.cmp(&n), Member(Arc::new(n)));
    assert_eq!(replaced.is_none(), model.insert(n));
}

fn remove(tree: &mut Tree<Member>, model: &mut BTreeSet<u32>, n: u32) {
    assert_eq!(tree.remove_by(|key| key.cmp(&n)).is_some(), model.remove(&n));
}

quickcheck! {
    /// An ordered tree and all its frozen versions equal a std set: order, ranks, ranges both ways.
    fn behaves_as_an_ordered_set(ops: Vec<Op>) -> bool {
        let mut tree = Tree::new();
        let mut model = BTreeSet::new();
        let mut frozen = Vec::new();
        for op in ops {
            match op {
                Op::Insert(n) => insert(&mut tree, &mut model, n),
                Op::Remove(n) => remove(&mut tree, &mut model, n),
                Op::RemoveAt(n) => {
                    let position = n as usize % (model.len() + 1);
                    let expected = model.iter().nth(position).copied();
                    expected.map(|n| model.remove(&n));
                    assert_eq!(tree.remove_at(position).map(|member| *member.0), expected);
                }
                Op::Run(n, up) => (0..500).for_each(|i| {
                    insert(&mut tree, &mut model, if up { n + i } else { n + 500 - i });
                }),
                Op::RemoveRun(n) => (n..n + 2000).for_each(|n| remove(&mut tree, &mut model, n)),
                Op::Seek(n) => {
                    let rank = model.range(..n).count();
                    assert_eq!(tree.partition_point(|&key| key < n), rank);
                    assert_eq!(tree.find(|key| key.cmp(&n)).map(|(at, _)| at), model.contains(&n).then_some(rank));
                    assert_eq!(tree.get(rank).map(|(member, _)| *member.0), model.range(n..).next().copied());
                    assert!(tree.iter_at(rank).map(|member| *member.0).eq(model.range(n..).copied()));
                    assert!(tree.iter_before(rank).map(|member| *member.0).eq(model.range(..n).rev().copied()));
                }
                Op::Split(n) => {
                    let right = tree.split_off(n as usize % (model.len() + 1));
                    check(&right);
                    for member in &right {
                        assert!(model.remove(&member.0));
                    }
                }
                Op::Freeze => frozen.push((tree.clone(), model.clone())),
            }
            check(&tree);
        }
        frozen.push((tree, model));
        frozen.iter().all(|(tree, model)| {
            check(tree);
            tree.len() == model.len()
                && tree.iter().map(|member| *member.0).eq(model.iter().copied())
                && tree.iter_rev().map(|member| *member.0).eq(model.iter().rev().copied())
        })
    }

    /// A sequence of weighted chunks and all its frozen versions equal a std vector.
    fn behaves_as_a_sequence(ops: Vec<(Op, u8)>) -> bool {
        let mut tree = Tree::<Chunk>::new();
        let mut model = Vec::<u16>::new();
        let mut frozen = Vec::new();
        for (op, size) in ops {
            let size = usize::from(size % 5) + 1;
            let chunk = |n: u32| (0..size).map(|i| n as u16 + i as u16).collect::<Vec<_>>();
            // The chunk that covers a position begins here.
            let begin = |tree: &Tree<Chunk>, at: usize| tree.get(at).map_or(tree.len(), |(_, offset)| at - offset);
            match op {
                Op::Insert(n) | Op::Seek(n) => {
                    let at = n as usize % (model.len() + 1);
                    let begin = begin(&tree, at);
                    tree.insert_at(at, Chunk(Arc::new(chunk(n))));
                    model.splice(begin..begin, chunk(n));
                }
                Op::Run(n, front) => for i in 0..200 {
                    let chunk = chunk(n + i);
                    if front {
                        tree.push_front(Chunk(Arc::new(chunk.clone())));
                        model.splice(0..0, chunk);
                    } else {
                        tree.push_back(Chunk(Arc::new(chunk.clone())));
                        model.extend(chunk);
                    }
                },
                Op::Remove(n) => {
                    let at = n as usize % (model.len() + 1);
                    let removed = tree.update(at, |chunk, offset| Arc::make_mut(&mut chunk.0).remove(offset));
                    assert_eq!(removed, (at < model.len()).then(|| model.remove(at)));
                }
                Op::RemoveAt(n) => {
                    let at = n as usize % (model.len() + 1);
                    let begin = begin(&tree, at);
                    if let Some(chunk) = tree.remove_at(at) {
                        assert_eq!(*chunk.0, model.drain(begin..begin + chunk.0.len()).collect::<Vec<_>>());
                    }
                }
                Op::RemoveRun(n) => for _ in 0..n % 300 {
                    let chunk = if n % 2 == 0 { tree.pop_front() } else { tree.pop_back() };
                    let weight = chunk.map_or(0, |chunk| chunk.weight());
                    let from = if n % 2 == 0 { 0 } else { model.len() - weight };
                    model.drain(from..from + weight);
                },
                Op::Split(n) => {
                    let at = n as usize % (model.len() + 1);
                    let right = tree.split_off(at);
                    check(&right);
                    let tail = model.split_off(tree.len());
                    assert!(tree.len() >= at && right.iter().flat_map(|chunk| chunk.0.iter()).eq(&tail));
                }
                Op::Freeze => frozen.push((tree.clone(), model.clone())),
            }
            check(&tree);
            let at = model.len() / 2;
            let mut from = tree.iter_at(at);
            let offset = from.offset();
            assert_eq!(from.next().map(|chunk| chunk.0[offset]), model.get(at).copied());
            let mut back = tree.iter_before(at + 1);
            let offset = back.offset();
            assert_eq!(back.next().map(|chunk| chunk.0[offset]), model.get(at).copied());
        }
        frozen.push((tree, model));
        frozen.iter().all(|(tree, model)| tree.iter().flat_map(|chunk| chunk.0.iter()).eq(model))
    }

    fn builds_from_items_in_order(items: BTreeSet<u32>, more: u16) -> bool {
        let items = items.into_iter().chain(0..u32::from(more)).collect::<BTreeSet<_>>();
        let tree = items.iter().map(|&n| Member(Arc::new(n))).collect::<Tree<_>>();
        check(&tree);
        tree.len() == items.len() && tree.iter().map(|member| *member.0).eq(items)
    }
}

/// Appending, the pattern of queues and of scores that are times, must fill nodes rather than halve them.
#[test]
fn runs_fill_nodes() {
    for up in [true, false] {
        let mut tree = Tree::new();
        for n in 0..10_000 {
            let n = if up { n } else { 10_000 - n };
            tree.insert_by(|key| u32::cmp(key, &n), Member(Arc::new(n)));
        }
        check(&tree);
        let mut leaves = 0;
        let mut nodes = tree.root.iter().collect::<Vec<_>>();
        while let Some(node) = nodes.pop() {
            match node {
                Node::Leaf(_) => leaves += 1,
                Node::Inner(inner) => nodes.extend(&inner.nodes),
            }
        }
        assert!(leaves <= 10_000 / super::LEAF + 2, "{leaves}");
    }
}
