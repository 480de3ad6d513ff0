//! Reads everything that the database has, for copying it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row as SqliteRow, Transaction};

use super::error::SqliteError;
use super::files::Files;
use super::{SqliteStore, audit, connect, rows, usage};
use crate::clock::Timestamp;
use crate::store::transfer::{self, ROWS, Row, RowSender, Rows};
use crate::store::{Cursor, StoreError};

impl SqliteStore {
    /// Returns the number of rows and the rows, as they are at one moment.
    pub(in crate::store) async fn export(&self) -> Result<(u64, Rows), StoreError> {
        let count = self.reader.run(|connection: &mut Connection| count(connection)).await?;
        let (sender, receiver) = transfer::channel();
        let (path, files) = (self.path.clone(), self.reader.files());
        let read = move || {
            if let Err(error) = export(&path, &files, &sender) {
                let _gone = sender.blocking_send(Err(error.into()));
            }
        };
        let spawned = std::thread::Builder::new().name("keys-export".to_owned()).spawn(read);
        spawned.map_err(|source| SqliteError::Io { action: "start a thread", source })?;
        Ok((count, receiver))
    }
}

fn count(connection: &Connection) -> Result<u64, SqliteError> {
    let sql = "SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM tombstones) \
         + (SELECT count(*) FROM changes) + (SELECT count(*) FROM audit)";
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn export(path: &Path, files: &Arc<Files>, sender: &RowSender) -> Result<(), SqliteError> {
    files.verify()?;
    let mut connection = connect(path)?;
    files.verify()?;
    let transaction = connection.transaction()?;
    let stored = format!("{} ORDER BY k.id", rows::STORED);
    each(&transaction, &stored, sender, |row| {
        let mut key = rows::stored(row)?;
        key.usage.clients = usage::clients(&transaction, key.record.id)?;
        Ok(transfer::key(key))
    })?;
    let deleted = format!("{} ORDER BY id", rows::DELETED);
    each(&transaction, &deleted, sender, |row| Ok(Row::Tombstone(rows::change(row)?)))?;
    let sql = "SELECT revision, change_id, changed_at FROM changes ORDER BY revision";
    each(&transaction, sql, sender, |row| {
        let cursor = Cursor { revision: row.get(0)?, change_id: row.get(1)? };
        Ok(Row::Change(cursor, Timestamp::from_millis(row.get(2)?)))
    })?;
    let mut after = i64::MIN;
    loop {
        let entries = audit::read(&transaction, after, ROWS as u32)?;
        let Some(last) = entries.last() else { break };
        after = last.revision;
        let rows = entries.into_iter().map(|entry| Row::Audit(Box::new(entry))).collect();
        if sender.blocking_send(Ok(rows)).is_err() {
            break;
        }
    }
    files.verify()
}

/// Sends a row for each row of a query.
fn each(
    transaction: &Transaction<'_>,
    sql: &str,
    sender: &RowSender,
    read: impl Fn(&SqliteRow<'_>) -> Result<Row, SqliteError>,
) -> Result<(), SqliteError> {
    let mut statement = transaction.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut group = Vec::with_capacity(ROWS);
    while let Some(row) = found.next()? {
        group.push(read(row)?);
        if group.len() == ROWS {
            let full = std::mem::replace(&mut group, Vec::with_capacity(ROWS));
            if sender.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    let _gone = sender.blocking_send(Ok(group));
    Ok(())
}
