//! Where keys are kept: what every store does, and how a cache follows one.
//!
//! A store knows no policy. It keeps what it is given, all of a [`Commit`] or nothing, and tells in
//! which order it was given.

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

/// A place where keys are kept.
///
/// Every change has a revision, one more than the change before it. All of them are read in that
/// order, by [`changes_since`](Self::changes_since).
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Makes a change: all its writes and its audit entry, or nothing. When it returns, the change
    /// survives a crash.
    ///
    /// # Errors
    ///
    /// [`CommitError::Changed`] and [`CommitError::IdTaken`] if the change does not fit what is
    /// there; [`CommitError::Store`] if it could not be made.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// All keys, by id, without the clients that used them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn list(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// One key, if there is one of this id.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError>;

    /// All keys and tombstones at one moment, piece by piece, and the cursor to go on from.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// What is different since `cursor`, in the order of the changes: of a key that changed several
    /// times, only what it became.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError>;

    /// At most `limit` audit entries after a revision, oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Adds to the usage of these keys, all of it or nothing. Those that are gone are passed over.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError>;

    /// Forgets tombstones, and changes a cursor may stand on, from before this moment; never the
    /// last change. Audit entries stay.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    async fn prune(&self, before: Timestamp) -> Result<(), StoreError>;

    /// The last revision this store knows of: it wakes who follows, who then reads by cursor. A
    /// wake-up that gets lost costs time and no change.
    fn revision(&self) -> watch::Receiver<i64>;
}

/// A change to be made.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Tells this change from one of the same revision in another history: random.
    pub change_id: ChangeId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What will be told about it.
    pub audit: AuditNote,
    /// What is written, in this order.
    pub writes: Vec<Write>,
}

/// One write of a change.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new key, whose id was never used.
    Insert(KeyRecord),
    /// This key as it becomes, if its revision is still that of the record.
    Update(KeyRecord),
    /// The end of this key, if its revision is still that of the record. Its digest and id stay as
    /// a tombstone.
    Delete(KeyRecord),
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place among all changes.
    pub revision: i64,
    /// Whether a key that was inserted has a name that another key has.
    pub duplicate_name: bool,
}

/// The random part of a [`Cursor`].
pub type ChangeId = [u8; 16];

/// A place in the history of one store: a revision, and which change that was. A history that was
/// rewound has another change there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The revision.
    pub revision: i64,
    /// The change that made it.
    pub change_id: ChangeId,
}

/// What is different since a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These keys, and the cursor after them.
    Since(Vec<Change>, Cursor),
    /// The cursor is not of this history, or too old: everything has to be read again.
    SnapshotNeeded,
}

/// A key as it became: what a cache needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The change that it was last part of.
    pub revision: i64,
    /// Which key.
    pub id: KeyId,
    /// What it is recognised by.
    pub digest: KeyDigest,
    /// What it became.
    pub state: KeyState,
}

/// What a key became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is there.
    Live {
        /// Its name.
        name: String,
        /// When it ends.
        expires_at: Option<Timestamp>,
        /// Whether it is let in at all.
        enabled: bool,
    },
    /// It was deleted.
    Deleted {
        /// When.
        at: Timestamp,
    },
}

/// How keys were used since the last batch.
#[derive(Clone, Debug, Default)]
pub struct UsageBatch {
    /// What to add, by key.
    pub usage: Vec<(KeyId, Usage)>,
    /// The largest number of clients that are kept of each key.
    pub max_clients: usize,
    /// Clients that were last seen before this time are forgotten.
    pub oldest_client: Option<Timestamp>,
}

impl Write {
    /// What the key becomes by this write, in a change of this revision.
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
