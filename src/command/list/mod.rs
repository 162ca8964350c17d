//! Lists: elements by index and value, both ends, moves from list to list.

mod elements;
mod ends;
mod moves;

use super::{Args, Command, Group, KeyFlags};
use crate::value::End;

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 3] = [elements::COMMANDS, ends::COMMANDS, moves::COMMANDS];

const DECLARATION: Command = Command { group: Group::List, ..Command::DEFAULT };

const READ: KeyFlags = KeyFlags::RO.and(KeyFlags::ACCESS);
const TAKE: KeyFlags = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE);
const INSERT: KeyFlags = KeyFlags::RW.and(KeyFlags::INSERT);

/// The commands, events and words that name an end.
struct EndNames {
    pop: &'static str,
    /// The command that the log names.
    logged_pop: &'static [u8],
    push: &'static str,
    word: &'static [u8],
}

const fn names(end: End) -> EndNames {
    match end {
        End::Front => EndNames { pop: "lpop", logged_pop: b"LPOP", push: "lpush", word: b"LEFT" },
        End::Back => EndNames { pop: "rpop", logged_pop: b"RPOP", push: "rpush", word: b"RIGHT" },
    }
}

/// `LEFT` or `RIGHT`.
fn end_word(args: &mut Args<'_>) -> Option<End> {
    if args.word("left") {
        Some(End::Front)
    } else if args.word("right") {
        Some(End::Back)
    } else {
        None
    }
}
