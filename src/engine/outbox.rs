//! What leaves for one connection: bytes in order, each stretch tagged with the log position it depends on.
//!
//! Invariants
//! - Bytes are sent in the order in which they entered, and a stretch only once its tag is reached.
//! - Entries are added while the engine is held; the connection's own thread takes them out without it.

use super::gate::Gate;
use super::meter::Meter;
use crate::resp::Woven;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told when something entered an outbox from outside of its connection's own batch.
pub trait Wake: Send + Sync {
    fn wake(&self);
}

/// A wake-up that goes nowhere: for a caller that looks by itself after each command.
#[derive(Debug, Default)]
pub struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// Ordered, tagged output of one connection.
pub struct Outbox {
    queue: Mutex<Queue>,
    /// A wake-up is under way; cleared by the connection before it looks.
    woken: AtomicBool,
    wake: Box<dyn Wake>,
    /// What the connection holds besides.
    pub meter: Meter,
}

/// What `take` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Everything was taken.
    All,
    /// The rest waits for this log position.
    Waiting(u64),
}

impl Outbox {
    pub fn new(wake: Box<dyn Wake>) -> Self {
        Self { queue: Mutex::new(Queue::default()), woken: AtomicBool::new(false), wake, meter: Meter::default() }
    }

    /// Adds a reply that depends on the log up to `tag`, from the connection's own batch.
    pub fn reply(&self, tag: u64, bytes: &[u8]) {
        self.queue.lock().add(tag, bytes, 1);
    }

    /// Adds a reply as [`Outbox::reply`] does, with its runs, taking over its buffer where nothing is queued in front of
    /// it: a reply of a hundred megabytes is not copied while the engine is held.
    pub fn long_reply(&self, tag: u64, written: Woven) {
        self.queue.lock().add_owned(tag, written, 1);
    }

    /// Adds the reply of a command that was finished elsewhere, and wakes the connection.
    pub fn late_reply(&self, tag: u64, bytes: &[u8]) {
        self.queue.lock().add(tag, bytes, 1);
        self.wake();
    }

    /// Adds a message (push, pub/sub) and wakes the connection.
    pub fn push(&self, tag: u64, bytes: &[u8]) {
        self.queue.lock().add(tag, bytes, 0);
        self.wake();
    }

    /// Asks the connection to end after what is queued has been sent.
    pub fn close(&self) {
        self.queue.lock().close = true;
        self.wake();
    }

    pub fn wants_close(&self) -> bool {
        self.queue.lock().close
    }

    /// Wakes the connection without adding anything.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// The connection is about to look: later entries wake it anew.
    pub fn clear_woken(&self) {
        self.woken.store(false, Ordering::Release);
    }

    /// Moves what may be sent to the end of `out`.
    pub fn take(&self, gate: &Gate, out: &mut Woven) -> Taken {
        self.queue.lock().take(gate, out)
    }

    /// The log cannot be made durable: every reply that waits for it becomes this error (RESP bytes) and may leave at
    /// once. Messages go on waiting.
    pub fn fail_waiting(&self, gate: &Gate, error: &[u8]) {
        self.queue.lock().fail_waiting(gate, error);
    }

    /// Bytes queued and not taken.
    pub fn len(&self) -> usize {
        let queue = self.queue.lock();
        queue.out.len() - queue.taken
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pieces queued and not taken.
    pub fn pieces(&self) -> usize {
        self.queue.lock().stretches.len()
    }

    /// Bytes kept in memory, for the client's figures.
    pub fn heap_bytes(&self) -> usize {
        self.queue.lock().out.heap_bytes()
    }
}

#[derive(Default)]
struct Queue {
    out: Woven,
    /// First byte of the buffer that is not taken yet; runs before it are gone.
    taken: usize,
    /// Bytes dropped from the front of the buffer so far: positions of stretches count from the beginning of time.
    dropped: u64,
    stretches: VecDeque<Stretch>,
    /// How far the gate was open when it was last looked at.
    released: u64,
    close: bool,
}

#[derive(Clone, Copy)]
struct Stretch {
    /// What its own bytes depend on; 0 once that was known to be reached.
    tag: u64,
    end: u64,
    /// Replies in it; 0 for messages.
    replies: u32,
}

const COMPACT_BYTES: usize = 64 << 10;

impl Queue {
    fn add(&mut self, tag: u64, bytes: &[u8], replies: u32) {
        if bytes.is_empty() {
            return;
        }
        self.out.bytes.extend_from_slice(bytes);
        self.mark_end(tag, replies);
    }

    fn add_owned(&mut self, tag: u64, mut written: Woven, replies: u32) {
        if written.is_empty() {
            return;
        }
        if self.out.is_empty() {
            self.out = written;
        } else {
            let runs = std::iter::from_fn(|| written.runs.pop_first());
            self.out.append(&written.bytes, 0, runs);
        }
        self.mark_end(tag, replies);
    }

    /// What was appended to the bytes becomes a stretch.
    fn mark_end(&mut self, tag: u64, replies: u32) {
        let end = self.dropped + self.out.bytes.len() as u64;
        // Bytes that wait for different positions stay apart: when the log fails, only those that depend on it do.
        let tag = if tag <= self.released { 0 } else { tag };
        match self.stretches.back_mut() {
            Some(last) if last.tag == tag && (last.replies == 0) == (replies == 0) => {
                last.end = end;
                last.replies += replies;
            }
            _ => self.stretches.push_back(Stretch { tag, end, replies }),
        }
    }

    fn take(&mut self, gate: &Gate, out: &mut Woven) -> Taken {
        let mut end = self.dropped + self.taken as u64;
        let mut outcome = Taken::All;
        self.note(gate);
        while let Some(first) = self.stretches.front() {
            if !gate.reached(first.tag) {
                outcome = Taken::Waiting(first.tag);
                break;
            }
            end = first.end;
            self.stretches.pop_front();
        }
        let end = (end - self.dropped) as usize;
        if self.taken == 0 && end == self.out.bytes.len() && out.is_empty() {
            std::mem::swap(out, &mut self.out);
        } else {
            let runs = std::iter::from_fn(|| match self.out.runs.first() {
                Some((at, _)) if at < end => self.out.runs.pop_first(),
                _ => None,
            });
            out.append(&self.out.bytes[self.taken..end], self.taken, runs);
            self.taken = end;
        }
        self.compact();
        outcome
    }

    /// Remembers how far the gate is open. An open one counts for nothing: a log may begin at any time.
    fn note(&mut self, gate: &Gate) {
        let released = gate.released();
        self.released = if released == u64::MAX { 0 } else { released };
    }

    fn compact(&mut self) {
        if self.stretches.is_empty() {
            self.dropped = 0;
            self.taken = 0;
            self.out.clear();
            self.out.bytes.shrink_to(1 << 20);
        } else if self.taken > COMPACT_BYTES && self.taken * 2 > self.out.bytes.len() {
            self.out.bytes.drain(..self.taken);
            self.out.runs.shift_back(self.taken);
            self.dropped += self.taken as u64;
            self.taken = 0;
        }
    }

    fn fail_waiting(&mut self, gate: &Gate, error: &[u8]) {
        self.note(gate);
        let Some(first) = self.stretches.iter().position(|stretch| !gate.reached(stretch.tag)) else { return };
        let behind: Vec<Stretch> = self.stretches.drain(first..).collect();
        let keep_to = self.stretches.back().map_or(self.taken, |last| (last.end - self.dropped) as usize);
        let tail = self.out.bytes.split_off(keep_to);
        let mut runs = self.out.runs.split_off(keep_to);
        let origin = self.dropped + keep_to as u64;
        let (mut start, mut messages) = (origin, Vec::new());
        for stretch in behind {
            let from = (start - origin) as usize;
            let bytes = &tail[from..(stretch.end - origin) as usize];
            let behind = runs.split_off((stretch.end - self.dropped) as usize);
            let mut own = std::mem::replace(&mut runs, behind);
            start = stretch.end;
            if stretch.replies == 0 {
                messages.push((stretch.tag, bytes));
            } else if gate.reached(stretch.tag) {
                self.out.append(bytes, keep_to + from, std::iter::from_fn(|| own.pop_first()));
                self.mark_end(stretch.tag, stretch.replies);
            } else {
                for _ in 0..stretch.replies {
                    self.add(0, error, 1);
                }
            }
        }
        for (tag, bytes) in messages {
            self.add(tag, bytes, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(outbox: &Outbox, gate: &Gate) -> (Vec<u8>, Taken) {
        let mut out = Woven::default();
        let taken = outbox.take(gate, &mut out);
        (out.joined(), taken)
    }

    #[test]
    fn a_reply_waits_for_its_tag_and_holds_back_what_follows() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(10));
        outbox.reply(5, b"a");
        outbox.reply(20, b"b");
        outbox.reply(1, b"c");
        assert_eq!(taken(&outbox, &gate), (b"a".to_vec(), Taken::Waiting(20)));
        assert_eq!(taken(&outbox, &gate), (vec![], Taken::Waiting(20)));
        gate.release(20);
        assert_eq!(taken(&outbox, &gate), (b"bc".to_vec(), Taken::All));
        assert!(outbox.is_empty());
    }

    #[test]
    fn waiting_replies_become_errors_and_messages_go_on_waiting() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(10));
        outbox.reply(5, b"a");
        outbox.reply(20, b"b");
        outbox.push(20, b"message");
        outbox.reply(21, b"c");
        outbox.fail_waiting(&gate, b"-E\r\n");
        assert_eq!(taken(&outbox, &gate), (b"a-E\r\n-E\r\n".to_vec(), Taken::Waiting(20)));
        gate.release(30);
        assert_eq!(taken(&outbox, &gate), (b"message".to_vec(), Taken::All));
    }

    /// A read of other keys in the same pipeline is no error because the write before it is in doubt.
    #[test]
    fn a_reply_that_shows_nothing_in_doubt_survives_one_that_does() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(10));
        outbox.reply(20, b"+OK\r\n");
        outbox.reply(7, b"$1\r\na\r\n");
        outbox.reply(9, b"$1\r\nb\r\n");
        assert_eq!(taken(&outbox, &gate), (vec![], Taken::Waiting(20)));
        outbox.fail_waiting(&gate, b"-E\r\n");
        assert_eq!(taken(&outbox, &gate), (b"-E\r\n$1\r\na\r\n$1\r\nb\r\n".to_vec(), Taken::All));
    }

    #[test]
    fn a_long_reply_keeps_its_buffer_and_its_place() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(10));
        let long = vec![7; 1 << 20];
        let written = || Woven { bytes: long.clone(), ..Woven::default() };
        outbox.long_reply(5, written());
        outbox.reply(20, b"x");
        outbox.long_reply(20, written());
        let (first, state) = taken(&outbox, &gate);
        assert_eq!((first, state), (long.clone(), Taken::Waiting(20)));
        gate.release(20);
        assert_eq!(taken(&outbox, &gate), ([&b"x"[..], &long].concat(), Taken::All));
        let (last, mut out) = (written(), Woven::default());
        let place = last.bytes.as_ptr();
        outbox.long_reply(20, last);
        assert_eq!(outbox.take(&gate, &mut out), Taken::All);
        assert_eq!(out.bytes.as_ptr(), place, "moved from the reply to the connection");
    }

    /// `$3\r\n`, a run of these bytes, and the end of the line.
    fn bulk(content: [u8; 3]) -> Woven {
        let mut reply = crate::resp::Reply::new(crate::resp::Protocol::Resp2);
        reply.bulk_run(std::sync::Arc::new(content.to_vec()));
        reply.take()
    }

    #[test]
    fn runs_keep_their_place_are_counted_and_go_with_what_failed() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(10));
        outbox.reply(5, b"+a\r\n");
        outbox.long_reply(6, bulk(*b"one"));
        outbox.long_reply(20, bulk(*b"two"));
        outbox.long_reply(7, bulk(*b"six"));
        outbox.reply(30, b"+b\r\n");
        assert_eq!(outbox.len(), 4 + 3 * 9 + 4);
        assert_eq!(taken(&outbox, &gate), (b"+a\r\n$3\r\none\r\n".to_vec(), Taken::Waiting(20)));
        assert_eq!(outbox.len(), 2 * 9 + 4);
        outbox.fail_waiting(&gate, b"-E\r\n");
        assert_eq!(outbox.len(), 4 + 9 + 4);
        assert_eq!(taken(&outbox, &gate), (b"-E\r\n$3\r\nsix\r\n-E\r\n".to_vec(), Taken::All));
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_was_taken_is_dropped_while_the_rest_waits() {
        let (outbox, gate) = (Outbox::new(Box::new(NoWake)), Gate::at(0));
        let block = vec![7; COMPACT_BYTES];
        for tag in 1..100 {
            outbox.reply(tag, &block);
            outbox.reply(tag + 1, b"x");
            gate.release(tag);
            let _ = taken(&outbox, &gate);
            assert!(outbox.heap_bytes() < 8 * COMPACT_BYTES);
        }
        gate.release(1000);
        assert_eq!(taken(&outbox, &gate), (b"x".to_vec(), Taken::All));
    }
}
