//! IDs as arguments: whole, with the sequence left out or to be chosen, or as the end of a range.

use crate::command::{CommandError, parse_i64};
use crate::value::StreamId;

const INVALID: CommandError = CommandError::fixed("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: CommandError = CommandError::fixed("ERR invalid start ID for the interval");
const INVALID_END: CommandError = CommandError::fixed("ERR invalid end ID for the interval");

/// Longest text that may be an ID.
const TEXT_MAX: usize = 127;

/// `ms` or `ms-seq`; a sequence left out is `missing`.
pub(super) fn strict(arg: &[u8], missing: u64) -> Result<StreamId, CommandError> {
    let (ms, seq) = split(arg)?;
    let seq = seq.map_or(Some(missing), unsigned).ok_or(INVALID)?;
    Ok(StreamId::new(ms, seq))
}

/// As [`strict`], and `-` and `+` for the lowest and the highest.
pub(super) fn or_extreme(arg: &[u8], missing: u64) -> Result<StreamId, CommandError> {
    match arg {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict(arg, missing),
    }
}

/// The first ID of a range; behind `(` the range begins with the next one.
pub(super) fn range_start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => strict(id, 0)?.next().ok_or(INVALID_START),
        _ => or_extreme(arg, 0),
    }
}

/// The last ID of a range; behind `(` the range ends with the one before.
pub(super) fn range_end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => strict(id, u64::MAX)?.previous().ok_or(INVALID_END),
        _ => or_extreme(arg, u64::MAX),
    }
}

/// The ID that a new entry is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewId {
    Auto,
    /// The milliseconds are given, the sequence is not.
    AutoSequence(u64),
    Given(StreamId),
}

impl NewId {
    pub(super) fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        if arg == b"*" {
            return Ok(Self::Auto);
        }
        match split(arg)? {
            (ms, Some(b"*")) => Ok(Self::AutoSequence(ms)),
            (ms, seq) => {
                let seq = seq.map_or(Some(0), unsigned).ok_or(INVALID)?;
                Ok(Self::Given(StreamId::new(ms, seq)))
            }
        }
    }

    /// The ID it becomes behind `last`; `None` when there is none behind it.
    pub(super) fn behind(self, last: StreamId, now_ms: u64) -> Option<StreamId> {
        let id = match self {
            Self::Auto if now_ms > last.ms => StreamId::new(now_ms, 0),
            Self::Auto => last.next()?,
            Self::AutoSequence(ms) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1)?),
            Self::AutoSequence(ms) => StreamId::new(ms, 0),
            Self::Given(id) => id,
        };
        (id > last).then_some(id)
    }
}

/// The milliseconds, and the text of the sequence. The stock server reads both as texts that a zero byte ends.
fn split(arg: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if arg.len() > TEXT_MAX {
        return Err(INVALID);
    }
    let text = arg.split(|byte| *byte == 0).next().unwrap_or_default();
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((unsigned(ms).ok_or(INVALID)?, seq))
}

/// As the stock server reads a number without sign: a canonical integer, or else what `strtoull` makes of all of it,
/// which lets spaces, a sign and leading zeros pass.
fn unsigned(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(is_space).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| value.checked_mul(10)?.checked_add(digit.into())).flatten()
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_the_stock_server_reads_them() {
        for (text, expected) in [
            ("5", Some((5, 9))),
            ("5-3", Some((5, 3))),
            ("05-003", Some((5, 3))),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("a", None),
            ("5-a", None),
            ("5-3-1", None),
            (" 5-+3", Some((5, 3))),
            ("5--03", Some((5, u64::MAX - 2))),
            ("5--3", None),
            ("5 -3", None),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("18446744073709551616", None),
            ("5\0x", Some((5, 9))),
            ("*", None),
            ("-", None),
            ("+", None),
        ] {
            let expected = expected.map(|(ms, seq)| StreamId::new(ms, seq));
            assert_eq!(strict(text.as_bytes(), 9).ok(), expected, "{text:?}");
        }
        assert!(strict(&[b'0'; 127], 0).is_ok() && strict(&[b'0'; 128], 0).is_err());
    }

    #[test]
    fn new_ids_lie_behind_the_last() {
        let last = StreamId::new(5, 5);
        for (given, now, expected) in [
            ("*", 7, Some((7, 0))),
            ("*", 5, Some((5, 6))),
            ("*", 1, Some((5, 6))),
            ("5-*", 9, Some((5, 6))),
            ("6-*", 9, Some((6, 0))),
            ("4-*", 9, None),
            ("5-5", 9, None),
            ("5-6", 9, Some((5, 6))),
            ("6", 9, Some((6, 0))),
        ] {
            let id = NewId::parse(given.as_bytes()).unwrap().behind(last, now);
            assert_eq!(id, expected.map(|(ms, seq)| StreamId::new(ms, seq)), "{given} at {now}");
        }
        assert_eq!(NewId::AutoSequence(5).behind(StreamId::new(5, u64::MAX), 9), None);
        assert_eq!(NewId::Auto.behind(StreamId::MAX, 9), None);
    }
}
