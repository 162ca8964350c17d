//! The seed of a table's hash function.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Key of SipHash-1-3: 128 bits that whoever chooses the entries must not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed(pub u64, pub u64);

impl HashSeed {
    pub fn hash(self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(key);
        hasher.finish()
    }
}
