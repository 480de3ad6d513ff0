//! Counts the reloads of a token file.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Counts the reloads of a token file.
pub(crate) struct Reloads {
    reloads: Counter<u64>,
    side: &'static str,
}

impl Reloads {
    pub(crate) fn new(meter: &Meter, side: &'static str) -> Self {
        let reloads = meter.u64_counter("ingestion.auth.reloads").with_unit("{reload}");
        Self {
            reloads: reloads.with_description("Changes of a token file that were read").build(),
            side,
        }
    }

    pub(crate) fn count(&self, success: bool) {
        let outcome = if success { "success" } else { "failure" };
        self.reloads.add(1, &[KeyValue::new("outcome", outcome), KeyValue::new("side", self.side)]);
    }
}
