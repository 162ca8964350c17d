//! A growable run of bytes whose clone is a reference: one allocation, copied by the first holder that writes.
//!
//! Invariants
//! - A buffer that somebody else holds is never written: a writer that is not alone works on a copy.
//! - Capacity grows by at least a fifth, so a run built by appending costs linear time.
//!
//! The sizes asked of the allocator are its usual classes (four to each doubling), so the room left over is room that
//! would have been lost anyway.

use std::fmt;

use triomphe::{Arc, HeaderSlice};

use super::left::leave;
use super::relocate::Mover;

/// What one allocation carries beside its bytes: the reference count and the length in use.
const OVERHEAD: usize = 2 * size_of::<usize>();

/// Fresh buffers up to this size, which has room for every node of a list or stream, begin as a copy of zeros; larger
/// ones are built as vectors first.
static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Bytes with O(1) clone and copy-on-write.
#[derive(Clone)]
pub struct CowBytes {
    /// The header is the length in use, the slice's length the capacity.
    buffer: Arc<HeaderSlice<usize, [u8]>>,
}

impl CowBytes {
    /// A copy of `content`, with no more spare room than the allocation has anyway.
    pub fn new(content: &[u8]) -> Self {
        Self::concatenate(content.len(), &[content])
    }

    /// A copy of `content` that is about to change: with room for a small element more.
    pub fn with_room(content: &[u8]) -> Self {
        const ROOM: usize = 64;
        Self::allocate(content.len(), capacity_for(content.len() + ROOM), &[content])
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer.slice[..self.buffer.header]
    }

    pub fn len(&self) -> usize {
        self.buffer.header
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is the only holder, so that a write would copy nothing.
    pub fn is_unique(&self) -> bool {
        self.buffer.is_unique()
    }

    /// Bytes that the allocation behind this occupies.
    pub fn heap_bytes(&self) -> usize {
        self.buffer.slice.len() + OVERHEAD
    }

    /// The bytes in use, for writing; copied first when somebody else holds them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if !self.buffer.is_unique() {
            leave(self.heap_bytes());
            *self = Self::new(self.as_slice());
        }
        let len = self.len();
        let inner = Arc::get_mut(&mut self.buffer).expect("a fresh or unique buffer has one holder");
        &mut inner.slice[..len]
    }

    /// Replaces `removed` bytes at `at` by the concatenation of `parts`.
    ///
    /// # Panics
    /// When `at + removed` lies behind the end.
    pub fn splice(&mut self, at: usize, removed: usize, parts: &[&[u8]]) {
        let old_len = self.len();
        assert!(removed <= old_len && at <= old_len - removed, "a splice stays inside the bytes in use");
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let new_len = old_len - removed + added;
        if new_len <= self.buffer.slice.len()
            && !Self::wasteful(new_len, self.buffer.slice.len())
            && let Some(inner) = Arc::get_mut(&mut self.buffer)
        {
            if added != removed {
                inner.slice.copy_within(at + removed..old_len, at + added);
            }
            let mut to = at;
            for part in parts {
                inner.slice[to..to + part.len()].copy_from_slice(part);
                to += part.len();
            }
            inner.header = new_len;
            return;
        }
        if !self.buffer.is_unique() {
            leave(self.heap_bytes());
        }
        let old = self.as_slice();
        let mut all: [&[u8]; 10] = [&[]; 10];
        assert!(parts.len() <= 8, "splice takes at most eight parts");
        all[0] = &old[..at];
        all[1..=parts.len()].copy_from_slice(parts);
        all[parts.len() + 1] = &old[at + removed..];
        *self = Self::concatenate(new_len, &all[..parts.len() + 2]);
    }

    /// As [`super::Relocate`] says, with the room that it has.
    pub fn relocate(&mut self, mover: &mut Mover<'_>) {
        if self.is_unique() && mover.moves(self.buffer.heap_ptr()) {
            *self = Self::allocate(self.len(), self.buffer.slice.len(), &[self.as_slice()]);
        }
    }

    /// Appends bytes.
    pub fn push(&mut self, content: &[u8]) {
        self.splice(self.len(), 0, &[content]);
    }

    /// Cuts or zero-extends to `len`.
    pub fn resize(&mut self, len: usize) {
        let old = self.len();
        if len <= old {
            self.splice(len, old - len, &[]);
        } else if len - old <= ZEROS.len() {
            self.push(&ZEROS[..len - old]);
        } else {
            let mut content = Vec::with_capacity(capacity_for(len));
            content.extend_from_slice(self.as_slice());
            content.resize(capacity_for(len), 0);
            *self = Self { buffer: Arc::from_header_and_vec(len, content) };
        }
    }

    /// Room that outgrew its use fourfold is given back, so that a run that shrank does not keep its peak.
    fn wasteful(len: usize, capacity: usize) -> bool {
        capacity > 256 && len < capacity / 4
    }

    fn concatenate(len: usize, parts: &[&[u8]]) -> Self {
        Self::allocate(len, capacity_for(len), parts)
    }

    fn allocate(len: usize, capacity: usize, parts: &[&[u8]]) -> Self {
        if let ([part], true) = (parts, capacity == len) {
            return Self { buffer: Arc::from_header_and_slice(len, part) };
        }
        if capacity > ZEROS.len() {
            let mut content = Vec::with_capacity(capacity);
            for part in parts {
                content.extend_from_slice(part);
            }
            content.resize(capacity, 0);
            return Self { buffer: Arc::from_header_and_vec(len, content) };
        }
        let mut buffer = Arc::from_header_and_slice(len, &ZEROS[..capacity]);
        let inner = Arc::get_mut(&mut buffer).expect("a fresh buffer has one holder");
        let mut to = 0;
        for part in parts {
            inner.slice[to..to + part.len()].copy_from_slice(part);
            to += part.len();
        }
        Self { buffer }
    }
}

/// The capacity that goes with `len` bytes: what the allocator's size class leaves after the overhead.
fn capacity_for(len: usize) -> usize {
    allocation_size(len + OVERHEAD) - OVERHEAD
}

/// What the allocator gives where so many bytes are asked for: its size classes are steps of 16 bytes up to 128, then
/// four to each doubling.
pub fn allocation_size(bytes: usize) -> usize {
    let step = if bytes <= 128 { 16 } else { bytes.next_power_of_two() / 8 };
    bytes.next_multiple_of(step)
}

impl Default for CowBytes {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl std::ops::Deref for CowBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for CowBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for CowBytes {}

impl fmt::Debug for CowBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        /// A clone taken before a splice keeps its bytes; the spliced one equals the vector model.
        fn splices_like_a_vector_and_leaves_clones_alone(steps: Vec<(u16, u8, Vec<u8>, bool, bool)>) -> bool {
            let mut model: Vec<u8> = Vec::new();
            let mut ours = CowBytes::default();
            let mut held: Vec<(CowBytes, Vec<u8>)> = Vec::new();
            for (at, removed, added, hold, big) in steps {
                let at = usize::from(at) % (model.len() + 1);
                let removed = usize::from(removed).min(model.len() - at);
                let added = if big { added.repeat(100) } else { added };
                if hold {
                    held.push((ours.clone(), model.clone()));
                }
                model.splice(at..at + removed, added.iter().copied());
                let half = added.len() / 2;
                ours.splice(at, removed, &[&added[..half], &added[half..]]);
                if ours.as_slice() != model {
                    return false;
                }
            }
            held.iter().all(|(ours, model)| ours.as_slice() == model)
        }

        fn resizes_like_a_vector(sizes: Vec<u16>) -> bool {
            let mut model: Vec<u8> = Vec::new();
            let mut ours = CowBytes::default();
            sizes.into_iter().all(|size| {
                model.resize(usize::from(size), 0);
                ours.resize(usize::from(size));
                model.iter_mut().for_each(|b| *b ^= 0x5a);
                ours.as_mut_slice().iter_mut().for_each(|b| *b ^= 0x5a);
                ours.as_slice() == model
            })
        }
    }

    #[test]
    fn appending_reallocates_rarely() {
        let mut ours = CowBytes::default();
        let mut capacities = std::collections::BTreeSet::new();
        for _ in 0..100_000 {
            ours.push(b"x");
            capacities.insert(ours.heap_bytes());
        }
        assert!(capacities.len() < 60, "{} reallocations", capacities.len());
    }
}
