//! Records which keys are denied. The log and the metrics contain the ids of these keys, the
//! responses do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::{Denial, DenyReason};
use tokio::time::Instant;

/// The minimum time between two log lines about the same key and reason. The number of log lines is
/// limited because the sender of a denied key tries again with each batch.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// The largest number of pairs of key and reason that are logged within [`LINE_INTERVAL`]. Requests
/// with further pairs are only counted.
const MAX_LOGGED: usize = 1024;

/// Logs and counts the requests with a key that the gateway knows and denies.
#[derive(Clone, Debug)]
pub(crate) struct DenialLog {
    throttle: Arc<LogThrottle>,
    refusals: Counter<u64>,
}

/// The time of the last log line for each pair of key id and reason.
#[derive(Debug, Default)]
struct LogThrottle(Mutex<HashMap<(u64, DenyReason), Instant>>);

impl DenialLog {
    pub(crate) fn new(meter: &Meter) -> Self {
        let refusals = meter.u64_counter("ingestion.key.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Requests with a key that was deleted or disabled, or has expired")
            .build();
        Self { throttle: Arc::default(), refusals }
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
        if self.throttle.is_due(id, reason, Instant::now()) {
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

impl LogThrottle {
    fn is_due(&self, id: u64, reason: DenyReason, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.duration_since(*at) < LINE_INTERVAL;
        if logged.get(&(id, reason)).is_some_and(is_recent) {
            return false;
        }
        if logged.len() >= MAX_LOGGED {
            logged.retain(|_, at| is_recent(at));
        }
        let has_room = logged.len() < MAX_LOGGED;
        if has_room {
            logged.insert((id, reason), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a key is denied several times, for two reasons. Then more keys are denied than the
    // throttle can keep.
    // Guarantee: each pair of key and reason gets one log line a minute. Pairs for which the
    // throttle has no room get no log line.
    #[test]
    fn a_key_is_logged_once_a_minute() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let later = start + LINE_INTERVAL;
        assert!(throttle.is_due(1, DenyReason::Revoked, start));
        assert!(!throttle.is_due(1, DenyReason::Revoked, start));
        assert!(throttle.is_due(1, DenyReason::Expired, start));
        assert!(throttle.is_due(1, DenyReason::Revoked, later));
        let lines = (1..=2 * MAX_LOGGED as u64)
            .filter(|id| throttle.is_due(*id, DenyReason::Expired, later))
            .count();
        assert_eq!(lines, MAX_LOGGED - 1);
        assert_eq!(throttle.0.lock().unwrap().len(), MAX_LOGGED);
    }
}
