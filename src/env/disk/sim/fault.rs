//! The schedule of injected faults: which calls fail, and how.

use std::io;

use crate::env::{Entropy, SeededEntropy};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Opening what is there: `OpenMode::Read` and `ReadWrite`.
    Open,
    /// `OpenMode::CreateNew` and `Truncate`, and the lock file when it is missing.
    Create,
    Read,
    Write,
    /// `sync_data` and `sync_all`.
    Sync,
    SetLen,
    Rename,
    Link,
    Remove,
    CreateDir,
    SyncDir,
    List,
    FreeBytes,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Eio,
    Enospc,
    /// Any other error of the operating system, e.g. EMFILE when opening.
    Errno(i32),
    /// A read or write transfers at most so many bytes, at least one, and reports that. No effect on other calls.
    Short(usize),
}

#[derive(Clone, Debug)]
enum When {
    Always,
    Nth(u64),
    From(u64),
    Random { entropy: SeededEntropy, one_in: u64 },
}

/// Which calls fail, and how. Calls that match in kind and path are counted from 0 when the fault is set.
///
/// ```
/// use graven::env::disk::sim::{Fault, FaultSpec, Op, SimDisk};
/// let disk = SimDisk::new();
/// disk.fail(FaultSpec::new(Op::Sync, Fault::Eio).on(".incr.aof").nth(3));
/// ```
#[derive(Clone, Debug)]
pub struct FaultSpec {
    op: Op,
    path: String,
    when: When,
    fault: Fault,
}

impl FaultSpec {
    /// Every call of this kind, on any path, until cleared.
    pub fn new(op: Op, fault: Fault) -> Self {
        Self { op, path: String::new(), when: When::Always, fault }
    }

    /// Only calls on a path that contains this. An open file has the path that it has now; a rename the new one.
    pub fn on(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Only the matching call with this number.
    pub fn nth(self, n: u64) -> Self {
        Self { when: When::Nth(n), ..self }
    }

    /// The matching call with this number and all after it.
    pub fn starting_at(self, n: u64) -> Self {
        Self { when: When::From(n), ..self }
    }

    /// Each matching call with a chance of one in `one_in`, as the seed decides.
    pub fn random(self, seed: u64, one_in: u64) -> Self {
        Self { when: When::Random { entropy: SeededEntropy::new(seed), one_in }, ..self }
    }
}

/// Names an injected fault, to lift it or ask how often it struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Scheduled {
    id: FaultId,
    spec: FaultSpec,
    seen: u64,
    struck: u64,
}

impl Scheduled {
    fn strikes(&mut self) -> bool {
        let n = self.seen;
        self.seen += 1;
        let strikes = match &mut self.spec.when {
            When::Always => true,
            When::Nth(at) => n == *at,
            When::From(at) => n >= *at,
            When::Random { entropy, one_in } => entropy.below((*one_in).max(1)) == 0,
        };
        self.struck += u64::from(strikes);
        strikes
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    scheduled: Vec<Scheduled>,
    set: u64,
}

impl Faults {
    pub(super) fn add(&mut self, spec: FaultSpec) -> FaultId {
        let id = FaultId(self.set);
        self.set += 1;
        self.scheduled.push(Scheduled { id, spec, seen: 0, struck: 0 });
        id
    }

    /// How often it struck.
    pub(super) fn lift(&mut self, id: FaultId) -> u64 {
        let struck = self.struck(id);
        self.scheduled.retain(|scheduled| scheduled.id != id);
        struck
    }

    pub(super) fn clear(&mut self) {
        self.scheduled.clear();
    }

    pub(super) fn struck(&self, id: FaultId) -> u64 {
        self.scheduled.iter().find(|scheduled| scheduled.id == id).map_or(0, |scheduled| scheduled.struck)
    }

    /// The fault that this call meets; the earliest set wins. For transfers of `len` bytes, how many get through.
    pub(super) fn meet(&mut self, op: Op, path: &str, len: usize) -> io::Result<usize> {
        let mut met = None;
        for scheduled in &mut self.scheduled {
            if scheduled.spec.op == op && path.contains(&scheduled.spec.path) && scheduled.strikes() {
                met = met.or(Some(scheduled.spec.fault));
            }
        }
        match met {
            None => Ok(len),
            Some(Fault::Short(most)) => Ok(len.min(most.max(1))),
            Some(Fault::Eio) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(Fault::Enospc) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Some(Fault::Errno(number)) => Err(io::Error::from_raw_os_error(number)),
        }
    }
}
