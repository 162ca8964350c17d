//! C's `strtod`: the longest beginning of a text that is a number.

/// The number and how many bytes it takes; `None` when the text does not begin with one. Decimal and hexadecimal
/// numbers, infinities and NaNs, with a sign; no white space in front.
pub fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let (sign, signed) = match text.first()? {
        b'-' => (-1.0, 1),
        b'+' => (1.0, 1),
        _ => (1.0, 0),
    };
    let rest = &text[signed..];
    let word = |word: &[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    let (magnitude, len) = if word(b"infinity") {
        (f64::INFINITY, 8)
    } else if word(b"inf") {
        (f64::INFINITY, 3)
    } else if word(b"nan") {
        (f64::NAN, 3 + payload(&rest[3..]))
    } else if let Some(found) = hexadecimal(rest) {
        found
    } else {
        decimal(rest)?
    };
    Some((sign * magnitude, signed + len))
}

/// `(letters)` behind `nan`.
fn payload(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let inner = text[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if text.get(inner + 1) == Some(&b')') { inner + 2 } else { 0 }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Bytes of an exponent behind its letter (`e` or `p`); 0 when it has no digits.
fn exponent(text: &[u8], letter: u8) -> usize {
    if text.first().is_none_or(|byte| byte.to_ascii_lowercase() != letter) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    match digits(&text[1 + sign..]) {
        0 => 0,
        digits => 1 + sign + digits,
    }
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = digits(text);
    let mut end = whole;
    if text.get(whole) == Some(&b'.') {
        let fraction = digits(&text[whole + 1..]);
        if whole + fraction == 0 {
            return None;
        }
        end = whole + 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    end += exponent(&text[end..], b'e');
    let number = std::str::from_utf8(&text[..end]).ok()?;
    number.parse().ok().map(|number| (number, end))
}

fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let body = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"))?;
    let hex = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let whole = hex(body);
    let fraction = if body.get(whole) == Some(&b'.') { hex(&body[whole + 1..]) } else { 0 };
    if whole + fraction == 0 {
        return None;
    }
    let mut end = whole + if body.get(whole) == Some(&b'.') { 1 + fraction } else { 0 };
    let (mut mantissa, mut scale) = (0.0f64, 0i32);
    for (at, byte) in body[..end].iter().filter(|byte| **byte != b'.').enumerate() {
        mantissa = mantissa * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0));
        scale -= if at >= whole { 4 } else { 0 };
    }
    let letters = exponent(&body[end..], b'p');
    if letters > 0 {
        let power: i32 = std::str::from_utf8(&body[end + 1..end + letters]).ok()?.parse().unwrap_or(i32::MAX / 2);
        scale = scale.saturating_add(power);
        end += letters;
    }
    Some((mantissa * f64::from(scale.clamp(-2000, 2000)).exp2(), 2 + end))
}

#[cfg(test)]
mod tests {
    use super::strtod;

    #[test]
    fn the_longest_number_is_taken() {
        for (text, number, len) in [
            ("12,", 12.0, 2),
            ("-1.5e3]", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.", 1.0, 2),
            (".5x", 0.5, 2),
            ("0x1F}", 31.0, 4),
            ("0x.8p1", 1.0, 6),
            ("0x", 0.0, 1),
            ("Infinity1", f64::INFINITY, 8),
            ("-inf", f64::NEG_INFINITY, 4),
            ("1e400", f64::INFINITY, 5),
        ] {
            assert_eq!(strtod(text.as_bytes()), Some((number, len)), "{text}");
        }
        assert!(strtod(b"nan(12)").is_some_and(|(number, len)| number.is_nan() && len == 7));
        for text in ["", "-", "+x", ".", "e5", "x"] {
            assert_eq!(strtod(text.as_bytes()), None, "{text}");
        }
    }
}
