//! A key as it is decided on.

use std::sync::OnceLock;

use otlp_auth::{Decision, Denial, DenyReason};

use super::digest_prefix::DigestPrefix;
use super::identities::Identities;
use super::usage::Registry;
use crate::clock::{Clock, Timestamp};
use crate::key::KeyId;
use crate::store::{Change, KeyState};

/// A key, or what is left of one. It is replaced whole when something changes.
// As written: what is looked at for every decision fills a cache line with the digest before it.
#[repr(C)]
pub(super) struct Entry {
    /// Milliseconds since the epoch.
    good_before: i64,
    /// Whose the key is, made at its first use.
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
            && old.state != State::Deleted
            && old.id == self.id
            && old.name == self.name
        {
            self.identities = old.identities.clone();
        }
    }

    /// The same key, counted for each core on its own; nothing if it was never used or is already.
    pub(super) fn spread(
        &self,
        digest: &DigestPrefix,
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

    /// Why the key is refused now; `None` if it is good.
    #[inline]
    fn deny_reason(&self, clock: &dyn Clock) -> Option<DenyReason> {
        match self.good_before {
            ALWAYS => None,
            NEVER => Some(DenyReason::Revoked),
            good_before if clock.wall().as_millis() < good_before => None,
            _ => Some(DenyReason::Expired),
        }
    }

    /// The verdict on a request with this key, which is counted.
    #[inline]
    pub(super) fn decide(
        &self,
        clock: &dyn Clock,
        digest: &DigestPrefix,
        registry: &Registry,
    ) -> Decision {
        match self.deny_reason(clock) {
            None => Decision::Allow(self.identities(digest, registry).for_request()),
            Some(reason) => {
                self.identities(digest, registry).count_refusal();
                self.deny(reason, digest, registry)
            }
        }
    }

    /// The verdict on this key, without counting a request.
    pub(super) fn peek(
        &self,
        clock: &dyn Clock,
        digest: &DigestPrefix,
        registry: &Registry,
    ) -> Decision {
        match self.deny_reason(clock) {
            None => Decision::Allow(self.identities(digest, registry).identity().clone()),
            Some(reason) => self.deny(reason, digest, registry),
        }
    }

    fn deny(&self, reason: DenyReason, digest: &DigestPrefix, registry: &Registry) -> Decision {
        let identity = self.identities(digest, registry).identity();
        Decision::Deny(Denial::new(reason).with_identity(identity.clone()))
    }

    #[inline]
    fn identities(&self, digest: &DigestPrefix, registry: &Registry) -> &Identities {
        self.identities.get_or_init(|| match self.state {
            // Of a deleted key only the id is known, and what its identity counts is not flushed.
            State::Deleted => Identities::One(registry.identity(self.id, "")),
            State::Enabled | State::Disabled => registry.first_use(self.id, &self.name, digest),
        })
    }
}
