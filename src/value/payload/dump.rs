//! A value as DUMP answers it and RESTORE takes it: form byte, object bytes, version (u16), CRC-64 of all before it
//! (u64); both numbers little-endian.

use crc_fast::{CrcAlgorithm, checksum};

use super::encode::{Encoder, VERSION};
use super::{DecodeError, decode, object};
use crate::value::{Limits, Value, ValueRef};

const FOOTER_LEN: usize = 10;
/// The newest version that is understood: that of stock 7.2.
const VERSION_MAX: u16 = 11;

/// Why a payload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("too short, of a newer version, or of another checksum")]
    Footer,
    #[error("{0}")]
    Value(#[from] DecodeError),
}

/// The payload of a value.
pub fn dump(value: ValueRef<'_>, compression: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(VERSION, compression);
    let mut payload = vec![encoder.form(value)];
    encoder.value(value, &mut payload).expect("memory takes what is written to it");
    seal(payload)
}

/// Adds version and checksum to a payload.
pub(super) fn seal(mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let sum = checksum(CrcAlgorithm::Crc64Redis, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

/// What a payload holds, if its version and checksum fit. `any_checksum` leaves the sum uncompared.
pub(super) fn unseal(payload: &[u8], any_checksum: bool) -> Option<&[u8]> {
    let (content, version, sum) = split(payload)?;
    let summed = &payload[..payload.len() - size_of::<u64>()];
    let fits = version <= VERSION_MAX && (any_checksum || checksum(CrcAlgorithm::Crc64Redis, summed) == sum);
    fits.then_some(content)
}

/// The value of a payload.
///
/// # Errors
/// When the footer does not fit, or the bytes are no value. `any_checksum` leaves the sum uncompared.
pub fn restore(payload: &[u8], limits: &Limits, any_checksum: bool) -> Result<Value, RestoreError> {
    let content = unseal(payload, any_checksum).ok_or(RestoreError::Footer)?;
    Ok(decode(content, limits)?)
}

/// Whether stock 7.0 restores a payload that [`restore`] has taken.
pub fn is_for_stock_7_0(payload: &[u8]) -> bool {
    split(payload).is_some_and(|(content, version, _)| {
        version <= VERSION && content.first().is_some_and(|form| *form < object::SET_LISTPACK)
    })
}

/// Whether a payload holds a packed value, which has to be gone through before it is believed.
pub fn is_packed(payload: &[u8]) -> bool {
    payload.first().is_some_and(|form| *form >= object::HASH_ZIPMAP)
}

fn split(payload: &[u8]) -> Option<(&[u8], u16, u64)> {
    let (content, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER_LEN)?)?;
    let (version, sum) = footer.split_at(size_of::<u16>());
    Some((content, u16::from_le_bytes(version.try_into().ok()?), u64::from_le_bytes(sum.try_into().ok()?)))
}
