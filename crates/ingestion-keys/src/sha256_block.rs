//! SHA-256 of a message that has the length of a key.

use ingestion_api::KEY_LEN;
use sha2::block_api::compress256;

// The padding of a message takes at least nine bytes: one byte that begins with a 1 bit, and eight
// bytes with the length of the message. A message of at most 55 bytes therefore fits into one block
// of 64 bytes.
const _: () = assert!(KEY_LEN <= 55, "a key with its padding has to fit into one SHA-256 block");

/// Computes the SHA-256 of a message of [`KEY_LEN`] bytes.
///
/// This function calls `compress256`. The crate `sha2` documents `compress256` as hazardous,
/// because its caller has to pad the message and to set the initial state. The direct call needs no
/// buffer and no loop over blocks.
#[inline]
pub(crate) fn sha256_of_key_len(message: &[u8; KEY_LEN]) -> [u8; 32] {
    /// The initial hash value (FIPS 180-4, section 5.3.3).
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    /// A block that contains only the padding (section 5.1.1); the message is copied to the start
    /// of the block. The padding is a 1 bit after the message, then zeros, and in the last eight
    /// bytes the length of the message in bits.
    const PADDING: [u8; 64] = {
        let mut block = [0; 64];
        block[KEY_LEN] = 0x80;
        let [high, low] = (8 * KEY_LEN as u16).to_be_bytes();
        (block[62], block[63]) = (high, low);
        block
    };
    let mut blocks = [PADDING];
    blocks[0][..KEY_LEN].copy_from_slice(message);
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    proptest! {
        // Scenario: messages of random bytes that have the length of a key are hashed.
        // Guarantee: the result equals the result of `Sha256::digest`.
        #[test]
        fn one_block_is_the_whole_sha_256(start: [u8; 32], rest: [u8; 11]) {
            let message: [u8; KEY_LEN] = [&start[..], &rest].concat().try_into().unwrap();
            let expected: [u8; 32] = Sha256::digest(message).into();
            prop_assert_eq!(sha256_of_key_len(&message), expected);
        }
    }
}
