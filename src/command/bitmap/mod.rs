//! Bitmaps: strings taken as rows of bits. Long ones are worked through in the pieces in which they lie.

mod bit;
mod combine;
mod field;
mod search;

use super::{Command, CommandError, Cx, Group, parse_i64};

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 4] = [bit::COMMANDS, search::COMMANDS, combine::COMMANDS, field::COMMANDS];

const DECLARATION: Command = Command { group: Group::Bitmap, ..Command::DEFAULT };

/// The position of a bit. In the form `#n`, where `width` allows it, `n` counts fields of that many bits.
fn bit_offset(cx: &Cx<'_>, arg: &[u8], width: Option<u32>) -> Result<u64, CommandError> {
    const ERROR: CommandError = CommandError::fixed("ERR bit offset is not an integer or out of range");
    let offset = match (arg.strip_prefix(b"#"), width) {
        // As in stock, the product wraps around before it is looked at.
        (Some(index), Some(width)) => parse_i64(index).map(|index| index.wrapping_mul(i64::from(width))),
        _ => parse_i64(arg),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).ok_or(ERROR)?;
    // What is in the log was within the limit when it was logged.
    if !cx.turn.replaying && offset / 8 >= cx.host.string_bytes_max() as u64 {
        return Err(ERROR);
    }
    Ok(offset)
}
