//! What the tests of several modules share.

use std::sync::atomic::{AtomicU64, Ordering};

use otlp_auth::server::InMemoryAuthenticator;
use otlp_auth::{Credential, Decision, DenyReason};

use crate::entropy::{Entropy, EntropyError};
use crate::ring::Ring;
pub(crate) use crate::store::contract::fixture::{NOW, commit, key, record};

/// Numbers that look random, the same in every run.
#[derive(Debug, Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64.
            let state = self
                .0
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A verdict that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Allow(String),
    Deny(DenyReason),
    Undecided,
}

/// What `ring` says to this key.
pub(crate) fn says(ring: &Ring, key: &str) -> Says {
    match ring.decide(&Credential::new("StackState", key).unwrap()) {
        Ok(Decision::Allow(identity)) => Says::Allow(identity.name().to_owned()),
        Ok(Decision::Deny(reason)) => Says::Deny(reason),
        Err(_) => Says::Undecided,
    }
}

pub(crate) fn allow(name: &str) -> Says {
    Says::Allow(name.to_owned())
}
