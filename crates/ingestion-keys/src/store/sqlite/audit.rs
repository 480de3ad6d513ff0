//! Reads and writes the tables of the audit log. The texts in the columns `action` and `field`
//! belong to the format of the database. These texts do not change when a name in the API or in the
//! code changes.

use rusqlite::{Connection, Row, Transaction, params};

use super::error::SqliteError;
use super::rows::key_id;
use crate::audit::{AuditAction, AuditEntry, AuditNote, FieldChange, FromTo};
use crate::clock::Timestamp;
use crate::key::KeyId;

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
        action_name(note.action),
        note.key_id.get(),
        note.key_name,
        note.other_key_id.map(KeyId::get),
    ])?;
    let sql = "INSERT INTO audit_changes (revision, position, field, old_value, new_value) \
         VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (position, change) in (0_i64..).zip(&note.changes) {
        let (field, FromTo { from, to }) = columns(change);
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
            entry.note.changes.push(field_change(&field, values)?);
        }
    }
    Ok(entries)
}

/// Reads an entry without its changed fields.
fn entry(row: &Row<'_>) -> Result<AuditEntry, SqliteError> {
    let note = AuditNote {
        action: action(row.get_ref(3)?.as_str().unwrap_or_default())?,
        key_id: key_id(row.get(4)?)?,
        key_name: row.get(5)?,
        other_key_id: row.get::<_, Option<_>>(6)?.map(key_id).transpose()?,
        changes: Vec::new(),
    };
    let at = Timestamp::from_millis(row.get(1)?);
    Ok(AuditEntry { revision: row.get(0)?, at, who: row.get(2)?, note })
}

fn action_name(action: AuditAction) -> &'static str {
    match action {
        AuditAction::Create => "create",
        AuditAction::Update => "update",
        AuditAction::Rotate => "rotate",
        AuditAction::Delete => "delete",
    }
}

fn action(name: &str) -> Result<AuditAction, SqliteError> {
    match name {
        "create" => Ok(AuditAction::Create),
        "update" => Ok(AuditAction::Update),
        "rotate" => Ok(AuditAction::Rotate),
        "delete" => Ok(AuditAction::Delete),
        _ => Err(SqliteError::Row { table: "audit" }),
    }
}

/// Returns the values of the columns `field`, `old_value` and `new_value` for a change.
fn columns(change: &FieldChange) -> (&'static str, FromTo<String>) {
    fn texts<T>(values: &FromTo<T>, text: impl Fn(&T) -> String) -> FromTo<String> {
        FromTo { from: values.from.as_ref().map(&text), to: values.to.as_ref().map(&text) }
    }
    match change {
        FieldChange::Name(values) => ("name", values.clone()),
        FieldChange::Description(values) => ("description", values.clone()),
        FieldChange::Expiration(values) => {
            ("expiration", texts(values, |at| at.as_millis().to_string()))
        }
        FieldChange::Enabled(values) => ("enabled", texts(values, bool::to_string)),
    }
}

fn field_change(field: &str, values: FromTo<String>) -> Result<FieldChange, SqliteError> {
    fn parsed<T>(
        values: FromTo<String>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<FromTo<T>, SqliteError> {
        let not_understood = SqliteError::Row { table: "audit_changes" };
        let value = |text: Option<String>| text.map(|text| parse(&text).ok_or(())).transpose();
        match (value(values.from), value(values.to)) {
            (Ok(from), Ok(to)) => Ok(FromTo { from, to }),
            _ => Err(not_understood),
        }
    }
    Ok(match field {
        "name" => FieldChange::Name(values),
        "description" => FieldChange::Description(values),
        "expiration" => FieldChange::Expiration(parsed(values, |text| {
            text.parse().ok().map(Timestamp::from_millis)
        })?),
        "enabled" => FieldChange::Enabled(parsed(values, |text| text.parse().ok())?),
        _ => return Err(SqliteError::Row { table: "audit_changes" }),
    })
}
