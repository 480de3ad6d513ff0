//! A refusal: why, whose key it was, and when to come back.

use std::fmt;
use std::time::Duration;

use crate::identity::Identity;

/// Why a request was refused: a closed label for logs and metrics.
///
/// A sender learns less than this: [`Rejection`](crate::server::Rejection) says what it is
/// answered, and all reasons why a credential is not good look the same from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
// As large as a pointer, so that a verdict that carries a reason is moved in whole registers. With
// a reason of one byte the bench case `fixed_1_hit` took 10 % longer, because the byte was stored
// alone and read back as part of a word.
#[repr(usize)]
pub enum DenyReason {
    /// The request carries no credential.
    Missing,
    /// What the request carries does not have the form of a credential, or its scheme is not
    /// accepted.
    Malformed,
    /// The request carries two different credentials.
    Conflicting,
    /// The credential is well formed and belongs to nobody.
    Unknown,
    /// The credential was withdrawn.
    Revoked,
    /// The credential is past its end.
    Expired,
    /// The credential is good, and does not permit this request.
    NotPermitted,
    /// The credential is good, and has used up what it may send for now.
    LimitExceeded,
}

impl DenyReason {
    /// The label of logs and metrics: `missing`, `malformed`, `conflicting`, `unknown`, `revoked`,
    /// `expired`, `not_permitted`, `limit_exceeded`.
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

/// A refusal: a reason, and for logs and metrics whose key it was, where that is known.
///
/// A denial of a reason alone is made without an allocation, and so is one that adds the identity
/// to a reason that concerns a known key; anything more is kept in a box.
///
/// The layer puts the denial into the extensions of the response, where an outer layer finds it.
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

/// Two words, of which the first is a tag with values to spare: `Decision` and `Verdict` put their
/// own variants there, so that a verdict is not larger than a denial.
#[derive(Clone)]
enum Repr {
    Reason(DenyReason),
    // The reasons that are given for a key that is known. The tag says which, so that there is room
    // for the identity.
    Revoked(Identity),
    Expired(Identity),
    NotPermitted(Identity),
    LimitExceeded(Identity),
    /// Everything else.
    Detailed(Box<Details>),
}

#[derive(Clone)]
struct Details {
    reason: DenyReason,
    identity: Option<Identity>,
    retry_after: Option<Duration>,
}

impl Denial {
    /// A refusal for this reason, of nobody's key in particular.
    #[inline]
    #[must_use]
    pub const fn new(reason: DenyReason) -> Self {
        Self(Repr::Reason(reason))
    }

    /// Adds whose key was refused. It is for logs and metrics, and is not sent.
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

    /// Adds how long the sender has to wait before it tries again.
    ///
    /// A sender is told this, rounded up to whole seconds, where the reason is
    /// [`DenyReason::LimitExceeded`]; for other reasons it makes no difference.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self::detailed(self.reason(), self.identity().cloned(), Some(retry_after))
    }

    /// Why the request was refused.
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

    /// Whose key was refused, if that is known.
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

    /// How long the sender has to wait before it tries again, if that was given.
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

    // Scenario: details are added to a denial of each reason in either order, and one of them
    // twice.
    // Guarantee: the denial keeps its reason, and of each detail the value that was added last.
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
