//! The content of a store, row by row, for copying it to a store of another kind.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Change, Cursor, StoreError};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyClient, StoredKey};

/// The number of rows that are sent together.
pub(super) const ROWS: usize = 1024;

/// The largest number of row groups that wait until they are received.
const WAITING: usize = 4;

/// A row of a store. Rows come in the order of the variants: the keys by their ids, the tombstones
/// by their ids, and then the changes and the entries of the audit log by their revisions.
#[derive(Clone, Debug, Hash)]
pub(super) enum Row {
    /// A key with its usage and all its clients.
    Key(Box<StoredKey>),
    /// A deleted key.
    Tombstone(Change),
    /// A change that a cursor may stand on.
    Change(Cursor, Timestamp),
    /// An entry of the audit log.
    Audit(Box<AuditEntry>),
}

/// The rows of a store at one moment. The last group is followed by the end of the channel, or by
/// an error if the store could not be read to its end.
pub(super) type Rows = mpsc::Receiver<Result<Vec<Row>, StoreError>>;

/// The sending end of [`Rows`].
pub(super) type RowSender = mpsc::Sender<Result<Vec<Row>, StoreError>>;

/// The number of rows of each kind, and one checksum of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The number of keys.
    pub keys: u64,
    /// The number of deleted keys that are remembered.
    pub tombstones: u64,
    /// The number of changes that a follower may continue from.
    pub changes: u64,
    /// The number of entries of the audit log.
    pub audit: u64,
    /// The SHA-256 of all rows.
    pub checksum: [u8; 32],
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyProgress {
    /// Rows are being written.
    Copying {
        /// The number of rows that were written.
        copied: u64,
        /// The number of rows of the source.
        rows: u64,
    },
    /// The written rows are being read back.
    Verifying {
        /// The number of rows that were read.
        verified: u64,
        /// The number of rows of the source.
        rows: u64,
    },
}

/// A store was not copied. The target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Read(#[source] StoreError),
    /// The target cannot be written.
    #[error("the target cannot be written")]
    Write(#[source] StoreError),
    /// The target has keys, or had some.
    #[error("the target is not empty: keys are only copied to a database that never had any")]
    NotEmpty,
    /// The rows that were read back differ from the rows that were written.
    #[error("the copy differs from the source, and was undone")]
    Differs,
}

/// Counts rows and computes their checksum.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counts: Copied,
    hash: RowHash,
}

/// Feeds what is hashed to SHA-256. The result is compared within one process only.
#[derive(Clone, Debug, Default)]
struct RowHash(Sha256);

impl Hasher for RowHash {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for a short hash.
    fn finish(&self) -> u64 {
        0
    }
}

impl Tally {
    pub(super) fn add(&mut self, row: &Row) {
        row.hash(&mut self.hash);
        let count = match row {
            Row::Key(_) => &mut self.counts.keys,
            Row::Tombstone(_) => &mut self.counts.tombstones,
            Row::Change(..) => &mut self.counts.changes,
            Row::Audit(_) => &mut self.counts.audit,
        };
        *count += 1;
    }

    pub(super) fn rows(&self) -> u64 {
        let Copied { keys, tombstones, changes, audit, .. } = self.counts;
        keys + tombstones + changes + audit
    }

    pub(super) fn end(self) -> Copied {
        Copied { checksum: self.hash.0.finalize().into(), ..self.counts }
    }
}

/// Makes a channel for rows.
pub(super) fn channel() -> (RowSender, Rows) {
    mpsc::channel(WAITING)
}

/// Makes a row of a key. Stores keep clients in different orders, and not all of them tell a client
/// without a user agent from a client with an empty one.
pub(super) fn key(mut key: StoredKey) -> Row {
    for client in &mut key.usage.clients {
        client.user_agent = client.user_agent.take().filter(|text| !text.is_empty());
    }
    let order = |client: &KeyClient| (client.address, client.user_agent.clone());
    key.usage.clients.sort_by_key(order);
    key.usage.clients.dedup_by_key(|client| order(client));
    Row::Key(Box::new(key))
}
