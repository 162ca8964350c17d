//! Moments of expiry as arguments: seconds or milliseconds, from now or since 1970.

use super::{Args, CommandError, Cx, parse_i64};
use crate::env::UnixMillis;

/// How a number of an argument counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub seconds: bool,
    /// Counted from 1970, not from now.
    pub absolute: bool,
}

impl Unit {
    pub const EX: Self = Self { seconds: true, absolute: false };
    pub const PX: Self = Self { seconds: false, absolute: false };
    pub const EXAT: Self = Self { seconds: true, absolute: true };
    pub const PXAT: Self = Self { seconds: false, absolute: true };

    /// The moment that a number means; `None` when it is beyond what milliseconds can count.
    pub fn moment(self, number: i64, now: UnixMillis) -> Option<UnixMillis> {
        let millis = if self.seconds { number.checked_mul(1000)? } else { number };
        if self.absolute {
            return Some(UnixMillis(millis));
        }
        millis.checked_add(now.0).map(UnixMillis)
    }
}

/// An expiry as an option of SET and GETEX gives it, not yet looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry<'a> {
    pub unit: Unit,
    pub number: &'a [u8],
}

impl<'a> Expiry<'a> {
    /// Reads the option and its number if one of EX, PX, EXAT, PXAT comes next. Of several the same unit only may be
    /// repeated; the last one counts.
    pub fn option(args: &mut Args<'a>, given: Option<Self>) -> Option<Self> {
        const OPTIONS: [(&str, Unit); 4] =
            [("ex", Unit::EX), ("px", Unit::PX), ("exat", Unit::EXAT), ("pxat", Unit::PXAT)];
        let (_, unit) = OPTIONS.into_iter().find(|(word, _)| args.word(word))?;
        if given.is_some_and(|given| given.unit != unit) {
            args.fail(CommandError::SYNTAX);
        }
        Some(Self { unit, number: args.bytes() })
    }

    /// The moment it means; `command` is named in the error. Only a positive number is a time to live.
    pub fn moment(self, cx: &Cx<'_>, command: &str) -> Result<UnixMillis, CommandError> {
        let number = parse_i64(self.number).ok_or(CommandError::NOT_INTEGER)?;
        if number <= 0 {
            return Err(CommandError::invalid_expire(command));
        }
        self.unit.moment(number, cx.now()).ok_or_else(|| CommandError::invalid_expire(command))
    }
}

/// Whether a key that expires at this moment is gone already. Replay has no clock: there nothing is.
pub(super) fn is_past(cx: &Cx<'_>, at: UnixMillis) -> bool {
    !cx.turn.replaying && at <= cx.now()
}

/// Logs what a key's new expiry is, in the form that needs no clock.
pub(super) fn log_expiry(cx: &mut Cx<'_>, key: &[u8], at: UnixMillis) {
    cx.log_as(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at.0).as_bytes()]);
}
