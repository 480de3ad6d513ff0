//! When a follower reads its store again after a read that failed.

use std::error::Error;
use std::time::Duration;

use tokio::sync::watch;

use crate::backoff;
use crate::store::{KeyStore, StoreError, StoreErrorKind};

/// The part of a pause that a notification does not cut short. A store that fails and notifies its
/// followers again and again is therefore not read again and again.
const SHORTEST: u32 = 8;

/// Waits between the reads of a store, and logs when reads begin to fail and when they succeed
/// again.
#[derive(Debug)]
pub(super) struct Retry {
    revision: watch::Receiver<i64>,
    poll_interval: Duration,
    /// The number of reads that have failed since the last successful read.
    failures: u32,
    /// The kind of the last error.
    kind: Option<StoreErrorKind>,
}

impl Retry {
    pub(super) fn new(store: &dyn KeyStore, poll_interval: Duration) -> Self {
        Self { revision: store.revision(), poll_interval, failures: 0, kind: None }
    }

    /// Notes that a read begins. What the store has notified its followers of until now is no
    /// reason for a further read.
    pub(super) fn begin(&mut self) {
        self.revision.mark_unchanged();
    }

    /// Notes that a read succeeded. Returns whether the read before it failed.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Notes that a read failed. Returns whether the read before it succeeded, or failed with an
    /// error of another kind. Any further failure is only logged for debugging.
    pub(super) fn failed(&mut self, error: &StoreError) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_other = self.kind.replace(error.kind()) != Some(error.kind());
        let begins = self.failures == 1 || is_other;
        if !begins {
            tracing::debug!(error = error as &dyn Error, "the keys cannot be read");
        }
        begins
    }

    /// Waits until the store should be read again: until it has a new revision, or for at most the
    /// poll interval. After a failure, waits for at most a random part of a pause, so that the
    /// followers of a store that was lost do not return together.
    pub(super) async fn wait(&mut self) {
        let (shortest, longest) = match self.failures {
            0 => (None, self.poll_interval),
            failures => {
                let pause = backoff::pause(failures, self.poll_interval);
                (Some(pause / SHORTEST), backoff::jittered(pause, backoff::random()))
            }
        };
        let notified = async {
            if let Some(shortest) = shortest {
                tokio::time::sleep(shortest).await;
            }
            // A store that is gone sends no notification. Then only the longest time ends the wait.
            if self.revision.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // The result is ignored, because the store is read again in both cases.
        let _elapsed = tokio::time::timeout(longest, notified).await;
    }
}
