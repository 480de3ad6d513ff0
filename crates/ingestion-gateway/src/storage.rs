//! `ingestion-gateway storage`: commands on the key database.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use ingestion_keys::store::{
    BackedUp, BackupProgress, Copied, CopyProgress, PostgresStore, SqliteOptions, SqliteStore,
};

use crate::config::{Config, Database};
use crate::error::RunError;
use crate::key_store;

/// A line on standard error that shows how far a command has come, if standard error is a terminal.
struct ProgressLine {
    is_shown: bool,
    text: String,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), text: String::new() }
    }

    fn show(&mut self, text: String) {
        if self.is_shown && self.text != text {
            // The escape sequence clears the rest of the line. A terminal that is gone is no error.
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
            self.text = text;
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// Copies the key database to the new file `target`, also while a gateway has it open. Shows the
/// progress on standard error if that is a terminal.
///
/// # Errors
///
/// When the database cannot be read, or the copy cannot be written. A PostgreSQL database is not
/// copied.
pub fn back_up(config: &Config, target: &Path, overwrite: bool) -> Result<BackedUp, RunError> {
    let path = match &config.storage.database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => {
            let why = "storage.url names a PostgreSQL database: back it up with pg_dump";
            return Err(RunError::OtherKind(why));
        }
    };
    let mut line = ProgressLine::new();
    let progress = |progress| {
        line.show(match progress {
            BackupProgress::Copying { copied, pages } => {
                format!("copying: {} %", percent(copied.into(), pages.into()))
            }
            BackupProgress::Verifying => "verifying the copy".to_owned(),
        });
    };
    let backed_up = SqliteStore::back_up(path, target, overwrite, progress);
    backed_up.map_err(|source| RunError::Backup { path: path.clone(), source })
}

/// Copies an SQLite database to a PostgreSQL database that never had keys. Shows the progress on
/// standard error if that is a terminal. Returns the target, whose text form has no password.
///
/// # Errors
///
/// When a URL is wrong, the two databases are not of these kinds, a gateway has the SQLite database
/// open, one of them cannot be used, or the target is not empty. Nothing is copied then.
pub async fn copy(
    from: &str,
    to: &str,
    password_file: Option<&Path>,
) -> Result<(Database, Copied), RunError> {
    // The URLs are not parsed by the parser of the command line, which would print a wrong one with
    // its password.
    let parsed = |url: &str| url.parse::<Database>().map_err(RunError::Url);
    let (from, to) = (parsed(from)?, parsed(to)?);
    let (Database::Sqlite(path), Database::Postgres(options)) = (&from, &to) else {
        let why = "copies go from sqlite:///path/to/keys.db to postgres://user@host:port/database";
        return Err(RunError::OtherKind(why));
    };
    let target = key_store::connect_lazily(options, password_file)?;
    let unusable = |source| RunError::Store { database: from.to_string(), source };
    // The file would be created if it did not exist.
    std::fs::metadata(path).map_err(|source| RunError::NoSource { path: path.clone(), source })?;
    let source = SqliteStore::open(&SqliteOptions::new(path)).map_err(unusable)?;
    let mut line = ProgressLine::new();
    let progress = |progress| {
        line.show(match progress {
            CopyProgress::Copying { copied, rows } => {
                format!("copying: {} % of {rows} rows", percent(copied, rows))
            }
            CopyProgress::Verifying { verified, rows } => {
                format!("verifying: {} % of {rows} rows", percent(verified, rows))
            }
        });
    };
    let failed = |source| RunError::Copy { to: to.to_string(), source };
    let copied = target.copy_from(&source, progress).await.map_err(failed)?;
    drop(line);
    Ok((to, copied))
}

/// Creates the tables of the configured PostgreSQL database, or brings them up to date. An SQLite
/// database needs no such command, because the gateway that opens it owns it.
///
/// # Errors
///
/// When the database is not of PostgreSQL or cannot be used.
pub async fn migrate(config: &Config) -> Result<(), RunError> {
    let storage = &config.storage;
    let Database::Postgres(options) = &storage.database else {
        let why =
            "storage.url names no PostgreSQL database: the gateway migrates its SQLite database";
        return Err(RunError::OtherKind(why));
    };
    let store: PostgresStore =
        key_store::connect_lazily(options, storage.password_file.as_deref())?;
    let unusable = |source| RunError::Store { database: options.to_string(), source };
    store.migrate().await.map_err(unusable)
}

fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole.max(1)
}
