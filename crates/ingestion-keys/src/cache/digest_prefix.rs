//! The prefix of a digest, by which the cache finds a key.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use subtle::ConstantTimeEq;

use crate::key::KeyDigest;

/// The first 128 bits of the SHA-256 of a key. Two prefixes are compared in constant time.
///
/// 128 bits are enough. To be allowed without a stored key, an attacker has to find a second
/// preimage of a stored prefix, which takes about 2^128 attempts. Two stored keys have the same
/// prefix by chance only among about 2^64 keys. Nobody can search for such a pair, because only the
/// service generates keys.
///
/// With the other 128 bits, each entry of the cache would need 16 more bytes: 16 MB for a million
/// keys.
#[derive(Clone, Copy)]
pub(super) struct DigestPrefix([u64; 2]);

/// A map whose keys are the prefixes of digests.
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

/// A hasher that returns the written word unchanged, because the first word of a digest is already
/// random.
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

    // Scenario: two digests differ in one bit. Each of the 256 positions is tried.
    // Guarantee: the prefixes differ if the bit is one of the first 128 bits. Otherwise the
    // prefixes are equal.
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
