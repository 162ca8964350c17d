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

/// A place in a history: what a base or a dump holds is the state there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub lineage: Lineage,
    pub lsn: Lsn,
}

impl Position {
    /// As files say it: `<timeline> <parent> <fork> <lsn>`, the numbers as 16 hexadecimal digits.
    pub fn encode(&self) -> String {
        let Lineage { timeline, parent, fork } = self.lineage;
        format!("{timeline} {parent} {:016x} {:016x}", fork.0, self.lsn.0)
    }

    /// From exactly what `encode` writes; anything else is `None`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|byte| *byte == b' ');
        let (timeline, parent) = (Timeline::parse(fields.next()?)?, Timeline::parse(fields.next()?)?);
        let mut number = || u64::from_str_radix(std::str::from_utf8(fields.next()?).ok()?, 16).ok().map(Lsn);
        let position = Self { lineage: Lineage { timeline, parent, fork: number()? }, lsn: number()? };
        (position.encode().as_bytes() == text).then_some(position)
    }

    /// Whether a history that stands at `later` has passed through here, as far as the two names tell.
    pub fn is_passed_by(&self, later: &Self) -> bool {
        let same = self.lineage.timeline == later.lineage.timeline;
        let parent = self.lineage.timeline == later.lineage.parent && self.lsn <= later.lineage.fork;
        (same || parent) && self.lsn <= later.lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededEntropy;

    #[test]
    fn a_position_reads_back_and_nothing_else_does() {
        let root = Lineage::root(Timeline::draw(&mut SeededEntropy::new(1)));
        let position = Position { lineage: root, lsn: Lsn(77) };
        let text = position.encode();
        assert_eq!(Position::parse(text.as_bytes()), Some(position));
        for wrong in [&text[1..], &text[..text.len() - 1], &format!("{text} "), &text.to_uppercase(), ""] {
            assert_eq!(Position::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_history_has_passed_what_lies_before_it_on_its_own_timeline_or_before_it_left_its_parent() {
        let mut entropy = SeededEntropy::new(1);
        let mut draw = || Timeline::draw(&mut entropy);
        let root = Lineage::root(draw());
        let child = root.child(draw(), Lsn(50));
        let at = |lineage, lsn| Position { lineage, lsn: Lsn(lsn) };
        for (earlier, later, passed) in [
            (at(root, 10), at(root, 10), true),
            (at(root, 11), at(root, 10), false),
            (at(root, 50), at(child, 60), true),
            (at(root, 51), at(child, 60), false),
            (at(child, 50), at(root, 60), false),
            (at(Lineage::root(draw()), 1), at(root, 60), false),
        ] {
            assert_eq!(earlier.is_passed_by(&later), passed, "{earlier:?} {later:?}");
        }
    }
}
