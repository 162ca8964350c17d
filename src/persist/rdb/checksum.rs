//! CRC-64 as RDB files have it, over stretches of one stream.
//!
//! It is linear, with nothing added before or behind: sums of neighbouring stretches make that of both, and the sum of a
//! stretch follows from those up to its two ends. So one pass over the bytes serves the file and all its blocks.

use crc_fast::{CrcAlgorithm, checksum, checksum_combine};

pub const CRC: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// The sum of these bytes.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    checksum(CRC, bytes)
}

/// The sum of two stretches, the second of `len` bytes.
pub(super) fn joined(first: u64, second: u64, len: u64) -> u64 {
    checksum_combine(CRC, first, second, len)
}

/// The sum of the last `len` bytes, from the sums before and behind them.
pub(super) fn between(before: u64, behind: u64, len: u64) -> u64 {
    behind ^ joined(before, 0, len)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn sums_of_stretches_fit_together(first: Vec<u8>, second: Vec<u8>) -> bool {
            let (a, b, both) = (sum(&first), sum(&second), sum(&[&first[..], &second].concat()));
            let len = second.len() as u64;
            joined(a, b, len) == both && between(a, both, len) == b
        }
    }
}
