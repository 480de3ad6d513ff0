//! The usage of keys since the process started, for metrics.

use std::sync::PoisonError;

use super::KeyCache;
use super::usage::{Totals, lock};
use crate::key::{KeyId, Usage};

/// The largest number of keys whose usage is told apart. A system for metrics stores a series for
/// each of them.
pub(super) const MAX_LISTED: usize = 900;

/// The usage of keys since the process started, flushed or not. The tokens of followers are left
/// out: their requests are not telemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// The first 900 keys that were used and still exist.
    pub keys: Vec<(KeyId, UsageTotal)>,
    /// All other keys together. This never becomes less.
    pub others: UsageTotal,
}

/// Counts of requests and of the bytes in their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotal {
    /// The requests that were let in and answered with success.
    pub accepted: u64,
    /// The requests that were let in and not answered with success.
    pub failed: u64,
    /// The bytes of the bodies of all requests that were let in.
    pub bytes: u64,
}

impl KeyCache {
    /// Returns the usage of keys since the process started. The counters of a key are read and not
    /// changed. The numbers of a key, as long as it is listed, never become less.
    #[must_use]
    pub fn usage_totals(&self) -> UsageTotals {
        let used = self.usage.used.pin();
        let forgotten = self.usage.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = UsageTotals { keys: Vec::new(), others: *forgotten };
        for (id, key) in &used {
            let key = lock(key);
            match key.totals {
                Totals::Listed => totals.keys.push((*id, key.total(&self.usage))),
                Totals::Others => totals.others.add(key.total(&self.usage)),
                Totals::LeftOut => {}
            }
        }
        totals
    }
}

impl UsageTotal {
    pub(super) fn add(&mut self, more: Self) {
        self.accepted = self.accepted.saturating_add(more.accepted);
        self.failed = self.failed.saturating_add(more.failed);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl From<&Usage> for UsageTotal {
    fn from(usage: &Usage) -> Self {
        Self { accepted: usage.accepted, failed: usage.failed, bytes: usage.bytes }
    }
}
