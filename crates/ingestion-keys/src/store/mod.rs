//! Where keys are stored: the trait of a store, and what a cache needs to follow one.
//!
//! A store has no policy. It makes each [`Commit`] as a whole or not at all, and numbers them in
//! the order in which it made them.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod error;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod snapshot;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use error::{CommitError, StoreError, StoreErrorKind};
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryStore;
pub use snapshot::{Snapshot, SnapshotChunk, SnapshotSender};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};

use crate::audit::{AuditEntry, AuditNote};
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, StoredKey, Usage};

/// How long a deleted key is remembered, so that the reason of its refusals is known: 90 days. The
/// store and the keys in memory use the same time.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A store of keys.
///
/// Every change has a revision, which is larger by one than the revision of the change before.
/// [`changes_since`](Self::changes_since) reads the changes in that order.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Makes a change: all its writes and its audit entry, or nothing. When it returns `Ok`, the
    /// change survives a crash.
    ///
    /// # Errors
    ///
    /// [`CommitError::Changed`] and [`CommitError::IdTaken`] if the change conflicts with another;
    /// [`CommitError::Store`] if it could not be made.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Returns all keys, ordered by id, without the clients that used them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn list(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Returns the key with this id, with its clients, or `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError>;

    /// Returns all keys and tombstones at one moment, in chunks, and then the cursor of that
    /// moment.
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

    /// Returns at most `limit` audit entries after a revision, oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Adds to the usage of these keys: the whole batch, or nothing of it. Keys that do not exist
    /// are passed over.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError>;

    /// Removes the tombstones from before this time, and the changes from before this time, so that
    /// their cursors need a snapshot. The last change and all audit entries stay.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    async fn prune(&self, before: Timestamp) -> Result<(), StoreError>;

    /// The last revision that this store knows of. It wakes followers, which then read by cursor: a
    /// wake-up that is lost delays changes and loses none.
    fn revision(&self) -> watch::Receiver<i64>;
}

/// A change to be made.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Random bytes, by which this change differs from a change with the same revision in another
    /// history.
    pub change_id: ChangeId,
    /// The time of the change.
    pub at: Timestamp,
    /// The name of whoever made it.
    pub who: String,
    /// What the audit log will say about it.
    pub audit: AuditNote,
    /// The writes, in their order.
    pub writes: Vec<Write>,
}

/// One write of a change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Inserts a new key, whose id was never used.
    Insert(KeyRecord),
    /// Replaces a key, if it still has the revision in the record.
    Update(KeyRecord),
    /// Deletes a key, if it still has the revision in the record. Its digest and id stay as a
    /// tombstone.
    Delete(KeyRecord),
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position of the change among all changes.
    pub revision: i64,
    /// Whether a key was inserted that has the name of another key.
    pub duplicate_name: bool,
}

/// The random part of a [`Cursor`].
pub type ChangeId = [u8; 16];

/// A position in the history of one store: a revision, and the id of the change that made it. In a
/// history that was rewound, for example by a restore, another change has this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The revision.
    pub revision: i64,
    /// The id of the change that made it.
    pub change_id: ChangeId,
}

/// What changed since a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These keys changed, and this is the cursor after them.
    Since(Vec<Change>, Cursor),
    /// The cursor belongs to another history or is too old: everything has to be read again.
    SnapshotNeeded,
}

/// The state of a key after its last change, as far as a cache needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision of its last change.
    pub revision: i64,
    /// The id of the key.
    pub id: KeyId,
    /// The digest by which a presented key is recognised.
    pub digest: KeyDigest,
    /// Its state.
    pub state: KeyState,
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The key exists.
    Live {
        /// The name.
        name: String,
        /// The end of its validity.
        expires_at: Option<Timestamp>,
        /// Whether it is enabled.
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
    /// The usage to add to each key.
    pub usage: Vec<(KeyId, Usage)>,
    /// The largest number of clients that are kept of each key.
    pub max_clients: usize,
    /// Clients that were last seen before this time are forgotten.
    pub oldest_client: Option<Timestamp>,
}

impl Write {
    /// The state of the key after this write, in a change with this revision.
    #[must_use]
    pub fn change(&self, revision: i64, at: Timestamp) -> Change {
        match self {
            Self::Insert(record) | Self::Update(record) => Change { revision, ..record.into() },
            Self::Delete(record) => Change {
                revision,
                id: record.id,
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
        Self { revision: record.revision, id: record.id, digest: record.digest, state }
    }
}
