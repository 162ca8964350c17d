//! What a connection took from its outbox and has not sent yet.
//!
//! Invariant: bytes reach the socket in their order, each once, however few of them the socket takes at a time.

use std::io::{self, IoSlice};

use super::connection::Stream;
use crate::resp::Woven;

/// Slices handed to the socket at once. Chunks of a long string have 4 KiB: more than a megabyte a call.
const SLICES_MAX: usize = 300;

/// See the module's header.
#[derive(Default)]
pub struct Unsent {
    out: Woven,
    /// Bytes of the buffer that are sent; runs before them are gone.
    sent: usize,
    /// Bytes sent of the run that stands there.
    in_run: usize,
}

impl Unsent {
    /// Bytes to send.
    pub fn len(&self) -> usize {
        self.out.len() - self.sent - self.in_run
    }

    pub fn is_empty(&self) -> bool {
        // Bytes of the buffer follow every run.
        self.sent == self.out.bytes.len()
    }

    /// Room of the buffer, bytes.
    pub fn capacity(&self) -> usize {
        self.out.bytes.capacity()
    }

    /// Bytes in the buffer, those sent included.
    pub fn buffered(&self) -> usize {
        self.out.bytes.len()
    }

    /// Bytes to send that lie elsewhere.
    pub fn run_bytes(&self) -> usize {
        self.out.runs.bytes()
    }

    /// Where what may leave is appended.
    pub fn space(&mut self) -> &mut Woven {
        &mut self.out
    }

    /// Gives the stream what it takes in one call; returns the number of bytes.
    ///
    /// # Errors
    /// Those of the socket; then nothing was sent.
    pub fn send(&mut self, stream: &Stream) -> io::Result<usize> {
        if self.out.runs.is_empty() {
            let len = stream.write(&self.out.bytes[self.sent..])?;
            self.sent += len;
            return Ok(len);
        }
        let slices: Vec<IoSlice<'_>> =
            self.out.slices(self.sent, self.in_run).take(SLICES_MAX).map(IoSlice::new).collect();
        let len = stream.write_vectored(&slices)?;
        self.advance(len);
        Ok(len)
    }

    fn advance(&mut self, mut len: usize) {
        while len > 0 {
            match self.out.runs.first() {
                Some((at, run)) if at == self.sent => {
                    let step = len.min(run.bytes() - self.in_run);
                    self.in_run += step;
                    len -= step;
                    if self.in_run == run.bytes() {
                        self.in_run = 0;
                        self.out.runs.pop_first();
                    }
                }
                next => {
                    let end = next.map_or(self.out.bytes.len(), |(at, _)| at);
                    let step = len.min(end - self.sent);
                    self.sent += step;
                    len -= step;
                }
            }
        }
    }

    /// Everything is sent: the buffer begins anew.
    pub fn reset(&mut self) {
        self.out.clear();
        self.sent = 0;
    }

    /// Frees what the buffer keeps beyond this, where it is empty.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.out.is_empty() {
            self.out.bytes.shrink_to(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};
    use std::sync::Arc;

    /// Whatever the socket takes at a time, what is left is what was not taken.
    #[test]
    fn every_byte_is_sent_once_and_in_order() {
        let mut reply = Reply::taking_runs(Protocol::Resp2);
        reply.ok();
        reply.bulk_run(Arc::new(b"first".to_vec()));
        reply.bulk_run(Arc::new(b"second".to_vec()));
        reply.int(7);
        let whole = reply.take();
        let expected = whole.joined();
        for step in 1..=expected.len() {
            let mut unsent = Unsent { out: whole.clone(), ..Unsent::default() };
            let mut sent = Vec::new();
            while !unsent.is_empty() {
                let left: Vec<u8> = unsent.out.slices(unsent.sent, unsent.in_run).flatten().copied().collect();
                assert_eq!((left.len(), &left[..]), (unsent.len(), &expected[sent.len()..]));
                let taken = step.min(left.len());
                sent.extend_from_slice(&left[..taken]);
                unsent.advance(taken);
            }
            assert_eq!((sent, unsent.len()), (expected.clone(), 0));
        }
    }
}
