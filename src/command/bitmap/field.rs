//! BITFIELD: integers of any width at any bit.

use super::{DECLARATION, bit_offset};
use crate::command::{Args, CallKeys, Command, CommandError, Cx, Flags, KeyFlags, KeySpec, parse_i64};
use crate::ds::bits::{WINDOW, field, set_field};
use crate::value::{Str, StrRef};
use smallvec::smallvec;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE).and(KeyFlags::VARIABLE_FLAGS))],
        find_keys: Some(bitfield_keys),
        run: bitfield,
        since: "3.2.0",
        complexity: "O(1) for each subcommand specified",
        summary: "Reads, sets and increments integers of any width at any bit of the string at a key.",
        syntax: "key [operation:<GET encoding_offset:(encoding offset:integer) | write:([OVERFLOW \
                 wrap_sat_fail:<WRAP | SAT | FAIL>] write_operation:<SET encoding_offset_value:(encoding \
                 offset:integer value:integer) | INCRBY encoding_offset_increment:(encoding offset:integer \
                 increment:integer)>)> [operation ...]]",
        ..DECLARATION
    },
    Command {
        name: "bitfield_ro",
        arity: -2,
        flags: Flags::READ.and(Flags::FAST),
        keys: &[KeySpec::first(KeyFlags::RO.and(KeyFlags::ACCESS))],
        run: bitfield_ro,
        since: "6.0.0",
        complexity: "O(1) for each subcommand specified",
        summary: "Reads integers of any width at any bit of the string at a key.",
        syntax: "key [GET encoding_offset:(encoding offset:integer) [GET encoding_offset ...]]",
        ..DECLARATION
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// `i` or `u` with a number of bits: up to 64, or 63 without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoding {
    signed: bool,
    width: u32,
}

struct Operation {
    action: Action,
    encoding: Encoding,
    offset: u64,
    overflow: Overflow,
}

fn bitfield(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let operations = parse(cx, args)?;
    let Some(len_min) = operations.iter().filter_map(Operation::writes_up_to).max() else {
        return read_all(cx, key, &operations);
    };
    let results = cx.edit_string(key, "setbit", |text, edit| {
        let grows = text.len() < len_min;
        if grows {
            // The length is logged even where every operation then fails: the key has it from now on.
            edit.changed(1);
            text.grow(len_min);
        }
        Ok(operations
            .iter()
            .map(|operation| {
                let (result, write) = operation.run(text.as_ref());
                if let Some((before, after)) = write
                    && (grows || before != after)
                {
                    operation.store(text, after);
                    edit.changed(1);
                }
                result
            })
            .collect::<Vec<_>>())
    })?;
    reply_results(cx, &results);
    Ok(())
}

/// A call that only gets reads its key; one that is not understood is taken for a write.
fn bitfield_keys(argv: &[&[u8]]) -> Option<CallKeys> {
    let mut rest = argv.get(2..)?;
    let only_reads = loop {
        let (is, behind) = match rest {
            [] => break true,
            [word, behind @ ..] => (|name: &str| word.eq_ignore_ascii_case(name.as_bytes()), behind),
        };
        rest = if is("get") && behind.len() >= 2 {
            &behind[2..]
        } else if is("overflow") && !behind.is_empty() {
            &behind[1..]
        } else {
            break false;
        };
    };
    let write = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE);
    Some(smallvec![(1, if only_reads { KeyFlags::RO.and(KeyFlags::ACCESS) } else { write })])
}

fn bitfield_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let operations = parse(cx, args)?;
    if operations.iter().any(|operation| !matches!(operation.action, Action::Get)) {
        return Err(CommandError::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_all(cx, key, &operations)
}

/// Operations that are all reads.
fn read_all(cx: &mut Cx<'_>, key: &[u8], operations: &[Operation]) -> Result<(), CommandError> {
    let (found, _) = cx.read::<Str>(key)?;
    let text = found.unwrap_or(StrRef::Embedded(b""));
    let results: Vec<_> = operations.iter().map(|operation| operation.run(text).0).collect();
    reply_results(cx, &results);
    Ok(())
}

fn reply_results(cx: &mut Cx<'_>, results: &[Option<i64>]) {
    cx.reply.array(results.len());
    for result in results {
        match result {
            Some(number) => cx.reply.int(*number),
            None => cx.reply.null(),
        }
    }
}

fn parse(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Vec<Operation>, CommandError> {
    let (mut operations, mut overflow) = (Vec::new(), Overflow::Wrap);
    while !args.is_empty() {
        let behind = args.remaining() - 1;
        if behind >= 1 && args.word("overflow") {
            overflow = if args.word("wrap") {
                Overflow::Wrap
            } else if args.word("sat") {
                Overflow::Saturate
            } else if args.word("fail") {
                Overflow::Fail
            } else {
                return Err(CommandError::fixed("ERR Invalid OVERFLOW type specified"));
            };
            continue;
        }
        let make: fn(i64) -> Action = if behind >= 2 && args.word("get") {
            |_| Action::Get
        } else if behind >= 3 && args.word("set") {
            Action::Set
        } else if behind >= 3 && args.word("incrby") {
            Action::Add
        } else {
            return Err(CommandError::SYNTAX);
        };
        let encoding = Encoding::parse(args.bytes())?;
        let offset = bit_offset(cx, args.bytes(), Some(encoding.width))?;
        let mut action = make(0);
        if !matches!(action, Action::Get) {
            action = make(parse_i64(args.bytes()).ok_or(CommandError::NOT_INTEGER)?);
        }
        operations.push(Operation { action, encoding, offset, overflow });
    }
    Ok(operations)
}

impl Encoding {
    fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        let signed = arg.first() == Some(&b'i');
        let widths = if signed { 1..=64 } else { 1..=63 };
        let width = match arg {
            [b'i' | b'u', width @ ..] => parse_i64(width).filter(|width| widths.contains(width)),
            _ => None,
        };
        let width = width.ok_or(CommandError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        Ok(Self { signed, width: width as u32 })
    }

    /// The number that these bits stand for.
    fn decode(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed { (bits << unused) as i64 >> unused } else { bits as i64 }
    }

    /// `value + added` as this encoding holds it, and whether it had to be bent: to the nearest bound, or, wrapped,
    /// to its lowest bits.
    fn add(self, value: i64, added: i64, overflow: Overflow) -> (i64, bool) {
        let beyond = if self.signed { self.signed_beyond(value, added) } else { self.unsigned_beyond(value, added) };
        let sum = value.wrapping_add(added);
        let result = match (beyond, overflow) {
            (None, _) => sum,
            (Some(bound), Overflow::Saturate) => bound,
            (Some(_), _) => self.decode(sum as u64 & u64::MAX >> (64 - self.width)),
        };
        (result, beyond.is_some())
    }

    /// The bound that the sum lies beyond. Stock's arithmetic, which wraps around for values far below the lower one:
    /// those then count as above the upper one.
    fn signed_beyond(self, value: i64, added: i64) -> Option<i64> {
        let max = i64::MAX >> (64 - self.width);
        let min = -max - 1;
        let (room_above, room_below) = (max.wrapping_sub(value), min.wrapping_sub(value));
        let narrow = self.width < 64;
        if value > max || ((narrow || (value >= 0 && added > 0)) && added > room_above) {
            Some(max)
        } else if value < min || ((narrow || (value < 0 && added < 0)) && added < room_below) {
            Some(min)
        } else {
            None
        }
    }

    fn unsigned_beyond(self, value: i64, added: i64) -> Option<i64> {
        let max = (1_u64 << self.width) - 1;
        let value = value as u64;
        let (room_above, room_below) = (max.wrapping_sub(value) as i64, value.wrapping_neg() as i64);
        if value > max || (added > 0 && added > room_above) {
            Some(max as i64)
        } else if added < 0 && added < room_below {
            Some(0)
        } else {
            None
        }
    }
}

impl Operation {
    /// The length in bytes that the string has at least after this operation, if it writes.
    fn writes_up_to(&self) -> Option<usize> {
        let last = self.offset + u64::from(self.encoding.width) - 1;
        (!matches!(self.action, Action::Get)).then_some((last / 8) as usize + 1)
    }

    /// What is answered, and the numbers before and after where one is to be stored.
    fn run(&self, text: StrRef<'_>) -> (Option<i64>, Option<(i64, i64)>) {
        let (window, at) = self.window(text);
        let before = self.encoding.decode(field(window, at, self.encoding.width));
        let (after, bent, answer_before) = match self.action {
            Action::Get => return (Some(before), None),
            Action::Set(value) => {
                let (after, bent) = self.encoding.add(value, 0, self.overflow);
                (after, bent, true)
            }
            Action::Add(added) => {
                let (after, bent) = self.encoding.add(before, added, self.overflow);
                (after, bent, false)
            }
        };
        if bent && self.overflow == Overflow::Fail {
            return (None, None);
        }
        (Some(if answer_before { before } else { after }), Some((before, after)))
    }

    /// Puts the number in; the string is long enough.
    fn store(&self, text: &mut Str, number: i64) {
        let (mut window, at) = self.window(text.as_ref());
        set_field(&mut window, at, self.encoding.width, number as u64);
        let touched = (at + self.encoding.width).div_ceil(8) as usize;
        text.set_range((self.offset / 8) as usize, &window[..touched]);
    }

    fn window(&self, text: StrRef<'_>) -> ([u8; WINDOW], u32) {
        let mut window = [0; WINDOW];
        text.read((self.offset / 8) as usize, &mut window);
        (window, (self.offset % 8) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn bounds(encoding: Encoding) -> (i128, i128) {
        let half = 1_i128 << (encoding.width - 1);
        if encoding.signed { (-half, half - 1) } else { (0, half * 2 - 1) }
    }

    quickcheck! {
        /// Against wide integers, for numbers that a field of the encoding can hold.
        fn sums_are_bent_to_their_encoding(signed: bool, width: u32, bits: u64, added: i64) -> bool {
            let encoding = Encoding { signed, width: 1 + width % (if signed { 64 } else { 63 }) };
            let value = encoding.decode(bits & u64::MAX >> (64 - encoding.width));
            let (min, max) = bounds(encoding);
            let sum = i128::from(value) + i128::from(added);
            let fits = (min..=max).contains(&sum);
            let wrapped = (sum - min).rem_euclid(max - min + 1) + min;
            encoding.add(value, added, Overflow::Wrap) == (wrapped as i64, !fits)
                && encoding.add(value, added, Overflow::Saturate) == (sum.clamp(min, max) as i64, !fits)
                && encoding.add(value, added, Overflow::Fail).1 != fits
        }
    }

    #[test]
    fn encodings_are_a_sign_and_a_width() {
        for (text, expected) in [
            ("u8", Some((false, 8))),
            ("i64", Some((true, 64))),
            ("u63", Some((false, 63))),
            ("u64", None),
            ("i65", None),
            ("i0", None),
            ("U8", None),
            ("8", None),
            ("", None),
            ("u", None),
            ("u+8", None),
        ] {
            let found = Encoding::parse(text.as_bytes()).ok().map(|encoding| (encoding.signed, encoding.width));
            assert_eq!(found, expected, "{text}");
        }
    }
}
