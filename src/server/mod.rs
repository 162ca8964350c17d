//! The server: sockets, connections, io threads, configuration, and the commands that act on them.
//!
//! Threads: io loops (one each), a ticker for what time brings, a reaper that frees what the data let go of, one for
//! signals. They meet in `Shared`; the engine stands behind its one lock.

mod acceptor;
mod apply;
mod aside;
mod background;
mod commands;
pub mod config;
mod connection;
mod cpus;
mod defrag;
mod errand;
mod host;
mod info;
mod io_thread;
mod keeping;
mod knobs;
mod limits;
mod listener;
mod loading;
mod local_time;
mod lock;
mod log_driver;
mod log_line;
mod memory;
mod reserve;
mod retention;
mod rewriting;
mod saving;
mod shared;
mod shutdown;
mod signals;
mod standing;
mod start;
mod state;
mod switching;
#[cfg(test)]
mod tests;
mod title;
mod unsent;
mod waits;
mod writing;

pub use commands::families;
pub use memory::{Allocator, AllocatorProbe};
pub use start::run;
pub use state::Server;

pub use crate::REDIS_VERSION;

/// Our own version.
pub const GRAVEN_VERSION: &str = env!("CARGO_PKG_VERSION");
