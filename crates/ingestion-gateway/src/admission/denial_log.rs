//! Records which keys are denied. The log and the metrics contain the ids of these keys, the
//! responses do not.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::Denial;

use super::log_throttle::{Caller, LogThrottle};

/// Counts the requests with a key that the gateway knows and denies, and logs them at a limited
/// rate.
#[derive(Clone, Debug)]
pub(crate) struct DenialLog {
    throttle: Arc<LogThrottle>,
    refusals: Counter<u64>,
}

impl DenialLog {
    pub(crate) fn new(throttle: Arc<LogThrottle>, meter: &Meter) -> Self {
        let refusals = meter.u64_counter("ingestion.key.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Requests with a key that was deleted or disabled, or has expired")
            .build();
        Self { throttle, refusals }
    }

    fn record(&self, denial: &Denial) {
        let Some(id) = denial.identity().and_then(otlp_auth::Identity::id) else { return };
        let reason = denial.reason();
        // The metrics SDK limits how many key ids the counter keeps.
        self.refusals.add(
            1,
            &[
                KeyValue::new("key.id", id.to_string()),
                KeyValue::new("deny.reason", reason.as_str()),
            ],
        );
        if self.throttle.permits(Caller::Key(id), reason) {
            tracing::info!(key.id = %id, reason = reason.as_str(), "a key is refused");
        }
    }
}

/// Records the denial of a request, if there is one. This middleware is in front of an
/// [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer), which puts the denial into the
/// extensions of its response.
pub(crate) async fn record(State(log): State<DenialLog>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(denial) = response.extensions().get() {
        log.record(denial);
    }
    response
}
