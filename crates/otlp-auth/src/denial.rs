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
/// A denial of a reason alone is made without an allocation; the first detail that is added
/// allocates one box.
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
    #[must_use]
    pub const fn new(reason: DenyReason) -> Self {
        Self(Repr::Reason(reason))
    }

    /// Adds whose key it was that was refused. It is for logs and metrics, and is not sent.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> Self {
        self.detailed(|details| details.identity = Some(identity))
    }

    /// Adds how long the sender has to wait before it tries again.
    ///
    /// A sender is told this, rounded up to whole seconds, where the reason is
    /// [`DenyReason::LimitExceeded`]; for other reasons it makes no difference.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        self.detailed(|details| details.retry_after = Some(retry_after))
    }

    /// Why the request was refused.
    #[must_use]
    pub fn reason(&self) -> DenyReason {
        match &self.0 {
            Repr::Reason(reason) => *reason,
            Repr::Detailed(details) => details.reason,
        }
    }

    /// Whose key was refused, if that is known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.details()?.identity.as_ref()
    }

    /// How long the sender has to wait before it tries again, if that was given.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.details()?.retry_after
    }

    fn details(&self) -> Option<&Details> {
        match &self.0 {
            Repr::Reason(_) => None,
            Repr::Detailed(details) => Some(details),
        }
    }

    fn detailed(self, add: impl FnOnce(&mut Details)) -> Self {
        let mut details = match self.0 {
            Repr::Reason(reason) => Box::new(Details { reason, identity: None, retry_after: None }),
            Repr::Detailed(details) => details,
        };
        add(&mut details);
        Self(Repr::Detailed(details))
    }
}

impl From<DenyReason> for Denial {
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

    // Scenario: details are added to a denial in either order, and one of them twice.
    // Guarantee: the denial keeps its reason, and of each detail the value that was added last.
    #[test]
    fn details_are_added_in_any_order() {
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        let plain = Denial::from(DenyReason::Expired);
        assert_eq!((plain.identity(), plain.retry_after()), (None, None));
        let first = plain.clone().with_retry_after(one).with_identity(Identity::new("a"));
        let second =
            plain.with_identity(Identity::new("a")).with_retry_after(two).with_retry_after(one);
        for denial in [first, second] {
            assert_eq!(denial.reason(), DenyReason::Expired);
            assert_eq!(denial.identity(), Some(&Identity::new("a")));
            assert_eq!(denial.retry_after(), Some(one));
        }
    }
}
