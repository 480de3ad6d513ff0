//! Two authenticators, asked in order.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::authenticator::{InMemoryAuthenticator, ReadyVerdict, ServerAuthenticator};
use crate::credential::Credential;
use crate::decision::{Decision, Verdict};
use crate::denial::DenyReason;

/// Two authenticators, asked in order; made by [`ServerAuthenticator::or`].
///
/// The first one decides from memory, so that the second one, which may have to wait for another
/// service, is only asked when it is needed.
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
}

pin_project! {
    /// The verdict of a [`Chain`].
    #[derive(Debug)]
    pub struct ChainFuture<F> {
        first: Option<Verdict>,
        // `None` where the first authenticator allowed.
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

/// The verdict of a chain. The second authenticator was asked unless the first one allowed.
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
