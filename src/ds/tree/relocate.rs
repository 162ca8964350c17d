//! Moving a tree's nodes, leaf by leaf.

use triomphe::Arc;

use super::node::{Node, Position, Route};
use super::{Item, Tree};
use crate::ds::{Mover, relocated};

impl<T: Item, const L: usize> Tree<T, L> {
    /// Moves leaves from `position` on until `count` positions were visited, with the nodes above that begin with them, and
    /// what `each` moves of their items, whose place in the order and weight must stay. What somebody else holds is passed
    /// over. The first position behind.
    pub fn relocate_from(
        &mut self,
        position: usize,
        count: usize,
        mover: &mut Mover<'_>,
        mut each: impl FnMut(&mut T, &mut Mover<'_>),
    ) -> usize {
        let Some(root) = &mut self.root else { return position };
        let mut at = position;
        while at < self.len && at - position < count {
            at = root.relocate(at, mover, &mut each).max(at + 1);
        }
        at
    }
}

impl<T: Item, const L: usize> Node<T, L> {
    /// Moves the leaf that covers the position; the position behind it.
    fn relocate(
        &mut self,
        position: usize,
        mover: &mut Mover<'_>,
        each: &mut impl FnMut(&mut T, &mut Mover<'_>),
    ) -> usize {
        let weight = self.weight();
        match self {
            Self::Leaf(leaf) => {
                if let Some(leaf) = relocated(leaf, mover) {
                    leaf.iter_mut().for_each(|item| each(item, mover));
                }
                weight
            }
            Self::Inner(inner) => {
                let inner = if position == 0 { relocated(inner, mover) } else { Arc::get_mut(inner) };
                let Some(inner) = inner else { return weight };
                let mut at = Position::new(position, weight);
                let index = Route::<T>::child(&mut at, inner);
                let before: usize = inner.weights[..index].iter().sum();
                before + inner.nodes[index].relocate(position - before, mover, each)
            }
        }
    }
}
