//! Whether a request that is open may go on.

use otlp_auth::{DenyReason, Identity};

use super::entry::Entry;
use super::{KeyCache, KeyHandle};
use crate::key::KeyRole;

/// What a [`KeyCache`] says about a request that it allowed earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The key of the request is still valid.
    Good,
    /// The cache would deny a new request with the key, for this reason.
    Denied(DenyReason),
    /// The cache does not know, because it could not read its store for too long.
    Undecided,
}

impl KeyCache {
    /// Checks whether the key of a request is still valid. A request that stays open for long, such
    /// as a stream, is decided on once, at its beginning. This function finds out later that the
    /// key was deleted or disabled, or has expired, or that the cache is too old to know. It looks
    /// the key up in memory and counts nothing, so it may be called several times a second for
    /// every open request.
    ///
    /// The identity of another authenticator is always in good standing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ingestion_keys::cache::{KeyCache, Standing};
    /// use otlp_auth::Identity;
    ///
    /// fn may_go_on(cache: &KeyCache, identity: &Identity) -> bool {
    ///     cache.standing(identity) == Standing::Good
    /// }
    /// ```
    #[must_use]
    pub fn standing(&self, identity: &Identity) -> Standing {
        let Some(handle) = identity.handle::<KeyHandle>() else { return Standing::Good };
        if self.freshness().is_err() {
            return Standing::Undecided;
        }
        let found = KeyRole::ALL.into_iter().find_map(|role| {
            let reason = |entry: &Entry| entry.deny_reason(&*self.clock);
            self.entries(role).pin().get(&handle.digest).map(reason)
        });
        match found {
            Some(reason) => reason.map_or(Standing::Good, Standing::Denied),
            // A snapshot of the store did not contain the key, or its tombstone was removed.
            None => Standing::Denied(DenyReason::Revoked),
        }
    }
}
