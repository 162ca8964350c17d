//! The log on a simulated disk: five commands, every crash, every fault.

pub mod archive;
pub mod compaction;
pub mod crashes;
mod damage;
mod faults;
mod filled;
mod founding;
pub mod lineage;
pub mod model;
