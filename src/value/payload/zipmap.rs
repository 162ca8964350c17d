//! The retired packed hash of the oldest files.
//!
//! Layout: count (one byte; 254 and 255 = not known), then for each field its length, the field, the value's length, one
//! byte of spare room, the value, the spare bytes; then `0xFF`. A length is one byte, or `0xFE` and four little-endian.

use super::error::Problem;

const END: u8 = 0xff;
const COUNT_UNKNOWN: usize = 254;

/// Hands out field after field with its value.
pub(super) fn read(bytes: &[u8], mut found: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
    let damage = |at| Problem::Zipmap { at };
    let (&declared, [entries @ .., END]) = bytes.split_first().ok_or(damage(0))? else {
        return Err(damage(bytes.len() - 1));
    };
    let (mut at, mut count) = (0, 0);
    while at < entries.len() {
        let (field, value, size) = entry(&entries[at..]).ok_or(damage(1 + at))?;
        found(field, value)?;
        (at, count) = (at + size, count + 1);
    }
    if usize::from(declared) < COUNT_UNKNOWN && usize::from(declared) != count {
        return Err(damage(0));
    }
    Ok(())
}

fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (field_len, at) = length(bytes, 0)?;
    let value_at = at.checked_add(field_len)?;
    let field = bytes.get(at..value_at)?;
    let (value_len, at) = length(bytes, value_at)?;
    let spare = usize::from(*bytes.get(at)?);
    let end = (at + 1).checked_add(value_len)?;
    let value = bytes.get(at + 1..end)?;
    let size = end + spare;
    (size <= bytes.len()).then_some((field, value, size))
}

/// A length and where it ends.
fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        0xfe => Some((u32::from_le_bytes(bytes.get(at + 1..at + 5)?.try_into().ok()?) as usize, at + 5)),
        0xff => None,
        short => Some((usize::from(short), at + 1)),
    }
}
