//! Reads and writes the tables of the keys and of the tombstones, and reads the cursor of the last
//! change.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::error::{CommitFailure, SqliteError};
use super::usage;
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey};
use crate::store::{Change, Cursor, KeyState, Write};

/// Selects the columns of a [`StoredKey`].
pub(super) const STORED: &str = "SELECT k.id, k.digest, k.key_start, k.name, k.description, \
     k.created_at, k.updated_at, k.expires_at, k.enabled, k.successor, k.revision, k.role, \
     u.accepted, u.failed, u.denied, u.bytes, u.last_used_at \
     FROM keys k LEFT JOIN usage u ON u.key_id = k.id";

/// Selects the columns of a [`Change`] from the keys.
pub(super) const LIVE: &str =
    "SELECT revision, id, digest, role, name, expires_at, enabled, NULL FROM keys";
/// Selects the columns of a [`Change`] from the tombstones.
pub(super) const DELETED: &str =
    "SELECT revision, id, digest, role, NULL, NULL, NULL, deleted_at FROM tombstones";

pub(super) fn cursor(connection: &Connection) -> Result<Cursor, SqliteError> {
    let sql = "SELECT c.revision, c.change_id FROM last_change l \
         JOIN changes c ON c.revision = l.revision";
    let row = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (revision, change_id) = row.ok_or(SqliteError::Row { table: "changes" })?;
    Ok(Cursor { revision, change_id })
}

pub(super) fn stored(row: &Row<'_>) -> Result<StoredKey, SqliteError> {
    let record = KeyRecord {
        id: key_id(row.get(0)?)?,
        role: role(row, 11)?,
        digest: KeyDigest::from_bytes(row.get(1)?),
        key_start: row.get(2)?,
        name: row.get(3)?,
        description: row.get(4)?,
        created_at: Timestamp::from_millis(row.get(5)?),
        updated_at: Timestamp::from_millis(row.get(6)?),
        expires_at: row.get::<_, Option<_>>(7)?.map(Timestamp::from_millis),
        enabled: row.get(8)?,
        successor: row.get::<_, Option<_>>(9)?.map(key_id).transpose()?,
        revision: row.get(10)?,
    };
    Ok(StoredKey { record, usage: usage::columns(row, 12)? })
}

pub(super) fn change(row: &Row<'_>) -> Result<Change, SqliteError> {
    let state = match row.get::<_, Option<i64>>(7)? {
        Some(deleted_at) => KeyState::Deleted { at: Timestamp::from_millis(deleted_at) },
        None => KeyState::Live {
            name: row.get(4)?,
            expires_at: row.get::<_, Option<_>>(5)?.map(Timestamp::from_millis),
            enabled: row.get(6)?,
        },
    };
    Ok(Change {
        revision: row.get(0)?,
        id: key_id(row.get(1)?)?,
        role: role(row, 3)?,
        digest: KeyDigest::from_bytes(row.get(2)?),
        state,
    })
}

/// Makes one write of a change. Returns whether the write inserts a key with the name of another
/// key.
pub(super) fn write(
    transaction: &Transaction<'_>,
    write: &Write,
    revision: i64,
    at: Timestamp,
) -> Result<bool, CommitFailure> {
    match write {
        Write::Insert(record) => insert(transaction, record, revision),
        Write::Update(record) => update(transaction, record, revision).map(|()| false),
        Write::Delete(record) => delete(transaction, record, revision, at).map(|()| false),
    }
}

fn insert(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
) -> Result<bool, CommitFailure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE id = ?1) \
         OR EXISTS (SELECT 1 FROM audit WHERE key_id = ?1), \
         EXISTS (SELECT 1 FROM keys WHERE name = ?2 AND role = ?3)";
    let mut statement = transaction.prepare_cached(sql)?;
    let (taken, duplicate_name) = statement
        .query_row(params![record.id.get(), record.name, record.role.as_str()], |row| {
            Ok((row.get::<_, bool>(0)?, row.get(1)?))
        })?;
    if taken {
        return Err(CommitFailure::IdTaken);
    }
    let sql = "INSERT INTO keys (id, digest, key_start, name, description, \
         created_at, updated_at, expires_at, enabled, successor, revision, role) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let mut statement = transaction.prepare_cached(sql)?;
    statement.execute(params![
        record.id.get(),
        record.digest.as_bytes(),
        record.key_start,
        record.name,
        record.description,
        record.created_at.as_millis(),
        record.updated_at.as_millis(),
        record.expires_at.map(Timestamp::as_millis),
        record.enabled,
        record.successor.map(KeyId::get),
        revision,
        record.role.as_str(),
    ])?;
    Ok(duplicate_name)
}

fn update(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
) -> Result<(), CommitFailure> {
    let sql = "UPDATE keys SET name = ?3, description = ?4, updated_at = ?5, \
         expires_at = ?6, enabled = ?7, successor = ?8, revision = ?9 \
         WHERE id = ?1 AND revision = ?2";
    let updated = transaction.prepare_cached(sql)?.execute(params![
        record.id.get(),
        record.revision,
        record.name,
        record.description,
        record.updated_at.as_millis(),
        record.expires_at.map(Timestamp::as_millis),
        record.enabled,
        record.successor.map(KeyId::get),
        revision,
    ])?;
    if updated == 1 { Ok(()) } else { Err(CommitFailure::Changed) }
}

fn delete(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
    at: Timestamp,
) -> Result<(), CommitFailure> {
    let id = record.id.get();
    let mut statement =
        transaction.prepare_cached("DELETE FROM keys WHERE id = ?1 AND revision = ?2")?;
    if statement.execute(params![id, record.revision])? != 1 {
        return Err(CommitFailure::Changed);
    }
    let sql = "INSERT INTO tombstones (id, digest, deleted_at, revision, role) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare_cached(sql)?.execute(params![
        id,
        record.digest.as_bytes(),
        at.as_millis(),
        revision,
        record.role.as_str(),
    ])?;
    Ok(())
}

/// Removes the tombstones and the changes that are older than this time, except the last change.
pub(super) fn prune(transaction: &Transaction<'_>, before: Timestamp) -> Result<(), SqliteError> {
    let before = before.as_millis();
    transaction.execute("DELETE FROM tombstones WHERE deleted_at < ?1", [before])?;
    let sql = "DELETE FROM changes \
         WHERE changed_at < ?1 AND revision < (SELECT revision FROM last_change)";
    transaction.execute(sql, [before])?;
    Ok(())
}

fn role(row: &Row<'_>, column: usize) -> Result<KeyRole, SqliteError> {
    let name = row.get_ref(column)?.as_str().unwrap_or_default();
    KeyRole::named(name).ok_or(SqliteError::Row { table: "keys" })
}

pub(super) fn key_id(number: i64) -> Result<KeyId, SqliteError> {
    KeyId::new(number).ok_or(SqliteError::Row { table: "keys" })
}
