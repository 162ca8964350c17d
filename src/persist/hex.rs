//! Numbers in our lines and fields: lower-case hexadecimal digits of fixed width.

/// Lower-case hexadecimal digits only; at most 16 of them.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u64::from(digit))
    })
}
