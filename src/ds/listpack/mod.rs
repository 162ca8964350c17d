//! A packed list of integers and byte strings in one run of bytes, in the layout that RDB files carry.
//!
//! Layout: total bytes (u32, little-endian), element count (u16; 65535 = not known, count them), elements, `0xFF`.
//! An element is its encoding and data followed by the length of both, written so that it is read from its end.
//!
//! Invariants
//! - The bytes are whole: every element decodes, every back length matches, the header agrees. Foreign bytes enter
//!   through [`Listpack::from_bytes`], which checks all of it; everything else may then rely on it.
//! - A string that is the canonical text of an `i64` is stored as a number when it is added here (foreign bytes may
//!   hold it as text; lookups find both).
//!
//! Clone is O(1); a writer that is not alone copies the run once.

mod encoding;
mod iter;
pub mod run;
mod slice;
#[cfg(test)]
mod tests;

use std::ops::Deref;

use crate::ds::cow_bytes::CowBytes;
use crate::ds::relocate::Mover;

use encoding::{Element, decode};
pub use encoding::{Item, Needle, element_bytes, item_bytes};
pub use iter::{Entries, Iter};
pub use slice::ListpackSlice;

/// Bytes before the first element.
const HEADER: usize = 6;

/// The byte behind the last element.
const END: u8 = 0xff;

/// An element count that says "more than fits: count them".
const COUNT_UNKNOWN: u16 = u16::MAX;

/// A listpack stays below this many bytes; [`Listpack::fits`] asks.
const BYTES_MAX: usize = 1 << 30;

/// Where an element stands; valid until the listpack changes at or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(usize);

/// Why bytes are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListpackDamage {
    #[error("listpack shorter than its header")]
    TooShort,
    #[error("listpack header says {declared} bytes, there are {actual}")]
    WrongLength { declared: u32, actual: usize },
    #[error("listpack does not end with its end mark")]
    NoEnd,
    #[error("listpack element at byte {at} is damaged")]
    BadElement { at: usize },
    #[error("listpack header counts {declared} elements, there are {actual}")]
    WrongCount { declared: u16, actual: usize },
}

/// A packed list of integers and byte strings.
#[derive(Clone)]
pub struct Listpack {
    bytes: CowBytes,
}

impl Listpack {
    /// See [`CowBytes::relocate`].
    pub fn relocate(&mut self, mover: &mut Mover<'_>) {
        self.bytes.relocate(mover);
    }

    /// Bytes of a listpack without elements: header and end mark.
    pub const FRAME: usize = HEADER + 1;

    pub fn new() -> Self {
        Self { bytes: CowBytes::new(&[Self::FRAME as u8, 0, 0, 0, 0, 0, END]) }
    }

    /// A listpack from foreign bytes, every element checked.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ListpackDamage> {
        let Some(&[a, b, c, d, e, f]) = bytes.first_chunk::<HEADER>() else {
            return Err(ListpackDamage::TooShort);
        };
        let declared = u32::from_le_bytes([a, b, c, d]);
        if declared as usize != bytes.len() {
            return Err(ListpackDamage::WrongLength { declared, actual: bytes.len() });
        }
        if bytes.len() == HEADER || bytes.last() != Some(&END) {
            return Err(ListpackDamage::NoEnd);
        }
        let end = bytes.len() - 1;
        let (mut at, mut actual) = (HEADER, 0);
        while at < end {
            let (_, size) = decode(&bytes[..end], at).ok_or(ListpackDamage::BadElement { at })?;
            at += size;
            actual += 1;
        }
        let declared = u16::from_le_bytes([e, f]);
        if declared != COUNT_UNKNOWN && usize::from(declared) != actual {
            return Err(ListpackDamage::WrongCount { declared, actual });
        }
        Ok(Self { bytes: CowBytes::new(bytes) })
    }

    /// Bytes of the allocation behind it.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
    }

    pub fn push_back(&mut self, content: &[u8]) {
        self.insert_at(self.end(), Element::new(content));
    }

    pub fn push_front(&mut self, content: &[u8]) {
        self.insert_at(HEADER, Element::new(content));
    }

    /// Appends a number without going through its text.
    pub fn push_int(&mut self, number: i64) {
        self.insert_at(self.end(), Element::from_int(number));
    }

    /// Appends an element of another listpack.
    pub fn push_item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(n) => self.push_int(n),
            Item::Bytes(bytes) => self.push_back(bytes),
        }
    }

    /// Inserts before `pos`; the new element stands at `pos` afterwards.
    pub fn insert_before(&mut self, pos: Pos, content: &[u8]) {
        self.insert_at(pos.0, Element::new(content));
    }

    /// Inserts behind `pos`.
    pub fn insert_after(&mut self, pos: Pos, content: &[u8]) {
        self.insert_at(pos.0 + self.entry_size(pos), Element::new(content));
    }

    /// Puts `content` in the place of the element at `pos`, which stays valid.
    pub fn replace(&mut self, pos: Pos, content: &[u8]) {
        let size = self.entry_size(pos);
        let element = Element::new(content);
        self.bytes.splice(pos.0, size, &element.parts());
        self.set_total();
    }

    /// Removes the element at `pos`; the one that stood behind it is at `pos` afterwards, if any.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_run(pos, 1)
    }

    /// Removes up to `count` elements from `pos` on; what stood behind them is at `pos` afterwards, if any.
    pub fn remove_run(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let (mut to, mut removed) = (pos.0, 0);
        while removed < count && to < self.end() {
            to += self.entry_size(Pos(to));
            removed += 1;
        }
        self.bytes.splice(pos.0, to - pos.0, &[]);
        self.set_total();
        self.change_count(-(removed as isize));
        (pos.0 < self.end()).then_some(pos)
    }

    /// Cuts the elements from `index` on away and returns them.
    pub fn split_off(&mut self, index: usize) -> Self {
        let mut tail = Self::new();
        let Some(pos) = self.seek(index) else {
            return tail;
        };
        let count = self.len() - index;
        tail.splice_raw(HEADER, &self.as_bytes()[pos.0..self.end()], count);
        self.remove_run(pos, count);
        tail
    }

    /// Appends all elements of another listpack.
    pub fn append(&mut self, other: &Self) {
        self.splice_raw(self.end(), &other.as_bytes()[HEADER..other.end()], other.len());
    }

    fn splice_raw(&mut self, at: usize, elements: &[u8], count: usize) {
        self.bytes.splice(at, 0, &[elements]);
        self.set_total();
        self.change_count(count as isize);
    }

    fn insert_at(&mut self, at: usize, element: Element<'_>) {
        self.bytes.splice(at, 0, &element.parts());
        self.set_total();
        self.change_count(1);
    }

    fn set_total(&mut self) {
        let total = u32::try_from(self.byte_len()).expect("callers ask fits() first");
        self.bytes.as_mut_slice()[..4].copy_from_slice(&total.to_le_bytes());
    }

    /// A count that once outgrew its field stays "not known", except that an emptied listpack knows again.
    fn change_count(&mut self, by: isize) {
        let count = match self.declared_count() {
            _ if self.is_empty() => 0,
            COUNT_UNKNOWN => return,
            count => u16::try_from(count as isize + by).unwrap_or(COUNT_UNKNOWN),
        };
        self.bytes.as_mut_slice()[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> FromIterator<Item<'a>> for Listpack {
    fn from_iter<I: IntoIterator<Item = Item<'a>>>(items: I) -> Self {
        let mut builder = ListpackBuilder::new();
        items.into_iter().for_each(|item| builder.push(item));
        builder.finish()
    }
}

/// A listpack of elements that are known one after the other, put together at once.
pub struct ListpackBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl ListpackBuilder {
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER], count: 0 }
    }

    /// Adds an element as [`Listpack::push_item`] does.
    pub fn push(&mut self, item: Item<'_>) {
        let element = match item {
            Item::Int(number) => Element::from_int(number),
            Item::Bytes(content) => Element::new(content),
        };
        element.parts().into_iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.count += 1;
    }

    pub fn finish(mut self) -> Listpack {
        self.bytes.push(END);
        let mut listpack = Listpack { bytes: CowBytes::new(&self.bytes) };
        listpack.set_total();
        listpack.change_count(self.count as isize);
        listpack
    }
}

impl Default for ListpackBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Listpack {
    type Target = ListpackSlice;

    fn deref(&self) -> &ListpackSlice {
        ListpackSlice::from_own(&self.bytes)
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
