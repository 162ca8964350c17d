//! Randomness as a parameter.

use std::io;

/// A source of random bytes.
pub trait Entropy: Send + 'static {
    fn fill(&mut self, out: &mut [u8]);

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform in `0..bound` (multiply-shift; the bias is below 2^-32 for bounds that occur here).
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// SplitMix64: a whole run follows from one seed.
#[derive(Clone, Debug)]
pub struct SeededEntropy {
    state: u64,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A seeded generator whose seed comes from the operating system.
#[derive(Debug)]
pub struct SystemEntropy {
    generator: SeededEntropy,
}

/// Random bytes that nobody can guess: straight from the operating system.
///
/// # Errors
/// When it has none to give.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for randomness")]
pub fn secret_bytes(out: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, out)
}

impl SystemEntropy {
    /// # Errors
    /// When the operating system has no random bytes to give.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 8];
        secret_bytes(&mut seed)?;
        Ok(Self { generator: SeededEntropy::new(u64::from_le_bytes(seed)) })
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        self.generator.fill(out);
    }
}
