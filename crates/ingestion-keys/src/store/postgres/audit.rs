//! Reads and writes the tables of the audit log.

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::error::PostgresError;
use super::rows::key_id;
use crate::audit::{AuditEntry, AuditNote, FromTo};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::store::{Commit, audit_text};

/// Adds the entry of a change to the log.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    commit: &Commit,
    revision: i64,
) -> Result<(), PostgresError> {
    let note = &commit.audit;
    let sql = "INSERT INTO ingestion_keys.audit \
         (revision, changed_at, who, action, key_id, key_name, other_key_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = [
        (&revision as _, Type::INT8),
        (&commit.at.as_millis() as _, Type::INT8),
        (&commit.who as _, Type::TEXT),
        (&audit_text::action_name(note.action) as _, Type::TEXT),
        (&note.key_id.get() as _, Type::INT8),
        (&note.key_name as _, Type::TEXT),
        (&note.other_key_id.map(KeyId::get) as _, Type::INT8),
    ];
    transaction.execute_typed(sql, &values).await?;
    let sql = "INSERT INTO ingestion_keys.audit_changes \
         (revision, position, field, old_value, new_value) VALUES ($1, $2, $3, $4, $5)";
    for (position, change) in (0_i64..).zip(&note.changes) {
        let (field, FromTo { from, to }) = audit_text::columns(change);
        let values = [
            (&revision as _, Type::INT8),
            (&position as _, Type::INT8),
            (&field as _, Type::TEXT),
            (&from as _, Type::TEXT),
            (&to as _, Type::TEXT),
        ];
        transaction.execute_typed(sql, &values).await?;
    }
    Ok(())
}

/// Reads at most `limit` entries after a revision, oldest first.
pub(super) async fn read(
    client: &impl GenericClient,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditEntry>, PostgresError> {
    // The query returns one row for each changed field, and one row for an entry without changed
    // fields.
    let sql = "SELECT a.revision, a.changed_at, a.who, a.action, a.key_id, a.key_name, \
         a.other_key_id, c.field, c.old_value, c.new_value FROM ( \
             SELECT * FROM ingestion_keys.audit WHERE revision > $1 ORDER BY revision LIMIT $2 \
         ) a LEFT JOIN ingestion_keys.audit_changes c ON c.revision = a.revision \
         ORDER BY a.revision, c.position";
    let values = [(&after as _, Type::INT8), (&i64::from(limit) as _, Type::INT8)];
    let mut entries: Vec<AuditEntry> = Vec::new();
    for row in client.query_typed(sql, &values).await? {
        let revision: i64 = row.try_get(0)?;
        if entries.last().is_none_or(|entry| entry.revision != revision) {
            entries.push(entry(&row)?);
        }
        let field: Option<&str> = row.try_get(7)?;
        if let (Some(field), Some(entry)) = (field, entries.last_mut()) {
            let values = FromTo { from: row.try_get(8)?, to: row.try_get(9)? };
            let change = audit_text::field_change(field, values);
            entry.note.changes.push(change.map_err(|_| not_understood("audit_changes"))?);
        }
    }
    Ok(entries)
}

/// Reads an entry without its changed fields.
fn entry(row: &Row) -> Result<AuditEntry, PostgresError> {
    let note = AuditNote {
        action: audit_text::action(row.try_get(3)?).map_err(|_| not_understood("audit"))?,
        key_id: key_id(row.try_get(4)?)?,
        key_name: row.try_get(5)?,
        other_key_id: row.try_get::<_, Option<_>>(6)?.map(key_id).transpose()?,
        changes: Vec::new(),
    };
    let at = Timestamp::from_millis(row.try_get(1)?);
    Ok(AuditEntry { revision: row.try_get(0)?, at, who: row.try_get(2)?, note })
}

fn not_understood(table: &'static str) -> PostgresError {
    PostgresError::Row { table }
}
