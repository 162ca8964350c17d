//! What a compaction, or a save, asks of the writer of the log, who alone stores manifests; and what it is told.
//!
//! Invariant: every promise is settled once: when what was asked for is durable, when it is certain that it was not done,
//! or when the log ends.

use crate::persist::manifest::{BaseIdentity, FileEntry, SavedDump};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A change of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A base that is durable under its name takes the place of the one before, and of the segments before `kept_from`.
    Base { entry: FileEntry, identity: BaseIdentity, kept_from: u64 },
    /// Superseded files are gone.
    Forget(Vec<String>),
    /// A dump was written beside the log.
    Saved(SavedDump),
    /// Nothing is to be changed: which files are superseded, durably?
    Superseded,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The log goes on in the segment of this sequence.
    Rolled { sequence: u64 },
    /// The manifest says so, durably; the files that it calls superseded.
    Stored { superseded: Vec<FileEntry> },
}

/// The answer to come; an error says why it was not done.
#[derive(Debug, Default)]
pub struct Promise {
    answer: Mutex<Option<Result<Done, String>>>,
    settled: Condvar,
}

impl Promise {
    /// One that is kept already.
    pub fn kept(done: Done) -> Self {
        Self { answer: Mutex::new(Some(Ok(done))), settled: Condvar::new() }
    }

    pub fn answer(&self) -> Option<Result<Done, String>> {
        self.answer.lock().clone()
    }

    /// Waits for the answer, at most this long.
    pub fn wait(&self, at_most: Duration) {
        let mut answer = self.answer.lock();
        if answer.is_none() {
            self.settled.wait_for(&mut answer, at_most);
        }
    }

    pub(super) fn settle(&self, answer: Result<Done, String>) {
        self.answer.lock().get_or_insert(answer);
        self.settled.notify_all();
    }
}

/// Orders that the writer has not looked at.
#[derive(Debug, Default)]
pub struct Orders {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: VecDeque<(Order, Arc<Promise>)>,
    ended: bool,
}

const ENDED: &str = "the log is closed";

impl Orders {
    pub(super) fn give(&self, order: Order) -> Arc<Promise> {
        let promise = Arc::new(Promise::default());
        let mut waiting = self.waiting.lock();
        if waiting.ended {
            promise.settle(Err(ENDED.into()));
        } else {
            waiting.orders.push_back((order, Arc::clone(&promise)));
        }
        promise
    }

    pub(super) fn take(&self) -> Option<(Order, Arc<Promise>)> {
        self.waiting.lock().orders.pop_front()
    }

    /// The writer looks at no further order.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        for (_, promise) in waiting.orders.drain(..) {
            promise.settle(Err(ENDED.into()));
        }
    }
}
