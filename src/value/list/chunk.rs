//! A node of a large list: neighbours in a few listpacks, or one element too large to share one.

use super::parts::{Parts, PartsIter};
use crate::ds::{CowBytes, Item, Listpack, ListpackIter, Mover, Relocate, Tree, tree};
use crate::value::Limits;

/// Bytes that an element is reckoned to add to its node, beside its own.
const ELEMENT_OVERHEAD: usize = 8;

/// The largest element that is ever packed: a listpack must have room for it.
const PACKED_MAX: usize = 512 << 20;

/// Where nodes are counted in elements, their bytes are bounded too.
const BYTES_MAX_WHEN_COUNTED: usize = 8192;

/// How much one node may hold: `list-max-listpack-size`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    max: Max,
    /// Elements from this size on stand alone; 0: those that are larger than a node may be.
    packed_threshold: usize,
}

#[derive(Clone, Copy, Debug)]
enum Max {
    Bytes(usize),
    Elements(usize),
}

impl Fill {
    pub(super) fn new(limits: &Limits) -> Self {
        let max = match usize::try_from(limits.list_max_listpack_size) {
            Ok(elements) => Max::Elements(elements.max(1)),
            Err(_) => Max::Bytes(4096 << (-1 - limits.list_max_listpack_size.max(-5))),
        };
        Self { max, packed_threshold: limits.list_packed_threshold }
    }

    /// Whether a node of so many bytes and elements is too much.
    pub(super) fn exceeded(self, bytes: usize, elements: usize) -> bool {
        match self.max {
            Max::Bytes(max) => bytes > max,
            Max::Elements(max) => bytes > BYTES_MAX_WHEN_COUNTED || elements > max,
        }
    }

    /// Whether an element of so many bytes stands alone.
    pub(super) fn large(self, bytes: usize) -> bool {
        match self.max {
            _ if self.packed_threshold > 0 => bytes >= self.packed_threshold.min(PACKED_MAX),
            Max::Bytes(max) => bytes > max,
            Max::Elements(_) => bytes > BYTES_MAX_WHEN_COUNTED,
        }
    }

    /// Whether what is left in a large list is little enough to make it a small one again: `part` is 2 where elements
    /// were taken away, so that a list at the threshold does not change form at every step, and 1 after loading.
    pub(super) fn small(self, node: &Parts, part: usize) -> bool {
        match self.max {
            Max::Bytes(max) => node.byte_len() <= max / part,
            Max::Elements(max) => node.len() <= max / part,
        }
    }

    /// Most bytes of a part of a node, where that can be kept.
    pub(super) fn part_max(self) -> usize {
        match self.max {
            Max::Bytes(max) => max / 4,
            Max::Elements(_) => BYTES_MAX_WHEN_COUNTED / 4,
        }
    }
}

/// Nodes in a leaf of the tree of a list: a write beside a snapshot copies one.
pub(super) const LEAF: usize = 14;
pub(super) type Chunks = Tree<Chunk, LEAF>;

/// One node of a large list. Never empty inside a tree.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Packed(Parts),
    /// One element, larger than a node may be.
    Plain(CowBytes),
}

impl tree::Item for Chunk {
    type Key = ();
    type Separator = ();

    fn key(&self) -> &() {
        &()
    }

    fn separator(&self) {}

    fn weight(&self) -> usize {
        match self {
            Self::Packed(parts) => parts.len(),
            Self::Plain(_) => 1,
        }
    }
}

impl Relocate for Chunk {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        match self {
            Self::Packed(parts) => parts.relocate(mover),
            Self::Plain(bytes) => bytes.relocate(mover),
        }
    }
}

impl Chunk {
    /// A node with one element.
    pub(super) fn new(element: &[u8], fill: Fill) -> Self {
        if fill.large(element.len()) {
            return Self::Plain(CowBytes::new(element));
        }
        let mut parts = Parts::default();
        parts.insert(0, element, fill.part_max());
        Self::Packed(parts)
    }

    /// A node of these elements.
    pub(super) fn packed(listpack: Listpack, fill: Fill) -> Self {
        Self::Packed(Parts::new(listpack, fill.part_max()))
    }

    /// Whether an element of so many bytes may join this node.
    pub(super) fn admits(&self, bytes: usize, fill: Fill) -> bool {
        match self {
            Self::Packed(parts) => {
                !fill.large(bytes) && !fill.exceeded(parts.byte_len() + bytes + ELEMENT_OVERHEAD, parts.len() + 1)
            }
            Self::Plain(_) => false,
        }
    }

    /// Whether an element of so many bytes may take the place of the one at `index`.
    pub(super) fn admits_instead(&self, index: usize, bytes: usize, fill: Fill) -> bool {
        match self {
            Self::Packed(parts) => {
                let old = parts.get(index).map_or(0, |item| item.text_len());
                !fill.large(bytes) && !fill.exceeded((parts.byte_len() + bytes).saturating_sub(old), parts.len())
            }
            Self::Plain(_) => false,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Item<'_>> {
        match self {
            Self::Packed(parts) => parts.get(index),
            Self::Plain(bytes) => (index == 0).then_some(Item::Bytes(bytes)),
        }
    }

    /// Inserts before `index`, at the end when nothing is there. Only where [`Self::admits`] said so.
    pub(super) fn insert(&mut self, index: usize, element: &[u8], fill: Fill) {
        let Self::Packed(parts) = self else { unreachable!("a plain node admits nothing") };
        parts.insert(index, element, fill.part_max());
    }

    /// Puts an element in the place of that at `index`. Only where [`Self::admits_instead`] said so.
    pub(super) fn replace(&mut self, index: usize, element: &[u8]) {
        let Self::Packed(parts) = self else { unreachable!("a plain node admits nothing") };
        parts.replace(index, element);
    }

    pub(super) fn remove(&mut self, index: usize) {
        match self {
            Self::Packed(parts) => parts.remove(index),
            Self::Plain(_) => *self = Self::Packed(Parts::default()),
        }
    }

    /// Removes the elements at these ascending indexes.
    pub(super) fn remove_all(&mut self, indexes: &[usize]) {
        match self {
            Self::Packed(parts) => parts.remove_all(indexes),
            Self::Plain(_) if indexes.is_empty() => {}
            Self::Plain(_) => *self = Self::Packed(Parts::default()),
        }
    }

    /// Cuts the elements from `index` on away and returns them.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        match self {
            Self::Packed(parts) => Self::Packed(parts.split_off(index)),
            Self::Plain(_) if index == 0 => std::mem::replace(self, Self::Packed(Parts::default())),
            Self::Plain(_) => Self::Packed(Parts::default()),
        }
    }

    pub(super) fn iter(&self) -> ChunkIter<'_> {
        match self {
            Self::Packed(parts) => ChunkIter::Packed(parts.iter()),
            Self::Plain(bytes) => ChunkIter::Plain(Some(bytes)),
        }
    }

    /// Elements from `index` on.
    pub(super) fn iter_from(&self, index: usize) -> ChunkIter<'_> {
        match self {
            Self::Packed(parts) => ChunkIter::Packed(parts.iter_from(index)),
            Self::Plain(_) => self.iter(),
        }
    }

    /// Elements before `index`.
    pub(super) fn iter_until(&self, index: usize) -> ChunkIter<'_> {
        match self {
            Self::Packed(parts) => ChunkIter::Packed(parts.iter_until(index)),
            Self::Plain(_) => self.iter(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(parts) => parts.heap_bytes(),
            Self::Plain(bytes) => bytes.heap_bytes(),
        }
    }
}

/// Elements of one node.
pub(super) enum ChunkIter<'a> {
    Packed(PartsIter<'a>),
    Plain(Option<&'a CowBytes>),
}

impl<'a> From<ListpackIter<'a>> for ChunkIter<'a> {
    fn from(items: ListpackIter<'a>) -> Self {
        Self::Packed(items.into())
    }
}

impl<'a> Iterator for ChunkIter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Self::Packed(items) => items.next(),
            Self::Plain(element) => element.take().map(|bytes| Item::Bytes(bytes)),
        }
    }
}

impl DoubleEndedIterator for ChunkIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Packed(items) => items.next_back(),
            Self::Plain(element) => element.take().map(|bytes| Item::Bytes(bytes)),
        }
    }
}
