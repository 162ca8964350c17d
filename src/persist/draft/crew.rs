//! Keys encoded by several threads, and taken in their order by the one that writes them, which encodes too while nothing
//! is ready.
//!
//! Invariants
//! - What comes out is what one thread alone would have made: where the threads' portions meet shows nowhere.
//! - Memory is bounded whatever the values hold: a portion of keys that encodes to more than [`HELD_BYTES_MAX`] is given
//!   back as far as it came, and the rest goes to the file piece by piece.
//! - The threads end with the crew; one that panics ends the crew, never the waiting of the others.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;

use super::walk;
use crate::keyspace::{DatabaseView, Entry};
use crate::persist::ordered::Ordered;

/// What one job makes, more or less: portions of the keyspace are put together until they come to that.
const JOB_BYTES: usize = 256 << 10;
const JOB_PORTIONS_MAX: usize = 64;
/// What one job makes at most.
const HELD_BYTES_MAX: usize = 2 << 20;
/// Jobs that are under way or done and not taken, for each thread.
const AHEAD: usize = 3;

/// Makes the bytes of keys, each on its own.
pub(in crate::persist) trait KeyEncoder: Send {
    fn encode(&mut self, entry: &Entry, sink: &mut dyn Write) -> io::Result<()>;
}

/// Keys in a row, encoded.
pub(super) struct Encoded {
    /// Where they come from; what is missing behind the last one that is here, too.
    pub portions: Range<usize>,
    pub bytes: Vec<u8>,
    /// Where each key ends.
    pub ends: Vec<usize>,
    /// All keys of the portions are here.
    pub whole: bool,
}

struct Shared {
    queue: Ordered<Range<usize>, Encoded>,
    database: DatabaseView,
}

/// See the module's header.
pub(super) struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    encoder: Mutex<Box<dyn KeyEncoder>>,
    /// The first portion that no job is about yet.
    next: usize,
    jobs: usize,
    job_portions: usize,
}

impl Crew {
    /// A crew for one database: an encoder for the caller's thread, and one for each helper.
    pub(super) fn new(database: DatabaseView, encoder: Box<dyn KeyEncoder>, helpers: Vec<Box<dyn KeyEncoder>>) -> Self {
        let shared = Arc::new(Shared { queue: Ordered::new(usize::MAX), database });
        let helpers = helpers.into_iter().filter_map(|mut encoder| {
            let shared = Arc::clone(&shared);
            let work = move || {
                let encoder = Mutex::new(&mut *encoder);
                shared.queue.work(|portions| encode(&shared.database, portions, &mut **encoder.lock()));
            };
            // With fewer threads it takes longer.
            Builder::new().name("rdb-encode".into()).spawn(work).ok()
        });
        let helpers = helpers.collect();
        Self { shared, helpers, encoder: Mutex::new(encoder), next: 0, jobs: 0, job_portions: 1 }
    }

    /// The next keys; `None` behind the last ones.
    ///
    /// # Errors
    /// A helper has panicked.
    pub(super) fn next(&mut self) -> io::Result<Option<Encoded>> {
        let Shared { queue, database } = &*self.shared;
        while self.next < database.portions() && self.jobs < (self.helpers.len() + 1) * AHEAD {
            let until = database.portions().min(self.next + self.job_portions);
            queue.give(self.next..until, 0);
            self.next = until;
            self.jobs += 1;
        }
        if self.jobs == 0 {
            return Ok(None);
        }
        let encoded = queue.receive(|portions| encode(database, portions, &mut **self.encoder.lock()));
        let encoded = encoded.ok_or_else(|| io::Error::other("a thread that encodes keys has ended"))?;
        self.jobs -= 1;
        let fitting = encoded.portions.len() * JOB_BYTES / encoded.bytes.len().max(1);
        self.job_portions = fitting.clamp(1, JOB_PORTIONS_MAX);
        Ok(Some(encoded))
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.queue.give_up();
        for helper in self.helpers.drain(..) {
            // One that has panicked has ended the crew already.
            let _ = helper.join();
        }
    }
}

fn encode(database: &DatabaseView, portions: Range<usize>, encoder: &mut dyn KeyEncoder) -> Encoded {
    let (mut held, mut ends) = (Held(Vec::with_capacity(JOB_BYTES)), Vec::new());
    let whole = walk(database, portions.clone()).try_for_each(|entry| {
        encoder.encode(entry, &mut held)?;
        ends.push(held.0.len());
        io::Result::Ok(())
    });
    held.0.truncate(ends.last().copied().unwrap_or(0));
    Encoded { portions, bytes: held.0, ends, whole: whole.is_ok() }
}

/// Takes as much as may be held.
struct Held(Vec<u8>);

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > HELD_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
