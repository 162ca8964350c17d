//! LZF compression of strings, with a table of positions that is kept from one string to the next.
//!
//! The `lzf` crate decompresses; its compressor sets half a megabyte of table aside for every call, which for the
//! strings of a data set costs many times what compressing them does.
//!
//! Layout: a control byte below 32 is followed by that many and one literal bytes. Any other is a copy of bytes already
//! unpacked: its upper three bits are the length less 2, 7 meaning that the next byte is added; its lower five bits and
//! the byte behind are how far back the copy begins, less 1.

/// Positions that the table tells apart.
const TABLE_BITS: u32 = 14;
const LITERALS_MAX: usize = 32;
const COPY_MIN: usize = 3;
const COPY_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
/// Bytes that a result must save, as in the stock server.
const SAVED_MIN: usize = 4;
/// After so many bytes without a copy the search takes larger steps.
const PATIENCE_BITS: u32 = 6;

/// A compressor; what it packed is valid until the next call.
pub(super) struct Lzf {
    /// Last positions by hash, counted from `base` for the string under work: what lies below is of strings before.
    table: Vec<u32>,
    base: u32,
    out: Vec<u8>,
}

impl Lzf {
    pub(super) fn new() -> Self {
        Self { table: vec![0; 1 << TABLE_BITS], base: 1, out: Vec::new() }
    }

    /// The bytes packed, if that saves at least four of them.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        let packed_max = bytes.len().checked_sub(SAVED_MIN)?;
        let len = u32::try_from(bytes.len()).ok()?;
        if self.base.checked_add(len).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
        self.out.clear();
        let (mut at, mut literals_from) = (0, 0);
        while at + COPY_MIN <= bytes.len() {
            match self.earlier(bytes, at) {
                Some(from) => {
                    self.literals(&bytes[literals_from..at]);
                    let most = COPY_MAX.min(bytes.len() - at);
                    let copied = bytes[from..].iter().zip(&bytes[at..at + most]).take_while(|(a, b)| a == b).count();
                    self.copy(at - from, copied);
                    at += copied;
                    literals_from = at;
                }
                None => at += 1 + ((at - literals_from) >> PATIENCE_BITS),
            }
            if self.out.len() >= packed_max {
                break;
            }
        }
        self.base += len;
        if self.out.len() + (bytes.len() - literals_from) >= packed_max {
            return None;
        }
        self.literals(&bytes[literals_from..]);
        (self.out.len() <= packed_max).then_some(&self.out[..])
    }

    /// Where the three bytes at `at` stood last, near enough for a copy; notes that they stand here.
    fn earlier(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let three = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]);
        let slot = (three.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS)) as usize;
        let noted = std::mem::replace(&mut self.table[slot], self.base + at as u32);
        let from = noted.checked_sub(self.base)? as usize;
        (at - from <= DISTANCE_MAX && bytes[from..from + COPY_MIN] == bytes[at..at + COPY_MIN]).then_some(from)
    }

    fn literals(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(LITERALS_MAX) {
            self.out.push(run.len() as u8 - 1);
            self.out.extend_from_slice(run);
        }
    }

    fn copy(&mut self, distance: usize, len: usize) {
        let (back, len) = (distance - 1, len - 2);
        let high = (back >> 8) as u8;
        if len < 7 {
            self.out.push((len as u8) << 5 | high);
        } else {
            self.out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
        }
        self.out.push(back as u8);
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        /// Bytes of few kinds, so that there is something to copy.
        fn what_was_packed_unpacks(strings: Vec<Vec<u8>>, kinds: u8, repeat: u8) -> bool {
            let mut lzf = Lzf::new();
            strings.iter().all(|string| {
                let few: Vec<u8> = string.iter().map(|byte| byte % (kinds % 32 + 1)).collect();
                let bytes = few.repeat(usize::from(repeat) + 1);
                match lzf.pack(&bytes) {
                    Some(packed) => {
                        packed.len() + SAVED_MIN <= bytes.len() && lzf::decompress(packed, bytes.len()).as_ref() == Ok(&bytes)
                    }
                    None => true,
                }
            })
        }
    }

    #[test]
    fn repetition_packs_and_chance_does_not() {
        let mut lzf = Lzf::new();
        let long = b"abcdefghij".repeat(10_000);
        assert!(lzf.pack(&long).expect("packs").len() < 1300);
        let mut state = 1_u64;
        let chance: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(10_000)
        .collect();
        assert_eq!(lzf.pack(&chance), None);
        for short in [&b""[..], b"a", b"aaaa", b"aaaaaa"] {
            assert_eq!(lzf.pack(short), None, "{short:?}");
        }
        // A table whose positions are used up starts anew.
        lzf.base = u32::MAX - 50;
        let packed = lzf.pack(&long).expect("packs").to_vec();
        assert_eq!(lzf::decompress(&packed, long.len()).as_ref(), Ok(&long));
    }
}
