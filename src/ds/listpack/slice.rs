//! A listpack as it is read, wherever its bytes lie.

use std::borrow::Borrow;

use ref_cast::RefCast;

use super::encoding::{Item, Needle, body_size, decode, entry_before, with_back_length};
use super::{BYTES_MAX, COUNT_UNKNOWN, Entries, HEADER, Iter, Listpack, Pos};
use crate::ds::cow_bytes::CowBytes;

/// Why elements can be read.
const CHECKED: &str = "elements are checked where they enter";

/// The bytes of a listpack: to [`Listpack`] what `str` is to `String`.
#[derive(RefCast)]
#[repr(transparent)]
pub struct ListpackSlice([u8]);

impl ListpackSlice {
    /// Bytes that were a listpack's, [`Self::as_bytes`], kept elsewhere since. Foreign ones go through
    /// [`Listpack::from_bytes`]: reading what is none panics.
    pub fn from_own(bytes: &[u8]) -> &Self {
        Self::ref_cast(bytes)
    }

    /// The whole layout, header and end mark included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Size of [`Self::as_bytes`].
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Number of elements; O(1) below 65535, else counted.
    pub fn len(&self) -> usize {
        match self.declared_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.byte_len() == HEADER + 1
    }

    /// Whether `more` bytes of elements may still be added.
    pub fn fits(&self, more: usize) -> bool {
        more <= BYTES_MAX && self.byte_len() + more <= BYTES_MAX
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self.as_bytes(), HEADER, self.end())
    }

    /// Elements from `from` to the end.
    pub fn iter_from(&self, from: Pos) -> Iter<'_> {
        Iter::new(self.as_bytes(), from.0, self.end())
    }

    /// Elements before `until`, for walking backwards from it.
    pub fn iter_until(&self, until: Pos) -> Iter<'_> {
        Iter::new(self.as_bytes(), HEADER, until.0)
    }

    /// Elements with their positions.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self.iter())
    }

    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then_some(Pos(HEADER))
    }

    pub fn last(&self) -> Option<Pos> {
        (!self.is_empty()).then(|| Pos(entry_before(self.as_bytes(), self.end())))
    }

    /// The element behind `pos`.
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let at = pos.0 + self.entry_size(pos);
        (at < self.end()).then_some(Pos(at))
    }

    /// The element before `pos`.
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        (pos.0 > HEADER).then(|| Pos(entry_before(self.as_bytes(), pos.0)))
    }

    pub fn item(&self, pos: Pos) -> Item<'_> {
        self.decode_at(pos).0
    }

    /// The position of the element at `index`, walked to from the nearer end.
    pub fn seek(&self, index: usize) -> Option<Pos> {
        let count = self.len();
        if index >= count {
            return None;
        }
        if index <= count / 2 {
            let mut pos = self.first()?;
            for _ in 0..index {
                pos = self.next(pos)?;
            }
            Some(pos)
        } else {
            let mut pos = self.last()?;
            for _ in 0..count - 1 - index {
                pos = self.prev(pos)?;
            }
            Some(pos)
        }
    }

    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        self.seek(index).map(|pos| self.item(pos))
    }

    /// The first element equal to `needle` at `from` or behind, looking at one element and then skipping `skip`.
    pub fn find(&self, needle: &[u8], from: Option<Pos>, skip: usize) -> Option<Pos> {
        let needle = Needle::new(needle);
        let (mut at, end) = (from?.0, self.end());
        let elements = &self.as_bytes()[..end];
        while at < end {
            let (found, size) = needle.is_at(&elements[at..]).expect(CHECKED);
            if found {
                return Some(Pos(at));
            }
            at += with_back_length(size);
            for _ in 0..skip {
                if at < end {
                    at += self.entry_size(Pos(at));
                }
            }
        }
        None
    }

    /// Offset of the end mark.
    pub(super) fn end(&self) -> usize {
        self.byte_len() - 1
    }

    pub(super) fn entry_size(&self, pos: Pos) -> usize {
        with_back_length(body_size(&self.as_bytes()[pos.0..]).expect(CHECKED))
    }

    fn decode_at(&self, pos: Pos) -> (Item<'_>, usize) {
        decode(&self.as_bytes()[..self.end()], pos.0).expect(CHECKED)
    }

    pub(super) fn declared_count(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_le_bytes([bytes[4], bytes[5]])
    }
}

impl ToOwned for ListpackSlice {
    type Owned = Listpack;

    fn to_owned(&self) -> Listpack {
        Listpack { bytes: CowBytes::with_room(self.as_bytes()) }
    }
}

impl Borrow<ListpackSlice> for Listpack {
    fn borrow(&self) -> &ListpackSlice {
        self
    }
}

impl std::fmt::Debug for ListpackSlice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
