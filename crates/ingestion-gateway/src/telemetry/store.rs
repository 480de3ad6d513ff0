//! Counts the errors of the key store.

use std::sync::Arc;

use async_trait::async_trait;
use ingestion_keys::audit::AuditEntry;
use ingestion_keys::clock::Timestamp;
use ingestion_keys::store::{
    Changes, Commit, CommitError, Committed, Cursor, KeyStore, Snapshot, StoreError, UsageBatch,
};
use ingestion_keys::{KeyId, StoredKey};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio::sync::watch;

/// A store whose errors are counted. It does what its inner store does.
#[derive(Debug)]
pub(crate) struct MeteredStore {
    inner: Arc<dyn KeyStore>,
    errors: Counter<u64>,
}

impl MeteredStore {
    pub(crate) fn new(inner: Arc<dyn KeyStore>, meter: &Meter) -> Self {
        let errors = meter.u64_counter("ingestion.store.errors").with_unit("{error}");
        let errors = errors.with_description("Failed operations of the key store").build();
        Self { inner, errors }
    }

    fn count(&self, operation: &'static str, error: &StoreError) {
        self.errors.add(
            1,
            &[
                KeyValue::new("error.type", error.kind().as_str()),
                KeyValue::new("operation", operation),
            ],
        );
    }

    fn counted<T>(
        &self,
        operation: &'static str,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        result.inspect_err(|error| self.count(operation, error))
    }
}

#[async_trait]
impl KeyStore for MeteredStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.inner.commit(commit).await.inspect_err(|error| {
            if let CommitError::Store(error) = error {
                self.count("commit", error);
            }
        })
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.counted("list", self.inner.list().await)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        self.counted("get", self.inner.get(id).await)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.counted("snapshot", self.inner.snapshot().await)
    }

    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        self.counted("changes", self.inner.changes_since(cursor).await)
    }

    async fn changes_for_others(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        self.counted("changes", self.inner.changes_for_others(cursor).await)
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.counted("audit", self.inner.audit(after, limit).await)
    }

    fn usage_batch(&self) -> usize {
        self.inner.usage_batch()
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        self.counted("usage", self.inner.add_usage(batch).await)
    }

    async fn prune(&self, before: Timestamp) -> Result<(), StoreError> {
        self.counted("prune", self.inner.prune(before).await)
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.inner.revision()
    }
}
