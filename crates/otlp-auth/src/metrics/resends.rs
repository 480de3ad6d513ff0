//! Counts the requests that were sent a second time.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Counts the requests that were sent a second time.
#[derive(Clone, Debug)]
pub(crate) struct Resends {
    resends: Counter<u64>,
}

impl Resends {
    pub(crate) fn new(meter: &Meter) -> Self {
        let resends = meter.u64_counter("ingestion.auth.resends").with_unit("{request}");
        Self {
            resends: resends
                .with_description("Requests sent again with a token read after a refusal")
                .build(),
        }
    }

    pub(crate) fn count(&self, transport: &'static str) {
        self.resends.add(1, &[KeyValue::new("transport", transport)]);
    }
}
