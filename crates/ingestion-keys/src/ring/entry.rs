//! A key as it is decided on.

use std::sync::OnceLock;

use otlp_auth::{DenyReason, Identity};

use super::half_digest::HalfDigest;
use super::usage::{Identities, Registry};
use crate::clock::{Clock, Timestamp};
use crate::key::KeyId;
use crate::store::{Change, KeyState};

/// A key, or what is left of one. It is replaced whole when something changes.
// As written: what is looked at for every decision fills a cache line with the digest before it.
#[repr(C)]
pub(super) struct Entry {
    /// Milliseconds since the epoch.
    good_before: i64,
    /// Whose it is, made at its first use.
    identities: OnceLock<Identities>,
    pub(super) id: KeyId,
    pub(super) revision: i64,
    name: Box<str>,
    pub(super) epoch: u32,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Enabled,
    Disabled,
    Deleted,
}

/// [`Entry::good_before`] of a key that never ends.
const ALWAYS: i64 = i64::MAX;

/// [`Entry::good_before`] of a key that is disabled or deleted.
const NEVER: i64 = i64::MIN;

impl Entry {
    pub(super) fn new(change: &Change, epoch: u32) -> Self {
        let (name, good_before, state) = match &change.state {
            KeyState::Live { enabled: false, name, .. } => (name.as_str(), NEVER, State::Disabled),
            KeyState::Live { name, expires_at, .. } => {
                (name.as_str(), expires_at.map_or(ALWAYS, Timestamp::as_millis), State::Enabled)
            }
            KeyState::Deleted { .. } => ("", NEVER, State::Deleted),
        };
        let (identities, id, revision) = (OnceLock::new(), change.id, change.revision);
        Self { good_before, identities, id, revision, name: name.into(), epoch, state }
    }

    /// Goes on counting where the key's entry before this one did, unless its name changes.
    pub(super) fn keep_usage(&mut self, old: Option<&Self>) {
        if let Some(old) = old
            && old.id == self.id
            && old.name == self.name
        {
            self.identities = old.identities.clone();
        }
    }

    /// The same key, counted for each core on its own; nothing if it was never used or is already.
    pub(super) fn spread(
        &self,
        digest: &HalfDigest,
        registry: &Registry,
        cores: usize,
    ) -> Option<Self> {
        if self.state == State::Deleted
            || !matches!(self.identities.get(), Some(Identities::One(_)))
        {
            return None;
        }
        let identities = OnceLock::from(registry.each_core(self.id, &self.name, digest, cores));
        Some(Self { identities, name: self.name.clone(), ..*self })
    }

    /// Why the key is refused now; nothing if it is good.
    #[inline]
    pub(super) fn deny_reason(&self, clock: &dyn Clock) -> Option<DenyReason> {
        match self.good_before {
            ALWAYS => None,
            NEVER => Some(DenyReason::Revoked),
            good_before if clock.wall().as_millis() < good_before => None,
            _ => Some(DenyReason::Expired),
        }
    }

    /// Counts a request that is let in, and says whose it is.
    #[inline]
    pub(super) fn accept(&self, digest: &HalfDigest, registry: &Registry) -> Identity {
        self.identities(digest, registry).for_request()
    }

    /// Counts a request that is refused, unless the key is gone.
    pub(super) fn refuse(&self, digest: &HalfDigest, registry: &Registry) {
        if self.state != State::Deleted {
            self.identities(digest, registry).count_refusal();
        }
    }

    #[inline]
    fn identities(&self, digest: &HalfDigest, registry: &Registry) -> &Identities {
        self.identities.get_or_init(|| registry.first_use(self.id, &self.name, digest))
    }
}
