//! Logs why an upstream cannot be reached, at a limited rate.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time after a line in which further failures of the same upstream are logged at the level
/// `debug` only.
const INTERVAL: Duration = Duration::from_secs(10);

/// Remembers when it was last logged that an upstream cannot be reached. All workers share it.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    last: Mutex<Option<Instant>>,
}

impl OutageLog {
    /// Logs that the connection to this upstream failed.
    pub(super) fn record(&self, upstream: &str, error: &(dyn Error + 'static)) {
        if self.permits(Instant::now()) {
            tracing::warn!(
                upstream,
                error,
                "cannot connect to an upstream: senders are told to try again"
            );
        } else {
            tracing::debug!(upstream, error, "cannot connect to an upstream");
        }
    }

    fn permits(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let permits = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if permits {
            *last = Some(now);
        }
        permits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: an upstream cannot be reached for a while.
    // Guarantee: the first failure is logged, and further ones once in each interval.
    #[test]
    fn one_line_an_interval() {
        let (log, start) = (OutageLog::default(), Instant::now());
        assert!(log.permits(start));
        assert!(!log.permits(start + INTERVAL / 2));
        assert!(log.permits(start + INTERVAL));
        assert!(!log.permits(start + INTERVAL));
    }
}
