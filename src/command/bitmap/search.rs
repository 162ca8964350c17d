//! Bits counted and found in a range.

use std::ops::Range;

use super::DECLARATION;
use crate::command::{Args, Command, CommandError, Cx, Flags, KeyFlags, KeySpec};
use crate::ds::{Piece, bits};
use crate::value::index::byte_span;
use crate::value::{Str, StrRef};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "bitcount",
        arity: -2,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: bitcount,
        since: "2.6.0",
        complexity: "O(N)",
        summary: "How many bits are set in the string at a key, or in a range of it.",
        syntax: "key [index:(start:integer end:integer [index_unit:<BYTE | BIT> {7.0.0}])]",
        ..DECLARATION
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: Flags::READ,
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: bitpos,
        since: "2.8.7",
        complexity: "O(N)",
        summary: "Where the first bit with a value is in the string at a key, or in a range of it.",
        syntax: "key bit:integer [index:(start:integer [end_index:(end:integer [index_unit:<BYTE | BIT> {7.0.0}])])]",
        ..DECLARATION
    },
];

/// A range as it is asked for; both ends included, negative ones counted from the end.
struct Asked {
    start: i64,
    end: i64,
    in_bits: bool,
}

impl Asked {
    const WHOLE: Self = Self { start: 0, end: -1, in_bits: false };

    /// The bits that are meant in a string of `len` bytes.
    fn bits(&self, len: usize) -> Option<Range<u64>> {
        let unit = if self.in_bits { 1 } else { 8 };
        let range = byte_span(len * 8 / unit, self.start, self.end)?;
        Some((range.start * unit) as u64..(range.end * unit) as u64)
    }

    /// The same with a start that is counted from the front: BITPOS, unlike BITCOUNT, takes ends that are both before
    /// the first byte for that byte, though they be crossed.
    fn counted_from_front(self, len: usize) -> Self {
        let units = (if self.in_bits { len * 8 } else { len }) as i64;
        let start = if self.start < 0 { units.saturating_add(self.start).max(0) } else { self.start };
        Self { start, ..self }
    }
}

/// Whether the next word says that offsets are bits; only its last one may stand here.
fn unit(args: &mut Args<'_>) -> bool {
    let in_bits = args.word("bit");
    if !in_bits && !args.word("byte") {
        args.fail(CommandError::SYNTAX);
    }
    in_bits
}

fn bitcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let asked = match args.remaining() {
        0 => Asked::WHOLE,
        2 | 3 => {
            let (start, end) = (args.int(), args.int());
            Asked { start, end, in_bits: !args.is_empty() && unit(args) }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    args.finish()?;
    let (found, reply) = cx.read::<Str>(key)?;
    let range = found.and_then(|text| Some((text, asked.bits(text.len())?)));
    reply.int(range.map_or(0, |(text, range)| count_ones(text, range) as i64));
    Ok(())
}

fn bitpos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let bit = args.int();
    args.check()?;
    if !(0..=1).contains(&bit) {
        return Err(CommandError::fixed("ERR The bit argument must be 1 or 0."));
    }
    let bit = bit == 1;
    let given = args.remaining();
    let mut asked = Asked::WHOLE;
    if given > 3 {
        return Err(CommandError::SYNTAX);
    }
    if given > 0 {
        asked.start = args.int();
        args.check()?;
    }
    // The unit is looked at before the end that stands in front of it.
    let end = (given > 1).then(|| args.bytes());
    if given > 2 {
        asked.in_bits = unit(args);
    }
    args.finish()?;
    if let Some(end) = end {
        asked.end = crate::command::parse_i64(end).ok_or(CommandError::NOT_INTEGER)?;
    }
    let (found, reply) = cx.read::<Str>(key)?;
    let position = match found {
        // No string is an endless row of zeros; so is what is behind a string whose end was not named.
        None => (!bit).then_some(0),
        Some(text) => asked.counted_from_front(text.len()).bits(text.len()).and_then(|range| {
            let behind = (!bit && end.is_none()).then_some(range.end);
            first(text, range, bit).or(behind)
        }),
    };
    reply.int(position.map_or(-1, |position| position as i64));
    Ok(())
}

/// How many bits of a range that is not empty are set.
fn count_ones(text: StrRef<'_>, range: Range<u64>) -> u64 {
    let (start, end) = ((range.start / 8) as usize, range.end.div_ceil(8) as usize);
    let mut buffer = itoa::Buffer::new();
    let all: u64 = text
        .pieces_of(start..end, &mut buffer)
        .map(|piece| match piece {
            Piece::Bytes(bytes) => bits::count_ones(bytes),
            Piece::Zeros(_) => 0,
        })
        .sum();
    let (mut front, mut back) = ([0], [0]);
    text.read(start, &mut front);
    text.read(end - 1, &mut back);
    let before = front[0] & !(0xff >> (range.start % 8));
    let behind = back[0] & (0xff_u16 >> ((range.end - 1) % 8 + 1)) as u8;
    all - u64::from(before.count_ones() + behind.count_ones())
}

/// The first bit with this value in a range that is not empty.
fn first(text: StrRef<'_>, range: Range<u64>, bit: bool) -> Option<u64> {
    let (start, end) = ((range.start / 8) as usize, range.end.div_ceil(8) as usize);
    let mut front = [0];
    text.read(start, &mut front);
    let wanted = if bit { front[0] } else { !front[0] } & (0xff >> (range.start % 8));
    let found = if wanted != 0 {
        Some(start as u64 * 8 + u64::from(wanted.leading_zeros()))
    } else {
        let mut at = start as u64 + 1;
        let mut buffer = itoa::Buffer::new();
        text.pieces_of(start + 1..end, &mut buffer).find_map(|piece| {
            let found = match piece {
                Piece::Bytes(bytes) => bits::first(bytes, bit),
                Piece::Zeros(_) => (!bit).then_some(0),
            };
            let position = found.map(|found| at * 8 + found);
            at += piece.len() as u64;
            position
        })
    };
    found.filter(|position| *position < range.end)
}
