//! What a request passes on its way into the gateway, and the tokens of administrators.

pub(crate) mod admin_tokens;
pub(crate) mod denial_log;
pub(crate) mod log_throttle;
#[cfg(test)]
mod tests;
pub(crate) mod usage;

use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use opentelemetry::metrics::Meter;
use otlp_auth::server::{Authenticate, AuthenticateLayer};
use tower::Layer as _;

use self::denial_log::{DenialLog, DenialLogLayer, Denials};
use self::log_throttle::LogThrottle;
use self::usage::{Usage, UsageLayer};
use crate::telemetry::keys::SharedKeyUse;
use crate::telemetry::requests::RequestMetrics;

/// A service behind an authenticator. What the authenticator rejects is logged, and what it allows
/// is counted.
pub(crate) type Admitted<S, A> = DenialLog<Authenticate<Usage<S>, A>>;

/// Puts services for senders behind an authenticator, and records their requests.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    denials: Denials,
    metrics: Arc<RequestMetrics>,
}

impl Admission {
    /// Creates the instruments. The lines about denied keys are limited by `throttle`.
    pub(crate) fn new(
        throttle: Arc<LogThrottle>,
        shared_key: Arc<SharedKeyUse>,
        meter: &Meter,
    ) -> Self {
        let metrics = Arc::new(RequestMetrics::new(meter, shared_key));
        Self { denials: Denials::new(throttle, meter), metrics }
    }

    /// Returns a value for another worker. Workers share no reference count, so that they do not
    /// wait for each other.
    pub(crate) fn for_worker(&self) -> Self {
        Self { denials: self.denials.clone(), metrics: Arc::new(self.metrics.for_worker()) }
    }

    /// Returns what counts and logs the requests that the gateway denies but does not receive,
    /// because a proxy asked about them.
    pub(crate) fn denials(&self) -> Denials {
        self.denials.clone()
    }

    /// Puts `authenticate` in front of a service. Measures every request, records the usage of the
    /// keys that `authenticate` allows, and logs the keys that `authenticate` denies.
    pub(crate) fn admit<S, A>(
        &self,
        authenticate: &AuthenticateLayer<A>,
        service: S,
    ) -> Admitted<S, A> {
        let usage = UsageLayer::new(Arc::clone(&self.metrics));
        let denial_log = DenialLogLayer::new(self.denials.clone(), Arc::clone(&self.metrics));
        denial_log.layer(authenticate.layer(usage.layer(service)))
    }
}

/// Returns whether the content type is one of gRPC.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
