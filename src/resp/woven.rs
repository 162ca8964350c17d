//! Bytes in one buffer, with long runs woven in that lie elsewhere and are handed on by reference.
//!
//! Invariants
//! - What a run shows never changes while somebody holds it, and none is empty.
//! - Places count the buffer's own bytes. Bytes of the buffer follow each run before an element ends, so a cut between
//!   two elements leaves no doubt which of them a run belongs to.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Bytes shorter than this are copied rather than referred to, here and by stock servers.
pub const RUN_BYTES_MIN: usize = 32 << 10;

/// A long run of bytes.
pub trait Run: Send + Sync {
    /// Its length in bytes, never 0.
    fn bytes(&self) -> usize;

    /// The bytes from `from` on, in the slices in which they lie.
    fn slices<'a>(&'a self, from: usize) -> Box<dyn Iterator<Item = &'a [u8]> + 'a>;
}

/// A long argument as it came in, in an allocation of its own.
pub type Block = Arc<Vec<u8>>;

impl Run for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn slices<'a>(&'a self, from: usize) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(std::iter::once(&self[from..]))
    }
}

/// Runs and their places in a buffer, in order.
#[derive(Clone, Default)]
pub struct Runs {
    placed: VecDeque<(usize, Arc<dyn Run>)>,
    bytes: usize,
}

impl Runs {
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Bytes of all runs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Arc<dyn Run>)> {
        self.placed.iter().map(|(at, run)| (*at, run))
    }

    /// The first run and its place.
    pub fn first(&self) -> Option<(usize, &Arc<dyn Run>)> {
        self.iter().next()
    }

    /// Places a run behind the others.
    pub fn push(&mut self, at: usize, run: Arc<dyn Run>) {
        self.bytes += run.bytes();
        self.placed.push_back((at, run));
    }

    pub fn pop_first(&mut self) -> Option<(usize, Arc<dyn Run>)> {
        let (at, run) = self.placed.pop_front()?;
        self.bytes -= run.bytes();
        Some((at, run))
    }

    pub fn clear(&mut self) {
        self.placed.clear();
        self.bytes = 0;
    }

    /// Drops the runs from a place on.
    pub fn truncate(&mut self, at: usize) {
        drop(self.split_off(at));
    }

    /// Takes out the runs from a place on; their places stay as they are.
    pub fn split_off(&mut self, at: usize) -> Self {
        let first = self.placed.partition_point(|(place, _)| *place < at);
        let placed = self.placed.split_off(first);
        let bytes = placed.iter().map(|(_, run)| run.bytes()).sum();
        self.bytes -= bytes;
        Self { placed, bytes }
    }

    /// So many bytes were put into the buffer at a place.
    pub fn shift_from(&mut self, at: usize, by: usize) {
        let moved = self.placed.iter_mut().rev().take_while(|(place, _)| *place >= at);
        moved.for_each(|(place, _)| *place += by);
    }

    /// So many bytes were taken from the front of the buffer, where no run stands any more.
    pub fn shift_back(&mut self, by: usize) {
        self.placed.iter_mut().for_each(|(place, _)| *place -= by);
    }
}

/// See the module's header.
#[derive(Clone, Default)]
pub struct Woven {
    pub bytes: Vec<u8>,
    pub runs: Runs,
}

impl Woven {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.runs.bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that this keeps in memory, whoever else does too.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.runs.bytes()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    /// Drops everything from a place on.
    pub fn truncate(&mut self, at: usize) {
        self.bytes.truncate(at);
        if !self.runs.is_empty() {
            self.runs.truncate(at);
        }
    }

    /// Appends a run; bytes have to follow it.
    pub fn push_run(&mut self, run: Arc<dyn Run>) {
        self.runs.push(self.bytes.len(), run);
    }

    /// Everything from a place on.
    pub fn slice_from(&self, from: usize) -> WovenSlice<'_> {
        WovenSlice { bytes: &self.bytes[from..], from, runs: &self.runs }
    }

    /// Appends a part of another one.
    pub fn append_slice(&mut self, cut: WovenSlice<'_>) {
        self.append(cut.bytes, cut.from, cut.runs().map(|(at, run)| (at, Arc::clone(run))));
    }

    /// Appends bytes of another buffer with the runs that stand in them, at these places in that buffer.
    pub fn append(&mut self, bytes: &[u8], from: usize, runs: impl Iterator<Item = (usize, Arc<dyn Run>)>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        runs.for_each(|(at, run)| self.runs.push(start + at - from, run));
    }

    /// The bytes from a place on, in order, in the slices in which they lie. Of a run that stands at that place the
    /// first `in_run` bytes are left out.
    pub fn slices(&self, from: usize, in_run: usize) -> impl Iterator<Item = &[u8]> {
        let mut at = from;
        let mut skipped = in_run;
        let woven = self.runs.iter().skip_while(move |(place, _)| *place < from).flat_map(move |(place, run)| {
            let before = &self.bytes[at..place];
            at = place;
            std::iter::once(before).chain(run.slices(std::mem::take(&mut skipped)))
        });
        let last = self.runs.placed.back().map_or(from, |(place, _)| (*place).max(from));
        woven.chain(std::iter::once(&self.bytes[last..])).filter(|slice| !slice.is_empty())
    }

    /// Everything in one piece.
    pub fn joined(&self) -> Vec<u8> {
        self.slices(0, 0).flatten().copied().collect()
    }
}

/// The end of woven bytes, from a place between two elements on.
#[derive(Clone, Copy)]
pub struct WovenSlice<'a> {
    /// The buffer's own bytes.
    pub bytes: &'a [u8],
    from: usize,
    runs: &'a Runs,
}

impl<'a> WovenSlice<'a> {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.run_bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Everything in one piece.
    pub fn joined(&self) -> Vec<u8> {
        let mut all = Woven::default();
        all.append_slice(*self);
        all.joined()
    }

    /// Bytes of its runs.
    pub fn run_bytes(&self) -> usize {
        if self.runs.is_empty() { 0 } else { self.runs().map(|(_, run)| run.bytes()).sum() }
    }

    fn runs(&self) -> impl Iterator<Item = (usize, &'a Arc<dyn Run>)> {
        let from = self.from;
        self.runs.iter().skip_while(move |(at, _)| *at < from)
    }
}

impl<'a> From<&'a [u8]> for WovenSlice<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        static NONE: Runs = Runs { placed: VecDeque::new(), bytes: 0 };
        Self { bytes, from: 0, runs: &NONE }
    }
}

impl fmt::Debug for Woven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Woven").field("bytes", &self.bytes.len()).field("runs", &self.runs.placed.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Run, Woven};
    use quickcheck::quickcheck;

    fn run(content: &[u8]) -> Arc<dyn Run> {
        Arc::new(content.to_vec())
    }

    quickcheck! {
        /// What goes in comes out in order, from any byte on, and through any cut between two elements.
        fn keeps_order(elements: Vec<(Vec<u8>, Vec<u8>)>, from: usize, cut: usize) -> bool {
            let (mut woven, mut model, mut ends) = (Woven::default(), Vec::new(), vec![(0, 0)]);
            for (content, tail) in elements {
                if !content.is_empty() {
                    woven.push_run(run(&content));
                    model.extend(content);
                }
                woven.bytes.extend(&tail);
                woven.bytes.extend(b"\r\n");
                model.extend(tail);
                model.extend(b"\r\n");
                ends.push((woven.bytes.len(), model.len()));
            }
            let (place, end) = ends[from % ends.len()];
            let behind: Vec<u8> = woven.slices(place, 0).flatten().copied().collect();
            let (cut_place, cut_end) = ends[cut % ends.len()];
            let mut front = woven.clone();
            front.truncate(cut_place);
            let mut joined = front.clone();
            let mut tail = woven.clone();
            let runs = tail.runs.split_off(cut_place);
            joined.append(&woven.bytes[cut_place..], cut_place, runs.placed.into_iter());
            behind == model[end..]
                && woven.len() == model.len()
                && front.joined() == model[..cut_end]
                && joined.joined() == model
        }
    }

    #[test]
    fn a_run_is_left_in_its_middle() {
        let mut woven = Woven::default();
        woven.bytes.extend(b"$4\r\n");
        woven.push_run(run(b"abcd"));
        woven.bytes.extend(b"\r\n");
        let rest: Vec<&[u8]> = woven.slices(4, 3).collect();
        assert_eq!(rest, [&b"d"[..], b"\r\n"]);
    }
}
