//! (in work)

pub mod rdb;
