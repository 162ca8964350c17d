//! HyperLogLog: how many different elements were added, from 16384 small counters, in the bytes of the stock server.
//!
//! An element's hash chooses a register and a rank (how many zeros its other bits begin with, plus one); the register
//! keeps the highest. The bytes are a header (magic, encoding, cached cardinality) and the registers, dense (six bits
//! each, [`dense`]) or sparse (runs of equal registers, [`sparse`]).
//!
//! Everything here works on bytes that were checked by [`Header::read`]; runs that do not add up to all registers are
//! [`Damage`], found when they are read.

pub mod dense;
mod estimate;
mod hash;
pub mod sparse;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use estimate::estimate;
pub use hash::locate;

pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that choose the register; the others give the rank.
const INDEX_BITS: u32 = 14;
/// The highest rank that the other bits of a hash can give.
const RANK_MAX: u8 = (64 - INDEX_BITS) as u8 + 1;
pub const HEADER_BYTES: usize = 16;

/// The registers one by one.
pub type Registers = [u8; REGISTERS];

/// A sparse HyperLogLog whose runs do not cover every register once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the runs do not add up to {REGISTERS} registers")]
pub struct Damage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// The first bytes: `HYLL`, the encoding, three unused, the cached cardinality (little-endian, its highest bit set when
/// it is out of date).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub encoding: Encoding,
    /// The cardinality, unless registers have changed since it was computed.
    pub cached: Option<u64>,
}

/// Where the cached cardinality stands.
pub const CACHE_AT: usize = 8;
/// The byte whose highest bit says that the cached cardinality is out of date.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

impl Header {
    /// The header of a string of `len` bytes; `None` when that is no HyperLogLog.
    pub fn read(bytes: &[u8; HEADER_BYTES], len: usize) -> Option<Self> {
        let encoding = match bytes {
            [b'H', b'Y', b'L', b'L', 0, ..] if len == dense::BYTES => Encoding::Dense,
            [b'H', b'Y', b'L', b'L', 1, ..] if len >= HEADER_BYTES => Encoding::Sparse,
            _ => return None,
        };
        let (_, card) = bytes.split_at(CACHE_AT);
        let card = card.iter().rev().fold(0, |card, byte| card << 8 | u64::from(*byte));
        Some(Self { encoding, cached: (bytes[STALE_AT] & STALE == 0).then_some(card) })
    }
}

/// A HyperLogLog without elements.
pub fn empty() -> Vec<u8> {
    let mut bytes = b"HYLL\x01".to_vec();
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend_from_slice(&sparse::ALL_ZERO);
    bytes
}

/// The byte of the header that says so with the cached cardinality marked as out of date, and its place.
pub fn stale_mark(header: &[u8; HEADER_BYTES]) -> (usize, u8) {
    (STALE_AT, header[STALE_AT] | STALE)
}

/// Marks the cached cardinality as out of date.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[STALE_AT] |= STALE;
}

/// Raises registers to those of a HyperLogLog where they are lower.
///
/// # Errors
/// Damage.
pub fn merge_into(registers: &mut Registers, encoding: Encoding, bytes: &[u8]) -> Result<(), Damage> {
    match encoding {
        Encoding::Dense => {
            let found = dense::registers(bytes);
            registers.iter_mut().zip(found).for_each(|(register, rank)| *register = rank.max(*register));
            Ok(())
        }
        Encoding::Sparse => sparse::registers(bytes, |index, rank| registers[index] = rank.max(registers[index])),
    }
}

/// How many different elements were added.
///
/// # Errors
/// Damage.
pub fn cardinality(encoding: Encoding, bytes: &[u8]) -> Result<u64, Damage> {
    let mut histogram = [0; 64];
    match encoding {
        Encoding::Dense => dense::registers(bytes).for_each(|rank| histogram[usize::from(rank)] += 1),
        Encoding::Sparse => sparse::histogram(bytes, &mut histogram)?,
    }
    Ok(estimate(&histogram))
}

/// The same of registers that lie one by one.
pub fn cardinality_of(registers: &Registers) -> u64 {
    let mut histogram = [0; 64];
    registers.iter().for_each(|rank| histogram[usize::from(*rank)] += 1);
    estimate(&histogram)
}
