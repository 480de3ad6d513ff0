//! The versions of the schema. A released version is never changed. A change of the schema is added
//! as a new version at the end.

use rusqlite::{Connection, TransactionBehavior};

use super::error::SqliteError;

/// The SQL statements that migrate the database from each version to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
];

/// The version of the schema that this program reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The application id in the header of the file: `IngK`. A database with another id belongs to
/// another program.
const APPLICATION_ID: i32 = 0x496e_674b;

/// Fails if the database belongs to another program or has a newer schema version. Writes nothing.
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

/// Migrates the database to the version of this program. Each step is one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SqliteError> {
    let (_, version) = identity(connection)?;
    if (1..VERSION).contains(&version) {
        tracing::info!(
            from = version,
            to = VERSION,
            "the database is migrated now: older versions will refuse it"
        );
    }
    for (from, migration) in
        MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(usize::MAX))
    {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", from as i64 + 1)?;
        transaction.commit()?;
        // The log has every page that the migration changed. No other connection is open yet, so
        // this statement can move all pages to the database file and empty the log.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        tracing::info!(version = from + 1, "the database was migrated to a new version");
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
