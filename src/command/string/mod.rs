//! Strings: values, parts of them, numbers in them.

mod bytes;
mod lcs;
mod number;
mod shared;
mod value;

use super::Command;

pub(super) static FAMILIES: [&[Command]; 4] = [value::COMMANDS, bytes::COMMANDS, lcs::COMMANDS, number::COMMANDS];
