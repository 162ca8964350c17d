//! Floating-point numbers of 80 bits, as INCRBYFLOAT and HINCRBYFLOAT compute with them: 0.1 + 0.2 is 0.3.
//!
//! Invariant: every operation computes exactly and rounds once, to the nearest 64-bit mantissa and ties to even, so
//! results are those of `strtold`, of the processor and of `printf("%.17Lf")` to the last digit.

use dashu_int::UBig;
use dashu_int::ops::{BitTest, DivRem};

/// Longer texts are no numbers to a stock server.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
const MANTISSA_BITS: usize = 64;
/// Exponent of the lowest bit of the smallest number.
const EXPONENT_MIN: i64 = -16_445;
/// Numbers from 2 to this power on are infinite.
const EXPONENT_END: i64 = 16_384;
/// Beyond this many decimal places in front of or behind the point a number is infinite or 0.
const DECIMAL_EXPONENT_MAX: i64 = 5_000;
/// Digits behind the point when formatted.
const FRACTION_DIGITS: usize = 17;

/// A finite number: mantissa times two to the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finite {
    negative: bool,
    mantissa: u64,
    exponent: i64,
}

/// A number as a command was given it: any but NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended(Option<Finite>);

impl Extended {
    pub const ZERO: Self = Self(Some(Finite { negative: false, mantissa: 0, exponent: 0 }));

    /// A number as `strtold` reads it, all of the text used; NaN, overflow and underflow to 0 are refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (negative, body) = match text.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if body.eq_ignore_ascii_case("inf") || body.eq_ignore_ascii_case("infinity") {
            return Some(Self(None));
        }
        let (digits, numerator, denominator) = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
            Some(body) => hexadecimal(body)?,
            None => decimal(body)?,
        };
        if digits.is_zero() {
            return Some(Self::ZERO);
        }
        let finite = round(negative, digits * numerator, denominator)?;
        (finite.mantissa != 0).then_some(Self(Some(finite)))
    }

    pub fn is_infinite(self) -> bool {
        self.0.is_none()
    }

    /// The sum; `None` when it is infinite or no number.
    pub fn add(self, other: Self) -> Option<Self> {
        let (a, b) = (self.0?, other.0?);
        let exponent = a.exponent.min(b.exponent);
        let aligned = |x: Finite| UBig::from(x.mantissa) << (x.exponent - exponent) as usize;
        let (x, y) = (aligned(a), aligned(b));
        let (negative, sum) = if a.negative == b.negative {
            (a.negative, x + y)
        } else if x >= y {
            (a.negative, x - y)
        } else {
            (b.negative, y - x)
        };
        let (numerator, denominator) = scale(exponent);
        round(negative, sum * numerator, denominator).map(|finite| Self(Some(finite)))
    }

    /// In decimal, at most 17 digits behind the point, none of them a trailing zero.
    pub fn format(self) -> String {
        let Some(Finite { negative, mantissa, exponent }) = self.0 else { return "inf".to_owned() };
        let (numerator, denominator) = scale(exponent);
        let tens = UBig::from(10u8).pow(FRACTION_DIGITS);
        let (scaled, up) = divide(UBig::from(mantissa) * numerator * tens, &denominator);
        let scaled = if up { scaled + UBig::ONE } else { scaled };
        let padded = format!("{:0>width$}", scaled.to_string(), width = FRACTION_DIGITS + 1);
        let (whole, fraction) = padded.split_at(padded.len() - FRACTION_DIGITS);
        let fraction = fraction.trim_end_matches('0');
        let sign = if negative && (whole != "0" || !fraction.is_empty()) { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }
}

impl From<i64> for Extended {
    fn from(number: i64) -> Self {
        Self(Some(Finite { negative: number < 0, mantissa: number.unsigned_abs(), exponent: 0 }))
    }
}

/// Digits, and the fraction that they are to be multiplied by.
type Scaled = (UBig, UBig, UBig);

fn decimal(body: &str) -> Option<Scaled> {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], exponent(&body[at + 1..])?),
        None => (body, 0),
    };
    let (digits, places) = digits(mantissa, |digit| digit.is_ascii_digit())?;
    let exponent = exponent.saturating_sub(places as i64);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some((UBig::ZERO, UBig::ONE, UBig::ONE));
    }
    if (digits.len() as i64).saturating_add(exponent).abs() > DECIMAL_EXPONENT_MAX {
        return None;
    }
    let number = UBig::from_str_radix(digits, 10).ok()?;
    let power = UBig::from(10u8).pow(exponent.unsigned_abs() as usize);
    Some(if exponent >= 0 { (number, power, UBig::ONE) } else { (number, UBig::ONE, power) })
}

fn hexadecimal(body: &str) -> Option<Scaled> {
    let (mantissa, exponent) = match body.find(['p', 'P']) {
        Some(at) => (&body[..at], exponent(&body[at + 1..])?),
        None => (body, 0),
    };
    let (digits, places) = digits(mantissa, |digit| digit.is_ascii_hexdigit())?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some((UBig::ZERO, UBig::ONE, UBig::ONE));
    }
    let exponent = exponent.saturating_sub(4 * places as i64);
    if (4 * digits.len() as i64).saturating_add(exponent).abs() > 4 * DECIMAL_EXPONENT_MAX {
        return None;
    }
    let (numerator, denominator) = scale(exponent);
    Some((UBig::from_str_radix(digits, 16).ok()?, numerator, denominator))
}

/// The digits of a mantissa without its point, and how many of them stand behind it.
fn digits(mantissa: &str, is_digit: impl Fn(char) -> bool) -> Option<(String, usize)> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    (!digits.is_empty() && digits.chars().all(is_digit)).then_some((digits, fraction.len()))
}

/// A signed exponent; one of many digits is as good as any other that is out of range.
fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse::<u32>().map_or(i64::from(u32::MAX), i64::from);
    Some(if negative { -magnitude } else { magnitude })
}

/// Two to this power as a fraction.
fn scale(exponent: i64) -> (UBig, UBig) {
    let power = UBig::ONE << exponent.unsigned_abs() as usize;
    if exponent >= 0 { (power, UBig::ONE) } else { (UBig::ONE, power) }
}

/// The nearest number to a fraction; `None` when that is infinite.
fn round(negative: bool, numerator: UBig, denominator: UBig) -> Option<Finite> {
    if numerator.is_zero() {
        return Some(Finite { negative, mantissa: 0, exponent: 0 });
    }
    // The quotient has this many bits or one fewer, and the mantissa is to be full.
    let bits = numerator.bit_len() as i64 - denominator.bit_len() as i64 + 1;
    let mut exponent = (bits - MANTISSA_BITS as i64).max(EXPONENT_MIN);
    let (mut quotient, mut up) = divide_scaled(&numerator, &denominator, exponent);
    if quotient.bit_len() < MANTISSA_BITS && exponent > EXPONENT_MIN {
        exponent -= 1;
        (quotient, up) = divide_scaled(&numerator, &denominator, exponent);
    }
    if up {
        quotient += UBig::ONE;
    }
    if quotient.bit_len() > MANTISSA_BITS {
        quotient >>= 1;
        exponent += 1;
    }
    if exponent + quotient.bit_len() as i64 > EXPONENT_END {
        return None;
    }
    let mantissa = u64::try_from(quotient).ok()?;
    Some(Finite { negative, mantissa, exponent })
}

fn divide_scaled(numerator: &UBig, denominator: &UBig, exponent: i64) -> (UBig, bool) {
    let by = exponent.unsigned_abs() as usize;
    if exponent >= 0 { divide(numerator.clone(), &(denominator << by)) } else { divide(numerator << by, denominator) }
}

/// The quotient, and whether what remains rounds it up: to the nearest, ties to even.
fn divide(numerator: UBig, denominator: &UBig) -> (UBig, bool) {
    let (quotient, remainder) = numerator.div_rem(denominator);
    let doubled = remainder << 1;
    let up = doubled > *denominator || (doubled == *denominator && quotient.bit(0));
    (quotient, up)
}

#[cfg(test)]
mod tests {
    use super::Extended;

    #[test]
    fn sums_are_those_of_the_stock_server() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("3", "1.1", "4.1"),
            ("5.0e3", "2.0e2", "5200"),
            ("10.5", "0.1", "10.6"),
            ("1", "-1", "0"),
            ("-0.5", "0.5", "0"),
            ("3.0e3", "-1.75", "2998.25"),
            ("1e-18", "0", "0"),
            ("-1e-18", "0", "0"),
            ("1e20", "1", "100000000000000000000"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("1.23456789012345678901", "0", "1.23456789012345679"),
            ("0x10", "0x1.8p1", "19"),
            ("+1.", ".5", "1.5"),
            ("0.333333333333333333333", "0", "0.33333333333333333"),
        ] {
            let parsed = (Extended::parse(a.as_bytes()), Extended::parse(b.as_bytes()));
            let (Some(x), Some(y)) = parsed else { panic!("{a} {b}: {parsed:?}") };
            assert_eq!(x.add(y).map(Extended::format).as_deref(), Some(sum), "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in
            ["", " 1", "1 ", "nan", "1e", "e5", ".", "-", "1e5000", "1e-5000", "0x", "1_0", "1e99999999999", "é"]
        {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Extended::parse(&[b'1'; 5120]), None);
    }

    #[test]
    fn infinity_is_read_and_never_a_sum() {
        let infinite = Extended::parse(b"-Infinity").expect("a number");
        assert_eq!(infinite.add(Extended::ZERO), None);
        let largest = Extended::parse(b"1.18e4932").expect("below the largest number");
        assert_eq!(largest.add(largest), None);
        assert_eq!(Extended::parse(b"3.6e-4951").map(Extended::format).as_deref(), Some("0"));
    }

    #[test]
    fn integers_are_exact() {
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(Extended::from(number).format(), number.to_string());
            assert_eq!(Extended::parse(number.to_string().as_bytes()).map(Extended::format), Some(number.to_string()));
        }
    }
}
