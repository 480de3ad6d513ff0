//! What an authenticator decides.

use std::error::Error;
use std::fmt;

use crate::denial::Denial;
use crate::identity::Identity;

/// The verdict on a credential.
///
/// A denial is a value, not an error: it is certain, and senders drop their data when they see it.
/// An authenticator that cannot decide returns [`Undecided`] instead.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The request is let in; this is whose credential it carries.
    Allow(Identity),
    /// The request is refused; this is why.
    Deny(Denial),
}

/// No verdict: the authenticator could not reach what it decides from.
///
/// The request is answered with 503 or `UNAVAILABLE`, which senders retry, and is never let in. The
/// cause is logged and not sent.
#[derive(Debug)]
pub struct Undecided {
    // A box of a box: the outer one is one word, and a box of a trait object is two.
    source: Box<Box<dyn Error + Send + Sync>>,
}

/// The verdict on a credential, or that there is none.
pub type Verdict = Result<Decision, Undecided>;

// Every decision returns a verdict, and callers move it on: two words are moved by one vector
// instruction.
const _: () = assert!(size_of::<Verdict>() == 2 * size_of::<usize>());

impl Undecided {
    /// An undecided verdict with its cause, which must not contain the credential.
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
