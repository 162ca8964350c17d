//! Doubles as text, in the form that Redis 7.2 sends: the shortest digits that read back as the same number.
//!
//! Integers up to 2^62 are written plainly; other numbers plainly while the exponent is small, in scientific notation
//! otherwise (`1e-7`, `1.5e+300`).

/// Longest text: sign, 17 digits, point, `e-308`; plain forms have at most 17 digits and 7 zeros more.
const TEXT_BYTES_MAX: usize = 40;

/// Room for the text of one double.
#[derive(Debug, Clone)]
pub struct DoubleBuffer {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl DoubleBuffer {
    pub fn new() -> Self {
        Self { bytes: [0; TEXT_BYTES_MAX], len: 0 }
    }

    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.len..self.len + count].fill(b'0');
        self.len += count;
    }
}

impl Default for DoubleBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The text of `value`, written into `buffer`.
pub fn format_double(value: f64, buffer: &mut DoubleBuffer) -> &[u8] {
    buffer.len = 0;
    if value.is_nan() {
        buffer.push(b"nan");
    } else if value.is_infinite() {
        buffer.push(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        buffer.push(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= (i64::MAX / 2) as f64 && value.fract() == 0.0 {
        buffer.push(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        push_shortest(value, buffer);
    }
    &buffer.bytes[..buffer.len]
}

fn push_shortest(value: f64, out: &mut DoubleBuffer) {
    if value < 0.0 {
        out.push(b"-");
    }
    let mut text = ryu::Buffer::new();
    let (digits, count, exponent) = decimal_parts(text.format_finite(value.abs()).as_bytes());
    let digits = &digits[..count];
    let length = count as i32;
    // The exponent of scientific notation, one digit before the point.
    let scientific = exponent + length - 1;
    if exponent >= 0 && scientific < length + 7 {
        out.push(digits);
        out.push_zeros(exponent as usize);
    } else if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let whole = length + exponent;
        if whole <= 0 {
            out.push(b"0.");
            out.push_zeros(whole.unsigned_abs() as usize);
            out.push(digits);
        } else {
            out.push(&digits[..whole as usize]);
            out.push(b".");
            out.push(&digits[whole as usize..]);
        }
    } else {
        out.push(&digits[..1]);
        if count > 1 {
            out.push(b".");
            out.push(&digits[1..]);
        }
        out.push(if scientific < 0 { b"e-" } else { b"e+" });
        out.push(itoa::Buffer::new().format(scientific.unsigned_abs()).as_bytes());
    }
}

/// Significant digits (no zeros at either end), their count, and the power of ten of the last one.
fn decimal_parts(text: &[u8]) -> ([u8; 20], usize, i32) {
    let (mut digits, mut count, mut exponent) = ([0; 20], 0, 0);
    let mut behind_point = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => behind_point = true,
            b'e' => {
                exponent += std::str::from_utf8(&text[at + 1..]).ok().and_then(|e| e.parse::<i32>().ok()).unwrap_or(0);
                break;
            }
            digit => {
                exponent -= i32::from(behind_point);
                if count > 0 || digit != b'0' {
                    digits[count] = digit;
                    count += 1;
                }
            }
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
        exponent += 1;
    }
    (digits, count, exponent)
}

#[cfg(test)]
mod tests {
    use super::{DoubleBuffer, format_double};
    use quickcheck::quickcheck;

    fn text(value: f64) -> String {
        let mut buffer = DoubleBuffer::new();
        String::from_utf8(format_double(value, &mut buffer).to_vec()).unwrap()
    }

    #[test]
    fn forms_of_redis_7_2() {
        for (value, expected) in [
            (3.1, "3.1"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (0.001_234_567_89, "0.00123456789"),
            (0.000_012_345_678_9, "1.23456789e-5"),
            (123_456.789, "123456.789"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    quickcheck! {
        fn reads_back(bits: u64) -> bool {
            let value = f64::from_bits(bits);
            value.is_nan() || text(value).parse::<f64>().map(f64::to_bits) == Ok(bits)
        }
    }
}
