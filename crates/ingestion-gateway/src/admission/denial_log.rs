//! Which keys are refused: the log and the metrics name them, the answers do not.

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

/// Shortest time between two lines about the same key, whose sender tries again with each batch.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Most keys and reasons that are logged within [`LINE_INTERVAL`]; others are counted only.
const MAX_LOGGED: usize = 1024;

/// Logs and counts the requests whose key is known and refused.
#[derive(Clone, Debug)]
pub(crate) struct DenialLog {
    throttle: Arc<LogThrottle>,
    refusals: Counter<u64>,
}

/// When a line was written about a key, by its id, and a reason.
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
        // The SDK bounds the number of ids that it keeps.
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

/// The middleware in front of an [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer), which
/// leaves the denial in the extensions of its answer.
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

    // Scenario: keys are refused again and again, for two reasons, and more of them than the
    // throttle keeps.
    // Guarantee: one line a minute is due for each key and reason, and none for those that there is
    // no room for.
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
