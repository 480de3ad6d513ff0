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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::Waker;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use otlp_auth::DenyReason;
    use otlp_auth::server::CredentialExtractor;
    use otlp_receiver::Refusal;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::tls::Reloads;
    use crate::upstream::{Destination, Targets};

    /// Makes an upstream at which keys are valid until `is_deleted` is set.
    fn target(is_deleted: Arc<AtomicBool>) -> Arc<Target> {
        let sets = ["otlp_grpc.endpoint=http://127.0.0.1:1", "otlp_http=debug", "agent=debug"];
        let sets = sets.map(|set| format!("upstream.{set}"));
        let sources = Sources { files: Vec::new(), sets: sets.into() };
        let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
        let (config, _) = Config::load(&sources, &env).unwrap();
        let meter = SdkMeterProvider::default().meter("test");
        let standing = move |_: &Identity| match is_deleted.load(Relaxed) {
            true => Err(DenyReason::Revoked),
            false => Ok(()),
        };
        let (extractor, reloads) = (CredentialExtractor::default(), Reloads::new(&meter));
        let targets =
            Targets::open(&config, &extractor, Arc::new(standing), &reloads, &meter).unwrap();
        match targets.otlp_grpc {
            Destination::Forward(target) => Arc::new(target),
            _ => unreachable!("an endpoint is configured"),
        }
    }

    fn poll(watch: &mut Watch) -> Poll<Failure> {
        watch.poll(&mut Context::from_waker(Waker::noop()))
    }

    // Scenario: a request is open for a minute. Then its key is deleted.
    // Guarantee: the request ends within a second after the deletion, and not before.
    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_its_key() {
        let is_deleted = Arc::<AtomicBool>::default();
        let mut watch = Watch::new(Some(Identity::new("edge")), target(Arc::clone(&is_deleted)));
        for _ in 0..60 {
            assert!(poll(&mut watch).is_pending());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(poll(&mut watch).is_pending());
        is_deleted.store(true, Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(poll(&mut watch), Poll::Ready(Failure::Denied(DenyReason::Revoked)));
    }

    // Scenario: a request waits for its client, then for the upstream, again for its client, and
    // then for the upstream until the deadline.
    // Guarantee: the request ends at the last deadline. No deadline counts while it waits for its
    // client.
    #[tokio::test(start_paused = true)]
    async fn only_the_upstream_has_a_deadline() {
        let timeout = Duration::from_millis(100);
        let mut watch = Watch::new(Some(Identity::new("edge")), target(Arc::default()));
        for _ in 0..2 {
            watch.expect_at(None);
            assert!(poll(&mut watch).is_pending());
            tokio::time::advance(timeout * 20).await;
            assert!(poll(&mut watch).is_pending());
            watch.expect_at(Some(Instant::now() + timeout));
            assert!(poll(&mut watch).is_pending());
            tokio::time::advance(timeout / 2).await;
            assert!(poll(&mut watch).is_pending());
        }
        tokio::time::advance(timeout / 2).await;
        let unavailable = Failure::Refused(Refusal::UpstreamUnavailable);
        assert_eq!(poll(&mut watch), Poll::Ready(unavailable));
    }
}
