//! Whether the gateway can decide about keys.

use std::sync::Arc;

use ingestion_keys::cache::KeyCache;
use tokio_util::sync::CancellationToken;

/// Tells whether the gateway can decide about keys. `/readyz` and the health check of gRPC give the
/// same answer.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    cache: Arc<KeyCache>,
    stopping: CancellationToken,
}

/// Why the gateway is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    /// The gateway stops.
    #[error("stopping")]
    Stopping,
    /// Decisions would come from keys that are too old.
    #[error("the keys could not be read for too long")]
    Stale,
}

impl Readiness {
    /// `stopping` is cancelled when the gateway begins to stop.
    pub(crate) fn new(cache: Arc<KeyCache>, stopping: CancellationToken) -> Self {
        Self { cache, stopping }
    }

    /// Succeeds while the gateway is ready.
    pub(crate) fn check(&self) -> Result<(), NotReady> {
        if self.stopping.is_cancelled() {
            return Err(NotReady::Stopping);
        }
        self.cache.fresh_for().map(|_| ()).ok_or(NotReady::Stale)
    }
}

#[cfg(test)]
mod tests {
    use ingestion_keys::cache::KeyCacheOptions;
    use ingestion_keys::clock::SystemClock;
    use ingestion_keys::store::{SqliteOptions, SqliteStore};

    use super::*;

    // Scenario: the keys were not read yet. Then they are read, and then the gateway stops.
    // Guarantee: the gateway is ready only as long as it has read the keys and does not stop.
    #[tokio::test]
    async fn a_gateway_that_stops_is_not_ready() {
        let options = KeyCacheOptions::default();
        let cache = Arc::new(KeyCache::new(Arc::new(SystemClock), options));
        let stopping = CancellationToken::new();
        let readiness = Readiness::new(Arc::clone(&cache), stopping.clone());
        assert_eq!(readiness.check(), Err(NotReady::Stale));
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("keys.db"));
        cache.catch_up(&SqliteStore::open(&options).unwrap()).await.unwrap();
        assert_eq!(readiness.check(), Ok(()));
        stopping.cancel();
        assert_eq!(readiness.check(), Err(NotReady::Stopping));
    }
}
