//! What an authenticator decides, and the one table of what is answered.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// The verdict on a credential.
///
/// A denial is a value, not an error: it is certain, and senders drop their data when they see it.
/// What could not be decided is [`Undecided`].
#[derive(Clone, Debug)]
pub enum Decision {
    /// The credential is good; this is whose it is.
    Allow(Identity),
    /// The credential is not good, for this reason.
    Deny(DenyReason),
}

/// Why a credential was refused: a closed label for logs and metrics.
///
/// From outside only "no credential" and "refused" can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
// A word, so that results that carry a reason are moved in words: a tenth of a verdict's time went
// into stalls on single bytes.
#[repr(usize)]
pub enum DenyReason {
    /// The request carries no credential.
    Missing,
    /// What it carries is not of the form of a credential, or of a scheme that is not accepted.
    Malformed,
    /// It carries two different credentials.
    Conflicting,
    /// The credential is well formed and nobody's.
    Unknown,
    /// The credential was withdrawn.
    Revoked,
    /// The credential's time is over.
    Expired,
}

/// Whose credential a request carried. The layer puts it into the extensions of the request.
///
/// Cheap to clone: one reference count. Two are equal if their names and numbers are.
#[derive(Clone)]
pub struct Identity {
    // One word, and so is `Undecided`: a verdict fits into two registers.
    shared: Arc<Shared>,
}

// As written: uses are counted in the cache line of the reference count, which is written to
// anyway.
#[repr(C)]
struct Shared {
    uses: AtomicU64,
    name: String,
    id: Option<u64>,
    handle: Option<Box<dyn Any + Send + Sync>>,
}

/// No verdict: the authenticator could not reach what it decides from.
///
/// It is answered with 503 or `UNAVAILABLE`, which senders retry, and never let through. The cause
/// is logged and not sent.
#[derive(Debug)]
pub struct Undecided {
    source: Box<Box<dyn Error + Send + Sync>>,
}

/// The verdict on a credential, or that there is none.
pub type Verdict = Result<Decision, Undecided>;

impl Identity {
    /// An identity of this name: a token's name, a key's.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(name.into(), None, None)
    }

    /// An identity that has a number besides, because names need not be unique, and a handle: a way
    /// back to whoever decided, for what is learnt about the request afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use otlp_auth::Identity;
    ///
    /// #[derive(Default)]
    /// struct Received(AtomicU64);
    ///
    /// let identity = Identity::with_handle("edge", 17, Received::default());
    /// if let Some(Received(bytes)) = identity.handle() {
    ///     bytes.fetch_add(4096, Ordering::Relaxed);
    /// }
    /// assert_eq!((identity.name(), identity.id()), ("edge", Some(17)));
    /// ```
    #[must_use]
    pub fn with_handle(name: impl Into<String>, id: u64, handle: impl Any + Send + Sync) -> Self {
        Self::of(name.into(), Some(id), Some(Box::new(handle)))
    }

    fn of(name: String, id: Option<u64>, handle: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self { shared: Arc::new(Shared { uses: AtomicU64::new(0), name, id, handle }) }
    }

    /// This identity for a request that is let in, which is counted in [`uses`](Self::uses).
    #[inline]
    #[must_use]
    pub fn for_request(&self) -> Self {
        self.shared.uses.fetch_add(1, Ordering::Relaxed);
        self.clone()
    }

    /// How often it was given to a request, for authenticators that count: all clones share it, and
    /// whoever reads it may set it back.
    #[must_use]
    pub fn uses(&self) -> &AtomicU64 {
        &self.shared.uses
    }

    /// The name it was given. Not a secret, and not part of one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The number it was given, if any.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.shared.id
    }

    /// The handle it was given, if it is of this type.
    #[must_use]
    pub fn handle<T: Any>(&self) -> Option<&T> {
        self.shared.handle.as_ref()?.downcast_ref()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.id(), self.name()) == (other.id(), other.name())
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id(), self.name()).hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Undecided {
    /// An undecided verdict with its cause, which must not contain the credential.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Box::new(source.into()) }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Answer::UNDECIDED.message)
    }
}

impl Error for Undecided {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.source)
    }
}

impl DenyReason {
    /// The label of logs and metrics: `missing`, `malformed`, `conflicting`, `unknown`, `revoked`,
    /// `expired`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Conflicting => "conflicting",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Missing => Answer::MISSING,
            Self::Malformed | Self::Conflicting | Self::Unknown | Self::Revoked | Self::Expired => {
                Answer::REFUSED
            }
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row of the table: how an outcome looks on each kind of route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Status on OTLP/HTTP.
    pub(crate) http: StatusCode,
    /// Status on the routes of StackState's agents, which drop data on 403, retry 503, and take 401
    /// for "no key given".
    pub(crate) agent: StatusCode,
    /// Status on gRPC; also `code` in the body on OTLP/HTTP.
    pub(crate) grpc: i32,
    /// All that a sender is told.
    pub(crate) message: &'static str,
    /// Whether the challenge says `error="invalid_token"` (RFC 6750 section 3.1: not where no
    /// credential was given).
    pub(crate) invalid_token: bool,
    /// Whether the sender is told when to try again.
    pub(crate) retry: bool,
}

/// `UNAUTHENTICATED` of gRPC.
pub(crate) const UNAUTHENTICATED: i32 = 16;
const UNAVAILABLE: i32 = 14;

impl Answer {
    const MISSING: Self = Self {
        http: StatusCode::UNAUTHORIZED,
        agent: StatusCode::UNAUTHORIZED,
        grpc: UNAUTHENTICATED,
        message: "missing credential",
        invalid_token: false,
        retry: false,
    };
    const REFUSED: Self = Self {
        http: StatusCode::UNAUTHORIZED,
        agent: StatusCode::FORBIDDEN,
        grpc: UNAUTHENTICATED,
        message: "credential refused",
        invalid_token: true,
        retry: false,
    };
    pub(crate) const UNDECIDED: Self = Self {
        http: StatusCode::SERVICE_UNAVAILABLE,
        agent: StatusCode::SERVICE_UNAVAILABLE,
        grpc: UNAVAILABLE,
        message: "authentication unavailable",
        invalid_token: false,
        retry: true,
    };
}
