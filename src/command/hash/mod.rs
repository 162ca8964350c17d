//! Hashes: their fields one by one, and hashes as a whole. HSCAN stands with its kin in `scan`.

mod fields;
mod whole;

use super::Command;

pub(super) static FAMILIES: [&[Command]; 2] = [fields::COMMANDS, whole::COMMANDS];
