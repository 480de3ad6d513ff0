//! Yardsticks for a decision of a cache with a million keys. Such a decision needs at least one
//! digest, and waits for memory. Each yardstick measures one of these two costs alone, on the same
//! machine in the same round.

use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// The number of lines in the table of [`DramLoads`]. The table takes 160 MB, about as much memory
/// as a million keys.
const LINES: u32 = 2_500_000;

/// Computes the SHA-256 of a text with the length of a key, with the function `digest` of the
/// `sha2` crate.
///
/// The library has its own, faster code for such a digest, which needs only one block. The
/// yardstick does not use that code. Otherwise a change that makes the code slower would also slow
/// down the yardstick, and the ratio of the two times would not show the change.
pub(crate) fn sha256_block() -> [u8; 32] {
    Sha256::digest(black_box(b"iapikeyok-00000000-Zq3LrT8w-mK2vB6xY-000000")).into()
}

/// A table whose lines form one random cycle. Each line contains the index of the next line.
pub(crate) struct DramLoads {
    lines: Vec<Line>,
    at: u32,
}

/// One cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Line {
    next: u32,
}

impl DramLoads {
    pub(crate) fn new() -> Self {
        // Sattolo's algorithm makes one cycle of all lines.
        let mut lines: Vec<_> = (0..LINES).map(|next| Line { next }).collect();
        let mut state = 1_u64;
        for last in (1..lines.len()).rev() {
            // One step of Knuth's MMIX random number generator. The high bits of its state are the
            // most random.
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let other = ((state >> 32) * last as u64) >> 32;
            lines.swap(last, other as usize);
        }
        Self { lines, at: 0 }
    }

    /// Loads three lines from memory. Each load needs the result of the load before, and the first
    /// load needs the last result of the previous call. Therefore no two loads overlap. No line is
    /// near the line that was loaded before it.
    pub(crate) fn three(&mut self) -> u32 {
        for _ in 0..3 {
            self.at = self.lines[self.at as usize].next;
        }
        self.at
    }
}
