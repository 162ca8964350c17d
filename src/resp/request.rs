//! Requests: bytes from a connection to arguments, incrementally.
//!
//! A request keeps the bytes as the client sent them (the log stores those) and the places of its arguments in them.
//! Only what was not in canonical form (inline commands, line ends that a stock server tolerates) is encoded anew. Long
//! arguments come in blocks of their own, which values and the log keep by reference.
//!
//! Invariants
//! - How the input is cut into reads never changes the requests, nor the error, that come out of it.
//! - Once its buffers have grown, reading a request of ordinary size allocates nothing.
//! - Memory is claimed for bytes that arrived, at most eight times as much, whatever a length announces.

mod reader;
#[cfg(test)]
mod tests;

use std::ops::Index;

use thiserror::Error;

use super::woven::Block;

pub use reader::RequestReader;

/// One command with its arguments, the name first.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// As sent, but for the long arguments.
    raw: Vec<u8>,
    args: Vec<Span>,
    /// The long arguments, in order.
    blocks: Vec<Block>,
}

/// Where an argument stands in `raw`; with the highest bit set, `start` is the number of a block instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    len: usize,
}

impl Span {
    const IN_BLOCK: usize = 1 << (usize::BITS - 1);

    fn block(number: usize, len: usize) -> Self {
        Self { start: Self::IN_BLOCK | number, len }
    }
}

impl Request {
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes `args` as a client would.
    pub fn from_args<A: AsRef<[u8]>>(args: &[A]) -> Self {
        let mut request = Self::new();
        request.set_args(args);
        request
    }

    /// Replaces the whole request, keeping its buffers.
    pub fn set_args<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.clear();
        self.begin(args.len());
        for arg in args {
            self.push_arg(arg.as_ref());
        }
    }

    /// Number of arguments, the name included.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The argument at `index`; 0 is the name.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.args.get(index).map(|span| self.slice(*span))
    }

    /// The name as sent; empty for an empty request.
    pub fn name(&self) -> &[u8] {
        self.get(0).unwrap_or(&[])
    }

    /// All arguments, the name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        self.args.iter().map(|span| self.slice(*span))
    }

    /// The request as a RESP array of bulk strings, where it lies in one piece.
    pub fn resp_bytes(&self) -> Option<&[u8]> {
        self.blocks.is_empty().then_some(&self.raw)
    }

    /// The long arguments.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Forgets a request with long arguments, so that it does not keep them in memory.
    pub fn let_go_of_blocks(&mut self) {
        if !self.blocks.is_empty() {
            self.clear();
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.capacity()).sum();
        self.raw.capacity() + self.args.capacity() * size_of::<Span>() + blocks
    }

    /// Empties the request and keeps its buffers.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.args.clear();
        self.blocks.clear();
    }

    /// Frees buffers that grew beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.heap_bytes() > bytes {
            self.clear();
            self.raw.shrink_to(bytes);
            self.args.shrink_to(bytes / size_of::<Span>());
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        if span.start & Span::IN_BLOCK == 0 {
            &self.raw[span.start..span.start + span.len]
        } else {
            &self.blocks[span.start & !Span::IN_BLOCK]
        }
    }

    fn begin(&mut self, count: usize) {
        push_header(&mut self.raw, b'*', count);
    }

    fn push_arg(&mut self, arg: &[u8]) {
        push_header(&mut self.raw, b'$', arg.len());
        self.args.push(Span { start: self.raw.len(), len: arg.len() });
        self.raw.extend_from_slice(arg);
        self.raw.extend_from_slice(b"\r\n");
    }
}

impl Index<usize> for Request {
    type Output = [u8];

    /// # Panics
    /// When there is no such argument.
    fn index(&self, index: usize) -> &[u8] {
        self.slice(self.args[index])
    }
}

/// Equal arguments, wherever they lie.
impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.args().eq(other.args())
    }
}

impl Eq for Request {}

fn push_header(out: &mut Vec<u8>, kind: u8, value: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What the sender may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `proto-max-bulk-len`, bytes.
    pub bulk_bytes_max: usize,
    /// Whether the connection still has to authenticate: then 10 arguments of at most 16 KiB.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_bytes_max: 512 << 20, unauthenticated: false }
    }
}

/// Input that is not a request. The connection gets `ERR` and this text, and is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error("Protocol error: too big mbulk count string")]
    CountTooLong,
    #[error("Protocol error: invalid multibulk length")]
    CountInvalid,
    #[error("Protocol error: unauthenticated multibulk length")]
    CountUnauthenticated,
    #[error("Protocol error: too big bulk count string")]
    LengthTooLong,
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    #[error("Protocol error: invalid bulk length")]
    LengthInvalid,
    #[error("Protocol error: unauthenticated bulk length")]
    LengthUnauthenticated,
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}
