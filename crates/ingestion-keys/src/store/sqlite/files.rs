//! The open files of a database, and the check that they are still the files of this store.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use tokio::sync::watch;

use super::connect;
use super::error::SqliteError;
use super::file::{PinnedFile, Stamp, beside, read_at};
use super::reserve::Reserve;
use crate::store::Cursor;

/// If the log has at least this many bytes, its changes are moved to the database. The number is
/// the length of a thousand pages, which is also SQLite's default.
const LONG_LOG: u64 = 4096 * 1000;

/// The first bytes of a database whose last changes are in a write-ahead log, apart from the two
/// bytes of the page size (<https://sqlite.org/fileformat.html#the_database_header>).
const MAGIC: &[u8] = b"SQLite format 3\0";
const WAL_VERSIONS: [u8; 2] = [2, 2];

/// A random id in the database file. It changes before each checkpoint of this store.
type CheckpointId = [u8; 16];

/// The open files of a database: the database file, the write-ahead log with the last changes, and
/// the lock file. Only the process that has locked the lock file makes changes.
///
/// Another program may write to the database file without a change of its content. For example, a
/// backup tool moves changes from the log to the database file (a checkpoint), and `touch` changes
/// the time of the last write. The files are still the files of the store then. But SQLite does not
/// notice if another program copies a file over the database file.
#[derive(Debug)]
pub(super) struct Files {
    database: PinnedFile,
    log: PinnedFile,
    lock: PinnedFile,
    reserve: Reserve,
    state: Mutex<State>,
    is_replaced: watch::Sender<bool>,
}

/// What is known about the database file.
#[derive(Debug)]
struct State {
    /// The stamp of the database file when it was last known to be ours. If the file has another
    /// stamp, another program wrote to the file.
    stamp: Stamp,
    /// The stamp of the database file when it was found not to be ours.
    rejected: Option<Stamp>,
    /// The page of the database file with the id of the last checkpoint.
    page: Page,
    /// The ids that the database file may have: the id after the last checkpoint, and then the id
    /// of a later checkpoint that did not come to its end.
    ids: Vec<CheckpointId>,
    /// The last change that was acknowledged.
    newest: Cursor,
    /// Whether the database file needs a new id, because copies of the file may have its id.
    is_checkpoint_due: bool,
    has_warned: bool,
}

/// The position of a page in the database file.
#[derive(Clone, Copy, Debug)]
struct Page {
    offset: u64,
    size: usize,
}

impl Files {
    /// Takes the open files. `connection` is connected to the database.
    pub(super) fn new(
        [database, log, lock]: [PinnedFile; 3],
        reserve: Reserve,
        connection: &Connection,
        newest: Cursor,
    ) -> Result<Self, SqliteError> {
        let id = checkpoint_id(connection)?;
        // The log has a later id than the file if a long read of another program prevented the last
        // checkpoint, or if the process was killed.
        let id_of_file = id_without_log(database.path()).filter(|id_of_file| *id_of_file != id);
        let ids = id_of_file.into_iter().chain([id]).collect();
        let state = State {
            stamp: database.stamp()?,
            rejected: None,
            page: Page::of_checkpoint_id(connection)?,
            ids,
            newest,
            is_checkpoint_due: true,
            has_warned: false,
        };
        let (state, is_replaced) = (Mutex::new(state), watch::Sender::new(false));
        Ok(Self { database, log, lock, reserve, state, is_replaced })
    }

    /// Fails unless all files are still at their paths, and the database file has the content that
    /// this store gave it.
    pub(super) fn verify(&self) -> Result<(), SqliteError> {
        self.verify_in(&mut self.lock_state())
    }

    /// Notes that a change was acknowledged.
    pub(super) fn acknowledge(&self, change: Cursor) {
        self.lock_state().newest = change;
    }

    /// Moves the changes from the log to the database if the log is long. SQLite's automatic
    /// checkpoint is off. Any other write to the database file therefore comes from another
    /// program.
    pub(super) fn shorten_log(&self, connection: &mut Connection) {
        let is_long = self.log.stamp().is_ok_and(|stamp| stamp.len >= LONG_LOG);
        let mut state = self.lock_state();
        if is_long {
            self.checkpoint(&mut state, connection);
        }
    }

    /// Makes a checkpoint if another program wrote to the database file, so that the file gets an
    /// id that no earlier copy of the file has.
    pub(super) fn make_due_checkpoint(&self, connection: &mut Connection) {
        let mut state = self.lock_state();
        if state.is_checkpoint_due {
            self.checkpoint(&mut state, connection);
        }
    }

    /// Makes room for a change that revokes keys: empties the reserve, and moves the changes of the
    /// log to the database, so that the log can be written from its beginning.
    pub(super) fn make_room(&self, connection: &mut Connection) {
        if self.reserve.release() {
            tracing::warn!(
                "there is no room to revoke a key: the reserve beside the database is emptied for it"
            );
        }
        self.checkpoint(&mut self.lock_state(), connection);
    }

    /// Keeps room for revoking keys on a full disk again, if there is room.
    pub(super) fn refill_reserve(&self) {
        self.reserve.refill();
    }

    fn checkpoint(&self, state: &mut State, connection: &mut Connection) {
        if let Err(error) = self.try_checkpoint(state, connection) {
            // No change is lost: the changes are in the log, which is part of the database.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the log of the database cannot be shortened"
            );
        }
    }

    fn try_checkpoint(
        &self,
        state: &mut State,
        connection: &mut Connection,
    ) -> Result<(), SqliteError> {
        self.verify_in(state)?;
        state.is_checkpoint_due = false;
        // If the last new id is not in the file yet, there is no need for another one. On a full
        // disk there may be no room for a new id in the log. The checkpoint is made all the same,
        // because it gives the log room again.
        if state.ids.len() == 1 {
            state.ids.extend(change_checkpoint_id(connection).ok());
        }
        let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        state.stamp = self.database.stamp()?;
        if let Some(newest) = state.ids.last().copied()
            && state.page.has_one_of(self.database.file(), &[newest])?
        {
            state.ids = vec![newest];
        }
        Ok(moved?)
    }

    /// Returns the stamp of the file at the path of the database if the file is another file or has
    /// another content. Returns `None` if there is no file, or an empty file: then there is nothing
    /// with which the store could be opened again.
    pub(super) fn other_file(&self) -> Option<Stamp> {
        let there = Stamp::of(&fs::metadata(self.database.path()).ok()?).ok()?;
        let is_other = match self.database.verify() {
            Ok(()) => self.lock_state().rejected == Some(there),
            Err(_) => true,
        };
        (is_other && there.len > 0).then_some(there)
    }

    /// Gives the database up, because another file has its place. The log is moved aside if it does
    /// not belong to that file: when the file is opened, SQLite would write the changes of the log
    /// over its pages.
    pub(super) fn give_up(&self) {
        let state = self.lock_state();
        let belongs = match self.database.verify() {
            Ok(()) => state.page.has_one_of(self.database.file(), &state.ids),
            // The file has another inode. Closing it does not release any lock of this process.
            Err(_) => File::open(self.database.path())
                .map_err(|source| SqliteError::Io { action: "read the database file", source })
                .and_then(|file| state.page.has_one_of(&file, &state.ids)),
        };
        if !belongs.is_ok_and(|belongs| belongs) && self.log.verify().is_ok() {
            let path = self.log.path();
            let aside = &*free_path(beside(path, &format!(".{}", state.newest.revision)));
            match fs::rename(path, aside) {
                Ok(()) => tracing::warn!(
                    log = %aside.display(),
                    "the log of the earlier database was moved aside: it has the last changes"
                ),
                Err(error) => tracing::error!(
                    log = %path.display(),
                    %error,
                    "the log of the earlier database cannot be moved aside: do it by hand"
                ),
            }
        }
        self.is_replaced.send_replace(true);
    }

    /// Returns a channel that has the value `true` once the database was given up.
    pub(super) fn is_replaced(&self) -> watch::Receiver<bool> {
        self.is_replaced.subscribe()
    }

    fn verify_in(&self, state: &mut State) -> Result<(), SqliteError> {
        self.database.verify()?;
        self.log.verify()?;
        self.lock.verify()?;
        let stamp = self.database.stamp()?;
        if stamp == state.stamp {
            return Ok(());
        }
        if state.rejected == Some(stamp) {
            return Err(SqliteError::Overwritten);
        }
        match self.page_of_our_content(state) {
            Ok(page) => state.page = page,
            Err(error) => {
                state.rejected = matches!(error, SqliteError::Overwritten).then_some(stamp);
                return Err(error);
            }
        }
        (state.stamp, state.rejected, state.is_checkpoint_due) = (stamp, None, true);
        if !std::mem::replace(&mut state.has_warned, true) {
            tracing::warn!(
                path = %self.database.path().display(),
                "another program wrote to the database file, and its content is unchanged"
            );
        }
        Ok(())
    }

    /// Returns the page with the id of the last checkpoint if the database file still has the
    /// content that this store gave it. Otherwise the error is [`SqliteError::Overwritten`].
    ///
    /// The id in the file says whether the file is as the last checkpoint left it. SQLite cannot
    /// answer this question: it reads the pages that are in the log from the log, and the last
    /// changes are there even if the file is an old copy.
    fn page_of_our_content(&self, state: &State) -> Result<Page, SqliteError> {
        let overwritten = |error: SqliteError| match error {
            SqliteError::Corrupt | SqliteError::Foreign | SqliteError::Row { .. } => {
                SqliteError::Overwritten
            }
            error => error,
        };
        // The header is read before SQLite opens the file, because SQLite removes the log of an
        // empty database file.
        if !has_header(self.database.file())? {
            return Err(SqliteError::Overwritten);
        }
        // A new connection has not read a page of the file yet.
        let connection = connect(self.database.path())?;
        let page = Page::of_checkpoint_id(&connection).map_err(overwritten)?;
        // A program that compacts the database may put the id on another page.
        let has_id = |page: Page| page.has_one_of(self.database.file(), &state.ids);
        if !(has_id(page)? || has_id(state.page)?) {
            return Err(SqliteError::Overwritten);
        }
        let is_whole = connection
            .query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get_ref(0)?.as_str() == Ok("ok")))
            .map_err(|error| overwritten(error.into()))?;
        let sql = "SELECT EXISTS (SELECT 1 FROM changes WHERE revision = ?1 AND change_id = ?2)";
        let newest = params![state.newest.revision, state.newest.change_id];
        let has_newest: bool = connection
            .query_row(sql, newest, |row| row.get(0))
            .map_err(|error| overwritten(error.into()))?;
        self.database.verify()?;
        if is_whole && has_newest { Ok(page) } else { Err(SqliteError::Overwritten) }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// Returns the page with the id of the last checkpoint. The table has one row, so it has one
    /// page.
    fn of_checkpoint_id(connection: &Connection) -> Result<Self, SqliteError> {
        let size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'last_change'";
        let number: u32 = connection.query_row(sql, [], |row| row.get(0))?;
        let offset = u64::from(number.saturating_sub(1)) * u64::from(size);
        Ok(Self { offset, size: size as usize })
    }

    /// Returns whether the file is a database with a write-ahead log, and has one of these ids on
    /// this page.
    fn has_one_of(self, file: &File, ids: &[CheckpointId]) -> Result<bool, SqliteError> {
        let page = read(file, self.offset, self.size)?;
        let has = |id: &CheckpointId| page.windows(id.len()).any(|window| window == id);
        Ok(has_header(file)? && ids.iter().any(has))
    }
}

/// Fails if the log that lies beside a database file does not belong to the file. SQLite would
/// write the pages of the log into the file, or remove the log of an empty file.
pub(super) fn check_log_of(database: &PinnedFile) -> Result<(), SqliteError> {
    if database.stamp()?.len == 0 {
        return Err(SqliteError::Emptied);
    }
    let file = database.file();
    // The header of a database says that there is a log before the first log is made. The header of
    // a backup says that there is none.
    let is_database = read(file, 0, MAGIC.len())? == MAGIC;
    if is_database && !has_header(file)? { Err(SqliteError::ForeignLog) } else { Ok(()) }
}

/// Returns whether the file is a database with a write-ahead log.
fn has_header(file: &File) -> Result<bool, SqliteError> {
    let header = read(file, 0, 20)?;
    Ok(header.starts_with(MAGIC) && header.ends_with(&WAL_VERSIONS))
}

/// Reads bytes of a file. Returns no bytes if the file is too short.
fn read(file: &File, offset: u64, len: usize) -> Result<Vec<u8>, SqliteError> {
    match read_at(file, offset, len) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(source) => Err(SqliteError::Io { action: "read the database file", source }),
    }
}

/// Returns `path`, or if there is a file, `path` with a number behind it. An earlier log that was
/// moved aside at the same revision has the last changes of another database.
fn free_path(path: PathBuf) -> PathBuf {
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let numbered = (2..=u16::MAX).map(|number| beside(&path, &format!(".{number}")));
    let found = std::iter::once(path.clone()).chain(numbered).find(is_free);
    found.unwrap_or(path)
}

fn checkpoint_id(connection: &Connection) -> rusqlite::Result<CheckpointId> {
    connection.query_row("SELECT checkpoint_id FROM last_change", [], |row| row.get(0))
}

/// Returns the id that the database file has, whatever the log has. Returns `None` if the file
/// cannot be read without its log, because the last checkpoint did not come to its end.
fn id_without_log(path: &Path) -> Option<CheckpointId> {
    let path = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // SQLite reads an immutable database without its log.
    let connection = Connection::open_with_flags(
        format!("file:{path}?immutable=1"),
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI,
    );
    checkpoint_id(&connection.ok()?).ok()
}

fn change_checkpoint_id(connection: &mut Connection) -> Result<CheckpointId, SqliteError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "UPDATE last_change SET checkpoint_id = randomblob(16) RETURNING checkpoint_id";
    let id = transaction.query_row(sql, [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(id)
}
