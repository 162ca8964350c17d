//! Keys encoded by several threads, and taken in their order by the one that writes them, which encodes too while nothing
//! is ready.
//!
//! Invariants
//! - What comes out is what one thread alone would have made: where the threads' portions meet shows nowhere.
//! - Memory is bounded whatever the values hold: a portion of keys that encodes to more than [`HELD_BYTES_MAX`] is given
//!   back as far as it came, and the rest goes to the file piece by piece.
//! - The threads end with the crew; one that panics ends the crew, never the waiting of the others.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;

use crate::keyspace::{Entry, Portion, Portions};
use crate::persist::ordered::Ordered;

/// What one job makes, more or less: of a portion that makes more it gets a part.
const JOB_BYTES: usize = 256 << 10;
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
    pub portion: Portion,
    pub bytes: Vec<u8>,
    /// Where each key ends.
    pub ends: Vec<usize>,
    /// All keys of the portion are here.
    pub whole: bool,
}

/// See the module's header.
pub(super) struct Crew {
    queue: Arc<Ordered<Portion, Encoded>>,
    helpers: Vec<JoinHandle<()>>,
    encoder: Mutex<Box<dyn KeyEncoder>>,
    /// What no job is about yet: the rest of a portion, and those behind it.
    rest: Option<Portion>,
    portions: Portions,
    jobs: usize,
    job_buckets: usize,
}

impl Crew {
    /// A crew for one database: an encoder for the caller's thread, and one for each helper.
    pub(super) fn new(portions: Portions, encoder: Box<dyn KeyEncoder>, helpers: Vec<Box<dyn KeyEncoder>>) -> Self {
        let queue = Arc::new(Ordered::new(usize::MAX));
        let helpers = helpers.into_iter().filter_map(|mut encoder| {
            let queue = Arc::clone(&queue);
            let work = move || {
                let encoder = Mutex::new(&mut *encoder);
                queue.work(|portion| encode(portion, &mut **encoder.lock()));
            };
            // With fewer threads it takes longer.
            Builder::new().name("rdb-encode".into()).spawn(work).ok()
        });
        let helpers = helpers.collect();
        Self { queue, helpers, encoder: Mutex::new(encoder), rest: None, portions, jobs: 0, job_buckets: 1 }
    }

    /// The next keys; `None` behind the last ones.
    ///
    /// # Errors
    /// A helper has panicked.
    pub(super) fn next(&mut self) -> io::Result<Option<Encoded>> {
        while self.jobs < (self.helpers.len() + 1) * AHEAD {
            let Some(job) = self.job() else { break };
            self.queue.give(job, 0);
            self.jobs += 1;
        }
        if self.jobs == 0 {
            return Ok(None);
        }
        let encoded = self.queue.receive(|portion| encode(portion, &mut **self.encoder.lock()));
        let encoded = encoded.ok_or_else(|| io::Error::other("a thread that encodes keys has ended"))?;
        self.jobs -= 1;
        let fitting = encoded.portion.len() * JOB_BYTES / encoded.bytes.len().max(1);
        self.job_buckets = fitting.max(1);
        Ok(Some(encoded))
    }

    /// The keys of the next job.
    fn job(&mut self) -> Option<Portion> {
        let mut portion = self.rest.take().or_else(|| self.portions.next())?;
        let job = portion.split(self.job_buckets);
        self.rest = (!portion.is_empty()).then_some(portion);
        Some(job)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.queue.give_up();
        for helper in self.helpers.drain(..) {
            // One that has panicked has ended the crew already.
            let _ = helper.join();
        }
    }
}

fn encode(portion: Portion, encoder: &mut dyn KeyEncoder) -> Encoded {
    let (mut held, mut ends) = (Held(Vec::with_capacity(JOB_BYTES)), Vec::new());
    let whole = portion.iter().try_for_each(|entry| {
        encoder.encode(entry, &mut held)?;
        ends.push(held.0.len());
        io::Result::Ok(())
    });
    held.0.truncate(ends.last().copied().unwrap_or(0));
    Encoded { bytes: held.0, ends, whole: whole.is_ok(), portion }
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
