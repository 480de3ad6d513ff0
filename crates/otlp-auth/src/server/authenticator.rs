//! What decides: the traits, and the chain of several.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::credential::Credential;
use crate::decision::{Decision, Verdict};
use crate::denial::DenyReason;

/// Decides whose a credential is.
///
/// The future does not borrow the credential: whoever has to wait copies what it needs. Those that
/// decide from memory return [`std::future::Ready`] and implement [`InMemoryAuthenticator`]
/// besides.
///
/// # Examples
///
/// An authenticator that asks somebody else, and is undecided while nobody answers:
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use otlp_auth::server::ServerAuthenticator;
/// use otlp_auth::{Credential, Decision, DenyReason, Undecided, Verdict};
///
/// struct Remote;
///
/// impl ServerAuthenticator for Remote {
///     type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;
///
///     fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
///         let token = secrecy::SecretString::from(credential.expose_token());
///         Box::pin(async move {
///             drop(token); // ask with it
///             Err(Undecided::new("connection refused"))
///         })
///     }
/// }
/// ```
pub trait ServerAuthenticator {
    /// Resolves to the verdict.
    type Future: Future<Output = Verdict>;

    /// Decides on a credential that is well formed.
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future;

    /// Asks `next` where this one does not allow. Allow beats all; else undecided beats deny; else
    /// this one's denial stands unless `next` knows a better reason than "unknown".
    fn or<A: ServerAuthenticator>(self, next: A) -> Chain<Self, A>
    where
        Self: InMemoryAuthenticator + Sized,
    {
        Chain { first: self, next }
    }
}

/// An authenticator that decides from memory: at once, without I/O, lock or allocation.
pub trait InMemoryAuthenticator: ServerAuthenticator {
    /// What [`authenticate`](ServerAuthenticator::authenticate) resolves to.
    ///
    /// # Errors
    ///
    /// [`Undecided`](crate::Undecided) when there is nothing to decide from.
    fn decide(&self, credential: &Credential<'_>) -> Verdict;
}

impl<A: ServerAuthenticator + ?Sized> ServerAuthenticator for Arc<A> {
    type Future = A::Future;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        (**self).authenticate(credential)
    }
}

impl<A: InMemoryAuthenticator + ?Sized> InMemoryAuthenticator for Arc<A> {
    fn decide(&self, credential: &Credential<'_>) -> Verdict {
        (**self).decide(credential)
    }
}

/// Two authenticators asked in order; made by [`ServerAuthenticator::or`].
///
/// The first decides from memory, so that the second, which may have to ask somebody, is only asked
/// when it is needed.
#[derive(Clone, Debug)]
pub struct Chain<A, B> {
    first: A,
    next: B,
}

impl<A: InMemoryAuthenticator, B: ServerAuthenticator> ServerAuthenticator for Chain<A, B> {
    type Future = ChainFuture<B::Future>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        match self.first.decide(credential) {
            Ok(Decision::Allow(identity)) => {
                ChainFuture { first: Some(Ok(Decision::Allow(identity))), next: None }
            }
            first => {
                ChainFuture { first: Some(first), next: Some(self.next.authenticate(credential)) }
            }
        }
    }
}

impl<A: InMemoryAuthenticator, B: InMemoryAuthenticator> InMemoryAuthenticator for Chain<A, B> {
    fn decide(&self, credential: &Credential<'_>) -> Verdict {
        match self.first.decide(credential) {
            Ok(Decision::Allow(identity)) => Ok(Decision::Allow(identity)),
            first => combine(first, self.next.decide(credential)),
        }
    }
}

pin_project! {
    /// The verdict of a [`Chain`].
    #[derive(Debug)]
    pub struct ChainFuture<F> {
        first: Option<Verdict>,
        // Nothing where the first one allowed.
        #[pin]
        next: Option<F>,
    }
}

impl<F: Future<Output = Verdict>> Future for ChainFuture<F> {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let this = self.project();
        let next = match this.next.as_pin_mut() {
            Some(next) => Some(ready!(next.poll(cx))),
            None => None,
        };
        Poll::Ready(match (this.first.take(), next) {
            (Some(first), Some(next)) => combine(first, next),
            (Some(verdict), None) | (None, Some(verdict)) => verdict,
            (None, None) => unreachable!("a future is not polled after it has ended"),
        })
    }
}

/// The verdict of a chain whose first authenticator did not allow.
fn combine(first: Verdict, next: Verdict) -> Verdict {
    match (first, next) {
        (_, Ok(Decision::Allow(identity))) => Ok(Decision::Allow(identity)),
        (Err(undecided), _) | (_, Err(undecided)) => Err(undecided),
        (Ok(Decision::Deny(denial)), next) if denial.reason() == DenyReason::Unknown => next,
        (first, _) => first,
    }
}

#[cfg(test)]
mod tests;
