//! A sorted set of integers in one run of bytes, in the layout that RDB files carry.
//!
//! Layout: width of an integer (u32: 2, 4 or 8), count (u32), integers ascending; all little-endian.
//!
//! Invariants
//! - Strictly ascending; every integer fits the width. Foreign bytes enter through [`Intset::from_bytes`], which checks.
//! - The width only grows.
//!
//! Clone is O(1); a writer that is not alone copies the run once.

#[cfg(test)]
mod tests;

use crate::ds::cow_bytes::CowBytes;
use crate::ds::relocate::Mover;

/// Bytes before the first integer.
const HEADER: usize = 8;

/// Why bytes are no intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntsetDamage {
    #[error("intset shorter than its header")]
    TooShort,
    #[error("intset integers are {width} bytes wide, not 2, 4 or 8")]
    BadWidth { width: u32 },
    #[error("intset of {count} integers of {width} bytes cannot be {actual} bytes long")]
    WrongLength { count: u32, width: u32, actual: usize },
    #[error("intset not ascending at index {index}")]
    NotAscending { index: usize },
}

/// A packed sorted set of integers.
#[derive(Clone)]
pub struct Intset {
    bytes: CowBytes,
}

impl Intset {
    /// See [`CowBytes::relocate`].
    pub fn relocate(&mut self, mover: &mut Mover<'_>) {
        self.bytes.relocate(mover);
    }

    pub fn new() -> Self {
        Self { bytes: CowBytes::new(&[2, 0, 0, 0, 0, 0, 0, 0]) }
    }

    /// An intset from foreign bytes, checked.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IntsetDamage> {
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.first_chunk::<HEADER>() else {
            return Err(IntsetDamage::TooShort);
        };
        let (width, count) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if !matches!(width, 2 | 4 | 8) {
            return Err(IntsetDamage::BadWidth { width });
        }
        if u64::from(count) * u64::from(width) != (bytes.len() - HEADER) as u64 {
            return Err(IntsetDamage::WrongLength { count, width, actual: bytes.len() });
        }
        let intset = Self { bytes: CowBytes::new(bytes) };
        let unordered = intset.iter().zip(intset.iter().skip(1)).position(|(a, b)| a >= b);
        match unordered {
            Some(before) => Err(IntsetDamage::NotAscending { index: before + 1 }),
            None => Ok(intset),
        }
    }

    /// The whole layout, header included.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Bytes of the allocation behind it.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
    }

    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER) / self.width()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integer at `index` in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    pub fn contains(&self, number: i64) -> bool {
        self.search(number).is_ok()
    }

    /// Integers in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        let width = self.width();
        self.as_bytes()[HEADER..].chunks_exact(width).map(read)
    }

    /// Whether it was added, not there before.
    pub fn add(&mut self, number: i64) -> bool {
        let Err(index) = self.search(number) else {
            return false;
        };
        let width = width_of(number);
        if width > self.width() {
            self.widen(width);
        }
        let width = self.width();
        self.bytes.splice(HEADER + index * width, 0, &[&number.to_le_bytes()[..width]]);
        self.set_count();
        true
    }

    /// Whether it was removed, there before.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(index) = self.search(number) else {
            return false;
        };
        let width = self.width();
        self.bytes.splice(HEADER + index * width, width, &[]);
        self.set_count();
        true
    }

    fn width(&self) -> usize {
        usize::from(self.as_bytes()[0])
    }

    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let at = HEADER + index * width;
        read(&self.as_bytes()[at..at + width])
    }

    fn search(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn widen(&mut self, width: usize) {
        let mut wide = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&self.as_bytes()[4..HEADER]);
        for number in self.iter() {
            wide.extend_from_slice(&number.to_le_bytes()[..width]);
        }
        self.bytes = CowBytes::new(&wide);
    }

    fn set_count(&mut self) {
        let count = u32::try_from(self.len()).expect("an intset is converted long before four billion integers");
        self.bytes.as_mut_slice()[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }
}

/// The narrowest width that holds `number`.
fn width_of(number: i64) -> usize {
    match number {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

/// A sign-extended little-endian integer of 2, 4 or 8 bytes.
fn read(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    wide[8 - bytes.len()..].copy_from_slice(bytes);
    i64::from_le_bytes(wide) >> (64 - 8 * bytes.len())
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
