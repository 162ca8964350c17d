//! The log: segments of frames of units. Knows bytes and positions, never a command.

mod buffer;
mod fill;
pub mod format;
mod orders;
mod progress;
mod reader;
mod segment;
mod writer;

pub use buffer::{Batch, Cut, FrameSpan, LogBuffer};
pub use fill::{FillDone, FillJob};
pub use orders::{Done, Order, Promise};
pub use progress::{LogStats, Progress, Restraint, SyncPolicy, Trouble, Waited};
pub use reader::{Item, OpenedSegment, SegmentReader};
pub use segment::{Segment, SegmentPlace};
pub use writer::{LogWriter, Step, SyncDone, SyncJob, WriterOptions};
