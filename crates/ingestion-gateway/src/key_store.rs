//! Opens the key database, which is an SQLite file or a PostgreSQL database.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use ingestion_keys::store::{
    KeyStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, StoreError,
};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::config::{Database, StorageConfig};
use crate::error::RunError;

/// An open key database.
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn KeyStore>,
    /// The same store, if it is a file.
    pub(crate) file: Option<Arc<SqliteStore>>,
}

/// Opens the key database. A PostgreSQL database is only connected to when it is used.
pub(crate) async fn open(config: &StorageConfig) -> Result<OpenStore, RunError> {
    let unusable = |source| RunError::Store { database: config.database.to_string(), source };
    match &config.database {
        Database::Sqlite(path) => {
            tracing::info!(path = %path.display(), "opening the key database; if another process has it, this waits for a while");
            // Opening waits while another process has locked the database.
            let options = SqliteOptions::new(path);
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&options)).await?;
            let file = Arc::new(opened.map_err(unusable)?);
            Ok(OpenStore { store: Arc::clone(&file) as _, file: Some(file) })
        }
        Database::Postgres(options) => {
            tracing::info!(url = %options, "the key database is shared");
            let store = connect_lazily(options, config.password_file.as_deref())?;
            Ok(OpenStore { store: Arc::new(store), file: None })
        }
    }
}

/// Makes a store in a PostgreSQL database, which connects when it is used.
pub(crate) fn connect_lazily(
    options: &PostgresOptions,
    password_file: Option<&Path>,
) -> Result<PostgresStore, RunError> {
    let unusable = |source| RunError::Store { database: options.to_string(), source };
    match password_file {
        Some(path) => PostgresStore::new(&with_password_of(options, path)?),
        None => PostgresStore::new(options),
    }
    .map_err(unusable)
}

impl OpenStore {
    /// Waits until another file has the place of the database, and returns what happened. After a
    /// restart, the gateway would use the other file. A database that is not a file stays in its
    /// place for ever.
    pub(crate) async fn replaced(&self) -> StoreError {
        match &self.file {
            Some(file) => file.replaced().await,
            None => std::future::pending().await,
        }
    }
}

/// Adds the password in a file, without the line end after it.
fn with_password_of(options: &PostgresOptions, path: &Path) -> Result<PostgresOptions, RunError> {
    let unusable = |source| RunError::PasswordFile { path: path.to_owned(), source };
    let content = SecretSlice::from(fs::read(path).map_err(unusable)?);
    let password = without_line_end(content.expose_secret());
    if password.is_empty() {
        return Err(unusable(io::Error::new(ErrorKind::InvalidData, "the file is empty")));
    }
    Ok(options.clone().with_password(password))
}

fn without_line_end(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a password file ends with a line end of either kind, with two, and with none.
    // Guarantee: one line end does not belong to the password. Everything else does.
    #[test]
    fn one_line_end_is_no_part_of_a_password() {
        for (content, expected) in
            [("p\n", "p"), ("p\r\n", "p"), ("p\n\n", "p\n"), (" p\r", " p\r"), ("\n", "")]
        {
            assert_eq!(without_line_end(content.as_bytes()), expected.as_bytes());
        }
    }
}
