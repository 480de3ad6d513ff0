//! Makes a new database.

use std::fs;
use std::path::Path;

use super::connect;
use super::error::SqliteError;
use super::file::{self, PinnedFile};
use super::schema;

/// Gives an empty file at `path` the schema of this version. If the file is not empty, or the log
/// of an earlier database is there, does nothing.
///
/// The database is made beside its place, without waiting for the disk, and gets its name once it
/// is complete and on the disk. A new database that SQLite makes in its place waits for the disk
/// twenty times (benchmark case `start`). If the power fails before the disk has the name, there is
/// no database, and no change was acknowledged: SQLite writes the directory to the disk before the
/// first change.
///
/// This is only faster. If it fails, the database is made in its place, where a failure is
/// reported.
pub(super) fn fill_if_empty(path: &Path) {
    let is_empty = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
    if !is_empty || file::beside(path, "-wal").exists() {
        return;
    }
    let new = file::beside(path, ".new");
    let remove = || {
        for suffix in ["", "-wal", "-shm"] {
            let _absent = fs::remove_file(file::beside(&new, suffix));
        }
    };
    // An earlier attempt may have left something behind.
    remove();
    if let Err(error) = make(&new, path) {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "the database is made in its place");
        remove();
    }
}

/// Makes a database at `new`, and renames it to `path`.
fn make(new: &Path, path: &Path) -> Result<(), SqliteError> {
    let file = PinnedFile::open(new)?;
    file.make_private();
    let mut connection = connect(new)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    schema::migrate(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    let io = |source| SqliteError::Io { action: "make the database", source };
    file.file().sync_all().map_err(io)?;
    fs::rename(new, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{KeyStore as _, SqliteOptions, SqliteStore};

    // Scenario: an earlier attempt to make the database has left files behind.
    // Guarantee: the database is made anew, is empty and usable, and only its own files stay.
    #[tokio::test]
    async fn what_an_earlier_attempt_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        for name in ["keys.db.new", "keys.db.new-wal", "keys.db.new-shm"] {
            fs::write(directory.path().join(name), "a part of a database").unwrap();
        }
        let store = SqliteStore::open(&SqliteOptions::new(&path)).unwrap();
        assert!(store.list().await.unwrap().is_empty());
        drop(store);
        let names = fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.collect();
        assert!(names.iter().all(|name| !name.contains(".new")), "{names:?}");
    }

    // Scenario: the database is empty, and the log of an earlier one is beside it.
    // Guarantee: the file stays empty, because the log may have changes of a lost database.
    #[test]
    fn nothing_is_made_beside_a_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        fs::write(file::beside(&path, "-wal"), "changes").unwrap();
        fs::write(&path, "").unwrap();
        fill_if_empty(&path);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
