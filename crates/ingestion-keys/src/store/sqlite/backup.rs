//! Copies a database, also while a store has it open.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempPath;

use super::error::SqliteError;
use super::file::{PinnedFile, beside};
use super::{BUSY_TIMEOUT, SqliteStore, rows, schema};
use crate::store::{StoreError, StoreErrorKind};

/// The number of pages that are copied between two reports of the progress.
const PAGES: i32 = 1024;

/// How far a backup has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupProgress {
    /// Pages are being copied.
    Copying {
        /// The number of pages that were copied.
        copied: u32,
        /// The number of pages of the database.
        pages: u32,
    },
    /// The copy is being checked.
    Verifying,
}

/// A complete backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The revision of the last change in the backup.
    pub revision: i64,
    /// The size of the file in bytes.
    pub len: u64,
}

impl SqliteStore {
    /// Copies the database at `path` to the new file `target`, as the database is at one moment. A
    /// store may have the database open and go on making changes. The call takes no lock that such
    /// a store needs, and writes nothing to the database.
    ///
    /// The copy contains the changes in the write-ahead log, and is one file, which only its owner
    /// can read. The file appears at `target` when it is complete, verified and on disk. An
    /// existing file is replaced only if `overwrite` is true. The call blocks the thread, and calls
    /// `progress` now and then.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or belongs to another program, or when the copy cannot be
    /// written.
    ///
    /// # Examples
    ///
    /// ```
    /// use ingestion_keys::store::{KeyStore, SqliteOptions, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let directory = tempfile::tempdir()?;
    /// let (path, target) = (directory.path().join("keys.db"), directory.path().join("backup.db"));
    /// let store = SqliteStore::open(&SqliteOptions::new(&path))?;
    /// let backup = SqliteStore::back_up(&path, &target, false, |_| ())?;
    /// assert_eq!(backup.revision, 0);
    /// assert!(SqliteStore::open(&SqliteOptions::new(target))?.list().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn back_up(
        path: &Path,
        target: &Path,
        overwrite: bool,
        mut progress: impl FnMut(BackupProgress),
    ) -> Result<BackedUp, StoreError> {
        let path = source_path(path)?;
        check_target(&path, target, overwrite)?;
        // The copy is made in a directory of its own beside the target, so that it can be renamed,
        // and so that nothing is left of a copy that fails.
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let directory = tempfile::Builder::new().prefix(".backup-").tempdir_in(parent);
        let directory = directory.map_err(|source| {
            let message = format!("cannot write to the directory {}", parent.display());
            StoreError::new(StoreErrorKind::Io, message).with_source(source)
        })?;
        let copy = directory.path().join("copy.db");
        copy_pages(&path, &copy, &mut progress)?;
        progress(BackupProgress::Verifying);
        let revision = verify(&copy)?;
        let len = finish(&copy, target, parent, overwrite).map_err(|source| {
            let message = format!("cannot write {}", target.display());
            StoreError::new(StoreErrorKind::Io, message).with_source(source)
        })?;
        Ok(BackedUp { revision, len })
    }
}

/// Returns the path of the database after all symbolic links are followed.
fn source_path(path: &Path) -> Result<PathBuf, StoreError> {
    // The file is not opened here: closing it would release the locks of a store in this process.
    let found = fs::canonicalize(path).and_then(|path| Ok((fs::metadata(&path)?.len(), path)));
    match found {
        // SQLite would remove the log of an empty file.
        Ok((0, _)) => Err(StoreError::new(StoreErrorKind::NotOurs, "the database file is empty")),
        Ok((_, path)) => Ok(path),
        Err(source) => {
            let message = format!("there is no database at {}", path.display());
            Err(StoreError::new(StoreErrorKind::Io, message).with_source(source))
        }
    }
}

/// Fails if the target exists and must not be overwritten, or is a file of the database itself.
fn check_target(path: &Path, target: &Path, overwrite: bool) -> Result<(), StoreError> {
    let message = match fs::canonicalize(target) {
        Ok(found) if is_part_of(path, &found) => {
            "the target is a file of the database itself".into()
        }
        Ok(_) if !overwrite => {
            format!("{} exists already: it is replaced only if that is forced", target.display())
        }
        _ => return Ok(()),
    };
    Err(StoreError::new(StoreErrorKind::Misconfigured, message))
}

/// Returns whether a file is the database, or one of the files beside it.
fn is_part_of(database: &Path, file: &Path) -> bool {
    ["", "-wal", "-shm", ".lock", ".reserve"].iter().any(|suffix| beside(database, suffix) == file)
}

fn copy_pages(
    path: &Path,
    copy: &Path,
    progress: &mut impl FnMut(BackupProgress),
) -> Result<(), SqliteError> {
    let source = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    source.busy_timeout(BUSY_TIMEOUT)?;
    // The changes in the log of a database that nobody has open stay in the log.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    schema::check(&source)?;
    // SQLite would create a file that others can read.
    drop(PinnedFile::open(copy)?);
    let mut target = Connection::open(copy)?;
    // The copy is thrown away if it does not come to its end, so it needs no journal.
    target.pragma_update(None, "journal_mode", "OFF")?;
    target.pragma_update(None, "synchronous", "OFF")?;
    // With this transaction, all steps read the database as it is at one moment.
    source.execute_batch("BEGIN")?;
    rows::cursor(&source)?;
    let backup = Backup::new(&source, &mut target)?;
    loop {
        let step = backup.step(PAGES)?;
        let state = backup.progress();
        let pages = u32::try_from(state.pagecount).unwrap_or_default();
        let remaining = u32::try_from(state.remaining).unwrap_or_default();
        progress(BackupProgress::Copying { copied: pages.saturating_sub(remaining), pages });
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
    drop(backup);
    // Without a write-ahead log, the copy is one file.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Checks the whole copy. Returns the revision of its last change.
fn verify(copy: &Path) -> Result<i64, SqliteError> {
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "PRAGMA integrity_check(1)";
    let is_whole = connection.query_row(sql, [], |row| Ok(row.get_ref(0)?.as_str() == Ok("ok")))?;
    if !is_whole {
        return Err(SqliteError::Corrupt);
    }
    schema::check(&connection)?;
    Ok(rows::cursor(&connection)?.revision)
}

/// Puts the copy on disk and at its target. Returns the size of the copy.
fn finish(copy: &Path, target: &Path, parent: &Path, overwrite: bool) -> io::Result<u64> {
    let file = File::open(copy)?;
    file.sync_all()?;
    if overwrite {
        fs::rename(copy, target)?;
    } else {
        TempPath::try_from_path(copy)?.persist_noclobber(target).map_err(|error| error.error)?;
    }
    #[cfg(unix)]
    File::open(parent)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = parent;
    Ok(file.metadata()?.len())
}
