//! The elements of one node of a large list, in a few listpacks.
//!
//! A node is as large as the stock server's, so that lists are divided, and counted in nodes, as there. A write beside
//! a snapshot copies one part of it, about a quarter.
//!
//! Invariants
//! - No part is empty; `len` and `bytes` are the sums over all parts.
//! - A part that grows beyond its bound is divided as long as there are fewer than [`PARTS`].

use std::borrow::Cow;

use arrayvec::ArrayVec;

use crate::ds::{Item, Listpack, ListpackIter, ListpackSlice, Mover, Relocate, element_bytes, item_bytes};

/// Parts of a node: four when they are full, and some room for insertions between them.
const PARTS: usize = 6;

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    parts: ArrayVec<Listpack, PARTS>,
    len: u32,
    /// Bytes of the elements.
    bytes: u32,
}

impl Relocate for Parts {
    fn relocate(&mut self, mover: &mut Mover<'_>) {
        self.parts.iter_mut().for_each(|part| part.relocate(mover));
    }
}

impl Parts {
    /// The elements of a listpack, in parts of at most so many bytes.
    pub(super) fn new(mut listpack: Listpack, part_max: usize) -> Self {
        let mut parts = Self::default();
        while parts.parts.len() + 1 < PARTS {
            let cut = fitting(&listpack, part_max);
            if cut == listpack.len() {
                break;
            }
            let tail = listpack.split_off(cut);
            parts.push(std::mem::replace(&mut listpack, tail));
        }
        parts.push(listpack);
        parts
    }

    fn push(&mut self, part: Listpack) {
        if !part.is_empty() {
            self.len += part.len() as u32;
            self.bytes += elements_bytes(&part);
            self.parts.push(part);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the elements as one listpack.
    pub(super) fn byte_len(&self) -> usize {
        Listpack::FRAME + self.bytes as usize
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.parts.iter().map(Listpack::heap_bytes).sum()
    }

    pub(super) fn to_listpack(&self) -> Cow<'_, ListpackSlice> {
        match &*self.parts {
            [only] => Cow::Borrowed(only),
            parts => {
                let mut whole = Listpack::new();
                parts.iter().for_each(|part| whole.append(part));
                Cow::Owned(whole)
            }
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Item<'_>> {
        let (part, offset) = self.place(index)?;
        self.parts[part].get(offset)
    }

    /// Inserts before `index`, at the end when nothing is there; parts are to have at most so many bytes.
    pub(super) fn insert(&mut self, index: usize, element: &[u8], part_max: usize) {
        let added = element_bytes(element);
        let behind = || self.parts.len().checked_sub(1).map(|last| (last, self.parts[last].len()));
        let Some((at, offset)) = self.place(index).or_else(behind) else {
            return self.push(single(element));
        };
        self.len += 1;
        self.bytes += added as u32;
        let full = self.parts.is_full();
        let part = &mut self.parts[at];
        if part.byte_len() + added <= part_max || full {
            match part.seek(offset) {
                Some(pos) => part.insert_before(pos, element),
                None => part.push_back(element),
            }
        } else if offset == 0 {
            self.parts.insert(at, single(element));
        } else {
            let mut tail = part.split_off(offset);
            if tail.is_empty() {
                tail.push_back(element);
            } else if part.byte_len() < tail.byte_len() {
                part.push_back(element);
            } else {
                tail.push_front(element);
            }
            self.parts.insert(at + 1, tail);
        }
    }

    pub(super) fn replace(&mut self, index: usize, element: &[u8]) {
        self.change(index, |part, offset| {
            if let Some(pos) = part.seek(offset) {
                part.replace(pos, element);
            }
        });
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.change(index, |part, offset| {
            if let Some(pos) = part.seek(offset) {
                part.remove(pos);
            }
        });
    }

    /// Removes the elements at these ascending indexes.
    pub(super) fn remove_all(&mut self, mut indexes: &[usize]) {
        let mut rest = Self::default();
        let mut begin = 0;
        for part in self.parts.drain(..) {
            let end = begin + part.len();
            let (here, behind) = indexes.split_at(indexes.partition_point(|index| *index < end));
            let here: Vec<usize> = here.iter().map(|index| index - begin).collect();
            rest.push(if here.is_empty() { part } else { without(&part, &here) });
            (begin, indexes) = (end, behind);
        }
        *self = rest;
    }

    /// Cuts the elements from `index` on away and returns them.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        let mut tail = Self::default();
        let Some((at, offset)) = self.place(index) else { return tail };
        let mut parts: ArrayVec<Listpack, PARTS> = self.parts.drain(at..).collect();
        let cut = parts[0].split_off(offset);
        let head = std::mem::replace(&mut parts[0], cut);
        parts.into_iter().for_each(|part| tail.push(part));
        self.len -= tail.len;
        self.bytes -= tail.bytes;
        if !head.is_empty() {
            self.parts.push(head);
        }
        tail
    }

    pub(super) fn iter(&self) -> PartsIter<'_> {
        PartsIter { parts: self.parts.iter(), ..PartsIter::default() }
    }

    /// Elements from `index` on.
    pub(super) fn iter_from(&self, index: usize) -> PartsIter<'_> {
        let Some((at, offset)) = self.place(index) else { return PartsIter::default() };
        let front = self.parts[at].seek(offset).map(|pos| self.parts[at].iter_from(pos));
        PartsIter { front: front.unwrap_or_default(), parts: self.parts[at + 1..].iter(), ..PartsIter::default() }
    }

    /// Elements before `index`.
    pub(super) fn iter_until(&self, index: usize) -> PartsIter<'_> {
        let Some((at, offset)) = self.place(index) else { return self.iter() };
        let back = self.parts[at].seek(offset).map(|pos| self.parts[at].iter_until(pos));
        PartsIter { back: back.unwrap_or_default(), parts: self.parts[..at].iter(), ..PartsIter::default() }
    }

    /// The part that holds the element at `index`, and its index in there.
    fn place(&self, mut index: usize) -> Option<(usize, usize)> {
        if index >= self.len() {
            return None;
        }
        if index + 1 == self.len() {
            let last = self.parts.len().checked_sub(1)?;
            return Some((last, self.parts[last].len() - 1));
        }
        for (at, part) in self.parts.iter().enumerate() {
            if index < part.len() {
                return Some((at, index));
            }
            index -= part.len();
        }
        None
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut Listpack, usize)) {
        let Some((at, offset)) = self.place(index) else { return };
        let part = &mut self.parts[at];
        let (len, bytes) = (part.len() as u32, elements_bytes(part));
        change(part, offset);
        self.len = self.len + part.len() as u32 - len;
        self.bytes = self.bytes + elements_bytes(part) - bytes;
        if part.is_empty() {
            self.parts.remove(at);
        }
    }
}

/// How many elements fit into a part of so many bytes, at least one.
fn fitting(listpack: &ListpackSlice, part_max: usize) -> usize {
    let mut bytes = Listpack::FRAME;
    let fits = listpack.iter().take_while(|item| {
        bytes += item_bytes(*item);
        bytes <= part_max
    });
    fits.count().max(1)
}

fn single(element: &[u8]) -> Listpack {
    let mut part = Listpack::new();
    part.push_back(element);
    part
}

/// Bytes of a part's elements; a node is far smaller than 4 GiB.
fn elements_bytes(part: &Listpack) -> u32 {
    (part.byte_len() - Listpack::FRAME) as u32
}

/// A listpack without the elements at these ascending indexes.
pub(super) fn without(listpack: &ListpackSlice, indexes: &[usize]) -> Listpack {
    let mut gone = indexes.iter().copied().peekable();
    let kept = listpack.iter().enumerate().filter(|(index, _)| gone.next_if_eq(index).is_none());
    kept.map(|(_, item)| item).collect()
}

/// Elements of a node, from both ends.
#[derive(Default)]
pub(super) struct PartsIter<'a> {
    front: ListpackIter<'a>,
    parts: std::slice::Iter<'a, Listpack>,
    back: ListpackIter<'a>,
}

impl<'a> From<ListpackIter<'a>> for PartsIter<'a> {
    fn from(front: ListpackIter<'a>) -> Self {
        Self { front, ..Self::default() }
    }
}

impl<'a> Iterator for PartsIter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.front.next() {
                return Some(item);
            }
            match self.parts.next() {
                Some(part) => self.front = part.iter(),
                None => return self.back.next(),
            }
        }
    }
}

impl DoubleEndedIterator for PartsIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.back.next_back() {
                return Some(item);
            }
            match self.parts.next_back() {
                Some(part) => self.back = part.iter(),
                None => return self.front.next_back(),
            }
        }
    }
}
