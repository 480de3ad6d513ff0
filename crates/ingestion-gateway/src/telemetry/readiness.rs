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
    /// The keys were not read yet, because the key database cannot be reached.
    #[error("the keys were never read")]
    NeverRead,
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
        match (self.cache.fresh_for(), self.cache.revision()) {
            (Some(_), _) => Ok(()),
            (None, Some(_)) => Err(NotReady::Stale),
            (None, None) => Err(NotReady::NeverRead),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ingestion_keys::cache::KeyCacheOptions;
    use ingestion_keys::clock::SystemClock;
    use ingestion_keys::store::{SqliteOptions, SqliteStore};

    use super::*;

    // Scenario: the keys were not read yet. Then they are read, and then the gateway stops. The
    // keys of another gateway are too old as soon as they are read.
    // Guarantee: a gateway is ready only as long as it has read the keys, the keys are not too old,
    // and the gateway does not stop. Otherwise it says which of these is the case.
    #[tokio::test]
    async fn a_gateway_is_ready_while_it_can_decide() {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("keys.db"));
        let store = SqliteStore::open(&options).unwrap();
        let options = KeyCacheOptions::default();
        let too_old = KeyCacheOptions { max_staleness: Duration::ZERO, ..options };
        for (options, expected) in [(options, Ok(())), (too_old, Err(NotReady::Stale))] {
            let cache = Arc::new(KeyCache::new(Arc::new(SystemClock), options));
            let stopping = CancellationToken::new();
            let readiness = Readiness::new(Arc::clone(&cache), stopping.clone());
            assert_eq!(readiness.check(), Err(NotReady::NeverRead));
            cache.catch_up(&store).await.unwrap();
            assert_eq!(readiness.check(), expected);
            stopping.cancel();
            assert_eq!(readiness.check(), Err(NotReady::Stopping));
        }
    }
}
