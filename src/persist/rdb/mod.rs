//! RDB files: a whole data set at one moment, in the stock server's format.
//!
//! The bytes of a value are `value::payload`'s; here is what lies around them: header, databases, keys with their
//! expiry and access data, checksum.

mod active;
mod blocks;
mod checksum;
mod format;
mod index;
mod parallel;
mod proof;
mod reader;
mod records;
mod salvage;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use blocks::{DamagedBlock, damaged_blocks, explain, read_block, read_head};
pub use format::{VERSION_MAX, is_rdb};
pub use index::{BLOCK_FIELD_BYTES, Index, IndexedBlock};
pub use parallel::{Division, Place, Read, read_on, read_parallel};
pub use proof::prove;
pub use reader::{Loaded, RdbEntry, RdbError, RdbProblem, RdbSink, Refusal, read, read_bytes};
pub use salvage::{LostKeys, Salvage};
pub use source::FileSource;
pub use stream::StreamWriter;
pub use writer::{RdbOptions, SavedAccess, begin};
