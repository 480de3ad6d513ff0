//! Which key was refused: what the log and the metrics are told and the sender is not.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ingestion_keys::KeyId;
use ingestion_keys::ring::Ring;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::server::{InMemoryAuthenticator, ServerAuthenticator};
use otlp_auth::{Credential, Decision, DenyReason, Verdict};
use tokio::time::Instant;

/// Shortest time between two lines about the same key: its sender tries again with each batch.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Keys that are told about within that time; the others are counted only.
const MAX_TOLD: usize = 1024;

/// A ring that tells which of its keys it refuses.
#[derive(Clone, Debug)]
pub(crate) struct TellingRing {
    ring: Arc<Ring>,
    told: Arc<Told>,
    refusals: Counter<u64>,
}

/// When there was a line about a key and a reason.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<(KeyId, DenyReason), Instant>>);

impl TellingRing {
    pub(crate) fn new(ring: Arc<Ring>, meter: &Meter) -> Self {
        let refusals = meter.u64_counter("ingestion.key.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Requests with a key that was deleted or disabled, or has expired")
            .build();
        Self { ring, told: Arc::default(), refusals }
    }

    #[cold]
    fn tell(&self, credential: &Credential<'_>, reason: DenyReason) {
        let Some(inspection) = self.ring.inspect(credential) else { return };
        let (id, reason_name) = (inspection.id.to_string(), reason.as_str());
        // The number of ids is bounded by the SDK.
        self.refusals.add(
            1,
            &[KeyValue::new("key.id", id.clone()), KeyValue::new("deny.reason", reason_name)],
        );
        if self.told.is_due(inspection.id, reason, Instant::now()) {
            tracing::info!(key.id = %id, reason = reason_name, "a key is refused");
        }
    }
}

impl InMemoryAuthenticator for TellingRing {
    fn decide(&self, credential: &Credential<'_>) -> Verdict {
        let verdict = self.ring.decide(credential);
        if let Ok(Decision::Deny(denial)) = &verdict
            && let reason @ (DenyReason::Revoked | DenyReason::Expired) = denial.reason()
        {
            self.tell(credential, reason);
        }
        verdict
    }
}

impl ServerAuthenticator for TellingRing {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        ready(self.decide(credential))
    }
}

impl Told {
    fn is_due(&self, id: KeyId, reason: DenyReason, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.duration_since(*at) < LINE_INTERVAL;
        if told.get(&(id, reason)).is_some_and(is_recent) {
            return false;
        }
        if told.len() >= MAX_TOLD {
            told.retain(|_, at| is_recent(at));
        }
        let has_room = told.len() < MAX_TOLD;
        if has_room {
            told.insert((id, reason), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: keys are refused again and again, for two reasons, and more of them than are told
    // about. Guarantee: one line a minute for each key and reason, and none for those that there is
    // no room for.
    #[test]
    fn a_key_is_told_about_once_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let key = |id: usize| KeyId::new(i64::try_from(id).unwrap()).unwrap();
        let later = start + LINE_INTERVAL;
        assert!(told.is_due(key(1), DenyReason::Revoked, start));
        assert!(!told.is_due(key(1), DenyReason::Revoked, start));
        assert!(told.is_due(key(1), DenyReason::Expired, start));
        assert!(told.is_due(key(1), DenyReason::Revoked, later));
        let lines = (1..=2 * MAX_TOLD)
            .filter(|id| told.is_due(key(*id), DenyReason::Expired, later))
            .count();
        assert_eq!(lines, MAX_TOLD - 1);
        assert_eq!(told.0.lock().unwrap().len(), MAX_TOLD);
    }
}
