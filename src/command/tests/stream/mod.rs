//! Streams.

mod entries;
mod groups;

use super::support::{check, check_with};
use crate::value::Limits;

/// Runs a script with nodes of the usual size and with nodes of two entries.
fn check_both(script: &str) {
    check(script);
    check_with(Limits { stream_node_max_entries: 2, ..Limits::default() }, script);
}
