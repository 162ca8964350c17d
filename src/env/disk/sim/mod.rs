//! A file system in memory that can crash, for tests of everything above it, ours and our users'.
//!
//! Four things are kept apart for each file: what is written (the page cache, which every read sees), what is synced
//! (on the platter), what is named, and which names are durable in their directory. A run on it is a function of the
//! calls made and of the seeds given: no clock, no chance of its own.
//!
//! # What a crash may do (the fault model)
//!
//! *Process kill* (`CrashMode::Kill`): everything written stays, names too; of a write in flight any prefix, of any
//! other call in flight all or nothing. What was not synced is still not synced: a power cut after the restart can
//! take it.
//!
//! *Power cut* (`CrashMode::PowerCut`):
//! - Synced data, and the file size at that sync, stay.
//! - Each page (4 KiB) with unsynced writes is by itself lost, kept, at any state that it had since the last sync, or
//!   torn between two such states: at any byte, or each sector of 512 bytes by itself. So writes reach the platter in
//!   any order, across pages and across files.
//! - The file size is any size that the file had since the last sync, or lies within the growth that one write made.
//!   Size and data are independent: where the size is kept and the data is not, zeros are read, or (`stale`) old
//!   content of other files.
//! - A cut by `set_len` that is lost brings the old bytes back; one that is kept never does. The page that holds the
//!   new end may be rewritten before the size is.
//! - Unsynced names (create, rename, link, remove, create_dir) are kept or dropped independently of data and of each other,
//!   in any order; but changes to one name happen in order, and a rename is one step: never both names, never neither.
//!   Without its directory's entry a directory is gone with everything in it, however well that was synced.
//! - Syncing a file does not sync its name. Syncing a directory syncs the names in it, not what they name. A rename
//!   across directories is durable when the directory of the new name is synced.
//! - With `ruined_sector`, a sector that was being written holds garbage, durable neighbours in it included (drives
//!   whose sectors are not atomic; off unless asked for).
//!
//! *A failed sync* (an injected fault): the pages count as clean afterwards but are not durable, so a later sync that
//! succeeds does not make them so, unless they have been written to again (a page is written back whole). Reads still
//! see them, until [`SimDisk::drop_caches`]. The size is not forgotten: the later sync makes it durable, over a hole.
//! After a failed `sync_dir` the names are as unsynced as before.
//!
//! What it never does: lose or change what was synced and left alone. Damage of that kind (rot) is made by hand with
//! [`SimDisk::flip`], [`SimDisk::overwrite`] and [`SimDisk::truncate`].
//!
//! # Enumerating crashes
//!
//! Each mutating call is a numbered step ([`SimDisk::steps`]). [`SimDisk::freeze_at`]`(n)` cuts step `n` off in flight
//! and fails everything after it as on a dead machine ([`Frozen`]). [`SimDisk::crash`] then gives the disk that the
//! next start finds, without lock, faults or open files. [`SimDisk::for_each_crash`] does so for every step of a run.

mod control;
mod crash;
mod disk;
mod enumerate;
mod fault;
mod file;
mod hold;
mod state;
mod tree;

#[cfg(test)]
mod tests;

pub use crash::{CrashMode, PowerCut, Survival};
pub use disk::SimDisk;
pub use enumerate::CrashPoint;
pub use fault::{Fault, FaultId, FaultSpec, Op};
pub use hold::SyncHold;
pub use state::{Frozen, Step};
