//! Registers of six bits, packed from the lowest bits of each byte up.

use super::{HEADER_BYTES, REGISTERS};

/// Bits of a register.
const WIDTH: usize = 6;
const MASK: u16 = (1 << WIDTH) - 1;
/// Length with the header.
pub const BYTES: usize = HEADER_BYTES + REGISTERS * WIDTH / 8;

/// Where a register lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte, counted from the header's start.
    pub byte: usize,
    /// How many bytes it lies in: one or two.
    pub len: usize,
    shift: usize,
}

pub fn place(index: usize) -> Place {
    let (byte, shift) = (index * WIDTH / 8, index * WIDTH % 8);
    Place { byte: HEADER_BYTES + byte, len: 1 + usize::from(shift + WIDTH > 8), shift }
}

impl Place {
    /// The register in its bytes; what lies behind a single one does not matter.
    pub fn get(self, bytes: [u8; 2]) -> u8 {
        (u16::from_le_bytes(bytes) >> self.shift & MASK) as u8
    }

    /// Its bytes with another rank.
    pub fn put(self, bytes: [u8; 2], rank: u8) -> [u8; 2] {
        let kept = u16::from_le_bytes(bytes) & !(MASK << self.shift);
        (kept | u16::from(rank) << self.shift).to_le_bytes()
    }
}

/// All registers of a dense HyperLogLog.
pub fn registers(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let (groups, _) = bytes[HEADER_BYTES..].as_chunks::<3>();
    groups.iter().flat_map(|group| {
        let four = u32::from_le_bytes([group[0], group[1], group[2], 0]);
        [0, 6, 12, 18].map(|shift| (four >> shift) as u8 & MASK as u8)
    })
}

/// Raises a register; false when it is as high already.
pub fn raise(bytes: &mut [u8], index: usize, rank: u8) -> bool {
    let place = place(index);
    let mut two = [0; 2];
    two[..place.len].copy_from_slice(&bytes[place.byte..place.byte + place.len]);
    let raised = place.get(two) < rank;
    if raised {
        bytes[place.byte..place.byte + place.len].copy_from_slice(&place.put(two, rank)[..place.len]);
    }
    raised
}
