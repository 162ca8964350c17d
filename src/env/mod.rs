//! The outside world as parameters: disk, clock, entropy, each real and simulated.
//!
//! Nothing above this room touches `std::fs`, the system clock or randomness directly; a simulated run is a function
//! of its seed.

mod clock;
pub mod collation;
pub mod disk;
mod entropy;
mod remedy;

pub use clock::{Clock, ManualClock, SystemClock, UnixMillis};
pub use disk::{Disk, DiskFile, OpenMode};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy, secret_bytes};
pub use remedy::{is_full, remedy};
