//! Numbers as C's `printf` writes them with `%g`, and the generator behind `math.random`.

/// `%.17g`.
pub fn format_g17(value: f64) -> String {
    format_g(value, 17)
}

/// `%.<precision>g`.
pub fn format_g(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The 48-bit linear congruential generator of POSIX `drand48`.
pub struct Random48(u64);

impl Random48 {
    pub fn seeded(seed: i32) -> Self {
        Self((u64::from(seed as u32) << 16) + 0x330e)
    }

    /// Uniform in `0..1`, 31 bits.
    pub fn next(&mut self) -> f64 {
        self.0 = (self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb)) & ((1 << 48) - 1);
        (self.0 >> 17) as f64 / 2_147_483_648.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_printf_prints_them() {
        for (value, text) in [
            (3.0, "3"),
            (0.1, "0.10000000000000001"),
            (1e20, "1e+20"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (12345678901234568.0, "12345678901234568"),
            (1e-5, "1.0000000000000001e-05"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(format_g17(value), text);
        }
        assert_eq!(format_g(0.1, 14), "0.1");
        assert_eq!(format_g(1e14, 14), "1e+14");
    }
}
