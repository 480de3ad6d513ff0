//! Keys in an SQLite database, written by one process.

mod audit;
mod failure;
mod file;
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

use self::failure::Failure;
use self::file::Held;
use self::worker::{Files, Worker};
use super::{
    Change, Changes, Commit, CommitError, Committed, Cursor, KeyStore, Part, Snapshot,
    SnapshotSender, StoreError, UsageBatch,
};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyId, StoredKey};

/// How long a statement waits for somebody else's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Changes of one answer: beyond that reading everything is quicker.
const MAX_CHANGES: usize = 100_000;

/// Keys of one piece of a snapshot.
const PIECE: usize = 4096;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    path: PathBuf,
    lock_wait: Duration,
}

/// Keys in an SQLite file.
///
/// One process writes; a lock file beside the database, `<path>.lock`, holds off others. A change
/// that was answered is on disk (write-ahead log, `synchronous=FULL`). Files are readable for their
/// owner alone, and so are directories that are made; of those that were there and are open to
/// others a warning is logged.
///
/// Before each call and every second the open file is still the file at the path, and as this
/// process left it, or else nothing is read or written any more: a database that was unlinked or
/// overwritten would go on acknowledging. Symbolic links are followed; a file with several names is
/// refused.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
    revision: watch::Sender<i64>,
    path: PathBuf,
}

impl SqliteOptions {
    /// The database at this path, made if it is not there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock_wait: Duration::from_secs(10) }
    }

    /// How long to wait for a process that still has the database, as the one before during a
    /// restart; 10 seconds without.
    #[must_use]
    pub fn with_lock_wait(self, lock_wait: Duration) -> Self {
        Self { lock_wait, ..self }
    }
}

impl SqliteStore {
    /// Opens the database, and brings it to the version of this program. Blocks while it waits for
    /// the lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Newer`] and
    /// [`StoreError::Foreign`] if it is not ours to write; such a file is not changed. Otherwise
    /// when the files cannot be opened or written.
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
        let lock = Held::lock(&lock_path, options.lock_wait)?;
        let opened = Self::start(path, Held::open(path)?, lock).map_err(StoreError::from);
        if matches!(opened, Err(StoreError::Foreign | StoreError::Newer { .. }))
            && !was_locked_before
        {
            // Nothing is left beside what is not ours.
            let _left = std::fs::remove_file(&lock_path);
        }
        opened
    }

    fn start(path: &Path, database: Held, lock: Held) -> Result<Self, Failure> {
        database.has_one_name()?;
        let log_path = file::beside(path, "-wal");
        if database.stamp()?.len == 0 && std::fs::metadata(&log_path).is_ok_and(|log| log.len() > 0)
        {
            return Err(StoreError::Emptied.into());
        }
        // Before the connections: let go of after them.
        let files;
        let mut writer = connect(path)?;
        // Until it is known to be ours nothing is written, not even what waits in its log.
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        schema::check(&writer)?;
        database.make_private();
        lock.make_private();
        writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "wal_autocheckpoint", 0)?;
        // Its length is that of what is in it.
        writer.pragma_update(None, "journal_size_limit", 0)?;
        schema::migrate(&mut writer)?;
        // SQLite has made it by now, and has it as long as there is a connection.
        let log = Held::open(&log_path)?;
        log.make_private();
        files = Arc::new(Files::new(database, log, lock)?);
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        files.verify()?;
        let revision = rows::cursor(&writer)?.revision;
        Ok(Self {
            reader: Worker::start("keys-reader", reader, Arc::clone(&files))?,
            writer: Worker::start("keys-writer", writer, files)?,
            revision: watch::Sender::new(revision),
            path: path.to_owned(),
        })
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (files, revision) = (self.writer.files(), self.revision.clone());
        // Told on the thread: the change is made even if nobody waits for it any more.
        let told = move |connection: &mut Connection| {
            let committed =
                write(connection, &files, |transaction| make_change(transaction, &commit))?;
            revision.send_replace(committed.revision);
            Ok(committed)
        };
        Ok(self.writer.run(told).await?)
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let list = |connection: &mut Connection| {
            collect(connection, &format!("{} ORDER BY k.id", rows::STORED), [], rows::stored)
        };
        Ok(self.reader.run(list).await?)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        let get = move |connection: &mut Connection| {
            // One transaction: the key and its clients are of the same moment.
            let transaction = connection.transaction()?;
            let sql = format!("{} WHERE k.id = ?1", rows::STORED);
            let found = collect(&transaction, &sql, [id.get()], rows::stored)?;
            let Some(mut key) = found.into_iter().next() else { return Ok(None) };
            key.usage.clients = usage::clients(&transaction, id)?;
            Ok(Some(key))
        };
        Ok(self.reader.run(get).await?)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (sender, snapshot) = Snapshot::channel();
        let (path, files) = (self.path.clone(), self.reader.files());
        // On a thread and a connection of its own: it lasts, and waits for whoever takes the
        // pieces.
        let read = move || {
            if let Err(failure) = stream(&path, &files, &sender) {
                sender.blocking_send(Err(failure.into()));
            }
        };
        let spawned = std::thread::Builder::new().name("keys-snapshot".to_owned()).spawn(read);
        spawned.map_err(|source| StoreError::Io { action: "start a thread", source })?;
        Ok(snapshot)
    }

    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        let cursor = *cursor;
        Ok(self.reader.run(move |connection| changes(connection, &cursor)).await?)
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let read = move |connection: &mut Connection| audit::read(connection, after, limit);
        Ok(self.reader.run(read).await?)
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        let files = self.writer.files();
        let add = move |connection: &mut Connection| {
            write(connection, &files, |transaction| usage::add(transaction, batch))
        };
        Ok(self.writer.run(add).await?)
    }

    async fn prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let files = self.writer.files();
        let prune = move |connection: &mut Connection| {
            write(connection, &files, |transaction| {
                transaction.execute(
                    "DELETE FROM tombstones WHERE deleted_at < ?1",
                    [before.as_millis()],
                )?;
                let sql = "DELETE FROM changes WHERE changed_at < ?1 AND revision < (SELECT revision FROM last_change)";
                transaction.execute(sql, [before.as_millis()])?;
                Ok(())
            })
        };
        Ok(self.writer.run(prune).await?)
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    // Made before, for its owner alone; never by SQLite.
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Makes a change whole or not at all, and only in the database that was opened.
fn write<T>(
    connection: &mut Connection,
    files: &Files,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = change(&transaction)?;
    files.verify()?;
    transaction.commit()?;
    if let Err(Failure(error)) = files.checkpoint(connection) {
        // The change is in the log, and stays there.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the log of the database cannot be cut short"
        );
    }
    Ok(changed)
}

fn make_change(transaction: &Transaction<'_>, commit: &Commit) -> Result<Committed, Failure> {
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

fn changes(connection: &mut Connection, cursor: &Cursor) -> Result<Changes, Failure> {
    // One transaction: the cursor that goes out is that of what is read.
    let transaction = connection.transaction()?;
    let sql = "SELECT EXISTS (SELECT 1 FROM changes WHERE revision = ?1 AND change_id = ?2)";
    let known: bool = transaction
        .prepare_cached(sql)?
        .query_row(params![cursor.revision, cursor.change_id], |row| row.get(0))?;
    if !known {
        return Ok(Changes::SnapshotNeeded);
    }
    let sql = format!(
        "SELECT * FROM ({} WHERE revision > ?1 UNION ALL {} WHERE revision > ?1) ORDER BY 1 LIMIT ?2",
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

/// Puts everything into `sender`, as it is at one moment.
fn stream(path: &Path, files: &Files, sender: &SnapshotSender) -> Result<(), Failure> {
    // Before and after: then it is the same file that is opened, and nothing of another gets into a
    // ring.
    files.verify()?;
    let mut connection = connect(path)?;
    files.verify()?;
    let transaction = connection.transaction()?;
    let cursor = rows::cursor(&transaction)?;
    for sql in [rows::LIVE, rows::DELETED] {
        let mut statement = transaction.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut piece = Vec::with_capacity(PIECE);
        while let Some(row) = rows.next()? {
            piece.push(rows::change(row)?);
            if piece.len() == PIECE
                && !sender.blocking_send(Ok(Part::Changes(std::mem::replace(
                    &mut piece,
                    Vec::with_capacity(PIECE),
                ))))
            {
                return Ok(());
            }
        }
        sender.blocking_send(Ok(Part::Changes(piece)));
    }
    files.verify()?;
    sender.blocking_send(Ok(Part::End(cursor)));
    Ok(())
}

fn collect<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
