//! An authenticator that asks two other authenticators in order.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::authenticator::{InMemoryAuthenticator, ReadyVerdict, ServerAuthenticator};
use crate::credential::Credential;
use crate::decision::{Decision, Verdict};
use crate::denial::DenyReason;

/// Asks two authenticators in order; made by [`ServerAuthenticator::or`].
///
/// The first authenticator decides from memory. The second authenticator may wait for another
/// service, so it is asked only if the first one does not allow the request.
#[derive(Clone, Debug)]
pub struct Chain<A, B> {
    first: A,
    next: B,
}

impl<A, B> Chain<A, B> {
    pub(super) fn new(first: A, next: B) -> Self {
        Self { first, next }
    }
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

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        let first = self.first.decide(credential);
        if let Ok(Decision::Allow(_)) = first {
            return Ok(first);
        }
        match self.next.verdict_at_once(credential) {
            Ok(next) => Ok(combine(Some(first), Some(next))),
            Err(next) => Err(ChainFuture { first: Some(first), next: Some(next) }),
        }
    }
}

pin_project! {
    /// Resolves to the verdict of a [`Chain`].
    #[derive(Debug)]
    pub struct ChainFuture<F> {
        first: Option<Verdict>,
        // `None` if the first authenticator allowed the request.
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
        Poll::Ready(combine(this.first.take(), next))
    }
}

impl<F: ReadyVerdict> ReadyVerdict for ChainFuture<F> {
    fn verdict(self) -> Verdict {
        combine(self.first, self.next.map(ReadyVerdict::verdict))
    }
}

/// Returns the verdict of a chain. `next` is `None` if the first authenticator allowed the request.
fn combine(first: Option<Verdict>, next: Option<Verdict>) -> Verdict {
    match (first, next) {
        (Some(verdict), None) | (None, Some(verdict)) => verdict,
        (Some(_), Some(Ok(Decision::Allow(identity)))) => Ok(Decision::Allow(identity)),
        (Some(Err(undecided)), _) | (_, Some(Err(undecided))) => Err(undecided),
        (Some(Ok(Decision::Deny(denial))), Some(next))
            if denial.reason() == DenyReason::Unknown =>
        {
            next
        }
        (Some(first), Some(_)) => first,
        (None, None) => unreachable!("a future is not polled after it has ended"),
    }
}

#[cfg(test)]
mod tests;
