//! `ingestion-gateway storage`: commands on the key database, also while a gateway has it open.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use ingestion_keys::store::{BackedUp, BackupProgress, SqliteStore};

use crate::config::{Config, Database};
use crate::error::RunError;

/// Copies the key database to the new file `target`. Shows the progress on standard error if that
/// is a terminal.
///
/// # Errors
///
/// When the database cannot be read, or the copy cannot be written. A PostgreSQL database is not
/// copied.
pub fn back_up(config: &Config, target: &Path, overwrite: bool) -> Result<BackedUp, RunError> {
    let path = match &config.storage.database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => return Err(RunError::BackupOfPostgres),
    };
    let is_shown = io::stderr().is_terminal();
    let mut shown = None;
    let progress = |progress| {
        let text = match progress {
            BackupProgress::Copying { copied, pages } => {
                format!("copying: {} %", u64::from(copied) * 100 / u64::from(pages.max(1)))
            }
            BackupProgress::Verifying => "verifying the copy".to_owned(),
        };
        if is_shown && shown.as_ref() != Some(&text) {
            // The escape sequence clears the rest of the line. A terminal that is gone is no error.
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
            shown = Some(text);
        }
    };
    let backed_up = SqliteStore::back_up(path, target, overwrite, progress);
    if is_shown {
        let _ = write!(io::stderr(), "\r\u{1b}[K");
    }
    backed_up.map_err(|source| RunError::Backup { path: path.clone(), source })
}
