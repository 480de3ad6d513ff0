//! Watches a request that is open: whether its key is still valid, and whether the upstream answers
//! in time.

use std::sync::Arc;
use std::task::{Context, Poll};

use otlp_auth::Identity;

use super::answer::Failure;
use super::target::Target;
use crate::ticker::{Alarm, passed_between};

/// The number of ticks between two looks at a request.
const LOOK: u64 = 2;

/// Watches one request.
pub(super) struct Watch {
    identity: Option<Identity>,
    pub(super) target: Arc<Target>,
    alarm: Alarm,
    next_look: Option<u64>,
    awaits: Awaits,
}

/// What the next step of a request depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The client, which may take its time.
    Client,
    /// The upstream, since this tick.
    Upstream { since: Option<u64> },
}

impl Watch {
    pub(super) fn new(identity: Option<Identity>, target: Arc<Target>) -> Self {
        let alarm = Alarm::default();
        Self { identity, target, alarm, next_look: None, awaits: Awaits::Client }
    }

    /// Watches the same request elsewhere, from now on.
    pub(super) fn another(&self) -> Self {
        Self::new(self.identity.clone(), Arc::clone(&self.target))
    }

    /// Notes that the request waits for its client.
    pub(super) fn await_client(&mut self) {
        self.awaits = Awaits::Client;
    }

    /// Notes that the request waits for the upstream. With `has_progressed`, the time that the
    /// upstream has begins anew.
    pub(super) fn await_upstream(&mut self, has_progressed: bool) {
        if has_progressed || self.awaits == Awaits::Client {
            self.awaits = Awaits::Upstream { since: None };
        }
    }

    /// Waits until the request must end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let now = self.alarm.set(cx, LOOK);
        if let Awaits::Upstream { since: since @ None } = &mut self.awaits {
            *since = Some(now);
        }
        if now < *self.next_look.get_or_insert(now + LOOK) {
            return Poll::Pending;
        }
        self.next_look = Some(now + LOOK);
        if let Awaits::Upstream { since: Some(since) } = self.awaits
            && passed_between(since, now) >= self.target.response_timeout()
        {
            return Poll::Ready(Failure::UNAVAILABLE);
        }
        match self.identity.as_ref().map(|identity| (self.target.standing)(identity)) {
            Some(Err(reason)) => Poll::Ready(Failure::Denied(reason)),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::Waker;
    use std::time::Duration;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use otlp_auth::DenyReason;
    use otlp_auth::server::CredentialExtractor;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::tls::Reloads;
    use crate::upstream::Destination;
    use crate::upstream::targets::Targets;

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

    /// Polls a watch after a second.
    async fn poll(watch: &mut Watch) -> Poll<Failure> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        watch.poll(&mut Context::from_waker(Waker::noop()))
    }

    // Scenario: a request is open for a minute. Then its key is deleted.
    // Guarantee: the request ends within a second after the deletion, and not before.
    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_its_key() {
        let is_deleted = Arc::<AtomicBool>::default();
        let mut watch = Watch::new(Some(Identity::new("edge")), target(Arc::clone(&is_deleted)));
        for _ in 0..60 {
            assert!(poll(&mut watch).await.is_pending());
        }
        is_deleted.store(true, Relaxed);
        assert_eq!(poll(&mut watch).await, Poll::Ready(Failure::Denied(DenyReason::Revoked)));
    }

    // Scenario: a request waits for its client, then for the upstream, again for its client, and
    // then for the upstream, which makes progress once and then none.
    // Guarantee: the request ends once the upstream has made no progress for the configured time.
    // No time counts while the request waits for its client.
    #[tokio::test(start_paused = true)]
    async fn only_the_upstream_has_a_time_limit() {
        let target = target(Arc::default());
        assert_eq!(target.response_timeout(), Duration::from_secs(30));
        let mut watch = Watch::new(Some(Identity::new("edge")), target);
        for has_progressed in [false, false, true] {
            if !has_progressed {
                watch.await_client();
                for _ in 0..100 {
                    assert!(poll(&mut watch).await.is_pending());
                }
            }
            watch.await_upstream(has_progressed);
            for _ in 0..28 {
                assert!(poll(&mut watch).await.is_pending());
            }
        }
        let mut polls = 0;
        while poll(&mut watch).await.is_pending() {
            polls += 1;
        }
        assert!((1..=5).contains(&polls), "{polls}");
    }
}
