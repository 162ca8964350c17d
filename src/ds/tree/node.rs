//! Nodes of the tree and the changes that stay within one of them.
//!
//! Invariants
//! - All leaves lie at the same depth; no node is empty.
//! - An inner node's weight of a child is the sum of the weights below it, its separator that of the first item below.

use arrayvec::ArrayVec;
use triomphe::Arc;

use crate::ds::own;

use super::Item;

/// Items of a leaf, where the tree does not say otherwise. With the leaf's own words, items of 8 and of 16 bytes fill
/// allocations of 512 and 1024 bytes.
pub const LEAF: usize = 62;

/// Children of an inner node: few, since beside a snapshot a change copies a whole path.
pub(super) const FANOUT: usize = 16;

/// A node with a smaller part of its entries than this looks for a neighbour to join.
const fn sparse(full: usize) -> usize {
    full / 4
}

/// Two neighbours join when they are no fuller than this together, so that the next insert does not divide them again.
const fn joined_max(full: usize) -> usize {
    full * 3 / 4
}

/// Three leaves become two when those are no fuller than seven eighths.
const fn evened_max(full: usize) -> usize {
    2 * full * 7 / 8
}

pub(super) type Leaf<T, const L: usize> = ArrayVec<T, L>;

pub(super) struct Inner<T: Item, const L: usize> {
    pub(super) nodes: ArrayVec<Node<T, L>, FANOUT>,
    pub(super) weights: ArrayVec<usize, FANOUT>,
    pub(super) separators: ArrayVec<T::Separator, FANOUT>,
}

pub(super) enum Node<T: Item, const L: usize> {
    Leaf(Arc<Leaf<T, L>>),
    Inner(Arc<Inner<T, L>>),
}

/// Which way a change goes: decides per node, and may count down a position on its way.
pub(super) trait Route<T: Item> {
    /// Whether an insert takes the place of the item that it leads to, rather than going before it.
    const REPLACES: bool;

    fn child<const L: usize>(&mut self, inner: &Inner<T, L>) -> usize;
    /// The item that the route leads to, or the place where it would be.
    fn item(&mut self, leaf: &[T]) -> Result<usize, usize>;
}

/// Leads to the item that covers a position, and inserts before it. Searches from the nearer end: to weigh an item may
/// mean to fetch it from memory.
pub(super) struct Position {
    pub(super) at: usize,
    /// Weight of what the position lies in.
    of: usize,
}

impl Position {
    pub(super) fn new(at: usize, of: usize) -> Self {
        Self { at, of }
    }

    /// The one of these weights that covers the position, which then counts from its beginning; `None` behind the end.
    fn find(&mut self, weights: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator) -> Option<usize> {
        if self.at >= self.of {
            return None;
        }
        if self.at <= self.of / 2 {
            for (index, weight) in weights.enumerate() {
                if self.at < weight {
                    self.of = weight;
                    return Some(index);
                }
                self.at -= weight;
            }
            return None;
        }
        let mut begin = self.of;
        for (index, weight) in weights.enumerate().rev() {
            begin -= weight;
            if self.at >= begin {
                *self = Self { at: self.at - begin, of: weight };
                return Some(index);
            }
        }
        None
    }
}

/// Leads by order: the function says how an item compares with what is sought.
pub(super) struct Order<F>(pub(super) F);

impl<T: Item> Route<T> for Position {
    const REPLACES: bool = false;

    fn child<const L: usize>(&mut self, inner: &Inner<T, L>) -> usize {
        self.find(inner.weights.iter().copied()).unwrap_or_else(|| {
            // Behind the end: the end of the last child.
            let last = inner.weights.len() - 1;
            *self = Self { at: inner.weights[last], of: inner.weights[last] };
            last
        })
    }

    fn item(&mut self, leaf: &[T]) -> Result<usize, usize> {
        self.find(leaf.iter().map(Item::weight)).ok_or(leaf.len())
    }
}

impl<T: Item, F: FnMut(&T::Key) -> std::cmp::Ordering> Route<T> for Order<F> {
    const REPLACES: bool = true;

    fn child<const L: usize>(&mut self, inner: &Inner<T, L>) -> usize {
        use std::borrow::Borrow;
        inner.separators.partition_point(|separator| (self.0)(separator.borrow()).is_le()).saturating_sub(1)
    }

    fn item(&mut self, leaf: &[T]) -> Result<usize, usize> {
        leaf.binary_search_by(|item| (self.0)(item.key()))
    }
}

/// What an insert left behind.
pub(super) struct Inserted<T: Item, const L: usize> {
    pub(super) replaced: Option<T>,
    /// The right half of the node, when it had to be divided.
    pub(super) sibling: Option<Node<T, L>>,
    first_changed: bool,
}

pub(super) struct Removed<T> {
    pub(super) item: T,
    first_changed: bool,
}

pub(super) struct Updated<R> {
    pub(super) result: R,
    pub(super) before: usize,
    pub(super) after: usize,
    first_changed: bool,
}

/// Whether the node is the first or last of its level: there, divisions leave the full part full.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) first: bool,
    pub(super) last: bool,
}

impl<T: Item, const L: usize> Clone for Node<T, L> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Inner(inner) => Self::Inner(inner.clone()),
        }
    }
}

impl<T: Item, const L: usize> Clone for Inner<T, L> {
    fn clone(&self) -> Self {
        Self { nodes: self.nodes.clone(), weights: self.weights.clone(), separators: self.separators.clone() }
    }
}

impl<T: Item, const L: usize> Inner<T, L> {
    pub(super) fn new() -> Self {
        Self { nodes: ArrayVec::new(), weights: ArrayVec::new(), separators: ArrayVec::new() }
    }

    pub(super) fn push(&mut self, node: Node<T, L>) {
        self.insert(self.nodes.len(), node);
    }

    fn insert(&mut self, index: usize, node: Node<T, L>) {
        self.weights.insert(index, node.weight());
        self.separators.insert(index, node.first_separator());
        self.nodes.insert(index, node);
    }

    fn remove(&mut self, index: usize) -> Node<T, L> {
        self.weights.remove(index);
        self.separators.remove(index);
        self.nodes.remove(index)
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self {
            nodes: self.nodes.drain(at..).collect(),
            weights: self.weights.drain(at..).collect(),
            separators: self.separators.drain(at..).collect(),
        }
    }

    /// After a child lost something: drops it when empty, renews its separator, joins it with a neighbour when both
    /// are sparse. Says whether this node's own first item is another one now.
    fn settle(&mut self, index: usize, first_changed: bool) -> bool {
        if self.nodes[index].len() == 0 {
            self.remove(index);
            return index == 0;
        }
        if first_changed {
            self.separators[index] = self.nodes[index].first_separator();
        }
        self.join_sparse(index);
        first_changed && index == 0
    }

    /// A leaf has been divided: where the one before it has room, the three become two, so that leaves are better than
    /// half full.
    fn even_out(&mut self, index: usize) {
        let Some(first) = index.checked_sub(1) else { return };
        let Some([Node::Leaf(a), Node::Leaf(b), Node::Leaf(c)]) = self.nodes.get_mut(first..first + 3) else { return };
        let total = a.len() + b.len() + c.len();
        if total > evened_max(L) {
            return;
        }
        let mut all = Vec::with_capacity(total);
        for leaf in [&mut *a, b, c] {
            all.extend(own(leaf).drain(..));
        }
        let rest = all.split_off(total / 2);
        own(a).extend(all);
        own(b).extend(rest);
        self.remove(first + 2);
        for leaf in [first, first + 1] {
            self.weights[leaf] = self.nodes[leaf].weight();
        }
        self.separators[first + 1] = self.nodes[first + 1].first_separator();
    }

    /// Joins the child with a neighbour when both are sparse.
    fn join_sparse(&mut self, index: usize) {
        let full = self.nodes[index].capacity();
        if self.nodes[index].len() >= sparse(full) {
            return;
        }
        let fits = |left: usize| {
            self.nodes.get(left + 1).is_some_and(|right| self.nodes[left].len() + right.len() <= joined_max(full))
        };
        let left = match index.checked_sub(1) {
            Some(before) if fits(before) => before,
            _ if fits(index) => index,
            _ => return,
        };
        let weight = self.weights[left + 1];
        let right = self.remove(left + 1);
        self.weights[left] += weight;
        self.nodes[left].append(right);
    }
}

impl<T: Item, const L: usize> Node<T, L> {
    pub(super) fn leaf(items: Leaf<T, L>) -> Self {
        Self::Leaf(Arc::new(items))
    }

    pub(super) fn inner(inner: Inner<T, L>) -> Self {
        Self::Inner(Arc::new(inner))
    }

    /// Number of items or children, not their weight.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.nodes.len(),
        }
    }

    /// Number of items or children that there is room for.
    fn capacity(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.capacity(),
            Self::Inner(inner) => inner.nodes.capacity(),
        }
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.iter().map(Item::weight).sum(),
            Self::Inner(inner) => inner.weights.iter().sum(),
        }
    }

    fn first_separator(&self) -> T::Separator {
        match self {
            Self::Leaf(leaf) => leaf[0].separator(),
            Self::Inner(inner) => inner.separators[0].clone(),
        }
    }

    fn append(&mut self, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => own(left).extend(right.iter().cloned()),
            (Self::Inner(left), Self::Inner(right)) => {
                let left = own(left);
                left.nodes.extend(right.nodes.iter().cloned());
                left.weights.extend(right.weights.iter().copied());
                left.separators.extend(right.separators.iter().cloned());
            }
            _ => unreachable!("neighbours lie at the same depth"),
        }
    }

    pub(super) fn insert(&mut self, route: &mut impl Route<T>, item: T, edges: Edges) -> Inserted<T, L> {
        match self {
            Self::Leaf(leaf) => insert_into_leaf(own(leaf), route, item, edges),
            Self::Inner(inner) => {
                let inner = own(inner);
                let index = route.child(inner);
                let below =
                    Edges { first: edges.first && index == 0, last: edges.last && index + 1 == inner.nodes.len() };
                let weight = item.weight();
                let mut done = inner.nodes[index].insert(route, item, below);
                let replaced = done.replaced.as_ref().map_or(0, Item::weight);
                inner.weights[index] = inner.weights[index] + weight - replaced;
                if done.first_changed {
                    inner.separators[index] = inner.nodes[index].first_separator();
                    done.first_changed = index == 0;
                }
                if let Some(sibling) = done.sibling.take() {
                    inner.weights[index] -= sibling.weight();
                    done.sibling = insert_child(inner, index + 1, sibling, edges);
                    if done.sibling.is_none() {
                        inner.even_out(index);
                    }
                }
                done
            }
        }
    }

    /// Removes the item that the route leads to; the caller has made sure that there is one.
    pub(super) fn remove(&mut self, route: &mut impl Route<T>) -> Option<Removed<T>> {
        match self {
            Self::Leaf(leaf) => {
                let index = route.item(leaf).ok()?;
                Some(Removed { item: own(leaf).remove(index), first_changed: index == 0 })
            }
            Self::Inner(inner) => {
                let inner = own(inner);
                let index = route.child(inner);
                let mut done = inner.nodes[index].remove(route)?;
                inner.weights[index] -= done.item.weight();
                done.first_changed = inner.settle(index, done.first_changed);
                Some(done)
            }
        }
    }

    /// Changes the item that covers the position in place; one that has no weight left is removed.
    pub(super) fn update<R>(
        &mut self,
        at: &mut Position,
        change: impl FnOnce(&mut T, usize) -> R,
    ) -> Option<Updated<R>> {
        match self {
            Self::Leaf(leaf) => {
                let index = at.item(leaf).ok()?;
                let leaf = own(leaf);
                let before = leaf[index].weight();
                let result = change(&mut leaf[index], at.at);
                let after = leaf[index].weight();
                if after == 0 {
                    leaf.remove(index);
                }
                Some(Updated { result, before, after, first_changed: index == 0 })
            }
            Self::Inner(inner) => {
                let inner = own(inner);
                let index = at.child(inner);
                let mut done = inner.nodes[index].update(at, change)?;
                inner.weights[index] = inner.weights[index] - done.before + done.after;
                done.first_changed = inner.settle(index, done.first_changed);
                Some(done)
            }
        }
    }

    /// Divides into what begins before the position and what begins at it or later.
    pub(super) fn split(&self, position: usize) -> (Option<Self>, Option<Self>) {
        match self {
            Self::Leaf(leaf) => {
                let mut begin = 0;
                let cut = leaf.iter().take_while(|item| {
                    let before = begin < position;
                    begin += item.weight();
                    before
                });
                let cut = cut.count();
                let part = |items: &[T]| (!items.is_empty()).then(|| Self::leaf(items.iter().cloned().collect()));
                (part(&leaf[..cut]), part(&leaf[cut..]))
            }
            Self::Inner(inner) => {
                let mut at = Position::new(position, inner.weights.iter().sum());
                let cut = at.child(inner);
                let (left, right) = inner.nodes[cut].split(at.at);
                let part = |nodes: &mut dyn Iterator<Item = Self>| {
                    let mut part = Inner::new();
                    nodes.for_each(|node| part.push(node));
                    (!part.nodes.is_empty()).then(|| Self::inner(part))
                };
                (
                    part(&mut inner.nodes[..cut].iter().cloned().chain(left)),
                    part(&mut right.into_iter().chain(inner.nodes[cut + 1..].iter().cloned())),
                )
            }
        }
    }
}

fn insert_into_leaf<T: Item, R: Route<T>, const L: usize>(
    leaf: &mut Leaf<T, L>,
    route: &mut R,
    item: T,
    edges: Edges,
) -> Inserted<T, L> {
    let index = match route.item(leaf) {
        Ok(index) if R::REPLACES => {
            let replaced = Some(std::mem::replace(&mut leaf[index], item));
            return Inserted { replaced, sibling: None, first_changed: index == 0 };
        }
        Ok(index) | Err(index) => index,
    };
    let first_changed = index == 0;
    if !leaf.is_full() {
        leaf.insert(index, item);
        return Inserted { replaced: None, sibling: None, first_changed };
    }
    let cut = cut(index, leaf.len(), edges);
    let mut right: Leaf<T, L> = leaf.drain(cut..).collect();
    if index <= cut && cut < L {
        leaf.insert(index, item);
    } else {
        right.insert(index - cut, item);
    }
    Inserted { replaced: None, sibling: Some(Node::leaf(right)), first_changed }
}

fn insert_child<T: Item, const L: usize>(
    inner: &mut Inner<T, L>,
    index: usize,
    node: Node<T, L>,
    edges: Edges,
) -> Option<Node<T, L>> {
    if !inner.nodes.is_full() {
        inner.insert(index, node);
        return None;
    }
    let cut = match cut(index, inner.nodes.len(), edges) {
        // The left half of a node divided at the front stays alone, with the new one heading the rest.
        0 | 1 => 1,
        cut => cut,
    };
    let mut right = inner.split_off(cut);
    if index < cut || (index == cut && cut > 1 && cut < FANOUT) {
        inner.insert(index, node);
    } else {
        right.insert(index - cut, node);
    }
    Some(Node::inner(right))
}

/// Where to divide a full node that gets another entry at `index`.
fn cut(index: usize, len: usize, edges: Edges) -> usize {
    if edges.last && index == len {
        len
    } else if edges.first && index <= 1 {
        index
    } else if edges.last && index >= len * 3 / 4 {
        // Keys that mostly grow leave full nodes behind.
        index
    } else {
        len / 2
    }
}
