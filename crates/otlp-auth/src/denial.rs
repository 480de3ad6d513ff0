//! A denial: the reason, the owner of the key, and when the sender may try again.

use std::fmt;
use std::time::Duration;

use crate::identity::Identity;

/// Why a request was denied. It is a label for logs and metrics, with a fixed set of values.
///
/// The sender does not get this reason. The sender gets a [`Rejection`](crate::server::Rejection),
/// which is the same for all reasons why a credential is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
// The type is as large as a pointer, so that a verdict with a reason is moved in whole registers.
// With a reason of one byte, the bench case `fixed_1_hit` took 10 % longer, because the byte was
// stored alone and read back as part of a word.
#[repr(usize)]
pub enum DenyReason {
    /// The request carries no credential.
    Missing,
    /// The request carries a value that does not have the form of a credential, or whose scheme is
    /// not accepted.
    Malformed,
    /// The request carries two different credentials.
    Conflicting,
    /// The credential is well formed and belongs to nobody.
    Unknown,
    /// The credential was revoked before it expired.
    Revoked,
    /// The time for which the credential is valid has ended.
    Expired,
    /// The credential is valid, but does not permit this request.
    NotPermitted,
    /// The credential is valid, but its sender has used up the current limit.
    LimitExceeded,
}

impl DenyReason {
    /// Returns the label for logs and metrics: `missing`, `malformed`, `conflicting`, `unknown`,
    /// `revoked`, `expired`, `not_permitted`, `limit_exceeded`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Conflicting => "conflicting",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotPermitted => "not_permitted",
            Self::LimitExceeded => "limit_exceeded",
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The decision not to allow a request. It has a reason and, if known, the identity of the key's
/// owner, for logs and metrics.
///
/// A denial that has only a reason is made without an allocation. So is a denial that has an
/// identity, if its reason concerns a known key (`Revoked`, `Expired`, `NotPermitted` or
/// `LimitExceeded`). Every other denial is kept in a box.
///
/// A denial is not a rejection: a [`Rejection`](crate::server::Rejection) is the response to a
/// request that was not allowed, either because it was denied or because there was no verdict. The
/// layer puts the denial into the extensions of the response, for outer layers.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otlp_auth::{Decision, Denial, DenyReason, Identity};
///
/// let unknown = Decision::Deny(DenyReason::Unknown.into());
/// let busy = Denial::new(DenyReason::LimitExceeded)
///     .with_identity(Identity::new("team-a"))
///     .with_retry_after(Duration::from_secs(30));
/// assert_eq!(busy.reason(), DenyReason::LimitExceeded);
/// assert_eq!(busy.identity().map(Identity::name), Some("team-a"));
/// ```
#[derive(Clone)]
pub struct Denial(Repr);

/// The content of a denial, in two words. The first word is a tag. `Decision` and `Verdict` store
/// their own variants in the unused values of this tag. So a verdict is not larger than a denial.
#[derive(Clone)]
enum Repr {
    Reason(DenyReason),
    // These variants have reasons for a known key. The tag is the reason, so the second word can be
    // the identity.
    Revoked(Identity),
    Expired(Identity),
    NotPermitted(Identity),
    LimitExceeded(Identity),
    /// Every other combination of reason, identity and wait.
    Detailed(Box<Details>),
}

#[derive(Clone)]
struct Details {
    reason: DenyReason,
    identity: Option<Identity>,
    retry_after: Option<Duration>,
}

impl Denial {
    /// Makes a denial for this reason, without an identity.
    #[inline]
    #[must_use]
    pub const fn new(reason: DenyReason) -> Self {
        Self(Repr::Reason(reason))
    }

    /// Adds the identity of the key. It is for logs and metrics, and is not sent.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> Self {
        match (self.reason(), self.retry_after()) {
            (DenyReason::Revoked, None) => Self(Repr::Revoked(identity)),
            (DenyReason::Expired, None) => Self(Repr::Expired(identity)),
            (DenyReason::NotPermitted, None) => Self(Repr::NotPermitted(identity)),
            (DenyReason::LimitExceeded, None) => Self(Repr::LimitExceeded(identity)),
            (reason, retry_after) => Self::detailed(reason, Some(identity), retry_after),
        }
    }

    /// Adds how long the sender must wait before it tries again.
    ///
    /// If the reason is [`DenyReason::LimitExceeded`], the response tells the sender this time,
    /// rounded up to whole seconds. For other reasons, the time has no effect.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self::detailed(self.reason(), self.identity().cloned(), Some(retry_after))
    }

    /// Returns why the request was denied.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> DenyReason {
        match &self.0 {
            Repr::Reason(reason) => *reason,
            Repr::Revoked(_) => DenyReason::Revoked,
            Repr::Expired(_) => DenyReason::Expired,
            Repr::NotPermitted(_) => DenyReason::NotPermitted,
            Repr::LimitExceeded(_) => DenyReason::LimitExceeded,
            Repr::Detailed(details) => details.reason,
        }
    }

    /// Returns the identity of the key, if it is known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.0 {
            Repr::Reason(_) => None,
            Repr::Revoked(identity)
            | Repr::Expired(identity)
            | Repr::NotPermitted(identity)
            | Repr::LimitExceeded(identity) => Some(identity),
            Repr::Detailed(details) => details.identity.as_ref(),
        }
    }

    /// Returns how long the sender must wait before it tries again, if a time was added.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0 {
            Repr::Detailed(details) => details.retry_after,
            _ => None,
        }
    }

    fn detailed(
        reason: DenyReason,
        identity: Option<Identity>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self(Repr::Detailed(Box::new(Details { reason, identity, retry_after })))
    }
}

impl From<DenyReason> for Denial {
    #[inline]
    fn from(reason: DenyReason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denial")
            .field("reason", &self.reason())
            .field("identity", &self.identity())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: an identity and a wait are added to a denial of each reason, in either order. The
    // identity or the wait is added twice.
    // Guarantee: the denial keeps its reason, and has the identity and the wait that were added
    // last.
    #[test]
    fn details_are_added_in_any_order() {
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        for reason in [
            DenyReason::Missing,
            DenyReason::Malformed,
            DenyReason::Conflicting,
            DenyReason::Unknown,
            DenyReason::Revoked,
            DenyReason::Expired,
            DenyReason::NotPermitted,
            DenyReason::LimitExceeded,
        ] {
            let plain = Denial::from(reason);
            let identified = plain.clone().with_identity(Identity::new("a"));
            let timed = plain.clone().with_retry_after(one);
            let both = identified.clone().with_retry_after(two).with_retry_after(one);
            let again = timed.clone().with_identity(Identity::new("b"));
            let again = again.with_identity(Identity::new("a"));
            for (denial, name, retry_after) in [
                (plain, None, None),
                (identified, Some("a"), None),
                (timed, None, Some(one)),
                (both, Some("a"), Some(one)),
                (again, Some("a"), Some(one)),
            ] {
                assert_eq!(denial.reason(), reason);
                assert_eq!(denial.identity().map(Identity::name), name, "{reason}");
                assert_eq!(denial.retry_after(), retry_after, "{reason}");
            }
        }
    }
}
