//! The versions of the schema. A released version is never changed. A change of the schema is added
//! as a new version at the end.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use super::error::PostgresError;
use super::within;

/// The SQL statements that migrate the database from each version to the next.
const MIGRATIONS: &[&str] = &[include_str!("0001.sql"), include_str!("0002.sql")];

/// The version of the schema that this program reads and writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// The number of the advisory lock that a migration holds: the bytes of `IngKeys1`.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"IngKeys1");

/// How long a migration may take, with the wait for the migration of another process.
const DEADLINE: Duration = Duration::from_secs(60);

/// Migrates the database to the version of this program. If the schema has this version already,
/// nothing is written, and no right to change the schema is needed.
///
/// Only one process migrates at a time. All steps are one transaction.
pub(super) async fn migrate(client: &mut Client) -> Result<(), PostgresError> {
    if within(version(client)).await? == VERSION {
        return Ok(());
    }
    let migrated = tokio::time::timeout(DEADLINE, migrate_locked(client)).await;
    migrated.unwrap_or(Err(PostgresError::TimedOut(DEADLINE)))
}

async fn migrate_locked(client: &mut Client) -> Result<(), PostgresError> {
    let transaction = client.transaction().await?;
    let sql = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";
    transaction.batch_execute(sql).await?;
    // The lock ends with the transaction, even if this process is killed. Unlike a lock of a
    // session, it also works behind a pooler of connections.
    let lock = [(&MIGRATION_LOCK as _, Type::INT8)];
    transaction.execute_typed("SELECT pg_advisory_xact_lock($1)", &lock).await?;
    let from = version(&transaction).await?;
    if from == VERSION {
        return Ok(());
    }
    if from == 0 {
        let sql = "SELECT to_regnamespace('ingestion_keys') IS NOT NULL";
        let has_schema: bool = transaction.query_typed_one(sql, &[]).await?.try_get(0)?;
        if !has_schema {
            transaction.batch_execute("CREATE SCHEMA ingestion_keys").await?;
        }
        let sql = "CREATE TABLE ingestion_keys.schema_version (version bigint NOT NULL); \
             INSERT INTO ingestion_keys.schema_version (version) VALUES (0)";
        transaction.batch_execute(sql).await?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)) {
        transaction.batch_execute(migration).await?;
    }
    let sql = "UPDATE ingestion_keys.schema_version SET version = $1";
    transaction.execute_typed(sql, &[(&VERSION, Type::INT8)]).await?;
    transaction.commit().await?;
    tracing::info!(from, to = VERSION, "the database was migrated: older versions refuse it");
    Ok(())
}

/// Returns the version of the schema, which is 0 if there is none. Fails if a newer version of this
/// program made the schema.
async fn version(client: &impl GenericClient) -> Result<i64, PostgresError> {
    let sql = "SELECT to_regclass('ingestion_keys.schema_version') IS NOT NULL";
    let exists: bool = client.query_typed_one(sql, &[]).await?.try_get(0)?;
    if !exists {
        return Ok(0);
    }
    let sql = "SELECT max(version) FROM ingestion_keys.schema_version";
    let found: Option<i64> = client.query_typed_one(sql, &[]).await?.try_get(0)?;
    match found {
        Some(found) if found > VERSION => Err(PostgresError::Newer { found, known: VERSION }),
        found => Ok(found.unwrap_or_default()),
    }
}
