//! From registers to a cardinality: the improved raw estimator of Otmar Ertl, "New cardinality estimation algorithms
//! for HyperLogLog sketches" (arXiv:1702.01284), algorithms 6 and its functions sigma and tau.

use super::{RANK_MAX, REGISTERS};

/// 1 / (2 ln 2), in the digits that stock has, so that results round alike.
const ALPHA_INFINITE: f64 = 0.721_347_520_444_481_7;

/// How many different elements, when `histogram[r]` registers have the rank `r`.
pub fn estimate(histogram: &[u32; 64]) -> u64 {
    let m = REGISTERS as f64;
    let full = f64::from(histogram[usize::from(RANK_MAX)]);
    let mut z = m * tau((m - full) / m);
    for count in histogram[1..usize::from(RANK_MAX)].iter().rev() {
        z += f64::from(*count);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA_INFINITE * m * m / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
