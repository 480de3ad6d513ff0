//! What keys are found by in memory.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use subtle::ConstantTimeEq;

use crate::key::KeyDigest;

/// The first 128 bits of the SHA-256 of a key. They are compared in constant time.
///
/// They are enough. To be allowed with another key, somebody would have to find a second preimage
/// of a stored prefix, which takes about 2^128 attempts. Two stored keys would have the same prefix
/// by chance among about 2^64 of them, and nobody can search for such a pair, because keys are only
/// generated here.
///
/// With all 256 bits, the data that a decision reads would not fit into 64 bytes.
#[derive(Clone, Copy)]
pub(super) struct DigestPrefix([u64; 2]);

/// A map by the prefixes of digests.
pub(super) type Map<V> = papaya::HashMap<DigestPrefix, V, BuildHasherDefault<FirstWord>>;

impl From<&KeyDigest> for DigestPrefix {
    #[inline]
    fn from(digest: &KeyDigest) -> Self {
        let [a, b, ..] = digest.as_bytes().as_chunks::<8>().0 else {
            unreachable!("a digest has four words of eight bytes")
        };
        Self([u64::from_le_bytes(*a), u64::from_le_bytes(*b)])
    }
}

impl PartialEq for DigestPrefix {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        ((self.0[0] ^ other.0[0]) | (self.0[1] ^ other.0[1])).ct_eq(&0).into()
    }
}

impl Eq for DigestPrefix {}

impl Hash for DigestPrefix {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl fmt::Debug for DigestPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DigestPrefix").finish_non_exhaustive()
    }
}

/// A hasher that returns the word that is written to it: the first word of a digest is random
/// already.
#[derive(Default)]
pub(super) struct FirstWord(u64);

impl Hasher for FirstWord {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a prefix is hashed as one number");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: two digests differ in one bit, at each position.
    // Guarantee: their prefixes differ if the bit is among the first 128, and only then.
    #[test]
    fn every_bit_of_the_prefix_counts() {
        let prefix = |bytes: [u8; 32]| DigestPrefix::from(&KeyDigest::from_bytes(bytes));
        for bit in 0..256 {
            let mut other = [7; 32];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(prefix(other) == prefix([7; 32]), bit >= 128, "{bit}");
        }
    }
}
