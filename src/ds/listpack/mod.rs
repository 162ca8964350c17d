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
#[cfg(test)]
mod tests;

use crate::ds::cow_bytes::CowBytes;
use crate::ds::decimal::parse_canonical_i64;

use encoding::{Element, decode, entry_before};
pub use encoding::{Item, element_bytes, item_bytes};
pub use iter::{Entries, Iter};

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
    pub fn new() -> Self {
        Self { bytes: CowBytes::new(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END]) }
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

    /// The whole layout, header and end mark included.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Size of [`Self::as_bytes`].
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the allocation behind it.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
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
        let number = parse_canonical_i64(needle);
        let mut pos = from?;
        loop {
            let (item, _) = self.decode_at(pos);
            let found = match item {
                Item::Int(n) => number == Some(n),
                Item::Bytes(bytes) => bytes == needle,
            };
            if found {
                return Some(pos);
            }
            for _ in 0..=skip {
                pos = self.next(pos)?;
            }
        }
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

    /// Offset of the end mark.
    fn end(&self) -> usize {
        self.byte_len() - 1
    }

    fn entry_size(&self, pos: Pos) -> usize {
        self.decode_at(pos).1
    }

    fn decode_at(&self, pos: Pos) -> (Item<'_>, usize) {
        decode(&self.as_bytes()[..self.end()], pos.0).expect("elements are checked where they enter")
    }

    fn declared_count(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_le_bytes([bytes[4], bytes[5]])
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
        let mut listpack = Self::new();
        for item in items {
            listpack.push_item(item);
        }
        listpack
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
