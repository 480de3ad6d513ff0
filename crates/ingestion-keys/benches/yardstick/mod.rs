//! What a decision among a million keys cannot do without, measured on the same machine in the same
//! round: one digest, and waiting for memory.

use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// Lines of the table of [`DramLoads`]: 160 MB, about what a million keys take in memory.
const LINES: u32 = 2_500_000;

/// SHA-256 of a text of the length of a key, through the function that the `sha2` crate offers
/// everybody.
///
/// The library makes the one block of such a digest itself, which is quicker. The yardstick does
/// not share that code: a change that made it slower would slow both, and the ratio would hide it.
pub(crate) fn sha256_block() -> [u8; 32] {
    Sha256::digest(black_box(b"iapikeyok-00000000-Zq3LrT8w-mK2vB6xY-000000")).into()
}

/// A table whose lines are one random cycle: each holds the place of the next.
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
            // A step of Knuth's MMIX generator; its high bits are the random ones.
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let other = ((state >> 32) * last as u64) >> 32;
            lines.swap(last, other as usize);
        }
        Self { lines, at: 0 }
    }

    /// Three loads that each need the one before, and the first one that of the operation before:
    /// no two of them overlap, and none is near another.
    pub(crate) fn three(&mut self) -> u32 {
        for _ in 0..3 {
            self.at = self.lines[self.at as usize].next;
        }
        self.at
    }
}
