//! A persistent counted B+tree: an ordered set, or a sequence, of small items.
//!
//! `clone` is a freeze, as for the table: O(1), and a complete immutable version from then on. Changes copy the shared
//! nodes on one path from the root and change unshared ones in place.
//!
//! Positions count weight. Where every item weighs one, a position is a rank; where items are chunks of a sequence and
//! weigh as much as they hold, it is an index into the sequence, and the item that covers it is found together with
//! the offset inside. Everything here is O(log n) but what says otherwise.
//!
//! Two uses
//! - ordered by a key: `insert_by`, `remove_by`, `find`, `partition_point` with functions that compare an item's key
//!   with what is sought. All calls on one tree must agree on one total order; keys are unique.
//! - a sequence: `insert_at`, `remove_at`, `update`, `split_off`, with `Key = ()`.
//!
//! Inner nodes keep a separator (a copy of the first key below) for each child, exact at all times: a removed item is
//! not kept alive by it.

mod iter;
mod node;
mod relocate;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::cmp::Ordering;

pub use iter::{Iter, IterBack};
pub use node::LEAF;
use node::{Edges, FANOUT, Inner, Leaf, Node, Order, Position, Route};

/// What a tree holds: cheap to clone (a few words, or a counted pointer).
pub trait Item: Clone {
    /// What items are ordered by; `()` in a sequence.
    type Key: ?Sized;
    /// An owned key, kept in inner nodes; `()` in a sequence.
    type Separator: Clone + Borrow<Self::Key>;

    fn key(&self) -> &Self::Key;

    fn separator(&self) -> Self::Separator;

    /// How many positions the item covers; never 0 while it is in a tree, and changed only through [`Tree::update`].
    fn weight(&self) -> usize {
        1
    }
}

/// A persistent counted B+tree with up to `L` items in a leaf. See the module for its promises.
pub struct Tree<T: Item, const L: usize = LEAF> {
    root: Option<Node<T, L>>,
    len: usize,
}

impl<T: Item, const L: usize> Clone for Tree<T, L> {
    /// Freezes: shares everything, O(1).
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<T: Item, const L: usize> Default for Tree<T, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item, const L: usize> Tree<T, L> {
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// Total weight: the number of items where each weighs one.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item that covers `position`, and the offset of the position inside it.
    pub fn get(&self, position: usize) -> Option<(&T, usize)> {
        if position >= self.len {
            return None;
        }
        let mut at = Position::new(position, self.len);
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Inner(inner) => node = &inner.nodes[at.child(inner)],
                Node::Leaf(leaf) => return at.item(leaf).ok().map(|index| (&leaf[index], at.at)),
            }
        }
    }

    pub fn first(&self) -> Option<&T> {
        self.get(0).map(|(item, _)| item)
    }

    pub fn last(&self) -> Option<&T> {
        self.get(self.len.checked_sub(1)?).map(|(item, _)| item)
    }

    /// Changes the item that covers `position` in place; the function gets the offset of the position inside it. An
    /// item that has no weight left is removed. The place of the item in the order must not change. `None` when the
    /// position lies behind the end.
    pub fn update<R>(&mut self, position: usize, change: impl FnOnce(&mut T, usize) -> R) -> Option<R> {
        if position >= self.len {
            return None;
        }
        let done = self.root.as_mut()?.update(&mut Position::new(position, self.len), change)?;
        self.len = self.len - done.before + done.after;
        self.lower_root();
        Some(done.result)
    }

    /// Inserts before the item that covers `position`, or at the end when nothing does.
    pub fn insert_at(&mut self, position: usize, item: T) {
        self.insert(&mut Position::new(position.min(self.len), self.len), item);
    }

    pub fn push_back(&mut self, item: T) {
        self.insert_at(self.len, item);
    }

    pub fn push_front(&mut self, item: T) {
        self.insert_at(0, item);
    }

    /// Removes the whole item that covers `position`.
    pub fn remove_at(&mut self, position: usize) -> Option<T> {
        if position >= self.len {
            return None;
        }
        self.remove(&mut Position::new(position, self.len))
    }

    pub fn pop_front(&mut self) -> Option<T> {
        self.remove_at(0)
    }

    pub fn pop_back(&mut self) -> Option<T> {
        self.remove_at(self.len.checked_sub(1)?)
    }

    /// Takes away everything that begins at `position` or later: the item that covers `position - 1` stays whole.
    /// O(log n).
    #[must_use]
    pub fn split_off(&mut self, position: usize) -> Self {
        let Some(root) = self.root.take() else { return Self::new() };
        let (left, right) = root.split(position);
        let weigh = |root: Option<Node<T, L>>| {
            let mut tree = Self { len: root.as_ref().map_or(0, Node::weight), root };
            tree.lower_root();
            tree
        };
        *self = weigh(left);
        weigh(right)
    }

    /// The position of the first item for which `before` is false. It must be true up to some item in the order, and
    /// false from there on.
    pub fn partition_point(&self, mut before: impl FnMut(&T::Key) -> bool) -> usize {
        let mut position = 0;
        let Some(mut node) = self.root.as_ref() else { return 0 };
        loop {
            match node {
                Node::Inner(inner) => {
                    let passed = inner.separators.partition_point(|separator| before(separator.borrow()));
                    let index = passed.saturating_sub(1);
                    position += inner.weights[..index].iter().sum::<usize>();
                    node = &inner.nodes[index];
                }
                Node::Leaf(leaf) => {
                    let passed = leaf.partition_point(|item| before(item.key()));
                    return position + leaf[..passed].iter().map(Item::weight).sum::<usize>();
                }
            }
        }
    }

    /// The item whose key compares equal, with its position.
    pub fn find(&self, mut compare: impl FnMut(&T::Key) -> Ordering) -> Option<(usize, &T)> {
        let mut position = 0;
        let mut node = self.root.as_ref()?;
        let mut order = Order(&mut compare);
        loop {
            match node {
                Node::Inner(inner) => {
                    let index = Route::<T>::child(&mut order, inner);
                    position += inner.weights[..index].iter().sum::<usize>();
                    node = &inner.nodes[index];
                }
                Node::Leaf(leaf) => {
                    let index = Route::<T>::item(&mut order, leaf).ok()?;
                    return Some((position + leaf[..index].iter().map(Item::weight).sum::<usize>(), &leaf[index]));
                }
            }
        }
    }

    /// Inserts in order: `compare` says how an item's key compares with that of the new one. An equal one is replaced
    /// and returned.
    pub fn insert_by(&mut self, compare: impl FnMut(&T::Key) -> Ordering, item: T) -> Option<T> {
        self.insert(&mut Order(compare), item)
    }

    /// Removes the item whose key compares equal.
    pub fn remove_by(&mut self, mut compare: impl FnMut(&T::Key) -> Ordering) -> Option<T> {
        // A miss must not copy shared nodes.
        self.find(&mut compare)?;
        self.remove(&mut Order(compare))
    }

    fn insert(&mut self, route: &mut impl Route<T>, item: T) -> Option<T> {
        self.len += item.weight();
        let Some(root) = self.root.as_mut() else {
            self.root = Some(Node::leaf(std::iter::once(item).collect()));
            return None;
        };
        let done = root.insert(route, item, Edges { first: true, last: true });
        if let Some(sibling) = done.sibling
            && let Some(left) = self.root.take()
        {
            let mut root = Inner::new();
            root.push(left);
            root.push(sibling);
            self.root = Some(Node::inner(root));
        }
        self.len -= done.replaced.as_ref().map_or(0, Item::weight);
        done.replaced
    }

    fn remove(&mut self, route: &mut impl Route<T>) -> Option<T> {
        let done = self.root.as_mut()?.remove(route)?;
        self.len -= done.item.weight();
        self.lower_root();
        Some(done.item)
    }

    /// An inner root with a single child gives way to it, an empty one to nothing.
    fn lower_root(&mut self) {
        while let Some(root) = &self.root {
            match root {
                Node::Inner(inner) if inner.nodes.len() == 1 => self.root = Some(inner.nodes[0].clone()),
                root if root.len() == 0 => self.root = None,
                _ => return,
            }
        }
    }
}

impl<T: Item, const L: usize> FromIterator<T> for Tree<T, L> {
    /// Builds a tree of full nodes from items that come in order. O(n).
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut level = Vec::new();
        let mut leaf = Leaf::new();
        for item in items {
            leaf.push(item);
            if leaf.is_full() {
                level.push(Node::leaf(std::mem::take(&mut leaf)));
            }
        }
        if !leaf.is_empty() {
            level.push(Node::leaf(leaf));
        }
        while level.len() > 1 {
            let mut upper = Vec::with_capacity(level.len().div_ceil(FANOUT));
            let mut nodes = level.into_iter().peekable();
            while nodes.peek().is_some() {
                let mut inner = Inner::new();
                nodes.by_ref().take(FANOUT).for_each(|node| inner.push(node));
                upper.push(Node::inner(inner));
            }
            level = upper;
        }
        let root = level.pop();
        Self { len: root.as_ref().map_or(0, Node::weight), root }
    }
}

impl<T: Item, const L: usize> std::fmt::Debug for Tree<T, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("len", &self.len).finish_non_exhaustive()
    }
}
