//! Reports verdicts to the log and to the metrics.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::decision::{Decision, Verdict};

/// The minimum time between two warnings that there is no verdict. Without this limit, every
/// request would cause a warning while an authenticator is undecided.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Reports verdicts, and limits how often it warns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reporter {
    last_warning: Arc<Mutex<Option<Instant>>>,
    #[cfg(feature = "metrics")]
    decisions: Option<crate::metrics::Decisions>,
    #[cfg(feature = "metrics")]
    routes: crate::metrics::Routes,
}

impl Reporter {
    /// Counts with `meter` from now on.
    #[cfg(feature = "metrics")]
    pub(crate) fn count_with(&mut self, meter: &opentelemetry::metrics::Meter) {
        self.decisions = Some(crate::metrics::Decisions::new(meter, &self.routes));
    }

    /// Counts decisions by these routes from now on.
    #[cfg(feature = "metrics")]
    pub(crate) fn count_by(&mut self, routes: crate::metrics::Routes) {
        self.routes = routes;
        if let Some(decisions) = &mut self.decisions {
            decisions.count_by(&self.routes);
        }
    }

    /// Returns the current time if durations are measured.
    pub(crate) fn started(&self) -> Option<Instant> {
        #[cfg(feature = "metrics")]
        if self.decisions.is_some() {
            return Some(Instant::now());
        }
        None
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "routes and durations are for metrics")
    )]
    pub(crate) fn report(
        &self,
        verdict: &Verdict,
        transport: &'static str,
        path: &str,
        started: Option<Instant>,
    ) {
        match verdict {
            Ok(Decision::Allow(_)) => {}
            Ok(Decision::Deny(denial)) => {
                tracing::debug!(reason = denial.reason().as_str(), transport, "request refused")
            }
            Err(undecided) => {
                let error: &dyn Error = undecided;
                if self.may_warn() {
                    tracing::warn!(
                        error,
                        transport,
                        "no verdict on a request: its sender is asked to try again"
                    );
                } else {
                    tracing::debug!(error, transport, "no verdict on a request");
                }
            }
        }
        #[cfg(feature = "metrics")]
        if let (Some(decisions), Some(started)) = (&self.decisions, started) {
            let route = self.routes.index(path);
            decisions.count(verdict, transport, (&self.routes, route), started.elapsed());
        }
    }

    fn may_warn(&self) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
