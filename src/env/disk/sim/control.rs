//! What a test does to a disk: watch it, stop it, let it fail, fill it, damage it, restart it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::crash::CrashMode;
use super::disk::SimDisk;
use super::fault::{FaultId, FaultSpec};
use super::hold::SyncHold;
use super::state::{State, Step};
use super::tree::{Inode, plain};

impl SimDisk {
    /// Mutating calls begun so far on this disk; a fork and a crashed image start at 0. Calls that failed count too.
    pub fn steps(&self) -> u64 {
        self.state().steps.len() as u64
    }

    /// What those calls were.
    pub fn history(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// Lets the machine die in step `n` (numbered from 0): that call is cut off in flight, and it and every later
    /// call fails with [`super::Frozen`]. Locks are released.
    pub fn freeze_at(&self, n: u64) {
        self.state().freeze_at = Some(n);
    }

    /// Lets the machine die now.
    pub fn freeze(&self) {
        self.state().freeze();
        self.machine.changed.notify_all();
    }

    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// The disk that the next start finds if the machine or process ends now, or where it was frozen. This disk stays
    /// as it is: many crashes can be taken from one moment. One seed gives one crash.
    pub fn crash(&self, mode: CrashMode, seed: u64) -> SimDisk {
        let state = self.state();
        SimDisk::with_state(State::new(state.crash(mode, seed), state.capacity))
    }

    /// A copy, unsynced things included, for the price of one pointer per page and name. It has no steps, faults,
    /// holds or locks of its own yet, and is not frozen.
    pub fn fork(&self) -> SimDisk {
        let state = self.state();
        let mut tree = state.tree.clone();
        tree.close_all();
        SimDisk::with_state(State::new(tree, state.capacity))
    }

    /// Injects a fault from now on.
    pub fn fail(&self, spec: FaultSpec) -> FaultId {
        self.state().faults.add(spec)
    }

    /// Ends one fault; says how many calls it struck.
    pub fn lift(&self, fault: FaultId) -> u64 {
        self.state().faults.lift(fault)
    }

    /// Ends all faults.
    pub fn lift_all(&self) {
        self.state().faults.clear();
    }

    /// How many calls a fault struck so far.
    pub fn struck(&self, fault: FaultId) -> u64 {
        self.state().faults.struck(fault)
    }

    /// Holds back the syncs of files whose path contains this.
    pub fn hold_syncs(&self, path: &str) -> SyncHold {
        SyncHold::new(self.machine.clone(), path)
    }

    /// Bytes that the files may take (in pages of 4 KiB; names are free). A write that does not fit is short, one of
    /// which nothing fits fails with ENOSPC. `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Throws out what is clean in the page cache: where a sync has failed, reads show the platter from now on.
    pub fn drop_caches(&self) {
        for file in self.state().tree.files_mut() {
            file.drop_caches();
        }
    }

    /// Every file and what reading it would give.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.tree.files().into_iter();
        files
            .filter_map(|(path, inode)| Some((PathBuf::from(&*path), state.tree.file(inode).ok()?.content())))
            .collect()
    }

    /// Inverts one bit, on the platter too: rot. Fails when the byte does not exist.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.rot(path, |file| {
            let mut byte = [0];
            if file.read(&mut byte, offset) == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.damage(offset, &[byte[0] ^ 1 << (bit % 8)]);
            Ok(())
        })
    }

    /// Replaces or appends bytes, on the platter too.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.rot(path, |file| {
            file.damage(offset, bytes);
            Ok(())
        })
    }

    /// Cuts or extends a file, on the platter too; what is left of it is durable then.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.rot(path, |file| {
            file.set_len(len);
            file.synced(file.sequence());
            Ok(())
        })
    }

    fn rot(&self, path: &Path, damage: impl FnOnce(&mut super::file::File) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        let inode: Inode = state.tree.find(&plain(path)?)?;
        damage(state.tree.file_mut(inode)?)
    }
}
