//! A store of keys in an SQLite database, to which one process writes.

mod audit;
mod backup;
mod create;
mod error;
#[cfg(feature = "postgres")]
mod export;
mod file;
mod files;
mod reserve;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod usage;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Params, Row, Transaction, TransactionBehavior, params};
use tokio::sync::watch;

pub use self::backup::{BackedUp, BackupProgress};
use self::error::{CommitFailure, SqliteError};
use self::file::PinnedFile;
use self::files::Files;
use self::reserve::Reserve;
use self::worker::Worker;
use super::{
    CHUNK, Change, Changes, Commit, CommitError, Committed, Cursor, KeyStore, MAX_CHANGES,
    Snapshot, SnapshotChunk, SnapshotSender, StoreError, StoreErrorKind, UsageBatch,
};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyId, StoredKey};

/// How long a statement waits while another program has SQLite's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The options for opening a database.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    path: PathBuf,
    lock_wait: Duration,
}

/// A store of keys in an SQLite file.
///
/// Only one process can have the database open, because the process locks the file `<path>.lock`
/// beside the database. When a call that makes a change returns `Ok`, the change is on disk
/// (write-ahead log, `synchronous=FULL`). Only the owner can read the files of the database and the
/// directories that the store creates. If an existing directory is open to other users, the store
/// logs a warning.
///
/// The file `<path>.reserve` keeps 1 MiB of the disk free. When the disk is full, the store uses
/// this room for changes that delete, disable or end a key, and only for them.
///
/// Before each call and once a second, the store checks that the open file is still the file at the
/// path, and that it has the content that the store gave it. While this check fails, the store
/// reads and writes nothing. This prevents the store from acknowledging changes that are lost
/// together with the removed or overwritten file. If another file has the place of the database,
/// [`replaced`](Self::replaced) says so. A program that leaves the content alone does not disturb
/// the store: for example, it may read the database or make a checkpoint. The store follows
/// symbolic links. It does not open a file with several names (hard links).
#[derive(Debug)]
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
    revision: watch::Sender<i64>,
    path: PathBuf,
}

impl SqliteOptions {
    /// Makes options for the database at this path. Opening creates the database if it does not
    /// exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock_wait: Duration::from_secs(10) }
    }

    /// Sets how long opening waits while another process has the database open, such as the
    /// previous process during a restart. The default is 10 seconds.
    #[must_use]
    pub fn with_lock_wait(self, lock_wait: Duration) -> Self {
        Self { lock_wait, ..self }
    }
}

impl SqliteStore {
    /// Opens the database, and migrates it to the schema of this version. The call blocks the
    /// thread while it waits for the lock.
    ///
    /// # Errors
    ///
    /// The [kind](crate::store::StoreErrorKind) is `Locked` if another process has the database
    /// open. It is `TooNew` if a newer version made the database, and `NotOurs` if another program
    /// made it. The file is not changed in these cases. Other kinds mean that the files cannot be
    /// opened or written.
    ///
    /// # Examples
    ///
    /// ```
    /// use ingestion_keys::store::{KeyStore, SqliteOptions, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let directory = tempfile::tempdir()?;
    /// let store = SqliteStore::open(&SqliteOptions::new(directory.path().join("state/keys.db")))?;
    /// assert!(store.list().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        file::make_directory(&options.path)?;
        let path = &file::resolved(&options.path)?;
        let lock_path = file::beside(path, ".lock");
        let was_locked_before = lock_path.exists();
        let lock = PinnedFile::lock(&lock_path, options.lock_wait)?;
        create::fill_if_empty(path);
        let opened = Self::start(path, PinnedFile::open(path)?, lock);
        let is_not_ours = matches!(opened, Err(SqliteError::Foreign | SqliteError::Newer { .. }));
        if is_not_ours && !was_locked_before {
            // This call created the lock file, and removes it so that nothing is left beside the
            // file of another program.
            let _left = std::fs::remove_file(&lock_path);
        }
        Ok(opened?)
    }

    /// Waits until another file has the place of the database, and returns the error of every call
    /// from then on. The process should end, and start again with that file. If the file is removed
    /// or empty, the call goes on waiting, because it may be restored.
    ///
    /// The log of the earlier database is moved aside if it does not belong to the other file.
    pub async fn replaced(&self) -> StoreError {
        let files = self.writer.files();
        let mut is_replaced = files.is_replaced();
        // The sender is part of `files`, so that it is not dropped meanwhile.
        let _never_closed = is_replaced.wait_for(|is_replaced| *is_replaced).await;
        match files.verify() {
            Err(error) => error.into(),
            Ok(()) => SqliteError::Replaced.into(),
        }
    }

    fn start(path: &Path, database: PinnedFile, lock: PinnedFile) -> Result<Self, SqliteError> {
        database.has_one_name()?;
        let log_path = file::beside(path, "-wal");
        if std::fs::metadata(&log_path).is_ok_and(|log| log.len() > 0) {
            files::check_log_of(&database)?;
        }
        // `files` is declared before the connections, so that it is dropped after the connections.
        let files;
        let mut writer = connect(path)?;
        // Until the check below, the database may belong to another program. Closing the connection
        // must not move changes from the write-ahead log to the database of another program.
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        schema::check(&writer)?;
        database.make_private();
        lock.make_private();
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "wal_autocheckpoint", 0)?;
        // SQLite truncates the log file when it resets the log. The length of the file is therefore
        // the length of the log's content.
        writer.pragma_update(None, "journal_size_limit", 0)?;
        schema::migrate(&mut writer)?;
        // SQLite has created the log by now, and keeps it as long as there is a connection.
        let log = PinnedFile::open(&log_path)?;
        log.make_private();
        let newest = rows::cursor(&writer)?;
        let reserve = Reserve::open(&file::beside(path, ".reserve"))?;
        files = Arc::new(Files::new([database, log, lock], reserve, &writer, newest)?);
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        files.verify()?;
        Ok(Self {
            reader: Worker::reader(reader, Arc::clone(&files))?,
            writer: Worker::writer(writer, files)?,
            revision: watch::Sender::new(newest.revision),
            path: path.to_owned(),
        })
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (files, revision) = (self.writer.files(), self.revision.clone());
        // The thread of the connection wakes the followers. The caller cannot do this, because the
        // change is made even if the caller has dropped the future.
        let make = move |connection: &mut Connection| -> Result<_, CommitFailure> {
            let mut make =
                || write(connection, &files, |transaction| make_change(transaction, &commit));
            let committed = match make() {
                // A quota that is used up is reported as an I/O error.
                Err(CommitFailure::Sqlite(error))
                    if commit.revokes()
                        && matches!(error.kind(), StoreErrorKind::Full | StoreErrorKind::Io) =>
                {
                    files.make_room(connection);
                    write(connection, &files, |transaction| make_change(transaction, &commit))?
                }
                made => made?,
            };
            let change = Cursor { revision: committed.revision, change_id: commit.change_id };
            files.acknowledge(change);
            revision.send_replace(committed.revision);
            Ok(committed)
        };
        Ok(self.writer.run(make).await?)
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let list = |connection: &mut Connection| {
            collect(connection, &format!("{} ORDER BY k.id", rows::STORED), [], rows::stored)
        };
        Ok(self.reader.run(list).await?)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        Ok(self.reader.run(move |connection| find(connection, id)).await?)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (sender, snapshot) = Snapshot::channel();
        let (path, files) = (self.path.clone(), self.reader.files());
        // A snapshot has its own thread and connection, because sending a snapshot takes long. The
        // sender also waits until the receiver takes the chunks.
        let read = move || {
            if let Err(error) = stream(&path, &files, &sender) {
                sender.blocking_send(Err(error.into()));
            }
        };
        let spawned = std::thread::Builder::new().name("keys-snapshot".to_owned()).spawn(read);
        spawned.map_err(|source| SqliteError::Io { action: "start a thread", source })?;
        Ok(snapshot)
    }

    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        let cursor = *cursor;
        Ok(self.reader.run(move |connection| changes(connection, &cursor)).await?)
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.reader.run(move |connection| audit::read(connection, after, limit)).await?)
    }

    fn usage_batch(&self) -> usize {
        1000
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        let files = self.writer.files();
        let add = move |connection: &mut Connection| -> Result<(), SqliteError> {
            write(connection, &files, |transaction| usage::add(transaction, batch))
        };
        Ok(self.writer.run(add).await?)
    }

    async fn prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let files = self.writer.files();
        let prune = move |connection: &mut Connection| -> Result<(), SqliteError> {
            write(connection, &files, |transaction| rows::prune(transaction, before))
        };
        Ok(self.writer.run(prune).await?)
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

fn connect(path: &Path) -> Result<Connection, SqliteError> {
    // The flag that creates the file is not set: the file was created before, readable only by its
    // owner.
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Makes a change in one transaction, which is committed only if the file at the path is still the
/// file that was opened.
fn write<T, E: From<rusqlite::Error> + From<SqliteError>>(
    connection: &mut Connection,
    files: &Files,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    // Before the first change, the file gets an id that no earlier copy of it has.
    files.make_due_checkpoint(connection);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = change(&transaction)?;
    files.verify()?;
    transaction.commit()?;
    files.shorten_log(connection);
    Ok(changed)
}

fn make_change(transaction: &Transaction<'_>, commit: &Commit) -> Result<Committed, CommitFailure> {
    let sql = "UPDATE last_change SET revision = revision + 1 RETURNING revision";
    let revision = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "INSERT INTO changes (revision, change_id, changed_at) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute(params![
        revision,
        commit.change_id,
        commit.at.as_millis()
    ])?;
    let mut duplicate_name = false;
    for write in &commit.writes {
        duplicate_name |= rows::write(transaction, write, revision, commit.at)?;
    }
    audit::write(transaction, &commit.audit, revision, commit.at, &commit.who)?;
    Ok(Committed { revision, duplicate_name })
}

fn find(connection: &mut Connection, id: KeyId) -> Result<Option<StoredKey>, SqliteError> {
    // The key and its clients are read in one transaction, so that they belong to the same moment.
    let transaction = connection.transaction()?;
    let sql = format!("{} WHERE k.id = ?1", rows::STORED);
    let found = collect(&transaction, &sql, [id.get()], rows::stored)?;
    let Some(mut key) = found.into_iter().next() else { return Ok(None) };
    key.usage.clients = usage::clients(&transaction, id)?;
    Ok(Some(key))
}

fn changes(connection: &mut Connection, cursor: &Cursor) -> Result<Changes, SqliteError> {
    // The changes and the cursor are read in one transaction, so that the cursor is the position
    // after the last of these changes.
    let transaction = connection.transaction()?;
    let sql = "SELECT EXISTS (SELECT 1 FROM changes WHERE revision = ?1 AND change_id = ?2)";
    let known: bool = transaction
        .prepare_cached(sql)?
        .query_row(params![cursor.revision, cursor.change_id], |row| row.get(0))?;
    if !known {
        return Ok(Changes::SnapshotNeeded);
    }
    let sql = format!(
        "SELECT * FROM ({} WHERE revision > ?1 UNION ALL {} WHERE revision > ?1) \
         ORDER BY 1 LIMIT ?2",
        rows::LIVE,
        rows::DELETED
    );
    let changes: Vec<Change> = collect(
        &transaction,
        &sql,
        params![cursor.revision, MAX_CHANGES as i64 + 1],
        rows::change,
    )?;
    if changes.len() > MAX_CHANGES {
        return Ok(Changes::SnapshotNeeded);
    }
    Ok(Changes::Since(changes, rows::cursor(&transaction)?))
}

/// Sends everything that the store has at one moment.
fn stream(path: &Path, files: &Files, sender: &SnapshotSender) -> Result<(), SqliteError> {
    // The files are verified before and after connecting. If both checks succeed, the new
    // connection uses the file that is already open. This prevents keys of another file from
    // getting into the cache.
    files.verify()?;
    let mut connection = connect(path)?;
    files.verify()?;
    let transaction = connection.transaction()?;
    let cursor = rows::cursor(&transaction)?;
    for sql in [rows::LIVE, rows::DELETED] {
        let mut statement = transaction.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut chunk = Vec::with_capacity(CHUNK);
        while let Some(row) = rows.next()? {
            chunk.push(rows::change(row)?);
            if chunk.len() == CHUNK
                && !sender.blocking_send(Ok(SnapshotChunk::Changes(std::mem::replace(
                    &mut chunk,
                    Vec::with_capacity(CHUNK),
                ))))
            {
                return Ok(());
            }
        }
        sender.blocking_send(Ok(SnapshotChunk::Changes(chunk)));
    }
    files.verify()?;
    sender.blocking_send(Ok(SnapshotChunk::End(cursor)));
    Ok(())
}

fn collect<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, SqliteError>,
) -> Result<Vec<T>, SqliteError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
