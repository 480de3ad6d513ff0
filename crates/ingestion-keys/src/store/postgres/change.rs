//! Makes a change in one transaction.

use futures_util::future::try_join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::error::{CommitFailure, PostgresError};
use super::{DEADLINE, audit, rows, within};
use crate::store::{Commit, Committed};

/// Makes a change and announces it. The announcement is part of the transaction: it is sent when
/// the change is committed.
pub(super) async fn make(client: &mut Client, commit: &Commit) -> Result<Committed, CommitFailure> {
    let transaction = within(async { Ok(client.transaction().await?) }).await?;
    let written = tokio::time::timeout(DEADLINE, write(&transaction, commit)).await;
    let committed = written.map_err(|_| PostgresError::TimedOut(DEADLINE))??;
    match within(async { Ok(transaction.commit().await?) }).await {
        Ok(()) => Ok(committed),
        Err(error) if error.breaks_connection() => Err(CommitFailure::Unanswered(committed, error)),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a change was made whose commit was not answered.
pub(super) async fn was_made(
    client: &mut Client,
    commit: &Commit,
    committed: Committed,
) -> Result<bool, PostgresError> {
    within(async {
        let transaction = client.transaction().await?;
        // The transaction of the change has locked this row. If the transaction still runs, this
        // statement waits until it has ended.
        let sql = "SELECT 1 FROM ingestion_keys.last_change FOR UPDATE";
        transaction.query_typed_one(sql, &[]).await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM ingestion_keys.changes \
             WHERE revision = $1 AND change_id = $2)";
        let values = [
            (&committed.revision as _, Type::INT8),
            (&commit.change_id.as_slice() as _, Type::BYTEA),
        ];
        let was_made = transaction.query_typed_one(sql, &values).await?.try_get(0)?;
        // This commit is written after the commit of the change. If a synchronous standby has
        // written this one, it has also written that one.
        transaction.commit().await?;
        Ok(was_made)
    })
    .await
}

async fn write(transaction: &Transaction<'_>, commit: &Commit) -> Result<Committed, CommitFailure> {
    // The lock on this row makes every other change wait until this transaction has ended.
    let sql = "UPDATE ingestion_keys.last_change SET revision = revision + 1 RETURNING revision";
    let revision: i64 = transaction.query_typed_one(sql, &[]).await?.try_get(0)?;
    let sql = "INSERT INTO ingestion_keys.changes (revision, change_id, changed_at) \
         VALUES ($1, $2, $3)";
    let values = [
        (&revision as _, Type::INT8),
        (&commit.change_id.as_slice() as _, Type::BYTEA),
        (&commit.at.as_millis() as _, Type::INT8),
    ];
    transaction.execute_typed(sql, &values).await?;
    // The statements are sent one after the other without waiting for their answers, and the
    // database runs them in this order.
    let writes =
        commit.writes.iter().map(|write| rows::write(transaction, write, revision, commit.at));
    let duplicate_name = try_join_all(writes).await?.contains(&true);
    audit::write(transaction, commit, revision).await?;
    announce(transaction, revision).await?;
    Ok(Committed { revision, duplicate_name })
}

/// Tells every process of a new revision when the transaction is committed.
pub(super) async fn announce(
    transaction: &Transaction<'_>,
    revision: i64,
) -> Result<(), PostgresError> {
    let sql = "SELECT pg_notify('ingestion_keys', $1::bigint::text)";
    transaction.execute_typed(sql, &[(&revision, Type::INT8)]).await?;
    Ok(())
}
