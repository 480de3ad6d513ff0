//! Watches a request that is open: whether its key is still valid, and whether the upstream answers
//! in time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use otlp_auth::Identity;
use tokio::time::{Instant, Sleep};

use super::answer::Failure;
use super::target::Target;

/// The time between two looks at the key of a request.
const LOOK: Duration = Duration::from_millis(400);

/// Watches one request.
pub(super) struct Watch {
    identity: Option<Identity>,
    pub(super) target: Arc<Target>,
    /// When the upstream must have answered.
    deadline: Option<Instant>,
    /// Made when the request waits for the first time.
    next_look: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(super) fn new(identity: Option<Identity>, target: Arc<Target>) -> Self {
        Self { identity, target, deadline: None, next_look: None }
    }

    /// Watches the key of the same request in another task.
    pub(super) fn another(&self) -> Self {
        Self::new(self.identity.clone(), Arc::clone(&self.target))
    }

    /// Expects an answer of the upstream at `deadline`. Without a deadline, the request waits for
    /// its client.
    pub(super) fn expect_at(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        if let (Some(look), Some(deadline)) = (&mut self.next_look, deadline)
            && deadline < look.deadline()
        {
            look.as_mut().reset(deadline);
        }
    }

    /// Returns whether an answer of the upstream is expected.
    pub(super) fn expects(&self) -> bool {
        self.deadline.is_some()
    }

    /// Waits until the request must end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let next = |deadline: Option<Instant>| {
            let look = Instant::now() + LOOK;
            deadline.map_or(look, |deadline| deadline.min(look))
        };
        let deadline = self.deadline;
        let look = self
            .next_look
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next(deadline))));
        loop {
            ready!(look.as_mut().poll(cx));
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Poll::Ready(Failure::UNAVAILABLE);
            }
            if let Some(identity) = &self.identity
                && let Err(reason) = (self.target.standing)(identity)
            {
                return Poll::Ready(Failure::Denied(reason));
            }
            look.as_mut().reset(next(deadline));
        }
    }
}
