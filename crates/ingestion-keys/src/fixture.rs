//! Helpers that the tests of several modules share.

use std::convert::Infallible;

use otlp_auth::server::InMemoryAuthenticator;
use otlp_auth::{Credential, Decision, DenyReason};
use rand_core::{TryCryptoRng, TryRng};

use crate::cache::KeyCache;
use crate::store::contract::fixture::split_mix_64;
pub(crate) use crate::store::contract::fixture::{NOW, commit, key, record};

/// A random source that gives the same numbers in every run.
#[derive(Debug, Default)]
pub(crate) struct SeededRng(u64);

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(split_mix_64(&mut self.0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix_64(&mut self.0).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}

/// A verdict that tests can compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allow(String),
    Deny(DenyReason),
    Undecided,
}

/// Returns the decision of the cache on a request with this key.
pub(crate) fn decide(cache: &KeyCache, key: &str) -> Outcome {
    match cache.decide(&Credential::new("StackState", key).unwrap()) {
        Ok(Decision::Allow(identity)) => Outcome::Allow(identity.name().to_owned()),
        Ok(Decision::Deny(denial)) => Outcome::Deny(denial.reason()),
        Err(_) => Outcome::Undecided,
    }
}

pub(crate) fn allow(name: &str) -> Outcome {
    Outcome::Allow(name.to_owned())
}
