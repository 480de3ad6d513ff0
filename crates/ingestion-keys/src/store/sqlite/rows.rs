//! Rows, read and written.

use ingestion_api::{AuditAction, AuditEntry, KeySource};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::failure::Failure;
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord, StoredKey, Usage};
use crate::store::{
    AuditNote, Change, CommitError, Cursor, KeyState, StoreError, UsageBatch, Write,
};

/// The columns of a [`StoredKey`].
pub(super) const STORED: &str = "SELECT k.id, k.digest, k.key_start, k.name, k.description, k.created_at, k.updated_at, k.expires_at, \
     k.enabled, k.successor, k.revision, u.accepted, u.denied, u.bytes, u.last_used_at, u.sources \
     FROM keys k LEFT JOIN usage u ON u.key_id = k.id";

/// The columns of a [`Change`], of keys and of tombstones.
pub(super) const LIVE: &str =
    "SELECT revision, id, digest, name, expires_at, enabled, NULL FROM keys";
pub(super) const DELETED: &str =
    "SELECT revision, id, digest, NULL, NULL, NULL, deleted_at FROM tombstones";

pub(super) fn cursor(connection: &Connection) -> Result<Cursor, Failure> {
    let sql = "SELECT c.revision, c.change_id FROM last_change l JOIN changes c ON c.revision = l.revision";
    let row = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (revision, change_id) = row.ok_or(StoreError::Row { table: "changes" })?;
    Ok(Cursor { revision, change_id })
}

pub(super) fn stored(row: &Row<'_>) -> Result<StoredKey, Failure> {
    let record = KeyRecord {
        id: key_id(row.get(0)?)?,
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
    let usage = match row.get::<_, Option<i64>>(11)? {
        None => Usage::default(),
        Some(accepted) => Usage {
            accepted: count(accepted),
            denied: count(row.get(12)?),
            bytes: count(row.get(13)?),
            last_used_at: row.get::<_, Option<_>>(14)?.map(Timestamp::from_millis),
            sources: sources(row.get_ref(15)?.as_str().unwrap_or_default())?,
        },
    };
    Ok(StoredKey { record, usage })
}

pub(super) fn change(row: &Row<'_>) -> Result<Change, Failure> {
    let state = match row.get::<_, Option<i64>>(6)? {
        Some(deleted_at) => KeyState::Deleted { at: Timestamp::from_millis(deleted_at) },
        None => KeyState::Live {
            name: row.get(3)?,
            expires_at: row.get::<_, Option<_>>(4)?.map(Timestamp::from_millis),
            enabled: row.get(5)?,
        },
    };
    Ok(Change {
        revision: row.get(0)?,
        id: key_id(row.get(1)?)?,
        digest: KeyDigest::from_bytes(row.get(2)?),
        state,
    })
}

pub(super) fn audit_entry(row: &Row<'_>) -> Result<AuditEntry, Failure> {
    let not_understood = |_| StoreError::Row { table: "audit" };
    let text = |index| row.get_ref(index).map(|value| value.as_str().unwrap_or_default());
    Ok(AuditEntry {
        revision: row.get(0)?,
        timestamp: row.get(1)?,
        who: row.get(2)?,
        action: serde_json::from_value(text(3)?.into()).map_err(not_understood)?,
        key_id: row.get(4)?,
        key_name: row.get(5)?,
        other_key_id: row.get(6)?,
        changes: serde_json::from_str(text(7)?).map_err(not_understood)?,
    })
}

/// Writes one write of a change. Whether it has a name that another key has.
pub(super) fn write(
    transaction: &Transaction<'_>,
    write: &Write,
    revision: i64,
    at: Timestamp,
) -> Result<bool, Failure> {
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
) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE id = ?1) OR EXISTS (SELECT 1 FROM audit WHERE key_id = ?1), \
         EXISTS (SELECT 1 FROM keys WHERE name = ?2)";
    let mut statement = transaction.prepare_cached(sql)?;
    let (taken, duplicate_name) = statement
        .query_row(params![record.id.get(), record.name], |row| {
            Ok((row.get::<_, bool>(0)?, row.get(1)?))
        })?;
    if taken {
        return Err(Failure(CommitError::IdTaken));
    }
    let sql = "INSERT INTO keys (id, digest, key_start, name, description, created_at, updated_at, expires_at, enabled, successor, revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
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
    ])?;
    Ok(duplicate_name)
}

fn update(transaction: &Transaction<'_>, record: &KeyRecord, revision: i64) -> Result<(), Failure> {
    let sql = "UPDATE keys SET name = ?3, description = ?4, updated_at = ?5, expires_at = ?6, enabled = ?7, successor = ?8, revision = ?9 \
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
    if updated == 1 { Ok(()) } else { Err(Failure(CommitError::Changed)) }
}

fn delete(
    transaction: &Transaction<'_>,
    record: &KeyRecord,
    revision: i64,
    at: Timestamp,
) -> Result<(), Failure> {
    let id = record.id.get();
    let mut statement =
        transaction.prepare_cached("DELETE FROM keys WHERE id = ?1 AND revision = ?2")?;
    if statement.execute(params![id, record.revision])? != 1 {
        return Err(Failure(CommitError::Changed));
    }
    let sql = "INSERT INTO tombstones (id, digest, deleted_at, revision) VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(sql)?.execute(params![
        id,
        record.digest.as_bytes(),
        at.as_millis(),
        revision
    ])?;
    Ok(())
}

pub(super) fn write_audit(
    transaction: &Transaction<'_>,
    note: &AuditNote,
    revision: i64,
    at: Timestamp,
    who: &str,
) -> Result<(), Failure> {
    let not_written = |_| StoreError::Row { table: "audit" };
    let changes = serde_json::to_string(&note.changes).map_err(not_written)?;
    let sql = "INSERT INTO audit (revision, changed_at, who, action, key_id, key_name, other_key_id, changes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let action = action(note.action)?;
    let (id, other_id) = (note.key_id.get(), note.other_key_id.map(KeyId::get));
    let values =
        params![revision, at.as_millis(), who, action, id, note.key_name, other_id, changes];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn write_usage(transaction: &Transaction<'_>, batch: UsageBatch) -> Result<(), Failure> {
    let mut find = transaction.prepare_cached(&format!("{STORED} WHERE k.id = ?1"))?;
    let sql = "INSERT OR REPLACE INTO usage (key_id, accepted, denied, bytes, last_used_at, sources) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut replace = transaction.prepare_cached(sql)?;
    for (id, since) in batch.usage {
        let mut rows = find.query([id.get()])?;
        let Some(row) = rows.next()? else { continue };
        let mut usage = stored(row)?.usage;
        usage.add(since, batch.sources, batch.oldest_source);
        let sources = serde_json::to_string(&usage.sources)
            .map_err(|_| StoreError::Row { table: "usage" })?;
        let last_used_at = usage.last_used_at.map(Timestamp::as_millis);
        replace.execute(params![
            id.get(),
            number(usage.accepted),
            number(usage.denied),
            number(usage.bytes),
            last_used_at,
            sources
        ])?;
    }
    Ok(())
}

fn key_id(number: i64) -> Result<KeyId, Failure> {
    KeyId::new(number).ok_or_else(|| StoreError::Row { table: "keys" }.into())
}

fn sources(text: &str) -> Result<Vec<KeySource>, Failure> {
    serde_json::from_str(text).map_err(|_| StoreError::Row { table: "usage" }.into())
}

fn action(action: AuditAction) -> Result<String, StoreError> {
    match serde_json::to_value(action) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        _ => Err(StoreError::Row { table: "audit" }),
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// SQLite's integers have a sign.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
