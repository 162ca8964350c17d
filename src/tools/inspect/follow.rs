//! Waiting for a directory to change.

use crate::persist::Flow;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::path::Path;

/// Told by the kernel of what is written, made and renamed in one directory.
pub struct Waiting(Inotify);

impl Waiting {
    /// # Errors
    /// When the directory cannot be watched.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let watched = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watched.add_watch(directory, changes | AddWatchFlags::IN_DELETE)?;
        Ok(Self(watched))
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    /// When the kernel tells nothing any more.
    pub fn wait(&mut self) -> io::Result<Flow> {
        match self.0.read_events() {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(Flow::Continue(())),
            Err(error) => Err(error.into()),
        }
    }
}
