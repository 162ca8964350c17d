//! What several modules of tests need.

pub mod shim;
