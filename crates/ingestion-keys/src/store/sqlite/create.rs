//! Makes a new database.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use rusqlite::Connection;

use super::error::SqliteError;
use super::file::{self, PinnedFile};
use super::schema;

/// The bytes in the header of a database that say whether it has a write-ahead log: 1 if not, and 2
/// if it has one. A database in memory has none.
const USES_LOG: Range<usize> = 18..20;

/// Gives an empty file at `path` the schema of this version. If the file is not empty, or the log
/// of an earlier database is there, does nothing.
///
/// The database is made in memory and written beside its place. It gets its name once it is on the
/// disk. A new database that SQLite makes in its place waits for the disk twenty times (benchmark
/// case `start`). If the power fails before the disk has the name, there is no database, and no
/// change was acknowledged: SQLite writes the directory to the disk before the first change.
///
/// This is only faster. If it fails, the database is made in its place, where a failure is
/// reported.
pub(super) fn fill_if_empty(path: &Path) {
    let is_empty = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
    if !is_empty || file::beside(path, "-wal").exists() {
        return;
    }
    let new = file::beside(path, ".new");
    // An earlier attempt may have left something behind.
    let _absent = fs::remove_file(&new);
    if let Err(error) = make(&new, path) {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "the database is made in its place");
        let _absent = fs::remove_file(&new);
    }
}

/// Makes a database at `new`, and renames it to `path`.
fn make(new: &Path, path: &Path) -> Result<(), SqliteError> {
    let mut connection = Connection::open_in_memory()?;
    schema::migrate(&mut connection)?;
    let mut image = connection.serialize("main")?.to_vec();
    image[USES_LOG].fill(2);
    let file = PinnedFile::open(new)?;
    file.make_private();
    let written = file.file().write_all(&image).and_then(|()| file.file().sync_all());
    written
        .and_then(|()| fs::rename(new, path))
        .map_err(|source| SqliteError::Io { action: "make the database", source })
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;
    use crate::store::{KeyStore as _, SqliteOptions, SqliteStore};

    // Scenario: an earlier attempt to make the database has left a file behind.
    // Guarantee: the database is made anew, is empty and usable, and only its own files stay.
    #[tokio::test]
    async fn what_an_earlier_attempt_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        fs::write(directory.path().join("keys.db.new"), "a part of a database").unwrap();
        let store = SqliteStore::open(&SqliteOptions::new(&path)).unwrap();
        assert!(store.list().await.unwrap().is_empty());
        drop(store);
        let names = fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.collect();
        assert!(names.iter().all(|name| !name.contains(".new")), "{names:?}");
    }

    // Scenario: a database is made in memory, and another one by SQLite in its place.
    // Guarantee: both are sound, have a write-ahead log, and have the same versions and schema.
    #[test]
    fn a_database_is_as_sqlite_makes_it() {
        let directory = tempfile::tempdir().unwrap();
        let [made, in_place] = ["made.db", "in-place.db"].map(|name| directory.path().join(name));
        fs::write(&made, "").unwrap();
        fill_if_empty(&made);
        let mut connection = Connection::open(&in_place).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        schema::migrate(&mut connection).unwrap();
        connection.close().unwrap();
        let [made, in_place] = [made, in_place].map(|path| {
            let connection = Connection::open(path).unwrap();
            let pragma = |name: &str| -> Value {
                connection.pragma_query_value(None, name, |row| row.get(0)).unwrap()
            };
            let pragmas = ["integrity_check", "journal_mode", "user_version", "application_id"]
                .into_iter()
                .chain(["page_size", "auto_vacuum", "encoding"])
                .map(pragma);
            let mut schema = connection.prepare("SELECT sql FROM sqlite_schema").unwrap();
            let schema = schema.query_map([], |row| row.get(0)).unwrap();
            pragmas.map(Ok).chain(schema).collect::<Result<Vec<Value>, _>>().unwrap()
        });
        assert_eq!(made, in_place);
        let texts = ["ok", "wal"].map(|text| Value::Text(text.to_owned()));
        assert_eq!(made[..2], texts);
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
