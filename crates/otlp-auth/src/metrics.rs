//! The instruments of the library, through the OpenTelemetry metrics API.
//!
//! The crate's documentation lists the instruments and their attributes. No attribute is taken from
//! a request.

#[cfg(feature = "server")]
use std::time::Duration;

use opentelemetry::KeyValue;
#[cfg(feature = "server")]
use opentelemetry::metrics::Histogram;
use opentelemetry::metrics::{Counter, Meter};

#[cfg(feature = "server")]
use crate::decision::{Decision, Verdict};

/// Reloads of a token file.
#[cfg(feature = "token-file")]
pub(crate) struct Reloads {
    reloads: Counter<u64>,
    side: &'static str,
}

/// Decisions of a server.
#[cfg(feature = "server")]
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    decisions: Counter<u64>,
    duration: Histogram<f64>,
}

/// Requests that were sent a second time.
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

#[cfg(feature = "server")]
impl Decisions {
    pub(crate) fn new(meter: &Meter) -> Self {
        let decisions = meter.u64_counter("ingestion.auth.decisions").with_unit("{decision}");
        let duration = meter.f64_histogram("ingestion.auth.duration").with_unit("s");
        Self {
            decisions: decisions.with_description("Verdicts on requests").build(),
            // From a decision in memory, 100 ns, to one that waits for another service, 10 s.
            duration: duration
                .with_description("Time from the headers to the verdict")
                .with_boundaries(vec![1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])
                .build(),
        }
    }

    pub(crate) fn count(&self, verdict: &Verdict, transport: &'static str, elapsed: Duration) {
        let transport = KeyValue::new("transport", transport);
        let (outcome, reason) = match verdict {
            Ok(Decision::Allow(_)) => ("allow", None),
            Ok(Decision::Deny(denial)) => ("deny", Some(denial.reason())),
            Err(_) => ("undecided", None),
        };
        let outcome = KeyValue::new("outcome", outcome);
        self.duration.record(elapsed.as_secs_f64(), &[outcome.clone(), transport.clone()]);
        match reason {
            Some(reason) => self
                .decisions
                .add(1, &[outcome, transport, KeyValue::new("deny.reason", reason.as_str())]),
            None => self.decisions.add(1, &[outcome, transport]),
        }
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
