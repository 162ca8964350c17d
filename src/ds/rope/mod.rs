//! A long run of bytes in chunks of one size, whose clone is a snapshot in O(1).
//!
//! A radix tree over the chunks' numbers: the path to a byte is computed, not searched. Writing copies the chunk that
//! it touches and the nodes above it where somebody else holds them, and nothing else. What was never written since the
//! run was extended is a hole: it takes no memory and reads as zeros.
//!
//! A run that came in one piece keeps that piece as its base, by reference: where no chunk lies, the base shows. Writing
//! to such a chunk copies it out of the base, and some others besides, so that a base is gone when a third of it
//! was written to.
//!
//! Invariants
//! - Chunk `n` covers the bytes from `n * CHUNK` on. It may hold fewer than it covers: those behind its end are zeros.
//! - No chunk holds a byte at or behind `len`, and none lies wholly behind it.

mod pieces;
#[cfg(test)]
mod tests;

pub use pieces::{Piece, Pieces, zeros};

use triomphe::Arc;

use crate::ds::own;

use super::CowBytes;

/// Bytes of a full chunk: with the counters in front of them they fill an allocation of 4 KiB.
pub const CHUNK: usize = 4080;
/// Children of a node, a power of two.
const FANOUT: usize = 1 << FANOUT_BITS;
const FANOUT_BITS: u32 = 6;

/// See the module for its promises.
#[derive(Clone, Default)]
pub struct Rope {
    root: Option<Node>,
    /// Levels of inner nodes above the lowest.
    height: u32,
    len: usize,
    /// Bytes that the chunks' allocations occupy.
    chunk_bytes: usize,
    base: Option<Base>,
}

/// What the run was at first.
#[derive(Clone)]
struct Base {
    block: Block,
    /// The chunks before this one are in the tree.
    next: usize,
    /// Chunks that are not.
    left: usize,
}

/// Bytes in one piece that are handed on by reference.
pub type Block = std::sync::Arc<Vec<u8>>;

/// Chunks that leave the base beside one that is written to.
const MOVED_ALONG: usize = 2;

/// Missing children, those behind the end of the vector included, are holes.
#[derive(Clone)]
enum Node {
    Inner(Arc<Vec<Option<Node>>>),
    Chunks(Arc<Vec<Option<CowBytes>>>),
}

impl Rope {
    pub fn new(content: &[u8]) -> Self {
        let chunks = content.chunks(CHUNK).map(|chunk| Some(CowBytes::new(chunk)));
        Self::from_chunks(chunks, content.len())
    }

    /// A run of these bytes, which are not copied.
    pub fn from_block(block: Block) -> Self {
        let left = block.len().div_ceil(CHUNK);
        Self { len: block.len(), base: Some(Base { block, next: 0, left }), ..Self::default() }
    }

    /// A run of `len` bytes whose first bytes are `content`, which becomes its first chunk as it is.
    ///
    /// # Panics
    /// When the content is longer than a chunk or than `len`.
    pub fn starting_with(content: CowBytes, len: usize) -> Self {
        Self::from_chunks(std::iter::once(Some(content)), len)
    }

    /// A run of `len` bytes from its chunks in order; `None`, and what is missing at the end, is a hole. O(n).
    ///
    /// # Panics
    /// When a chunk is longer than a chunk may be, or reaches behind `len`.
    pub fn from_chunks(chunks: impl Iterator<Item = Option<CowBytes>>, len: usize) -> Self {
        let (mut chunk_bytes, mut covered) = (0, 0);
        let mut weighed = |chunk: Option<CowBytes>| {
            let held = chunk.as_ref().map_or(0, |chunk| chunk.len());
            assert!(held <= CHUNK && (held == 0 || covered + held <= len), "a chunk stays within its place");
            covered += CHUNK;
            chunk_bytes += chunk.as_ref().map_or(0, CowBytes::heap_bytes);
            chunk
        };
        let (mut level, mut chunks) = (Vec::new(), chunks.peekable());
        while chunks.peek().is_some() {
            let run: Vec<_> = chunks.by_ref().take(FANOUT).map(&mut weighed).collect();
            let full = run.iter().any(Option::is_some);
            level.push(full.then(|| Node::Chunks(Arc::new(run))));
        }
        let mut height = 0;
        while level.len() > 1 {
            let mut nodes = level.into_iter().peekable();
            level = Vec::new();
            while nodes.peek().is_some() {
                let run: Vec<_> = nodes.by_ref().take(FANOUT).collect();
                let full = run.iter().any(Option::is_some);
                level.push(full.then(|| Node::Inner(Arc::new(run))));
            }
            height += 1;
        }
        Self { root: level.pop().flatten(), height, len, chunk_bytes, base: None }
    }

    /// Length in bytes, holes included.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that chunks and nodes occupy; a shared one counts for each holder.
    pub fn heap_bytes(&self) -> usize {
        const PER_CHUNK: usize = size_of::<Option<CowBytes>>() + size_of::<Option<Node>>() / FANOUT + 1;
        let base = self.base.as_ref().map_or(0, |base| base.block.capacity());
        size_of::<Self>() + self.chunk_bytes + self.chunk_bytes / CHUNK * PER_CHUNK + base
    }

    /// Bytes that its chunks occupy, the base left out.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Extends with zeros. O(1): what is added is a hole.
    ///
    /// # Panics
    /// When the run is longer already.
    pub fn extend_to(&mut self, len: usize) {
        assert!(self.len <= len, "a rope never shrinks");
        self.len = len;
    }

    /// Appends bytes.
    pub fn push(&mut self, content: &[u8]) {
        let at = self.len;
        self.len += content.len();
        self.write(at, content);
    }

    /// Overwrites from `at` on, touching no more chunks than the content covers.
    ///
    /// # Panics
    /// When that reaches behind the end.
    pub fn write(&mut self, at: usize, content: &[u8]) {
        assert!(content.len() <= self.len && at <= self.len - content.len(), "a write stays within the rope");
        let (mut at, mut rest) = (at, content);
        while !rest.is_empty() {
            let offset = at % CHUNK;
            let (part, behind) = rest.split_at(rest.len().min(CHUNK - offset));
            self.take_from_base(at / CHUNK);
            self.change_chunk(at / CHUNK, |chunk| match chunk {
                None if offset == 0 => *chunk = Some(CowBytes::new(part)),
                chunk => {
                    let chunk = chunk.get_or_insert_default();
                    if chunk.len() < offset {
                        chunk.resize(offset);
                    }
                    let overwritten = part.len().min(chunk.len() - offset);
                    chunk.splice(offset, overwritten, &[part]);
                }
            });
            at += part.len();
            rest = behind;
        }
    }

    /// The bytes from `at` on, as many as the buffer takes; those behind the end read as zeros.
    pub fn read(&self, at: usize, buffer: &mut [u8]) {
        let end = self.len.min(at + buffer.len());
        let mut to = 0;
        for piece in self.pieces(at.min(end)..end) {
            piece.copy_to(&mut buffer[to..]);
            to += piece.len();
        }
        buffer[to..].fill(0);
    }

    /// What chunk `index` holds, which may be less than it covers; `None` for a hole.
    pub fn chunk(&self, index: usize) -> Option<&[u8]> {
        match self.find(index) {
            Ok(chunk) => Some(chunk),
            Err(_) => self.base.as_ref().and_then(|base| base.chunk(index)),
        }
    }

    /// The whole run in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.len);
        for slice in self.pieces(0..self.len).slices() {
            content.extend_from_slice(slice);
        }
        content
    }

    /// The chunk, or the number of a later chunk up to which there is none.
    fn find(&self, index: usize) -> Result<&CowBytes, usize> {
        if !self.reaches(index) {
            return Err(usize::MAX);
        }
        let Some(mut node) = self.root.as_ref() else { return Err(usize::MAX) };
        let mut level = self.height;
        loop {
            match node {
                Node::Inner(children) => node = child(children, index, level)?,
                Node::Chunks(chunks) => return child(chunks, index, level),
            }
            level -= 1;
        }
    }

    /// A chunk that only the base shows becomes one of the tree, and so do some others.
    fn take_from_base(&mut self, index: usize) {
        let shown = self.base.as_ref().is_some_and(|base| base.chunk(index).is_some() && self.find(index).is_err());
        let Some(base) = self.base.clone().filter(|_| shown) else { return };
        let (mut next, mut left) = (base.next, base.left);
        let mut copied = self.copy_from(&base, index);
        while copied <= MOVED_ALONG && next * CHUNK < base.block.len() {
            copied += self.copy_from(&base, next);
            next += 1;
        }
        left -= copied;
        self.base = (left > 0).then_some(Base { next, left, ..base });
    }

    /// Copies a chunk into the tree unless it is there; returns how many were copied.
    fn copy_from(&mut self, base: &Base, index: usize) -> usize {
        let Some(content) = base.chunk(index).filter(|_| self.find(index).is_err()) else { return 0 };
        self.change_chunk(index, |chunk| *chunk = Some(CowBytes::new(content)));
        1
    }

    /// Changes one chunk, whose path is made or made this rope's own first.
    fn change_chunk(&mut self, index: usize, change: impl FnOnce(&mut Option<CowBytes>)) {
        while !self.reaches(index) {
            self.root = self.root.take().map(|root| Node::Inner(Arc::new(vec![Some(root)])));
            self.height += 1;
        }
        let mut level = self.height;
        let mut node = self.root.get_or_insert_with(|| Node::empty(level));
        loop {
            let slot = slot(index, level);
            match node {
                Node::Inner(children) => {
                    level -= 1;
                    node = place(children, slot).get_or_insert_with(|| Node::empty(level));
                }
                Node::Chunks(chunks) => {
                    let chunk = place(chunks, slot);
                    let before = chunk.as_ref().map_or(0, CowBytes::heap_bytes);
                    change(chunk);
                    let after = chunk.as_ref().map_or(0, CowBytes::heap_bytes);
                    self.chunk_bytes = self.chunk_bytes - before + after;
                    return;
                }
            }
        }
    }

    /// Whether the tree is high enough for this chunk.
    fn reaches(&self, index: usize) -> bool {
        index >> (FANOUT_BITS * self.height) < FANOUT
    }
}

impl Base {
    /// What lies where this chunk would be.
    fn chunk(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_mul(CHUNK).filter(|start| *start < self.block.len())?;
        Some(&self.block[start..self.block.len().min(start + CHUNK)])
    }
}

impl Node {
    fn empty(level: u32) -> Self {
        if level == 0 { Self::Chunks(Arc::default()) } else { Self::Inner(Arc::default()) }
    }
}

/// The child of a node of this level, on the way to a chunk.
fn slot(index: usize, level: u32) -> usize {
    (index >> (FANOUT_BITS * level)) % FANOUT
}

/// The child on the way to a chunk, or the number of a later chunk up to which there is none.
fn child<T>(children: &[Option<T>], index: usize, level: u32) -> Result<&T, usize> {
    let slot = slot(index, level);
    if let Some(Some(child)) = children.get(slot) {
        return Ok(child);
    }
    let next = children.iter().skip(slot).position(Option::is_some).map_or(FANOUT, |holes| slot + holes);
    let first = index >> (FANOUT_BITS * (level + 1)) << FANOUT_BITS;
    Err((first + next) << (FANOUT_BITS * level))
}

/// A child's place in a node that is the rope's own from now on.
fn place<T: Clone>(node: &mut Arc<Vec<Option<T>>>, slot: usize) -> &mut Option<T> {
    let children = own(node);
    if children.len() <= slot {
        children.resize(slot + 1, None);
    }
    &mut children[slot]
}

impl PartialEq for Rope {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && (0..self.len.div_ceil(CHUNK)).all(|index| {
                let (ours, theirs) = (self.chunk(index).unwrap_or(&[]), other.chunk(index).unwrap_or(&[]));
                let common = ours.len().min(theirs.len());
                ours[..common] == theirs[..common]
                    && ours[common..].iter().chain(&theirs[common..]).all(|byte| *byte == 0)
            })
    }
}

impl Eq for Rope {}

impl std::fmt::Debug for Rope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rope").field("len", &self.len).finish_non_exhaustive()
    }
}
