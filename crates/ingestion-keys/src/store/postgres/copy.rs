//! Copies a store of another kind to an empty database.

use futures_util::TryStreamExt as _;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row as PostgresRow, Transaction};

use super::error::PostgresError;
use super::{PostgresStore, audit, change, rows, usage, within};
use crate::audit::{AuditEntry, FieldChange, FromTo};
use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyId, KeyRecord, StoredKey, Usage};
use crate::store::transfer::{self, ROWS, Row, Tally};
use crate::store::{
    Change, Copied, CopyError, CopyProgress, Cursor, KeyState, SqliteStore, audit_text,
};

impl PostgresStore {
    /// Copies everything from an SQLite database to this database, which must never have had keys:
    /// the keys with their usage, the deleted keys, the changes and the audit log. Revisions stay
    /// the same. The copy is one transaction. Before it is committed, all rows are read back and
    /// compared with those of the source.
    ///
    /// Calls `progress` now and then.
    ///
    /// # Errors
    ///
    /// When the source cannot be read, or the target is not empty or cannot be written. Nothing is
    /// copied then.
    pub async fn copy_from(
        &self,
        source: &SqliteStore,
        mut progress: impl FnMut(CopyProgress),
    ) -> Result<Copied, CopyError> {
        let failed = |error: PostgresError| CopyError::Write(error.into());
        let mut connected = self.pool.get().await.map_err(failed)?;
        let (all, mut rows) = source.export().await.map_err(CopyError::Read)?;
        let transaction = begin(&mut connected.client).await.map_err(failed)?;
        if !take(&transaction).await.map_err(failed)? {
            return Err(CopyError::NotEmpty);
        }
        let mut written = Tally::default();
        while let Some(group) = rows.recv().await {
            let group = group.map_err(CopyError::Read)?;
            group.iter().for_each(|row| written.add(row));
            write(&transaction, group).await.map_err(failed)?;
            progress(CopyProgress::Copying { copied: written.rows(), rows: all });
        }
        finish(&transaction).await.map_err(failed)?;
        let mut read = Tally::default();
        let mut add = |row: &Row| {
            read.add(row);
            if read.rows().is_multiple_of(ROWS as u64) {
                progress(CopyProgress::Verifying { verified: read.rows(), rows: all });
            }
        };
        read_back(&transaction, &mut add).await.map_err(failed)?;
        // A source that ends early is not complete.
        let is_complete = written.rows() == all;
        let copied = written.end();
        if read.end() != copied || !is_complete {
            return Err(CopyError::Differs);
        }
        transaction.commit().await.map_err(|error| failed(error.into()))?;
        connected.is_usable = true;
        Ok(copied)
    }
}

async fn begin(client: &mut tokio_postgres::Client) -> Result<Transaction<'_>, PostgresError> {
    let transaction = client.transaction().await?;
    let sql = "SET LOCAL statement_timeout = 0; \
         SET LOCAL idle_in_transaction_session_timeout = 0";
    transaction.batch_execute(sql).await?;
    Ok(transaction)
}

/// Returns whether the database never had keys, and prepares it for the copy if so. From then on,
/// nobody else can make a change.
async fn take(transaction: &Transaction<'_>) -> Result<bool, PostgresError> {
    let sql = "SELECT revision FROM ingestion_keys.last_change FOR UPDATE";
    let revision: i64 = transaction.query_typed_one(sql, &[]).await?.try_get(0)?;
    if revision != 0 {
        return Ok(false);
    }
    // The first change of the source takes the place of the first change of this database.
    transaction.batch_execute("DELETE FROM ingestion_keys.changes").await?;
    Ok(true)
}

/// The values of a row.
type Values = Vec<Box<dyn ToSql + Sync + Send>>;

/// A table with the columns that are written.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Type)],
}

const KEYS: Table = Table {
    name: "keys",
    columns: &[
        ("id", Type::INT8),
        ("revision", Type::INT8),
        ("digest", Type::BYTEA),
        ("expires_at", Type::INT8),
        ("enabled", Type::BOOL),
        ("name", Type::TEXT),
        ("key_start", Type::TEXT),
        ("created_at", Type::INT8),
        ("updated_at", Type::INT8),
        ("successor", Type::INT8),
        ("description", Type::TEXT),
        ("role", Type::TEXT),
    ],
};

const USAGE: Table = Table {
    name: "usage",
    columns: &[
        ("key_id", Type::INT8),
        ("accepted", Type::INT8),
        ("failed", Type::INT8),
        ("denied", Type::INT8),
        ("bytes", Type::INT8),
        ("last_used_at", Type::INT8),
    ],
};

const CLIENTS: Table = Table {
    name: "clients",
    columns: &[
        ("key_id", Type::INT8),
        ("address", Type::TEXT),
        ("user_agent", Type::TEXT),
        ("last_used_at", Type::INT8),
    ],
};

const TOMBSTONES: Table = Table {
    name: "tombstones",
    columns: &[
        ("id", Type::INT8),
        ("revision", Type::INT8),
        ("digest", Type::BYTEA),
        ("deleted_at", Type::INT8),
        ("role", Type::TEXT),
    ],
};

const CHANGES: Table = Table {
    name: "changes",
    columns: &[("revision", Type::INT8), ("change_id", Type::BYTEA), ("changed_at", Type::INT8)],
};

const AUDIT: Table = Table {
    name: "audit",
    columns: &[
        ("revision", Type::INT8),
        ("changed_at", Type::INT8),
        ("who", Type::TEXT),
        ("action", Type::TEXT),
        ("key_id", Type::INT8),
        ("key_name", Type::TEXT),
        ("other_key_id", Type::INT8),
    ],
};

const AUDIT_CHANGES: Table = Table {
    name: "audit_changes",
    columns: &[
        ("revision", Type::INT8),
        ("position", Type::INT8),
        ("field", Type::TEXT),
        ("old_value", Type::TEXT),
        ("new_value", Type::TEXT),
    ],
};

/// Writes rows, one statement for each table.
async fn write(transaction: &Transaction<'_>, group: Vec<Row>) -> Result<(), PostgresError> {
    let (mut keys, mut used, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tombstones, mut changes) = (Vec::new(), Vec::new());
    let (mut entries, mut fields) = (Vec::new(), Vec::new());
    for row in group {
        match row {
            Row::Key(key) => {
                let StoredKey { record, usage } = *key;
                let id = record.id.get();
                clients.extend(usage.clients.iter().map(|client| client_values(id, client)));
                if usage != Usage::default() {
                    used.push(usage_values(id, &usage));
                }
                keys.push(key_values(record));
            }
            Row::Tombstone(change) => tombstones.extend(tombstone_values(&change)),
            Row::Change(cursor, at) => changes.push(change_values(&cursor, at)),
            Row::Audit(entry) => {
                fields.extend(field_values(&entry));
                entries.push(entry_values(*entry));
            }
        }
    }
    copy_in(transaction, &KEYS, &keys).await?;
    copy_in(transaction, &USAGE, &used).await?;
    copy_in(transaction, &CLIENTS, &clients).await?;
    copy_in(transaction, &TOMBSTONES, &tombstones).await?;
    copy_in(transaction, &CHANGES, &changes).await?;
    copy_in(transaction, &AUDIT, &entries).await?;
    copy_in(transaction, &AUDIT_CHANGES, &fields).await
}

async fn copy_in(
    transaction: &Transaction<'_>,
    table: &Table,
    rows: &[Values],
) -> Result<(), PostgresError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (columns, types): (Vec<&str>, Vec<Type>) = table.columns.iter().cloned().unzip();
    let sql = format!(
        "COPY ingestion_keys.{} ({}) FROM STDIN (FORMAT binary)",
        table.name,
        columns.join(", ")
    );
    within(async {
        let sink = transaction.copy_in(&sql).await?;
        let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let values = row.iter().map(|value| &**value as &(dyn ToSql + Sync));
            writer.as_mut().write_raw(values.collect::<Vec<_>>()).await?;
        }
        writer.finish().await?;
        Ok(())
    })
    .await
}

fn key_values(key: KeyRecord) -> Values {
    vec![
        Box::new(key.id.get()),
        Box::new(key.revision),
        Box::new(key.digest.as_bytes().to_vec()),
        Box::new(key.expires_at.map(Timestamp::as_millis)),
        Box::new(key.enabled),
        Box::new(key.name),
        Box::new(key.key_start),
        Box::new(key.created_at.as_millis()),
        Box::new(key.updated_at.as_millis()),
        Box::new(key.successor.map(KeyId::get)),
        Box::new(key.description),
        Box::new(key.role.as_str()),
    ]
}

fn usage_values(id: i64, of: &Usage) -> Values {
    let [accepted, failed, denied, bytes] =
        [of.accepted, of.failed, of.denied, of.bytes].map(usage::to_integer);
    vec![
        Box::new(id),
        Box::new(accepted),
        Box::new(failed),
        Box::new(denied),
        Box::new(bytes),
        Box::new(of.last_used_at.map(Timestamp::as_millis)),
    ]
}

fn client_values(id: i64, client: &KeyClient) -> Values {
    vec![
        Box::new(id),
        Box::new(client.address.to_string()),
        Box::new(client.user_agent.clone().unwrap_or_default()),
        Box::new(client.last_used_at.as_millis()),
    ]
}

fn tombstone_values(change: &Change) -> Option<Values> {
    let KeyState::Deleted { at } = change.state else { return None };
    Some(vec![
        Box::new(change.id.get()),
        Box::new(change.revision),
        Box::new(change.digest.as_bytes().to_vec()),
        Box::new(at.as_millis()),
        Box::new(change.role.as_str()),
    ])
}

fn change_values(cursor: &Cursor, at: Timestamp) -> Values {
    vec![Box::new(cursor.revision), Box::new(cursor.change_id.to_vec()), Box::new(at.as_millis())]
}

fn entry_values(entry: AuditEntry) -> Values {
    vec![
        Box::new(entry.revision),
        Box::new(entry.at.as_millis()),
        Box::new(entry.who),
        Box::new(audit_text::action_name(entry.note.action)),
        Box::new(entry.note.key_id.get()),
        Box::new(entry.note.key_name),
        Box::new(entry.note.other_key_id.map(KeyId::get)),
    ]
}

fn field_values(entry: &AuditEntry) -> Vec<Values> {
    let row = |(position, change): (i64, &FieldChange)| -> Values {
        let (field, FromTo { from, to }) = audit_text::columns(change);
        vec![
            Box::new(entry.revision),
            Box::new(position),
            Box::new(field),
            Box::new(from),
            Box::new(to),
        ]
    };
    (0_i64..).zip(&entry.note.changes).map(row).collect()
}

/// Makes the last written change the last change of the database, and announces it.
async fn finish(transaction: &Transaction<'_>) -> Result<(), PostgresError> {
    let sql = "UPDATE ingestion_keys.last_change \
         SET revision = (SELECT max(revision) FROM ingestion_keys.changes) RETURNING revision";
    let revision: i64 = transaction.query_typed_one(sql, &[]).await?.try_get(0)?;
    change::announce(transaction, revision).await
}

/// Calls `add` with each row of the database.
async fn read_back(
    transaction: &Transaction<'_>,
    add: &mut impl FnMut(&Row),
) -> Result<(), PostgresError> {
    let sql = format!(
        "SELECT s.*, c.addresses, c.user_agents, c.times FROM ({}) s LEFT JOIN LATERAL ( \
             SELECT array_agg(address) AS addresses, array_agg(user_agent) AS user_agents, \
                 array_agg(last_used_at) AS times \
             FROM ingestion_keys.clients WHERE key_id = s.id \
         ) c ON true ORDER BY s.id",
        rows::STORED
    );
    each(transaction, &sql, |row| {
        let mut key = rows::stored(row)?;
        key.usage.clients = clients(row)?;
        add(&transfer::key(key));
        Ok(())
    })
    .await?;
    let sql = format!("{} ORDER BY id", rows::DELETED);
    each(transaction, &sql, |row| {
        add(&Row::Tombstone(rows::change(row, 0)?));
        Ok(())
    })
    .await?;
    let sql = "SELECT revision, change_id, changed_at FROM ingestion_keys.changes \
         ORDER BY revision";
    each(transaction, sql, |row| {
        let at = Timestamp::from_millis(row.try_get(2)?);
        add(&Row::Change(rows::cursor_columns(row, 0)?, at));
        Ok(())
    })
    .await?;
    let mut after = i64::MIN;
    loop {
        let entries = audit::read(transaction, after, ROWS as u32).await?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.revision;
        entries.into_iter().for_each(|entry| add(&Row::Audit(Box::new(entry))));
    }
}

/// Reads the clients of a key from three columns with arrays. They are null for a key without
/// clients.
fn clients(row: &PostgresRow) -> Result<Vec<KeyClient>, PostgresError> {
    let addresses: Vec<&str> = row.try_get::<_, Option<_>>(17)?.unwrap_or_default();
    let agents: Vec<&str> = row.try_get::<_, Option<_>>(18)?.unwrap_or_default();
    let times: Vec<i64> = row.try_get::<_, Option<_>>(19)?.unwrap_or_default();
    let clients = addresses.iter().zip(agents).zip(times);
    clients.map(|((address, agent), at)| usage::client(address, agent, at)).collect()
}

/// Calls `read` with each row of a query.
async fn each(
    transaction: &Transaction<'_>,
    sql: &str,
    mut read: impl FnMut(&PostgresRow) -> Result<(), PostgresError>,
) -> Result<(), PostgresError> {
    let values = std::iter::empty::<(&(dyn ToSql + Sync), Type)>();
    let mut rows = std::pin::pin!(transaction.query_typed_raw(sql, values).await?);
    while let Some(row) = within(async { Ok(rows.try_next().await?) }).await? {
        read(&row)?;
    }
    Ok(())
}
