//! What keys are found by.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use subtle::ConstantTimeEq;

use crate::key::KeyDigest;

/// The first half of a digest: 128 bits, as many as are random in a key. Equal in constant time.
///
/// With the other half an entry would be of more cache lines than are looked at for a decision.
#[derive(Clone, Copy)]
pub(super) struct HalfDigest([u64; 2]);

/// A map by half digests.
pub(super) type Map<V> = papaya::HashMap<HalfDigest, V, BuildHasherDefault<Prefix>>;

impl From<&KeyDigest> for HalfDigest {
    #[inline]
    fn from(digest: &KeyDigest) -> Self {
        let [a, b, ..] = digest.as_bytes().as_chunks::<8>().0 else {
            unreachable!("a digest has four of them")
        };
        Self([u64::from_le_bytes(*a), u64::from_le_bytes(*b)])
    }
}

impl PartialEq for HalfDigest {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        ((self.0[0] ^ other.0[0]) | (self.0[1] ^ other.0[1])).ct_eq(&0).into()
    }
}

impl Eq for HalfDigest {}

impl Hash for HalfDigest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl fmt::Debug for HalfDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HalfDigest").finish_non_exhaustive()
    }
}

/// Takes the part of a digest that is written, which is random already.
#[derive(Default)]
pub(super) struct Prefix(u64);

impl Hasher for Prefix {
    #[inline]
    fn write_u64(&mut self, prefix: u64) {
        self.0 = prefix;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a digest is written as a number");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: digests that differ in one bit of their first half, and of their second.
    // Guarantee: the first are told apart, whichever bit it is.
    #[test]
    fn every_bit_of_the_half_counts() {
        let half = |bytes: [u8; 32]| HalfDigest::from(&KeyDigest::from_bytes(bytes));
        for bit in 0..256 {
            let mut other = [7; 32];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(half(other) == half([7; 32]), bit >= 128, "{bit}");
        }
    }
}
