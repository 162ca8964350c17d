//! Databases: keys, their values, their deadlines; and versions of all of it that cost nothing to keep.
//!
//! Knows no command, no log, no clock: times and positions come in as parameters.

mod access;
mod batch;
mod database;
mod entry;
mod evict;
mod expire;
mod garbage;
mod relocation;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub use access::{AccessClock, AccessPolicy};
pub use batch::Batch;
pub use database::{Database, Found, Ttl};
pub use entry::{Content, Entry, INLINE_MAX};
pub use evict::{EvictionOrder, EvictionPolicy, EvictionScope};
pub use garbage::Garbage;
pub use relocation::{Relocation, RelocationFigures};
pub use snapshot::{DatabaseView, Portion, Portions, Snapshot};
pub use store::Keyspace;
