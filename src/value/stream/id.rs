//! The ID of an entry: a time and a sequence number, ordered as a pair.

use std::fmt;

/// Written `milliseconds-sequence`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    /// No entry has it: "before all", and what is not known.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The ID behind this one.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The ID before this one.
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// As RDB files and radix trees hold it: both numbers, the high byte first.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// What this ID is apart from `base`, in the two's complement that nodes store.
    pub(super) fn delta(self, base: Self) -> (i64, i64) {
        (self.ms.wrapping_sub(base.ms) as i64, self.seq.wrapping_sub(base.seq) as i64)
    }

    pub(super) fn plus(self, (ms, seq): (i64, i64)) -> Self {
        Self { ms: self.ms.wrapping_add(ms as u64), seq: self.seq.wrapping_add(seq as u64) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn bytes_are_ordered_as_ids_are(a: (u64, u64), b: (u64, u64)) -> bool {
            let (a, b) = (StreamId::new(a.0, a.1), StreamId::new(b.0, b.1));
            StreamId::from_bytes(a.to_bytes()) == a && a.cmp(&b) == a.to_bytes().cmp(&b.to_bytes())
        }

        fn deltas_lead_back(a: (u64, u64), b: (u64, u64)) -> bool {
            let (a, b) = (StreamId::new(a.0, a.1), StreamId::new(b.0, b.1));
            a.plus(b.delta(a)) == b
        }
    }

    #[test]
    fn neighbours() {
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::new(2, 0).previous(), Some(StreamId::new(1, u64::MAX)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
        assert_eq!(StreamId::new(5, 7).to_string(), "5-7");
    }
}
