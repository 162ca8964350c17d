//! Positions: a timeline and a place on it.
//!
//! An LSN counts the payload bytes of the one stream of commands, from 1; headers, marks and preambles do not count.
//! LSNs are comparable within one ancestry of timelines only.

use crate::env::Entropy;
use std::fmt;

/// A place in the stream: the number of the next byte. Written as 16 hexadecimal digits on disk, decimal elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Where every stream begins.
    pub const FIRST: Self = Self(1);

    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A history: 40 lower-case hexadecimal digits, in the form of a stock replication id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timeline([u8; 40]);

impl Timeline {
    /// The parent of a timeline that has none.
    pub const NONE: Self = Self([b'0'; 40]);

    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut random = [0; 20];
        entropy.fill(&mut random);
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_mut(2).zip(random) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        Self(digits)
    }

    /// From its 40 digits; anything else is `None`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 40] = text.try_into().ok()?;
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    pub fn as_str(&self) -> &str {
        // Only digits are ever stored.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A timeline with its origin: where it left which other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub timeline: Timeline,
    pub parent: Timeline,
    pub fork: Lsn,
}

impl Lineage {
    /// A history that begins here.
    pub fn root(timeline: Timeline) -> Self {
        Self { timeline, parent: Timeline::NONE, fork: Lsn::FIRST }
    }

    /// A history that leaves this one at `fork`.
    pub fn child(&self, timeline: Timeline, fork: Lsn) -> Self {
        Self { timeline, parent: self.timeline, fork }
    }
}
