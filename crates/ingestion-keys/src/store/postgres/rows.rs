//! Reads and writes the tables of the keys and of the tombstones, and reads the cursor of the last
//! change.

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::error::{CommitFailure, PostgresError};
use super::usage;
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey};
use crate::store::{Change, ChangeId, Cursor, KeyState, Write};

/// Selects the columns of a [`StoredKey`].
pub(super) const STORED: &str = "SELECT k.id, k.digest, k.key_start, k.name, k.description, \
     k.created_at, k.updated_at, k.expires_at, k.enabled, k.successor, k.revision, k.role, \
     u.accepted, u.failed, u.denied, u.bytes, u.last_used_at \
     FROM ingestion_keys.keys k LEFT JOIN ingestion_keys.usage u ON u.key_id = k.id";

/// Selects the columns of a [`Change`] from the keys.
pub(super) const LIVE: &str = "SELECT revision, id, digest, role, name, expires_at, enabled, \
     NULL::bigint AS deleted_at FROM ingestion_keys.keys";
/// Selects the columns of a [`Change`] from the tombstones.
pub(super) const DELETED: &str = "SELECT revision, id, digest, role, NULL::text AS name, \
     NULL::bigint AS expires_at, NULL::boolean AS enabled, deleted_at \
     FROM ingestion_keys.tombstones";

/// Reads the position of the last change.
pub(super) async fn cursor(client: &impl GenericClient) -> Result<Cursor, PostgresError> {
    let sql = "SELECT c.revision, c.change_id FROM ingestion_keys.last_change l \
         JOIN ingestion_keys.changes c ON c.revision = l.revision";
    let row = client.query_typed_opt(sql, &[]).await?;
    cursor_columns(&row.ok_or(PostgresError::Row { table: "changes" })?, 0)
}

/// Reads a cursor from two columns, which begin at column `first`.
pub(super) fn cursor_columns(row: &Row, first: usize) -> Result<Cursor, PostgresError> {
    let change_id: &[u8] = row.try_get(first + 1)?;
    let change_id = ChangeId::try_from(change_id);
    let change_id = change_id.map_err(|_| PostgresError::Row { table: "changes" })?;
    Ok(Cursor { revision: row.try_get(first)?, change_id })
}

pub(super) fn stored(row: &Row) -> Result<StoredKey, PostgresError> {
    let record = KeyRecord {
        id: key_id(row.try_get(0)?)?,
        role: role(row, 11)?,
        digest: digest(row, 1)?,
        key_start: row.try_get(2)?,
        name: row.try_get(3)?,
        description: row.try_get(4)?,
        created_at: Timestamp::from_millis(row.try_get(5)?),
        updated_at: Timestamp::from_millis(row.try_get(6)?),
        expires_at: row.try_get::<_, Option<_>>(7)?.map(Timestamp::from_millis),
        enabled: row.try_get(8)?,
        successor: row.try_get::<_, Option<_>>(9)?.map(key_id).transpose()?,
        revision: row.try_get(10)?,
    };
    Ok(StoredKey { record, usage: usage::columns(row, 12)? })
}

/// Reads a change from eight columns, which begin at column `first`.
pub(super) fn change(row: &Row, first: usize) -> Result<Change, PostgresError> {
    let state = match row.try_get::<_, Option<i64>>(first + 7)? {
        Some(deleted_at) => KeyState::Deleted { at: Timestamp::from_millis(deleted_at) },
        None => KeyState::Live {
            name: row.try_get(first + 4)?,
            expires_at: row.try_get::<_, Option<_>>(first + 5)?.map(Timestamp::from_millis),
            enabled: row.try_get(first + 6)?,
        },
    };
    Ok(Change {
        revision: row.try_get(first)?,
        id: key_id(row.try_get(first + 1)?)?,
        role: role(row, first + 3)?,
        digest: digest(row, first + 2)?,
        state,
    })
}

/// Makes one write of a change, with one statement. Returns whether the write inserts a key with
/// the name of another key.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    write: &Write,
    revision: i64,
    at: Timestamp,
) -> Result<bool, CommitFailure> {
    match write {
        Write::Insert(record) => insert(transaction, record, revision).await,
        Write::Update(record) => update(transaction, record, revision).await.map(|()| false),
        Write::Delete(record) => delete(transaction, record, revision, at).await.map(|()| false),
    }
}

async fn insert(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
) -> Result<bool, CommitFailure> {
    let sql = "INSERT INTO ingestion_keys.keys (id, digest, key_start, name, description, \
         created_at, updated_at, expires_at, enabled, successor, revision, role) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 \
         WHERE NOT EXISTS (SELECT 1 FROM ingestion_keys.keys WHERE id = $1) \
         AND NOT EXISTS (SELECT 1 FROM ingestion_keys.audit WHERE key_id = $1) \
         RETURNING EXISTS (SELECT 1 FROM ingestion_keys.keys WHERE name = $4 AND role = $12)";
    let values = [
        (&record.id.get() as _, Type::INT8),
        (&record.digest.as_bytes().as_slice() as _, Type::BYTEA),
        (&record.key_start as _, Type::TEXT),
        (&record.name as _, Type::TEXT),
        (&record.description as _, Type::TEXT),
        (&record.created_at.as_millis() as _, Type::INT8),
        (&record.updated_at.as_millis() as _, Type::INT8),
        (&record.expires_at.map(Timestamp::as_millis) as _, Type::INT8),
        (&record.enabled as _, Type::BOOL),
        (&record.successor.map(KeyId::get) as _, Type::INT8),
        (&revision as _, Type::INT8),
        (&record.role.as_str() as _, Type::TEXT),
    ];
    // The statement does not see the row that it inserts.
    let inserted = transaction.query_typed_opt(sql, &values).await?;
    Ok(inserted.ok_or(CommitFailure::IdTaken)?.try_get(0)?)
}

async fn update(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
) -> Result<(), CommitFailure> {
    let sql = "UPDATE ingestion_keys.keys SET name = $3, description = $4, updated_at = $5, \
         expires_at = $6, enabled = $7, successor = $8, revision = $9 \
         WHERE id = $1 AND revision = $2";
    let values = [
        (&record.id.get() as _, Type::INT8),
        (&record.revision as _, Type::INT8),
        (&record.name as _, Type::TEXT),
        (&record.description as _, Type::TEXT),
        (&record.updated_at.as_millis() as _, Type::INT8),
        (&record.expires_at.map(Timestamp::as_millis) as _, Type::INT8),
        (&record.enabled as _, Type::BOOL),
        (&record.successor.map(KeyId::get) as _, Type::INT8),
        (&revision as _, Type::INT8),
    ];
    let updated = transaction.execute_typed(sql, &values).await?;
    if updated == 1 { Ok(()) } else { Err(CommitFailure::Changed) }
}

async fn delete(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
    at: Timestamp,
) -> Result<(), CommitFailure> {
    let sql = "WITH gone AS ( \
             DELETE FROM ingestion_keys.keys WHERE id = $1 AND revision = $2 RETURNING id \
         ) INSERT INTO ingestion_keys.tombstones (id, digest, deleted_at, revision, role) \
         SELECT id, $3, $4, $5, $6 FROM gone";
    let values = [
        (&record.id.get() as _, Type::INT8),
        (&record.revision as _, Type::INT8),
        (&record.digest.as_bytes().as_slice() as _, Type::BYTEA),
        (&at.as_millis() as _, Type::INT8),
        (&revision as _, Type::INT8),
        (&record.role.as_str() as _, Type::TEXT),
    ];
    let deleted = transaction.execute_typed(sql, &values).await?;
    if deleted == 1 { Ok(()) } else { Err(CommitFailure::Changed) }
}

/// Removes the tombstones and the changes that are older than this time, except the last change.
pub(super) async fn prune(
    transaction: &Transaction<'_>,
    before: Timestamp,
) -> Result<(), PostgresError> {
    let values = [(&before.as_millis() as _, Type::INT8)];
    let sql = "DELETE FROM ingestion_keys.tombstones WHERE deleted_at < $1";
    transaction.execute_typed(sql, &values).await?;
    let sql = "DELETE FROM ingestion_keys.changes WHERE changed_at < $1 \
         AND revision < (SELECT revision FROM ingestion_keys.last_change)";
    transaction.execute_typed(sql, &values).await?;
    Ok(())
}

pub(super) fn key_id(number: i64) -> Result<KeyId, PostgresError> {
    KeyId::new(number).ok_or(PostgresError::Row { table: "keys" })
}

fn role(row: &Row, column: usize) -> Result<KeyRole, PostgresError> {
    KeyRole::named(row.try_get(column)?).ok_or(PostgresError::Row { table: "keys" })
}

fn digest(row: &Row, column: usize) -> Result<KeyDigest, PostgresError> {
    let bytes: &[u8] = row.try_get(column)?;
    let bytes = bytes.try_into().map_err(|_| PostgresError::Row { table: "keys" })?;
    Ok(KeyDigest::from_bytes(bytes))
}
