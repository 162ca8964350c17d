//! The server: sockets, connections, io threads, configuration, and the commands that act on them.

pub mod config;
mod listener;
mod local_time;
mod lock;
mod log_line;
mod signals;

/// The version of Redis whose behaviour this is.
pub const REDIS_VERSION: &str = "7.2.4";
