//! Counts and times the decisions of a server.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter};

use crate::decision::{Decision, Verdict};

/// The labels of outcomes, in the order of their indices.
const OUTCOMES: [&str; 3] = ["allow", "deny", "undecided"];

/// The number of reasons for a denial.
const REASONS: usize = 8;

/// The outcomes that are counted apart: allowed, undecided, and denied for each reason.
const RESULTS: usize = 2 + REASONS;

/// The transports.
const TRANSPORTS: usize = 2;

/// Counts and times the decisions of a server.
///
/// An instrument is bound to its attributes when they first occur. After that, a decision looks up
/// no attributes and allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    decisions: Counter<u64>,
    duration: Histogram<f64>,
    counters: Box<[OnceLock<BoundCounter<u64>>]>,
    durations: [OnceLock<BoundHistogram<f64>>; TRANSPORTS * OUTCOMES.len()],
}

/// The routes that decisions are counted by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    names: Box<[&'static str]>,
    of: Option<fn(&str) -> Option<usize>>,
}

impl Routes {
    pub(crate) fn new(
        names: impl IntoIterator<Item = &'static str>,
        of: fn(&str) -> Option<usize>,
    ) -> Self {
        Self { names: names.into_iter().collect(), of: Some(of) }
    }

    /// Returns the index of the route of a path. Paths that are no route have the last index.
    pub(crate) fn index(&self, path: &str) -> usize {
        let known = self.of.and_then(|of| of(path)).unwrap_or(usize::MAX);
        known.min(self.names.len())
    }
}

impl Decisions {
    pub(crate) fn new(meter: &Meter, routes: &Routes) -> Self {
        let decisions = meter.u64_counter("ingestion.auth.decisions").with_unit("{decision}");
        let duration = meter.f64_histogram("ingestion.auth.duration").with_unit("s");
        Self {
            decisions: decisions.with_description("Verdicts on requests").build(),
            // The buckets reach from 100 ns, for a decision from memory, to 10 s, for a decision
            // that waits for another service.
            duration: duration
                .with_description("Time from the headers to the verdict")
                .with_boundaries(vec![1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])
                .build(),
            counters: unbound(routes),
            durations: Default::default(),
        }
    }

    /// Counts by these routes from now on.
    pub(crate) fn count_by(&mut self, routes: &Routes) {
        self.counters = unbound(routes);
    }

    pub(crate) fn count(
        &self,
        verdict: &Verdict,
        transport: &'static str,
        (routes, route): (&Routes, usize),
        elapsed: Duration,
    ) {
        let (outcome, result, reason) = match verdict {
            Ok(Decision::Allow(_)) => (0, 0, None),
            Ok(Decision::Deny(denial)) => {
                (1, 2 + denial.reason() as usize, Some(denial.reason().as_str()))
            }
            Err(_) => (2, 1, None),
        };
        let transport_index = usize::from(transport == "grpc");
        let common =
            || [KeyValue::new("outcome", OUTCOMES[outcome]), KeyValue::new("transport", transport)];
        if let Some(duration) = self.durations.get(transport_index * OUTCOMES.len() + outcome) {
            let bind = || self.duration.bind(&common());
            duration.get_or_init(bind).record(elapsed.as_secs_f64());
        }
        let index = (route * TRANSPORTS + transport_index) * RESULTS + result;
        if let Some(counter) = self.counters.get(index) {
            let bind = || {
                let route = routes.names.get(route).map(|name| KeyValue::new("http.route", *name));
                let reason = reason.map(|reason| KeyValue::new("deny.reason", reason));
                let attributes: Vec<_> = common().into_iter().chain(reason).chain(route).collect();
                self.decisions.bind(&attributes)
            };
            counter.get_or_init(bind).add(1);
        }
    }
}

/// Returns a counter for each outcome on each transport and route.
fn unbound(routes: &Routes) -> Box<[OnceLock<BoundCounter<u64>>]> {
    let len = (routes.names.len() + 1) * TRANSPORTS * RESULTS;
    std::iter::repeat_with(OnceLock::new).take(len).collect()
}
