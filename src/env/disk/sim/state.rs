//! The simulated machine: the tree, the count of steps, and the moment at which it dies.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::crash::{CrashMode, Dice, in_flight_share, power_cut};
use super::fault::{Faults, Op};
use super::file::PAGE;
use super::hold::Holds;
use super::tree::{Inode, Tree, plain};

/// The error of every call on a frozen disk. The machine is dead: nobody is there to handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated machine is dead")]
pub struct Frozen;

impl Frozen {
    /// Whether an error is of a frozen disk, as opposed to an injected fault.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Frozen>())
    }

    pub(super) fn error() -> io::Error {
        io::Error::other(Frozen)
    }
}

/// A mutating call that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub op: Op,
    /// As named then; for a rename the new name.
    pub path: Arc<str>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.op, self.path)
    }
}

/// A mutating call with all that it would do.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Create {
        path: Arc<str>,
    },
    Write {
        inode: Inode,
        bytes: Box<[u8]>,
        offset: u64,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
    },
    Link {
        from: Arc<str>,
        to: Arc<str>,
    },
    Remove {
        path: Arc<str>,
    },
    RemoveDir {
        path: Arc<str>,
    },
    CreateDir {
        path: Arc<str>,
    },
    /// Of data or names; on the way any part of them can become durable, which a crash may do anyway.
    Sync,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) steps: Vec<Step>,
    pub(super) freeze_at: Option<u64>,
    pub(super) frozen: bool,
    in_flight: Option<Call>,
    pub(super) faults: Faults,
    pub(super) holds: Holds,
    pub(super) locked: BTreeSet<Inode>,
    pub(super) capacity: Option<u64>,
}

impl State {
    pub(super) fn new(tree: Tree, capacity: Option<u64>) -> Self {
        Self {
            tree,
            steps: Vec::new(),
            freeze_at: None,
            frozen: false,
            in_flight: None,
            faults: Faults::default(),
            holds: Holds::default(),
            locked: BTreeSet::new(),
            capacity,
        }
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.frozen { Err(Frozen::error()) } else { Ok(()) }
    }

    pub(super) fn freeze(&mut self) {
        self.frozen = true;
        self.locked.clear();
    }

    /// Counts a mutating call, and dies in it when its time has come.
    pub(super) fn begin(&mut self, op: Op, path: Arc<str>, call: impl FnOnce() -> Call) -> io::Result<()> {
        self.alive()?;
        let number = self.steps.len() as u64;
        self.steps.push(Step { op, path });
        if self.freeze_at.is_some_and(|at| number >= at) {
            self.in_flight = Some(call());
            self.freeze();
        }
        self.alive()
    }

    /// A call that does not change anything.
    pub(super) fn look(&mut self, op: Op, path: &str, len: usize) -> io::Result<usize> {
        self.alive()?;
        self.faults.meet(op, path, len)
    }

    /// The plain path, unless the machine is dead.
    pub(super) fn path(&self, path: &Path) -> io::Result<Arc<str>> {
        self.alive()?;
        plain(path)
    }

    /// Bytes that may still be allocated.
    pub(super) fn free(&self) -> u64 {
        let used = || self.tree.allocated_pages() * PAGE as u64;
        self.capacity.map_or(1 << 40, |capacity| capacity.saturating_sub(used()))
    }

    /// Bytes of a write that fit.
    pub(super) fn room(&self, inode: Inode, offset: u64, len: usize) -> io::Result<usize> {
        if self.capacity.is_none() || len == 0 {
            return Ok(len);
        }
        match self.tree.file(inode)?.room(offset, len, self.free() / PAGE as u64) {
            0 => Err(super::tree::errno(libc::ENOSPC)),
            fits => Ok(fits),
        }
    }

    /// What the next start finds.
    pub(super) fn crash(&self, mode: CrashMode, seed: u64) -> Tree {
        let mut dice = Dice::new(seed);
        let mut tree = self.tree.clone();
        if let Some(call) = &self.in_flight {
            take_place(&mut tree, call, in_flight_share(mode, &mut dice));
        }
        match mode {
            CrashMode::Kill => {
                tree.close_all();
                tree
            }
            CrashMode::PowerCut(cut) => power_cut(&tree, cut, &mut dice),
        }
    }
}

/// Does so many thousandths of a call. One that could not have succeeded does nothing.
fn take_place(tree: &mut Tree, call: &Call, share: u64) {
    if let Call::Write { inode, bytes, offset } = call {
        let count = (bytes.len() as u64 * share / 1000) as usize;
        if let Ok(file) = tree.file_mut(*inode) {
            file.write(&bytes[..count], *offset);
        }
    } else if share >= 500 {
        let _impossible = match call {
            Call::Create { path } => tree.create_file(path).map(drop),
            Call::SetLen { inode, len } => tree.file_mut(*inode).map(|file| file.set_len(*len)),
            Call::Rename { from, to } => tree.rename(from, to),
            Call::Link { from, to } => tree.link(from, to),
            Call::Remove { path } => tree.remove(path),
            Call::RemoveDir { path } => tree.remove_dir(path),
            Call::CreateDir { path } => tree.create_dir(path),
            Call::Write { .. } | Call::Sync => Ok(()),
        };
    }
}
