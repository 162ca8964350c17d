//! The retired packed list of old files, read into a listpack.
//!
//! Layout: total bytes (u32), offset of the last entry (u32), count (u16; 65535 = not known), entries, `0xFF`; all
//! little-endian. An entry is the length of the one before it (one byte, or `0xFE` and four), its encoding, its data.

use super::error::Problem;
use crate::ds::{Item, Listpack};

const HEADER: usize = 10;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The same elements as a listpack; every entry is checked.
pub(super) fn to_listpack(bytes: &[u8]) -> Result<Listpack, Problem> {
    let damage = |at| Problem::Ziplist { at };
    let Some((header, [entries @ .., END])) = bytes.split_at_checked(HEADER) else {
        return Err(damage(0));
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(0) as usize != bytes.len() {
        return Err(damage(0));
    }
    let mut listpack = Listpack::new();
    let (mut at, mut before, mut count) = (0, 0, 0);
    while at < entries.len() {
        let (declared_before, item, size) = entry(&entries[at..]).ok_or(damage(HEADER + at))?;
        if declared_before != before || !listpack.fits(size + 16) {
            return Err(damage(HEADER + at));
        }
        listpack.push_item(item);
        (before, at, count) = (size, at + size, count + 1);
    }
    let declared = u16::from_le_bytes([header[8], header[9]]);
    if declared != COUNT_UNKNOWN && usize::from(declared) != count {
        return Err(damage(8));
    }
    if word(4) as usize != HEADER + at - before {
        return Err(damage(4));
    }
    Ok(listpack)
}

/// The length of the entry before, the element, and the entry's own length.
fn entry(bytes: &[u8]) -> Option<(usize, Item<'_>, usize)> {
    let (before, head) = match *bytes.first()? {
        0xfe => (u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?) as usize, 5),
        0xff => return None,
        short => (usize::from(short), 1),
    };
    let rest = &bytes[head..];
    let code = *rest.first()?;
    let (item, size) = match code {
        0x00..=0x3f => text(rest, 1, usize::from(code))?,
        0x40..=0x7f => text(rest, 2, usize::from(code & 0x3f) << 8 | usize::from(*rest.get(1)?))?,
        0x80 => text(rest, 5, u32::from_be_bytes(rest.get(1..5)?.try_into().ok()?) as usize)?,
        0xc0 => number(rest, 2)?,
        0xd0 => number(rest, 4)?,
        0xe0 => number(rest, 8)?,
        0xf0 => number(rest, 3)?,
        0xfe => number(rest, 1)?,
        0xf1..=0xfd => (Item::Int(i64::from(code & 0x0f) - 1), 1),
        _ => return None,
    };
    Some((before, item, head + size))
}

fn text(rest: &[u8], head: usize, len: usize) -> Option<(Item<'_>, usize)> {
    let size = head.checked_add(len)?;
    Some((Item::Bytes(rest.get(head..size)?), size))
}

fn number(rest: &[u8], width: usize) -> Option<(Item<'_>, usize)> {
    let mut wide = [0; 8];
    wide[8 - width..].copy_from_slice(rest.get(1..=width)?);
    Some((Item::Int(i64::from_le_bytes(wide) >> (64 - 8 * width)), width + 1))
}
