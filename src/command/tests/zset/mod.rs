//! Sorted sets, in both encodings.

mod algebra;
mod members;
mod ranges;

use super::support::{check, check_with};
use crate::value::Limits;

/// Runs a script with packed sorted sets and with large ones.
fn check_both(script: &str) {
    check(script);
    check_with(Limits { zset_max_listpack_entries: 0, ..Limits::default() }, script);
}
