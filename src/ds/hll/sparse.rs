//! Registers as runs of equal ones, a byte or two for each run.
//!
//! ```text
//! 00nnnnnn            n + 1 registers are 0
//! 01nnnnnn nnnnnnnn   n + 1 registers are 0
//! 1vvvvvnn            n + 1 registers are v + 1
//! ```
//!
//! Changes are made run by run exactly as the stock server makes them, so that the same elements give the same bytes.

use super::{Damage, HEADER_BYTES, REGISTERS, dense, invalidate};

/// The run of all registers at 0.
pub(super) const ALL_ZERO: [u8; 2] = [0x7f, 0xff];
/// The highest rank that a run can have; a higher one needs the dense form.
const RANK_MAX: u8 = 32;
const SHORT_ZEROS_MAX: usize = 64;
const RANKED_MAX: usize = 4;
/// Runs looked at for merging, from the one in front of a change.
const MERGE_RUNS: usize = 5;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub rank: u8,
    pub len: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

impl Run {
    /// The run at the front of these bytes, which are not empty. A second byte that is missing counts as 0.
    fn read(bytes: &[u8]) -> Self {
        let first = bytes[0];
        match first >> 6 {
            0 => Self { rank: 0, len: usize::from(first & 0x3f) + 1, bytes: 1 },
            1 => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Self { rank: 0, len: (usize::from(first & 0x3f) << 8 | usize::from(second)) + 1, bytes: 2 }
            }
            _ => Self { rank: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
        }
    }
}

/// A few runs, as they are put in the place of one.
#[derive(Default)]
struct Sequence {
    bytes: [u8; 5],
    len: usize,
}

impl Sequence {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// A run of this rank; nothing when it has no length.
    fn run(&mut self, rank: u8, len: usize) {
        match (rank, len) {
            (_, 0) => {}
            (0, 1..=SHORT_ZEROS_MAX) => self.push(len as u8 - 1),
            (0, _) => {
                self.push(0x40 | ((len - 1) >> 8) as u8);
                self.push((len - 1) as u8);
            }
            _ => self.push(ranked(rank, len)),
        }
    }
}

fn ranked(rank: u8, len: usize) -> u8 {
    0x80 | (rank - 1) << 2 | (len as u8 - 1)
}

/// The runs behind the header.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut rest = &bytes[HEADER_BYTES..];
    std::iter::from_fn(move || {
        let run = (!rest.is_empty()).then(|| Run::read(rest))?;
        rest = &rest[run.bytes.min(rest.len())..];
        Some(run)
    })
}

/// Reports every register that is not 0.
///
/// # Errors
/// Damage, after what was in front of it has been reported.
pub fn registers(bytes: &[u8], mut found: impl FnMut(usize, u8)) -> Result<(), Damage> {
    let mut index = 0;
    for run in runs(bytes) {
        let end = index + run.len;
        if run.rank > 0 {
            if end > REGISTERS {
                return Err(Damage);
            }
            (index..end).for_each(|index| found(index, run.rank));
        }
        index = end;
    }
    if index == REGISTERS { Ok(()) } else { Err(Damage) }
}

/// Counts the registers of each rank.
///
/// # Errors
/// Damage.
pub(super) fn histogram(bytes: &[u8], counts: &mut [u32; 64]) -> Result<(), Damage> {
    let mut all = 0;
    for run in runs(bytes) {
        all += run.len;
        let count = &mut counts[usize::from(run.rank)];
        *count = count.wrapping_add(run.len as u32);
    }
    if all == REGISTERS { Ok(()) } else { Err(Damage) }
}

/// The same HyperLogLog in dense form.
///
/// # Errors
/// Damage.
pub fn to_dense(bytes: &[u8]) -> Result<Vec<u8>, Damage> {
    let mut result = bytes[..HEADER_BYTES].to_vec();
    result[4] = 0;
    result.resize(dense::BYTES, 0);
    registers(bytes, |index, rank| {
        dense::raise(&mut result, index, rank);
    })?;
    Ok(result)
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// The register was as high already.
    Not,
    /// Changed, and the cached cardinality marked as out of date.
    Sparse,
    /// Changed after the whole was made dense; the cached cardinality is still as it was.
    Dense,
}

/// Raises a register. What would then be longer than `bytes_max`, or have a rank that no run can have, becomes dense.
///
/// # Errors
/// Damage; the bytes are as they were.
pub fn raise(bytes: &mut Vec<u8>, index: usize, rank: u8, bytes_max: usize) -> Result<Raised, Damage> {
    if rank > RANK_MAX {
        return promote(bytes, index, rank);
    }
    let Some((at, first, run, before)) = find(bytes, index) else { return Err(Damage) };
    if run.rank >= rank {
        return Ok(Raised::Not);
    }
    let mut sequence = Sequence::default();
    sequence.run(run.rank, index - first);
    sequence.run(rank, 1);
    sequence.run(run.rank, first + run.len - 1 - index);
    if sequence.len > run.bytes && bytes.len() - run.bytes + sequence.len > bytes_max {
        return promote(bytes, index, rank);
    }
    let end = bytes.len().min(at + run.bytes);
    bytes.splice(at..end, sequence.bytes[..sequence.len].iter().copied());
    merge(bytes, before);
    invalidate(bytes);
    Ok(Raised::Sparse)
}

/// The run that covers a register: where it lies, its first register, itself, and where the one in front of it lies
/// (or itself, if it is the first).
fn find(bytes: &[u8], index: usize) -> Option<(usize, usize, Run, usize)> {
    let (mut at, mut first, mut before) = (HEADER_BYTES, 0, HEADER_BYTES);
    for run in runs(bytes) {
        if index < first + run.len {
            return Some((at, first, run, before));
        }
        before = at;
        at += run.bytes;
        first += run.len;
    }
    None
}

/// Joins neighbours of one rank as far as one run can hold them.
fn merge(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGE_RUNS {
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { return };
        let run = Run::read(rest);
        if run.rank > 0 && rest.len() > 1 {
            let next = Run::read(&rest[1..]);
            if next.rank == run.rank && run.len + next.len <= RANKED_MAX {
                bytes[at + 1] = ranked(run.rank, run.len + next.len);
                bytes.remove(at);
                continue;
            }
        }
        at += run.bytes;
    }
}

fn promote(bytes: &mut Vec<u8>, index: usize, rank: u8) -> Result<Raised, Damage> {
    *bytes = to_dense(bytes)?;
    let raised = dense::raise(bytes, index, rank);
    Ok(if raised { Raised::Dense } else { Raised::Not })
}
