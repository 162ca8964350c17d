//! The one textual form of an integer: what may be stored as a number because it reads back as the same bytes.

/// The longest canonical text of an `i64`: a sign and 19 digits.
const LONGEST: usize = 20;

/// Parses the canonical decimal form of an `i64`: no plus sign, no leading zeros, no `-0`, no spaces.
///
/// `Some(n)` exactly when formatting `n` gives `text` back.
pub fn parse_canonical_i64(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::parse_canonical_i64;

    #[test]
    fn only_the_canonical_form_is_a_number() {
        for n in [0, 1, -1, 9, 10, -10, 4095, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            assert_eq!(parse_canonical_i64(n.to_string().as_bytes()), Some(n));
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "000000000000000000001",
        ] {
            assert_eq!(parse_canonical_i64(text.as_bytes()), None, "{text:?}");
        }
    }
}
