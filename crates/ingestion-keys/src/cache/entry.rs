//! The entry of a key in the cache.

use std::mem::offset_of;
use std::sync::OnceLock;

use otlp_auth::{Decision, Denial, DenyReason};

use super::digest_prefix::DigestPrefix;
use super::identities::Identities;
use super::usage::Registry;
use crate::clock::{Clock, Timestamp};
use crate::key::KeyId;
use crate::store::{Change, KeyState};

/// A key or a tombstone in the cache. A change replaces the whole entry.
///
/// The fields that every decision reads come first. In a node of the map they follow the prefix of
/// the digest. The prefix and these fields together have 48 bytes. They are in one or two cache
/// lines, depending on where the allocator puts the node. In a measurement, a node that is exactly
/// one aligned cache line was not faster (ADR 9).
#[repr(C)]
pub(super) struct Entry {
    /// The end of the validity in milliseconds since the epoch, or [`ALWAYS`] or [`NEVER`].
    good_before: i64,
    /// The identities of the key, which are made at the first use of the key.
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

/// The value of [`Entry::good_before`] for a key that never expires.
const ALWAYS: i64 = i64::MAX;

/// The value of [`Entry::good_before`] for a key that is disabled or deleted.
const NEVER: i64 = i64::MIN;

const _: () = assert!(
    size_of::<DigestPrefix>() + offset_of!(Entry, id) <= 48,
    "what a decision reads has grown: measure it again (ADR 9)"
);

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

    /// Continues to use the counters of the previous entry of the key, unless the name of the key
    /// has changed.
    pub(super) fn keep_usage(&mut self, old: Option<&Self>) {
        if let Some(old) = old
            && old.state != State::Deleted
            && old.id == self.id
            && old.name == self.name
        {
            self.identities = old.identities.clone();
        }
    }

    /// Returns a copy of this entry that has separate counters for each core. Returns `None` if the
    /// key was never used, is deleted, or already has separate counters.
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

    /// Returns the reason for which the key is denied now, or `None` if the key is valid.
    #[inline]
    pub(super) fn deny_reason(&self, clock: &dyn Clock) -> Option<DenyReason> {
        match self.good_before {
            ALWAYS => None,
            NEVER => Some(DenyReason::Revoked),
            good_before if clock.wall().as_millis() < good_before => None,
            _ => Some(DenyReason::Expired),
        }
    }

    /// Decides on a request with this key, and counts the request.
    #[inline]
    pub(super) fn decide(
        &self,
        clock: &dyn Clock,
        digest: &DigestPrefix,
        registry: &Registry,
    ) -> Decision {
        self.decision::<true>(clock, digest, registry)
    }

    /// Decides on this key without counting a request.
    pub(super) fn peek(
        &self,
        clock: &dyn Clock,
        digest: &DigestPrefix,
        registry: &Registry,
    ) -> Decision {
        self.decision::<false>(clock, digest, registry)
    }

    /// Decides on this key. Counts a request if `COUNTS` is true.
    #[inline]
    fn decision<const COUNTS: bool>(
        &self,
        clock: &dyn Clock,
        digest: &DigestPrefix,
        registry: &Registry,
    ) -> Decision {
        let Some(reason) = self.deny_reason(clock) else {
            let identities = self.identities(digest, registry);
            return Decision::Allow(match COUNTS {
                true => identities.for_request(),
                false => identities.identity().clone(),
            });
        };
        let identities = self.identities(digest, registry);
        // The counters of a deleted key are never flushed, so a count there would be lost.
        if COUNTS && self.state != State::Deleted {
            identities.count_refusal();
        }
        Decision::Deny(Denial::new(reason).with_identity(identities.identity().clone()))
    }

    #[inline]
    fn identities(&self, digest: &DigestPrefix, registry: &Registry) -> &Identities {
        self.identities.get_or_init(|| match self.state {
            // The name of a deleted key is not known. The counters of its identity are never
            // flushed.
            State::Deleted => Identities::One(registry.identity(self.id, "", digest)),
            State::Enabled | State::Disabled => registry.first_use(self.id, &self.name, digest),
        })
    }
}
