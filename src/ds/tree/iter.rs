//! Walks in both directions from any position.

use arrayvec::ArrayVec;

use super::node::{Inner, LEAF, Node, Position, Route};
use super::{Item, Tree};

/// Far beyond any tree that fits into memory: inner nodes but for the edges have four children or more.
const HEIGHT_MAX: usize = 24;

/// The way from the root to a leaf.
struct Path<'a, T: Item, const L: usize> {
    inner: ArrayVec<(&'a Inner<T, L>, usize), HEIGHT_MAX>,
}

impl<'a, T: Item, const L: usize> Path<'a, T, L> {
    /// Descends from a node, each step as `choose` says.
    fn descend(&mut self, mut node: &'a Node<T, L>, mut choose: impl FnMut(&Inner<T, L>) -> usize) -> &'a [T] {
        loop {
            match node {
                Node::Inner(inner) => {
                    let index = choose(inner);
                    self.inner.push((inner, index));
                    node = &inner.nodes[index];
                }
                Node::Leaf(leaf) => return leaf,
            }
        }
    }

    fn next_leaf(&mut self) -> Option<&'a [T]> {
        while let Some((inner, index)) = self.inner.pop() {
            if let Some(node) = inner.nodes.get(index + 1) {
                self.inner.push((inner, index + 1));
                return Some(self.descend(node, |_| 0));
            }
        }
        None
    }

    fn previous_leaf(&mut self) -> Option<&'a [T]> {
        while let Some((inner, index)) = self.inner.pop() {
            if let Some(before) = index.checked_sub(1) {
                self.inner.push((inner, before));
                return Some(self.descend(&inner.nodes[before], |inner| inner.nodes.len() - 1));
            }
        }
        None
    }
}

/// Items in order, from a position on.
pub struct Iter<'a, T: Item, const L: usize = LEAF> {
    path: Path<'a, T, L>,
    items: std::slice::Iter<'a, T>,
    offset: usize,
}

/// Items in reverse order, back from a position.
pub struct IterBack<'a, T: Item, const L: usize = LEAF> {
    path: Path<'a, T, L>,
    items: std::slice::Iter<'a, T>,
    offset: usize,
}

impl<T: Item, const L: usize> Tree<T, L> {
    pub fn iter(&self) -> Iter<'_, T, L> {
        self.iter_at(0)
    }

    /// Begins with the item that covers `position`.
    pub fn iter_at(&self, position: usize) -> Iter<'_, T, L> {
        let mut path = Path { inner: ArrayVec::new() };
        let mut at = Position::new(position, self.len);
        let items = match &self.root {
            Some(root) if position < self.len => path.descend(root, |inner| at.child(inner)),
            _ => &[],
        };
        let first = at.item(items).unwrap_or_default();
        Iter { path, items: items[first..].iter(), offset: at.at }
    }

    /// Begins with the item that covers `position - 1` and goes back; `len` begins with the last item.
    pub fn iter_before(&self, position: usize) -> IterBack<'_, T, L> {
        let mut path = Path { inner: ArrayVec::new() };
        let Some(last) = position.min(self.len).checked_sub(1) else {
            return IterBack { path, items: [].iter(), offset: 0 };
        };
        let mut at = Position::new(last, self.len);
        let items = match &self.root {
            Some(root) => path.descend(root, |inner| at.child(inner)),
            None => &[],
        };
        let end = at.item(items).map_or(0, |index| index + 1);
        IterBack { path, items: items[..end].iter(), offset: at.at }
    }

    pub fn iter_rev(&self) -> IterBack<'_, T, L> {
        self.iter_before(self.len)
    }
}

impl<T: Item, const L: usize> Iter<'_, T, L> {
    /// Offset of the position that the walk began at inside the first item.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl<T: Item, const L: usize> IterBack<'_, T, L> {
    /// Offset of the position before the one that the walk began at, inside the first item that it meets.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl<'a, T: Item, const L: usize> Iterator for Iter<'a, T, L> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(item);
            }
            self.items = self.path.next_leaf()?.iter();
        }
    }
}

impl<'a, T: Item, const L: usize> Iterator for IterBack<'a, T, L> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.items.next_back() {
                return Some(item);
            }
            self.items = self.path.previous_leaf()?.iter();
        }
    }
}

impl<'a, T: Item, const L: usize> IntoIterator for &'a Tree<T, L> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T, L>;

    fn into_iter(self) -> Iter<'a, T, L> {
        self.iter()
    }
}
