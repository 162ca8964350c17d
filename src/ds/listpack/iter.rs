//! Walking over a listpack from both ends.

use super::Pos;
use super::encoding::{Item, decode, entry_before};

/// Elements in order; walks from both ends.
#[derive(Clone, Default)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iter<'a> {
    /// Both offsets are element boundaries of checked bytes.
    pub(super) fn new(bytes: &'a [u8], front: usize, back: usize) -> Self {
        Self { bytes, front, back }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, size) = decode(self.bytes, self.front).expect("elements are checked where they enter");
        self.front += size;
        Some(item)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = entry_before(self.bytes, self.back);
        decode(self.bytes, self.back).map(|(item, _)| item)
    }
}

/// Elements with their positions, in order.
#[derive(Clone)]
pub struct Entries<'a> {
    inner: Iter<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(inner: Iter<'a>) -> Self {
        Self { inner }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Pos, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let pos = Pos(self.inner.front);
        self.inner.next().map(|item| (pos, item))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let item = self.inner.next_back()?;
        Some((Pos(self.inner.back), item))
    }
}
