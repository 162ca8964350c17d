//! A histogram of durations with two significant digits, of fixed size: for INFO latencystats and LATENCY HISTOGRAM.
//!
//! Values are nanoseconds from 1 to 10^9. Below 256 each has a bucket of its own, above that each power of two has 128:
//! what is read back is off by less than one in a hundred. The layout is that of HdrHistogram with these parameters, so
//! figures agree with those of stock to the last digit.

const VALUE_MAX: u64 = 1_000_000_000;
/// Buckets per power of two.
const HALF: usize = 128;
const BUCKETS: usize = index_of(VALUE_MAX) + 1;

/// See the module's header. 24 KiB, which is why a command that was never called has none.
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

/// How far a value is shifted until it fits into eight bits.
const fn shift_of(value: u64) -> usize {
    (64 - (value | 255).leading_zeros()) as usize - 8
}

const fn index_of(value: u64) -> usize {
    let shift = shift_of(value);
    shift * HALF + (value >> shift) as usize
}

/// The highest value that shares a bucket with this one.
fn highest_equivalent(value: u64) -> u64 {
    let shift = shift_of(value);
    (((value >> shift) + 1) << shift) - 1
}

/// The lowest value of a bucket.
fn value_at(index: usize) -> u64 {
    match index / HALF {
        0 | 1 => index as u64,
        power => ((index - (power - 1) * HALF) as u64) << (power - 1),
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let counts: Box<[u64; BUCKETS]> = match vec![0; BUCKETS].into_boxed_slice().try_into() {
            Ok(counts) => counts,
            Err(_) => unreachable!("made with this length"),
        };
        Self { counts, total: 0 }
    }
}

impl Histogram {
    /// Counts one duration; what lies out of range counts as its nearest bound.
    pub fn record(&mut self, nanos: u64) {
        self.counts[index_of(nanos.clamp(1, VALUE_MAX))] += 1;
        self.total += 1;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value, in nanoseconds, that this percentage of all values does not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent.min(100.0) / 100.0) * self.total as f64 + 0.5) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return highest_equivalent(value_at(index));
            }
        }
        0
    }

    /// Microseconds that double from 1 on, each with the number of values up to it; steps that add nothing are left out.
    pub fn doubling(&self) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let (mut seen, mut index, mut level) = (0, 0, 1024);
        while seen < self.total {
            let end = (index_of(level) + 1).min(BUCKETS);
            seen += self.counts[index..end].iter().sum::<u64>();
            index = end;
            if steps.last().map_or(seen > 0, |(_, before)| seen > *before) {
                steps.push((highest_equivalent(level) / 1000, seen));
            }
            level *= 2;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, VALUE_MAX, highest_equivalent, index_of, value_at};

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for index in 0..BUCKETS {
            assert_eq!(index_of(value_at(index)), index);
            assert_eq!(index_of(highest_equivalent(value_at(index))), index);
        }
        assert_eq!(index_of(VALUE_MAX), BUCKETS - 1);
    }

    #[test]
    fn figures_are_those_of_the_stock_server() {
        let mut histogram = Histogram::default();
        for micros in [2, 11] {
            histogram.record(micros * 1000);
        }
        assert_eq!([50.0, 99.0, 99.9, 0.0, 100.0].map(|p| histogram.percentile(p)), [2007, 11007, 11007, 2007, 11007]);
        assert_eq!(histogram.doubling(), [(2, 1), (16, 2)]);
        let mut histogram = Histogram::default();
        histogram.record(10_150_000);
        assert_eq!((histogram.percentile(50.0), histogram.doubling()), (10_158_079, vec![(16_908, 1)]));
        histogram.record(0);
        histogram.record(u64::MAX);
        assert_eq!(histogram.percentile(1.0), 1);
        assert_eq!(histogram.doubling().last(), Some(&(1_082_130, 3)));
    }
}
