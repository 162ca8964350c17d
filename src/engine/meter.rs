//! What a connection holds in memory, told to the engine without either waiting for the other.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Figures that an io thread keeps up to date, in bytes.
#[derive(Debug, Default)]
pub struct Meter {
    /// Received and not yet a request.
    query: AtomicUsize,
    /// Allocated beyond that.
    query_free: AtomicUsize,
    /// Requests read and not executed yet.
    requests: AtomicUsize,
    /// Taken from the outbox and not sent yet.
    unsent: AtomicUsize,
    /// The buffer it lies in.
    send_buffer: AtomicUsize,
    /// What of it lies elsewhere and is sent from there.
    runs: AtomicUsize,
    /// The most that the buffer held of late.
    send_peak: AtomicUsize,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub query: usize,
    pub query_free: usize,
    pub requests: usize,
    pub unsent: usize,
    pub send_buffer: usize,
    pub runs: usize,
    pub send_peak: usize,
}

impl Held {
    /// All of it.
    pub fn total(&self) -> usize {
        self.query + self.query_free + self.requests + self.send_buffer + self.runs
    }
}

impl Meter {
    pub fn report(&self, held: Held) {
        self.query.store(held.query, Ordering::Relaxed);
        self.query_free.store(held.query_free, Ordering::Relaxed);
        self.requests.store(held.requests, Ordering::Relaxed);
        self.unsent.store(held.unsent, Ordering::Relaxed);
        self.send_buffer.store(held.send_buffer, Ordering::Relaxed);
        self.runs.store(held.runs, Ordering::Relaxed);
        self.send_peak.store(held.send_peak, Ordering::Relaxed);
    }

    pub fn read(&self) -> Held {
        Held {
            query: self.query.load(Ordering::Relaxed),
            query_free: self.query_free.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            unsent: self.unsent.load(Ordering::Relaxed),
            send_buffer: self.send_buffer.load(Ordering::Relaxed),
            runs: self.runs.load(Ordering::Relaxed),
            send_peak: self.send_peak.load(Ordering::Relaxed),
        }
    }
}
