//! The verdict of an authenticator.

use std::error::Error;
use std::fmt;

use crate::denial::Denial;
use crate::identity::Identity;

/// The decision on a credential: the request is allowed or denied.
///
/// A denial is a value, not an error, because it is certain. Senders drop their data when they are
/// denied. An authenticator that cannot decide returns [`Undecided`] instead.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The request is allowed. The identity says whose credential it carries.
    Allow(Identity),
    /// The request is denied. The denial says why.
    Deny(Denial),
}

/// The authenticator has no verdict, because it could not get the data from which it decides.
///
/// A request without a verdict is never allowed. The response is 503 or `UNAVAILABLE`, so senders
/// try again. The cause is logged, and is not sent.
#[derive(Debug)]
pub struct Undecided {
    // A box in a box takes one word. A box of a trait object alone would take two words.
    source: Box<Box<dyn Error + Send + Sync>>,
}

/// The decision on a credential, or [`Undecided`] if there is no decision.
pub type Verdict = Result<Decision, Undecided>;

// Every decision returns a verdict, which the callers move. A verdict of two words is moved by one
// vector instruction.
const _: () = assert!(size_of::<Verdict>() == 2 * size_of::<usize>());

impl Undecided {
    /// Makes an undecided verdict with its cause. The cause must not contain the credential.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Box::new(source.into()) }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication unavailable")
    }
}

impl Error for Undecided {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.source)
    }
}
