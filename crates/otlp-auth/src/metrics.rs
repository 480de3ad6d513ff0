//! The metric instruments of the library. They use the OpenTelemetry metrics API.
//!
//! The documentation of the crate lists the instruments and their attributes. No attribute contains
//! data of a request.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

#[cfg(feature = "server")]
pub(crate) use self::decisions::{Decisions, Routes};

#[cfg(feature = "server")]
mod decisions;

/// Counts the reloads of a token file.
#[cfg(feature = "token-file")]
pub(crate) struct Reloads {
    reloads: Counter<u64>,
    side: &'static str,
}

/// Counts the requests that were sent a second time.
#[cfg(feature = "client")]
#[derive(Clone, Debug)]
pub(crate) struct Resends {
    resends: Counter<u64>,
}

#[cfg(feature = "token-file")]
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

#[cfg(feature = "client")]
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
