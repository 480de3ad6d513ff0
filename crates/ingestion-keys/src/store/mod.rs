//! The trait of a store of keys, and the types that a cache needs to follow a store.
//!
//! A store has no rules about which changes are allowed. It makes each [`Commit`] completely or not
//! at all, and numbers the changes in the order in which it makes them.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod audit_text;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod error;
#[cfg(any(test, feature = "testing"))]
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod snapshot;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod transfer;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use error::{CommitError, StoreError, StoreErrorKind};
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore, PostgresUrlError};
pub use snapshot::{Snapshot, SnapshotChunk, SnapshotSender};
#[cfg(feature = "sqlite")]
pub use sqlite::{BackedUp, BackupProgress, SqliteOptions, SqliteStore};
#[cfg(all(feature = "postgres", feature = "sqlite"))]
pub use transfer::{Copied, CopyError, CopyProgress};

use crate::audit::{AuditEntry, AuditNote};
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey, Usage};

/// How long a deleted key is remembered: 90 days. During these 90 days the key is denied as
/// revoked. Later it is denied as unknown. The store and the cache both remember deleted keys for
/// this duration.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The largest number of changes that are read after a cursor. For more changes, the caller has
/// to read a snapshot.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const MAX_CHANGES: usize = 100_000;

/// The number of keys in one chunk of a snapshot.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const CHUNK: usize = 4096;

/// A store of keys.
///
/// Every change has a revision, which is larger by one than the revision of the change before.
/// [`changes_since`](Self::changes_since) reads the changes in the order of their revisions.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Makes a change: stores all its writes and its audit entry, or nothing. When the call returns
    /// `Ok`, the change survives a crash.
    ///
    /// # Errors
    ///
    /// [`CommitError::Changed`] and [`CommitError::IdTaken`] if the change conflicts with an
    /// earlier change. [`CommitError::Store`] if the change could not be stored.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Returns all keys, ordered by id, without the clients that used them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn list(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Returns the key with this id and its clients, or `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError>;

    /// Returns all keys and tombstones as they are at one moment. The snapshot comes in chunks. The
    /// last chunk has the cursor of that moment.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Returns the keys that changed since `cursor`, in the order of their last changes. A key that
    /// changed several times is returned once, in its last state.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError>;

    /// Returns the same as [`changes_since`](Self::changes_since), for another process. A store
    /// that has a connection of its own on which this process follows the changes does not use that
    /// connection, so that this process never waits for the other one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn changes_for_others(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        self.changes_since(cursor).await
    }

    /// Returns at most `limit` audit entries after a revision, oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Returns the largest number of keys in one call of [`add_usage`](Self::add_usage). A call is
    /// one transaction, and a change of a key may have to wait for it.
    fn usage_batch(&self) -> usize;

    /// Adds usage to keys. Either the whole batch is added, or nothing. The usage of a key that
    /// does not exist is ignored. Each key is in the batch once.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. If the connection to a store breaks before it answers, the
    /// batch may have been added.
    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError>;

    /// Removes the tombstones and the changes that are older than this time. The last change and
    /// all audit entries stay. A follower with the cursor of a removed change needs a snapshot.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    async fn prune(&self, before: Timestamp) -> Result<(), StoreError>;

    /// Returns a channel with the last revision that this store knows. A new revision wakes the
    /// followers, which then read the changes after their cursors. If a wake-up is lost, the
    /// followers read the changes later.
    fn revision(&self) -> watch::Receiver<i64>;
}

/// A change to be made.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Random bytes. They distinguish this change from a change with the same revision in another
    /// history.
    pub change_id: ChangeId,
    /// The time of the change.
    pub at: Timestamp,
    /// The name of the person or program that makes the change.
    pub who: String,
    /// The content of the entry in the audit log.
    pub audit: AuditNote,
    /// The writes, in the order in which they are made.
    pub writes: Vec<Write>,
}

/// One write of a change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Inserts a new key. The id of the key must never have been used before.
    Insert(KeyRecord),
    /// Replaces a key, if the stored key still has the revision in the record.
    Update(KeyRecord),
    /// Deletes a key, if the stored key still has the revision in the record. The digest and the id
    /// of the key stay as a tombstone.
    Delete(KeyRecord),
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of the change among all changes.
    pub revision: i64,
    /// Whether the change inserted a key that has the name of another key of the same role.
    pub duplicate_name: bool,
}

/// The random part of a [`Cursor`].
pub type ChangeId = [u8; 16];

/// A position in the history of one store: a revision, and the id of the change with this revision.
/// A store that was restored from a backup has another history, in which another change may have
/// the same revision. The ids of the two changes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The revision.
    pub revision: i64,
    /// The id of the change with this revision.
    pub change_id: ChangeId,
}

/// What changed since a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// The keys that changed, and the cursor after these changes.
    Since(Vec<Change>, Cursor),
    /// The cursor belongs to another history or is too old: everything has to be read again.
    SnapshotNeeded,
}

/// The state of a key after its last change, as far as a cache needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The revision of the last change of the key.
    pub revision: i64,
    /// The id of the key.
    pub id: KeyId,
    /// What the key is for.
    pub role: KeyRole,
    /// The digest by which a presented key is recognised.
    pub digest: KeyDigest,
    /// The state of the key.
    pub state: KeyState,
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// The key exists.
    Live {
        /// The name.
        name: String,
        /// The end of the validity.
        expires_at: Option<Timestamp>,
        /// Whether the key is enabled.
        enabled: bool,
    },
    /// The key was deleted.
    Deleted {
        /// The time of the deletion.
        at: Timestamp,
    },
}

/// How keys were used since the last batch.
#[derive(Clone, Debug, Default)]
pub struct UsageBatch {
    /// The usage to add, for each key.
    pub usage: Vec<(KeyId, Usage)>,
    /// The largest number of clients that are kept for each key.
    pub max_clients: usize,
    /// Clients that were last seen before this time are forgotten. A store may keep a client of
    /// this age until the next batch that has a new client of the same key.
    pub oldest_client: Option<Timestamp>,
}

impl Commit {
    /// Returns whether this change only revokes keys: each write deletes a key, disables a key, or
    /// ends its validity. A store may keep room for such changes.
    #[must_use]
    pub fn revokes(&self) -> bool {
        self.writes.iter().all(|write| match write {
            Write::Insert(_) => false,
            Write::Update(record) => {
                !record.enabled || record.expires_at.is_some_and(|end| end <= self.at)
            }
            Write::Delete(_) => true,
        })
    }
}

impl Write {
    /// Returns the state of the key after this write, if the write is part of the change with this
    /// revision.
    #[must_use]
    pub fn change(&self, revision: i64, at: Timestamp) -> Change {
        match self {
            Self::Insert(record) | Self::Update(record) => Change { revision, ..record.into() },
            Self::Delete(record) => Change {
                revision,
                id: record.id,
                role: record.role,
                digest: record.digest,
                state: KeyState::Deleted { at },
            },
        }
    }
}

impl From<&KeyRecord> for Change {
    fn from(record: &KeyRecord) -> Self {
        let state = KeyState::Live {
            name: record.name.clone(),
            expires_at: record.expires_at,
            enabled: record.enabled,
        };
        let KeyRecord { revision, id, role, digest, .. } = *record;
        Self { revision, id, role, digest, state }
    }
}
