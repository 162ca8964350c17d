//! CRC-64 as RDB files have it, over stretches of one stream.
//!
//! It is linear, with nothing added before or behind: sums of neighbouring stretches make that of both, and the sum of a
//! stretch follows from those up to its two ends. So one pass over the bytes serves the file and all its blocks.

use crc_fast::{CrcAlgorithm, checksum};

pub const CRC: CrcAlgorithm = CrcAlgorithm::Crc64Redis;
/// Its polynomial, the coefficient of x^63 in the lowest bit, as in sums: x^64 is this.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
const ONE: u64 = 1 << 63;
/// x^(8 * 2^n) for each n: what a sum is multiplied by when 2^n bytes of zeros follow.
const ZEROS: [u64; 64] = {
    let (mut powers, mut power, mut n) = ([0; 64], ONE >> 8, 0);
    while n < 64 {
        powers[n] = power;
        power = product(power, power);
        n += 1;
    }
    powers
};

/// The product of two polynomials, modulo [`POLYNOMIAL`].
const fn product(a: u64, mut b: u64) -> u64 {
    let (mut sum, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            sum ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    sum
}

/// The sum of these bytes.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    checksum(CRC, bytes)
}

/// The sum of two stretches, the second of `len` bytes. The library's own way makes matrices for each call, which took more
/// time than summing the bytes of a block.
pub(super) fn joined(first: u64, second: u64, len: u64) -> u64 {
    let bits = (0..u64::BITS as usize).filter(|bit| len >> bit & 1 == 1);
    bits.fold(first, |shifted, bit| product(shifted, ZEROS[bit])) ^ second
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
