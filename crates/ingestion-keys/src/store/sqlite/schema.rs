//! The versions of the schema. One that was released is never changed: a new one is added behind
//! it.

use rusqlite::{Connection, TransactionBehavior};

use super::error::SqliteError;

/// What leads from each version to the next.
const MIGRATIONS: &[&str] = &[include_str!("0001.sql"), include_str!("0002.sql")];

/// The version that this program reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// In the header of the file: `IngK`, so that another program's database is not taken for ours.
const APPLICATION_ID: i32 = 0x496e_674b;

/// Fails if the database is another program's, or newer. Changes nothing.
pub(super) fn check(connection: &Connection) -> Result<(), SqliteError> {
    let (application, version) = identity(connection)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !is_new {
        return Err(SqliteError::Foreign);
    }
    if version > VERSION {
        return Err(SqliteError::Newer { found: version, known: VERSION });
    }
    Ok(())
}

/// Brings the database to the version of this program, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SqliteError> {
    let (_, version) = identity(connection)?;
    for (from, migration) in
        MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(usize::MAX))
    {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", from as i64 + 1)?;
        transaction.commit()?;
        // Into the file itself: an older program looks there before it touches anything.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        tracing::info!(version = from + 1, "the database was brought to a new version");
    }
    Ok(())
}

fn identity(connection: &Connection) -> Result<(i32, i64), SqliteError> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, version))
}

#[cfg(test)]
mod tests;
