//! A piece of a large list: a listpack of neighbours, or one element too large to share one.

use crate::ds::{CowBytes, Item, Listpack, ListpackIter, tree};
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
    pub(super) fn small(self, listpack: &Listpack, part: usize) -> bool {
        match self.max {
            Max::Bytes(max) => listpack.byte_len() <= max / part,
            Max::Elements(max) => listpack.len() <= max / part,
        }
    }
}

/// One node of a large list. Never empty inside a tree.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Packed(Listpack),
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
            Self::Packed(listpack) => listpack.len(),
            Self::Plain(_) => 1,
        }
    }
}

impl Chunk {
    /// A node with one element.
    pub(super) fn new(element: &[u8], fill: Fill) -> Self {
        if fill.large(element.len()) {
            return Self::Plain(CowBytes::new(element));
        }
        let mut listpack = Listpack::new();
        listpack.push_back(element);
        Self::Packed(listpack)
    }

    /// Whether an element of so many bytes may join this node.
    pub(super) fn admits(&self, bytes: usize, fill: Fill) -> bool {
        match self {
            Self::Packed(listpack) => {
                !fill.large(bytes) && !fill.exceeded(listpack.byte_len() + bytes + ELEMENT_OVERHEAD, listpack.len() + 1)
            }
            Self::Plain(_) => false,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Item<'_>> {
        match self {
            Self::Packed(listpack) => listpack.get(index),
            Self::Plain(bytes) => (index == 0).then_some(Item::Bytes(bytes)),
        }
    }

    /// Inserts before `index`, at the end when nothing is there. Only where [`Self::admits`] said so.
    pub(super) fn insert(&mut self, index: usize, element: &[u8]) {
        let Self::Packed(listpack) = self else { unreachable!("a plain node admits nothing") };
        match listpack.seek(index) {
            Some(at) => listpack.insert_before(at, element),
            None => listpack.push_back(element),
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        match self {
            Self::Packed(listpack) => {
                if let Some(at) = listpack.seek(index) {
                    listpack.remove(at);
                }
            }
            Self::Plain(_) => *self = Self::Packed(Listpack::new()),
        }
    }

    /// Removes the elements at these ascending indexes.
    pub(super) fn remove_all(&mut self, indexes: &[usize]) {
        let mut gone = indexes.iter().copied().peekable();
        let kept = self.iter().enumerate().filter_map(|(index, item)| match gone.next_if_eq(&index) {
            Some(_) => None,
            None => Some(item),
        });
        let rest = kept.collect();
        *self = Self::Packed(rest);
    }

    /// Cuts the elements from `index` on away and returns them.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        match self {
            Self::Packed(listpack) => Self::Packed(listpack.split_off(index)),
            Self::Plain(_) if index == 0 => std::mem::replace(self, Self::Packed(Listpack::new())),
            Self::Plain(_) => Self::Packed(Listpack::new()),
        }
    }

    pub(super) fn iter(&self) -> ChunkIter<'_> {
        match self {
            Self::Packed(listpack) => ChunkIter::Packed(listpack.iter()),
            Self::Plain(bytes) => ChunkIter::Plain(Some(bytes)),
        }
    }

    /// Elements from `index` on.
    pub(super) fn iter_from(&self, index: usize) -> ChunkIter<'_> {
        match self {
            Self::Packed(listpack) if index > 0 => match listpack.seek(index) {
                Some(at) => ChunkIter::Packed(listpack.iter_from(at)),
                None => ChunkIter::Plain(None),
            },
            _ => self.iter(),
        }
    }

    /// Elements before `index`.
    pub(super) fn iter_until(&self, index: usize) -> ChunkIter<'_> {
        match self {
            Self::Packed(listpack) => match listpack.seek(index) {
                Some(at) => ChunkIter::Packed(listpack.iter_until(at)),
                None => self.iter(),
            },
            Self::Plain(_) => self.iter(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(listpack) => listpack.heap_bytes(),
            Self::Plain(bytes) => bytes.heap_bytes(),
        }
    }
}

/// Elements of one node.
pub(super) enum ChunkIter<'a> {
    Packed(ListpackIter<'a>),
    Plain(Option<&'a CowBytes>),
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
