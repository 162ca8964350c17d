//! Walks over a list in both directions from any index.

use std::ops::Range;

use super::chunk::{Chunk, ChunkIter, LEAF};
use super::{FormRef, ListRef};
use crate::ds::{Item, parse_canonical_i64, tree};

/// Elements of a list, forwards or backwards.
pub struct Elements<'a> {
    current: ChunkIter<'a>,
    further: Further<'a>,
    left: usize,
}

enum Further<'a> {
    Forward(Option<tree::Iter<'a, Chunk, LEAF>>),
    Backward(Option<tree::IterBack<'a, Chunk, LEAF>>),
}

impl<'a> ListRef<'a> {
    pub fn iter(self) -> Elements<'a> {
        self.iter_range(0..self.len())
    }

    /// Elements at the indexes of `range`, ascending.
    pub fn iter_range(self, range: Range<usize>) -> Elements<'a> {
        let left = range.end.min(self.len()).saturating_sub(range.start);
        let (current, further) = match self.form {
            _ if left == 0 => (ChunkIter::Plain(None), None),
            FormRef::Packed(listpack) => match listpack.seek(range.start) {
                Some(at) => (listpack.iter_from(at).into(), None),
                None => (ChunkIter::Plain(None), None),
            },
            FormRef::Chunks(tree) => {
                let mut chunks = tree.iter_at(range.start);
                let offset = chunks.offset();
                (chunks.next().map_or(ChunkIter::Plain(None), |chunk| chunk.iter_from(offset)), Some(chunks))
            }
        };
        Elements { current, further: Further::Forward(further), left }
    }

    /// Elements at the indexes of `range`, descending.
    pub fn iter_range_back(self, range: Range<usize>) -> Elements<'a> {
        let end = range.end.min(self.len());
        let left = end.saturating_sub(range.start);
        let (current, further) = match self.form {
            _ if left == 0 => (ChunkIter::Plain(None), None),
            FormRef::Packed(listpack) => match listpack.seek(end) {
                Some(at) => (listpack.iter_until(at).into(), None),
                None => (listpack.iter().into(), None),
            },
            FormRef::Chunks(tree) => {
                let mut chunks = tree.iter_before(end);
                let offset = chunks.offset();
                (chunks.next().map_or(ChunkIter::Plain(None), |chunk| chunk.iter_until(offset + 1)), Some(chunks))
            }
        };
        Elements { current, further: Further::Backward(further), left }
    }

    /// Indexes of elements equal to `element`, ascending, or descending when `backward`; at most `compare_max`
    /// elements are looked at.
    pub fn positions(self, element: &'a [u8], backward: bool, compare_max: usize) -> impl Iterator<Item = usize> + 'a {
        let len = self.len();
        let number = parse_canonical_i64(element);
        let elements = if backward { self.iter_range_back(0..len) } else { self.iter() };
        elements.take(compare_max).enumerate().filter_map(move |(step, item)| {
            let equal = match item {
                Item::Int(own) => number == Some(own),
                Item::Bytes(own) => own == element,
            };
            equal.then_some(if backward { len - 1 - step } else { step })
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.left == 0 {
            return None;
        }
        loop {
            let (item, chunk) = match &mut self.further {
                Further::Forward(chunks) => match self.current.next() {
                    None => (None, chunks.as_mut()?.next()),
                    some => (some, None),
                },
                Further::Backward(chunks) => match self.current.next_back() {
                    None => (None, chunks.as_mut()?.next()),
                    some => (some, None),
                },
            };
            if item.is_some() {
                self.left -= 1;
                return item;
            }
            self.current = chunk?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}
