//! Holding syncs back, to look at what may be seen before they are done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Machine;
use super::state::State;

/// Blocks each `sync_data` and `sync_all` of the files it is set for, until released or dropped. A sync that was held
/// makes durable what was written before it was called. Freezing the disk ends the wait with an error.
pub struct SyncHold {
    machine: Arc<Machine>,
    id: u64,
}

#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Path filter and number of syncs that wait.
    held: BTreeMap<u64, (String, usize)>,
    set: u64,
}

impl Holds {
    /// The hold that a sync of this file has to wait for.
    pub(super) fn on(&self, path: &str) -> Option<u64> {
        self.held.iter().find(|(_, (filter, _))| path.contains(filter)).map(|(id, _)| *id)
    }

    pub(super) fn waits(&mut self, id: u64, waits: bool) {
        if let Some((_, waiting)) = self.held.get_mut(&id) {
            if waits {
                *waiting += 1;
            } else {
                *waiting -= 1;
            }
        }
    }
}

impl SyncHold {
    pub(super) fn new(machine: Arc<Machine>, path: &str) -> Self {
        let id = {
            let mut state = machine.state.lock();
            let id = state.holds.set;
            state.holds.set += 1;
            state.holds.held.insert(id, (path.to_owned(), 0));
            id
        };
        Self { machine, id }
    }

    /// Syncs that wait now.
    pub fn waiting(&self) -> usize {
        self.machine.state.lock().holds.held.get(&self.id).map_or(0, |(_, waiting)| *waiting)
    }

    /// Waits until a sync is held; false when none came in time.
    pub fn wait_until_held(&self, timeout: Duration) -> bool {
        let mut state = self.machine.state.lock();
        let none_held = |state: &mut State| state.holds.held.get(&self.id).is_none_or(|(_, waiting)| *waiting == 0);
        !self.machine.changed.wait_while_for(&mut state, none_held, timeout).timed_out()
    }

    /// Lets the syncs go on.
    pub fn release(self) {}
}

impl Drop for SyncHold {
    fn drop(&mut self) {
        self.machine.state.lock().holds.held.remove(&self.id);
        self.machine.changed.notify_all();
    }
}
