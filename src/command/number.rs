//! Numbers in arguments, accepted exactly as the stock server accepts them.

use super::CommandError;

/// A canonical decimal i64: no sign `+`, no leading zeros, no spaces.
pub fn parse_i64(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    match negative {
        true if value <= 1 << 63 => Some((value as i64).wrapping_neg()),
        false if value <= i64::MAX as u64 => Some(value as i64),
        _ => None,
    }
}

/// A double as `strtod` reads it, the whole argument used; hexadecimal floats included. NaN is refused, and so is what
/// is too large, or too small, for any double but infinity and 0.
pub fn parse_f64(bytes: &[u8]) -> Option<f64> {
    let value = parse_f64_saturating(bytes)?;
    let text = std::str::from_utf8(bytes).ok()?;
    let unsigned = text.trim_start_matches(['+', '-']);
    let overflown = value.is_infinite() && !unsigned.starts_with(['i', 'I']);
    let exponent_mark = if unsigned.starts_with("0x") || unsigned.starts_with("0X") { ['p', 'P'] } else { ['e', 'E'] };
    let mut digits = unsigned.split(exponent_mark).next().unwrap_or_default().bytes();
    let underflown = value == 0.0 && digits.any(|digit| matches!(digit, b'1'..=b'9' | b'a'..=b'f' | b'A'..=b'F'));
    (!overflown && !underflown).then_some(value)
}

/// The same, but what is too large is infinity and what is too small is 0.
pub fn parse_f64_saturating(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = match parse_hexadecimal(text) {
        Some(value) => value,
        None => text.parse::<f64>().ok()?,
    };
    (!value.is_nan()).then_some(value)
}

fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let body = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X"))?;
    let (mantissa, exponent) = match body.find(['p', 'P']) {
        Some(at) => (&body[..at], body[at + 1..].parse::<i32>().ok()?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    value *= 2f64.powi(exponent.saturating_sub(4 * fraction.len() as i32));
    Some(if negative { -value } else { value })
}

/// The timeout of a blocking command, in seconds with a fraction; the result is milliseconds, rounded up, 0 = forever.
pub fn parse_timeout(bytes: &[u8]) -> Result<i64, CommandError> {
    let seconds = parse_f64(bytes).ok_or(CommandError::TIMEOUT_NOT_FLOAT)?;
    let millis = (seconds * 1000.0).ceil();
    if millis > i64::MAX as f64 / 2.0 {
        return Err(CommandError::fixed("ERR timeout is out of range"));
    }
    if seconds < 0.0 {
        return Err(CommandError::TIMEOUT_NEGATIVE);
    }
    Ok(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("", None),
            ("-", None),
            ("1a", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            ("inf", Some(f64::INFINITY)),
            ("-INF", Some(f64::NEG_INFINITY)),
            ("nan", None),
            ("0x10", Some(16.0)),
            ("-0x1.8p1", Some(-3.0)),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("1e400", None),
            ("-1e400", None),
            ("1e-400", None),
            ("0x1p-2000", None),
            ("0e5", Some(0.0)),
            ("-0", Some(-0.0)),
            ("5e-324", Some(5e-324)),
            ("-infinity", Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn ends_of_ranges_may_lie_beyond_all_doubles() {
        for (text, value) in [
            ("1e400", Some(f64::INFINITY)),
            ("-1e400", Some(f64::NEG_INFINITY)),
            ("1e-400", Some(0.0)),
            ("1.5", Some(1.5)),
            ("nan", None),
            ("", None),
            ("1 ", None),
        ] {
            assert_eq!(parse_f64_saturating(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn timeouts_round_up_and_are_never_negative() {
        assert_eq!(parse_timeout(b"0.0001"), Ok(1));
        assert_eq!(parse_timeout(b"0"), Ok(0));
        assert_eq!(parse_timeout(b"-1"), Err(CommandError::TIMEOUT_NEGATIVE));
        assert_eq!(parse_timeout(b"x"), Err(CommandError::TIMEOUT_NOT_FLOAT));
    }
}
