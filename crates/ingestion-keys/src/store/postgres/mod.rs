//! A store of keys in a PostgreSQL database, which many processes share.

mod audit;
mod change;
mod connector;
#[cfg(feature = "sqlite")]
mod copy;
mod error;
mod follower;
mod options;
mod pool;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod usage;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use tokio::sync::watch;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, IsolationLevel, RowStream, Transaction};

use self::connector::Connector;
use self::error::{CommitFailure, PostgresError};
use self::follower::Follower;
pub use self::options::{PostgresOptions, PostgresUrlError};
use self::pool::Pool;
use super::{
    CHUNK, Changes, Commit, CommitError, Committed, Cursor, KeyStore, Snapshot, SnapshotChunk,
    SnapshotSender, StoreError, UsageBatch,
};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyId, StoredKey};

/// How long a call may take. It is longer than the database lets a statement run, so that the
/// database answers first if it can.
const DEADLINE: Duration = Duration::from_secs(8);

/// A store of keys in a PostgreSQL database (version 14 or later), which many processes share.
///
/// When a call that makes a change returns `Ok`, the database has committed the change, and has
/// written it to its disk and to the disks of its synchronous standbys.
///
/// Changes are made one after the other in the whole database: every change begins by updating the
/// same row. So the revisions have no gaps, and a process that has read up to a revision has read
/// every change before it.
///
/// One connection of each process is for following the changes. On this connection the process is
/// told of changes (`LISTEN`), and reads them. If it is not told, because the connection is broken
/// or because a pooler gives each transaction another session, the process finds the changes when
/// it looks again after its poll interval. A pooler of connections must therefore pool sessions.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    follower: Follower,
    revision: watch::Sender<i64>,
}

impl PostgresStore {
    /// Makes a store. The store connects when it is used for the first time, and migrates the
    /// database to the schema of this version, in the schema `ingestion_keys`.
    ///
    /// # Errors
    ///
    /// When the certificates of `sslrootcert` cannot be read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ingestion_keys::store::{KeyStore, PostgresOptions, PostgresStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = PostgresOptions::parse("postgres://keys@db.example.com/keys?sslmode=verify-full")?;
    /// let store = PostgresStore::new(&options.with_password(b"a password"))?;
    /// for key in store.list().await? {
    ///     println!("{}", key.record.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        let revision = watch::Sender::new(0);
        Ok(Self {
            pool: Pool::new(connector.clone())?,
            follower: Follower::new(connector, revision.clone()),
            revision,
        })
    }

    /// Connects, and migrates the database to the schema of this version. Every other call does
    /// this, too, when it connects. If the schema has this version already, nothing is written.
    ///
    /// # Errors
    ///
    /// When the database cannot be used, a newer version made the schema, or this user has no right
    /// to change the schema.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connected = self.pool.get().await?;
        Ok(connected.ended(Ok(()))?)
    }
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let mut connected = self.pool.get().await.map_err(StoreError::from)?;
        let made = change::make(&mut connected.client, &commit).await;
        connected.is_usable = !made.as_ref().is_err_and(CommitFailure::breaks_connection);
        drop(connected);
        let committed = match made {
            Err(CommitFailure::Unanswered(committed, error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database did not say whether a change was made: asking it again"
                );
                let mut connected = self.pool.get().await.map_err(StoreError::from)?;
                let was_made = change::was_made(&mut connected.client, &commit, committed).await;
                if !connected.ended(was_made).map_err(StoreError::from)? {
                    return Err(CommitError::Store(error.into()));
                }
                committed
            }
            made => made?,
        };
        // This process need not wait for the notification of its own change.
        self.revision.send_if_modified(|known| {
            std::mem::replace(known, committed.revision) != committed.revision
        });
        Ok(committed)
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let mut connected = self.pool.get().await?;
        let listed = list(&mut connected.client).await;
        Ok(connected.ended(listed)?)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        let mut connected = self.pool.get().await?;
        let found = within(find(&connected.client, id)).await;
        Ok(connected.ended(found)?)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        // A change that is made after the snapshot was read wakes the follower.
        self.follower.listen().await?;
        let mut connected = self.pool.get().await?;
        let (sender, snapshot) = Snapshot::channel();
        tokio::spawn(async move {
            let sent = stream(&mut connected.client, &sender).await;
            // After an error, rows that nobody asked for may still be on their way.
            connected.is_usable = sent.is_ok();
            if let Err(error) = sent {
                sender.send(Err(error.into())).await;
            }
        });
        Ok(snapshot)
    }

    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        Ok(self.follower.changes_since(cursor).await?)
    }

    async fn changes_for_others(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        let mut connected = self.pool.get().await?;
        let changes = follower::changes(&connected.client, cursor).await;
        Ok(connected.ended(changes)?)
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let mut connected = self.pool.get().await?;
        let read = within(audit::read(&connected.client, after, limit)).await;
        Ok(connected.ended(read)?)
    }

    /// One statement for many keys costs the server less than several for few, and no change waits
    /// for it.
    fn usage_batch(&self) -> usize {
        10_000
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        let mut connected = self.pool.get().await?;
        let added = within(async {
            let transaction = connected.client.transaction().await?;
            usage::add(&transaction, &batch).await?;
            Ok(transaction.commit().await?)
        });
        let added = added.await;
        Ok(connected.ended(added)?)
    }

    async fn prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut connected = self.pool.get().await?;
        let pruned = within(async {
            let transaction = connected.client.transaction().await?;
            rows::prune(&transaction, before).await?;
            usage::prune(&transaction).await?;
            Ok(transaction.commit().await?)
        });
        let pruned = pruned.await;
        Ok(connected.ended(pruned)?)
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

/// Waits for an answer of the database, and not longer than [`DEADLINE`].
async fn within<T>(
    call: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let answered = tokio::time::timeout(DEADLINE, call).await;
    answered.unwrap_or(Err(PostgresError::TimedOut(DEADLINE)))
}

async fn list(client: &mut Client) -> Result<Vec<StoredKey>, PostgresError> {
    let transaction = read_all(client).await?;
    let sql = format!("{} ORDER BY k.id", rows::STORED);
    let mut listed = Vec::new();
    {
        let mut rows = std::pin::pin!(select(&transaction, &sql).await?);
        while let Some(row) = within(async { Ok(rows.try_next().await?) }).await? {
            listed.push(rows::stored(&row)?);
        }
    }
    within(async { Ok(transaction.commit().await?) }).await?;
    Ok(listed)
}

async fn find(client: &Client, id: KeyId) -> Result<Option<StoredKey>, PostgresError> {
    let sql = format!("{} WHERE k.id = $1", rows::STORED);
    let row = client.query_typed_opt(&sql, &[(&id.get(), Type::INT8)]).await?;
    let Some(row) = row else { return Ok(None) };
    let mut key = rows::stored(&row)?;
    key.usage.clients = usage::clients(client, id).await?;
    Ok(Some(key))
}

/// Begins a transaction that reads very many rows as they are at one moment. Reading a million keys
/// takes longer than a statement may take otherwise.
async fn read_all(client: &mut Client) -> Result<Transaction<'_>, PostgresError> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = within(async { Ok(transaction.start().await?) }).await?;
    within(async { Ok(transaction.batch_execute("SET LOCAL statement_timeout = 0").await?) })
        .await?;
    Ok(transaction)
}

/// Reads rows one after the other. Each of them has to come within [`DEADLINE`].
async fn select(transaction: &Transaction<'_>, sql: &str) -> Result<RowStream, PostgresError> {
    let values = std::iter::empty::<(&(dyn ToSql + Sync), Type)>();
    within(async { Ok(transaction.query_typed_raw(sql, values).await?) }).await
}

/// Sends everything that the store has at one moment. If the receiver is gone, some rows are not
/// read, and the connection cannot be used again.
async fn stream(client: &mut Client, sender: &SnapshotSender) -> Result<(), PostgresError> {
    let transaction = read_all(client).await?;
    let cursor = within(rows::cursor(&transaction)).await?;
    for sql in [rows::LIVE, rows::DELETED] {
        let mut rows = std::pin::pin!(select(&transaction, sql).await?);
        let mut chunk = Vec::with_capacity(CHUNK);
        while let Some(row) = within(async { Ok(rows.try_next().await?) }).await? {
            chunk.push(rows::change(&row, 0)?);
            if chunk.len() == CHUNK {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
                if !sender.send(Ok(SnapshotChunk::Changes(full))).await {
                    return Err(PostgresError::Unexpected);
                }
            }
        }
        sender.send(Ok(SnapshotChunk::Changes(chunk))).await;
    }
    within(async { Ok(transaction.commit().await?) }).await?;
    sender.send(Ok(SnapshotChunk::End(cursor))).await;
    Ok(())
}
