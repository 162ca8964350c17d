//! What the operating system lets one process have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are open besides connections: listeners, log segments, epoll and its kin.
const RESERVED_FILES: u64 = 32;

/// Raises the limit of open files for this many connections as far as allowed; returns how many connections fit.
pub fn open_files_for(connections: usize) -> usize {
    let wanted = connections as u64 + RESERVED_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return connections };
    if soft >= wanted {
        return connections;
    }
    // Above the hard limit only a privileged process gets; then the hard limit is what there is.
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return connections;
    }
    if setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() {
        return soft.saturating_sub(RESERVED_FILES) as usize;
    }
    wanted.min(hard).saturating_sub(RESERVED_FILES) as usize
}
