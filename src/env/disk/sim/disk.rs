//! `SimDisk` as a `Disk`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::fault::Op;
use super::state::{Call, State};
use super::tree::{Inode, Tree, errno, plain};
use crate::env::disk::{Disk, DiskFile, DiskLock, OpenMode, in_use};

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) state: Mutex<State>,
    /// Signalled when a hold is set or released, a sync is held, or the disk freezes.
    pub(super) changed: Condvar,
}

/// A file system in memory that can crash. Clones are handles to the same disk; [`SimDisk::fork`] copies it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    pub(super) machine: Arc<Machine>,
}

struct SimFile {
    machine: Arc<Machine>,
    inode: Inode,
    writable: bool,
}

struct SimLock {
    machine: Arc<Machine>,
    inode: Inode,
}

impl SimDisk {
    pub(super) fn with_state(state: State) -> Self {
        Self { machine: Arc::new(Machine { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// An empty disk of no particular size. Its root directory exists and is durable.
    pub fn new() -> Self {
        Self::with_state(State::new(Tree::new(), None))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.machine.state.lock()
    }

    /// A mutating call: counted, perhaps the last one, perhaps failing. Frozen disks wake what waits for a sync.
    fn step(&self, state: &mut State, op: Op, path: &Arc<str>, call: impl FnOnce() -> Call) -> io::Result<()> {
        self.machine.begin(state, op, path, call)?;
        state.faults.meet(op, path, 0).map(drop)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    fn begin(&self, state: &mut State, op: Op, path: &Arc<str>, call: impl FnOnce() -> Call) -> io::Result<()> {
        let begun = state.begin(op, path.clone(), call);
        if begun.is_err() {
            self.changed.notify_all();
        }
        begun
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        let inode = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                state.look(Op::Open, &path, 0)?;
                state.tree.find(&path)?
            }
            OpenMode::CreateNew => {
                self.step(state, Op::Create, &path, || Call::Create { path: path.clone() })?;
                state.tree.create_file(&path)?
            }
            OpenMode::Truncate => {
                let found = state.tree.find(&path).ok();
                self.step(state, Op::Create, &path, || match found {
                    Some(inode) => Call::SetLen { inode, len: 0 },
                    None => Call::Create { path: path.clone() },
                })?;
                match found {
                    Some(inode) => {
                        state.tree.file_mut(inode)?.set_len(0);
                        inode
                    }
                    None => state.tree.create_file(&path)?,
                }
            }
        };
        if mode != OpenMode::Read {
            state.tree.file(inode)?;
        }
        state.tree.opened(inode);
        Ok(Box::new(SimFile { machine: self.machine.clone(), inode, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let (from, to) = (state.path(from)?, plain(to)?);
        self.step(state, Op::Rename, &to, || Call::Rename { from: from.clone(), to: to.clone() })?;
        state.tree.rename(&from, &to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let (from, to) = (state.path(from)?, plain(to)?);
        self.step(state, Op::Link, &to, || Call::Link { from: from.clone(), to: to.clone() })?;
        state.tree.link(&from, &to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        self.step(state, Op::Remove, &path, || Call::Remove { path: path.clone() })?;
        state.tree.remove(&path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        self.step(state, Op::Remove, &path, || Call::RemoveDir { path: path.clone() })?;
        state.tree.remove_dir(&path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        self.step(state, Op::CreateDir, &path, || Call::CreateDir { path: path.clone() })?;
        state.tree.create_dir(&path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        self.step(state, Op::SyncDir, &path, || Call::Sync)?;
        let inode = state.tree.find(&path)?;
        state.tree.directory(inode)?;
        state.tree.synced_dir(inode);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        state.look(Op::List, &path, 0)?;
        let directory = state.tree.directory(state.tree.find(&path)?)?;
        Ok(directory.names.keys().map(|name| name.to_string()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        let path = state.path(path)?;
        match state.tree.find(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = &mut *self.state();
        let path = state.path(path)?;
        state.look(Op::FreeBytes, &path, 0)?;
        state.tree.find(&path)?;
        Ok(state.free())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let state = &mut *self.state();
        let path_given = path;
        let path = state.path(path)?;
        let inode = match state.tree.find(&path) {
            Ok(inode) => {
                state.look(Op::Open, &path, 0)?;
                inode
            }
            Err(_) => {
                self.step(state, Op::Create, &path, || Call::Create { path: path.clone() })?;
                state.tree.create_file(&path)?
            }
        };
        state.tree.file(inode)?;
        if !state.locked.insert(inode) {
            return Err(in_use(path_given));
        }
        state.tree.opened(inode);
        Ok(Box::new(SimLock { machine: self.machine.clone(), inode }))
    }
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.machine.state.lock();
        state.locked.remove(&self.inode);
        state.tree.closed(self.inode);
    }
}

impl SimFile {
    fn check_writable(&self, error: i32) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(errno(error)) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.machine.state.lock();
        let path = state.tree.path(self.inode);
        self.machine.begin(&mut state, Op::Sync, &path, || Call::Sync)?;
        let upto = state.tree.file(self.inode)?.sequence();
        while let Some(hold) = state.holds.on(&path) {
            state.holds.waits(hold, true);
            self.machine.changed.notify_all();
            self.machine.changed.wait(&mut state);
            state.holds.waits(hold, false);
            state.alive()?;
        }
        let met = state.faults.meet(Op::Sync, &path, 0);
        let file = state.tree.file_mut(self.inode)?;
        match met {
            Ok(_) => file.synced(upto),
            Err(_) => file.sync_failed(upto),
        }
        met.map(drop)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.machine.state.lock();
        let path = state.tree.path(self.inode);
        let most = state.look(Op::Read, &path, buf.len())?;
        Ok(state.tree.file(self.inode)?.read(&mut buf[..most], offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.machine.state.lock();
        let path = state.tree.path(self.inode);
        self.check_writable(libc::EBADF)?;
        self.machine.begin(state, Op::Write, &path, || Call::Write { inode: self.inode, bytes: buf.into(), offset })?;
        let most = state.faults.meet(Op::Write, &path, buf.len())?;
        let fits = state.room(self.inode, offset, most)?;
        state.tree.file_mut(self.inode)?.write(&buf[..fits], offset);
        Ok(fits)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.machine.state.lock();
        let path = state.tree.path(self.inode);
        self.check_writable(libc::EINVAL)?;
        self.machine.begin(state, Op::SetLen, &path, || Call::SetLen { inode: self.inode, len })?;
        state.faults.meet(Op::SetLen, &path, 0)?;
        state.tree.file_mut(self.inode)?.set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.machine.state.lock();
        state.alive()?;
        Ok(state.tree.file(self.inode)?.len())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.machine.state.lock().tree.closed(self.inode);
    }
}
