//! Reads and writes the tables of the audit log.

use rusqlite::{Connection, Row, Transaction, params};

use super::error::SqliteError;
use super::rows::key_id;
use crate::audit::{AuditEntry, AuditNote, FromTo};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::store::audit_text;

/// Adds the entry of a change to the log.
pub(super) fn write(
    transaction: &Transaction<'_>,
    note: &AuditNote,
    revision: i64,
    at: Timestamp,
    who: &str,
) -> Result<(), SqliteError> {
    let sql = "INSERT INTO audit \
         (revision, changed_at, who, action, key_id, key_name, other_key_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(sql)?.execute(params![
        revision,
        at.as_millis(),
        who,
        audit_text::action_name(note.action),
        note.key_id.get(),
        note.key_name,
        note.other_key_id.map(KeyId::get),
    ])?;
    let sql = "INSERT INTO audit_changes (revision, position, field, old_value, new_value) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (position, change) in (0_i64..).zip(&note.changes) {
        let (field, FromTo { from, to }) = audit_text::columns(change);
        insert.execute(params![revision, position, field, from, to])?;
    }
    Ok(())
}

/// Reads at most `limit` entries after a revision, oldest first.
pub(super) fn read(
    connection: &Connection,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditEntry>, SqliteError> {
    // The query returns one row for each changed field, and one row for an entry without changed
    // fields.
    let sql = "SELECT a.revision, a.changed_at, a.who, a.action, a.key_id, a.key_name, \
         a.other_key_id, c.field, c.old_value, c.new_value \
         FROM (SELECT * FROM audit WHERE revision > ?1 ORDER BY revision LIMIT ?2) a \
         LEFT JOIN audit_changes c ON c.revision = a.revision ORDER BY a.revision, c.position";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, limit])?;
    let mut entries: Vec<AuditEntry> = Vec::new();
    while let Some(row) = rows.next()? {
        let revision: i64 = row.get(0)?;
        if entries.last().is_none_or(|entry| entry.revision != revision) {
            entries.push(entry(row)?);
        }
        let field: Option<String> = row.get(7)?;
        if let (Some(field), Some(entry)) = (field, entries.last_mut()) {
            let values = FromTo { from: row.get(8)?, to: row.get(9)? };
            let change = audit_text::field_change(&field, values);
            entry.note.changes.push(change.map_err(|_| not_understood("audit_changes"))?);
        }
    }
    Ok(entries)
}

/// Reads an entry without its changed fields.
fn entry(row: &Row<'_>) -> Result<AuditEntry, SqliteError> {
    let action = audit_text::action(row.get_ref(3)?.as_str().unwrap_or_default());
    let note = AuditNote {
        action: action.map_err(|_| not_understood("audit"))?,
        key_id: key_id(row.get(4)?)?,
        key_name: row.get(5)?,
        other_key_id: row.get::<_, Option<_>>(6)?.map(key_id).transpose()?,
        changes: Vec::new(),
    };
    let at = Timestamp::from_millis(row.get(1)?);
    Ok(AuditEntry { revision: row.get(0)?, at, who: row.get(2)?, note })
}

fn not_understood(table: &'static str) -> SqliteError {
    SqliteError::Row { table }
}
