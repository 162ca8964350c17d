//! Bits in bytes: counted, found and cut out. Bit 0 is the highest of the first byte.

/// How many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The position of the first bit with this value.
pub fn first(bytes: &[u8], bit: bool) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let flip = if bit { 0 } else { u64::MAX };
    let in_words = words.iter().map(|word| u64::from_be_bytes(*word) ^ flip).enumerate().find(|(_, word)| *word != 0);
    if let Some((index, word)) = in_words {
        return Some(index as u64 * 64 + u64::from(word.leading_zeros()));
    }
    let flip = flip as u8;
    let in_rest = rest.iter().map(|byte| byte ^ flip).enumerate().find(|(_, byte)| *byte != 0);
    in_rest.map(|(index, byte)| (words.len() * 64 + index * 8) as u64 + u64::from(byte.leading_zeros()))
}

/// Bytes that hold every field of up to 64 bits, wherever in its first byte it begins.
pub const WINDOW: usize = 9;

/// The number of `width` (1 to 64) bits that begins at bit `at` (below 8) of the window.
pub fn field(window: [u8; WINDOW], at: u32, width: u32) -> u64 {
    (widened(window) >> (8 * WINDOW as u32 - at - width)) as u64 & mask(width)
}

/// Puts a number where [`field`] finds it; only its lowest `width` bits count.
pub fn set_field(window: &mut [u8; WINDOW], at: u32, width: u32, value: u64) {
    let shift = 8 * WINDOW as u32 - at - width;
    let kept = widened(*window) & !(u128::from(mask(width)) << shift);
    let bytes = (kept | u128::from(value & mask(width)) << shift).to_be_bytes();
    window.copy_from_slice(&bytes[16 - WINDOW..]);
}

fn widened(window: [u8; WINDOW]) -> u128 {
    window.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn bit(bytes: &[u8], at: usize) -> bool {
        bytes[at / 8] & (0x80 >> (at % 8)) != 0
    }

    quickcheck! {
        fn counts_and_finds_like_a_loop_over_bits(bytes: Vec<u8>, filled: u8, behind: Vec<u8>) -> bool {
            let runs = [vec![0; usize::from(filled)], vec![0xff; usize::from(filled)]];
            runs.into_iter().chain([bytes]).all(|mut bytes| {
                bytes.extend(&behind);
                let bits: Vec<bool> = (0..bytes.len() * 8).map(|at| bit(&bytes, at)).collect();
                let position = |value: bool| bits.iter().position(|bit| *bit == value).map(|at| at as u64);
                count_ones(&bytes) == bits.iter().filter(|bit| **bit).count() as u64
                    && [true, false].into_iter().all(|value| first(&bytes, value) == position(value))
            })
        }

        fn a_field_is_what_was_put_there_and_the_rest_stays(start: Vec<u8>, at: u32, width: u32, value: u64) -> bool {
            let (at, width) = (at % 8, 1 + width % 64);
            let mut before = [0; WINDOW];
            before.iter_mut().zip(&start).for_each(|(to, from)| *to = *from);
            let mut after = before;
            set_field(&mut after, at, width, value);
            let inside = |bit: usize| (at as usize..(at + width) as usize).contains(&bit);
            let read = (at..at + width).fold(0, |number, place| number << 1 | u64::from(bit(&after, place as usize)));
            read == value & mask(width)
                && field(after, at, width) == read
                && (0..8 * WINDOW).filter(|place| !inside(*place)).all(|place| bit(&before, place) == bit(&after, place))
        }
    }
}
