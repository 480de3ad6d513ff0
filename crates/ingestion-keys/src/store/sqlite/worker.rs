//! A thread that owns a connection and runs one job after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::error::SqliteError;
use super::file::{PinnedFile, Stamp};

/// How often the files are verified while there is nothing to do.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);

/// If the log has at least this many bytes, its changes are moved to the database. The number is
/// the length of a thousand pages, which is also SQLite's default.
const LONG_LOG: u64 = 4096 * 1000;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection on its own thread. When the worker is dropped, it finishes the jobs that it has.
/// Then it closes the connection, and after that the files.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    files: Arc<Files>,
}

/// The open files of a database: the database file, the write-ahead log with the last changes, and
/// the lock file. Only the process that has locked the lock file writes to the database.
#[derive(Debug)]
pub(super) struct Files {
    database: PinnedFile,
    log: PinnedFile,
    lock: PinnedFile,
    /// The stamp of the database file after the last checkpoint. If the file has another stamp,
    /// another program wrote to the file.
    stamp: Mutex<Stamp>,
}

impl Files {
    pub(super) fn new(
        database: PinnedFile,
        log: PinnedFile,
        lock: PinnedFile,
    ) -> Result<Self, SqliteError> {
        let stamp = Mutex::new(database.stamp()?);
        Ok(Self { database, log, lock, stamp })
    }

    /// Fails unless all files are still at their paths, and no other program wrote to the database.
    pub(super) fn verify(&self) -> Result<(), SqliteError> {
        self.verify_as(*self.lock_stamp())
    }

    /// Moves the changes from the log to the database if the log is long. SQLite's automatic
    /// checkpoint is off. Any other write to the database file therefore comes from another
    /// program.
    pub(super) fn checkpoint(&self, connection: &Connection) -> Result<(), SqliteError> {
        if self.log.stamp()?.len < LONG_LOG {
            return Ok(());
        }
        let mut stamp = self.lock_stamp();
        self.verify_as(*stamp)?;
        let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        *stamp = self.database.stamp()?;
        Ok(moved?)
    }

    fn verify_as(&self, stamp: Stamp) -> Result<(), SqliteError> {
        self.database.verify()?;
        self.log.verify()?;
        self.lock.verify()?;
        if self.database.stamp()? == stamp { Ok(()) } else { Err(SqliteError::Overwritten) }
    }

    fn lock_stamp(&self) -> MutexGuard<'_, Stamp> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    pub(super) fn start(
        name: &str,
        mut connection: Connection,
        files: Arc<Files>,
    ) -> Result<Self, SqliteError> {
        let (jobs, received) = mpsc::channel::<Job>();
        let run = {
            let files = Arc::clone(&files);
            move || {
                let mut lost = false;
                loop {
                    match received.recv_timeout(VERIFY_INTERVAL) {
                        Ok(job) => {
                            // If a job panicked, its transaction was rolled back, and the caller of
                            // the job gets an error.
                            let _panicked = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
                        }
                        Err(RecvTimeoutError::Timeout) => log_state(&files, &mut lost),
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                if matches!(files.verify(), Err(SqliteError::Overwritten)) {
                    // Moving our changes from the log into the file of another program would
                    // destroy both databases.
                    let _kept_apart =
                        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                }
            }
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread =
            spawned.map_err(|source| SqliteError::Io { action: "start a thread", source })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), files })
    }

    /// Runs a job on the thread of the worker, if the files are still at their paths. The job runs
    /// even if the caller does not wait for its result any more.
    pub(super) async fn run<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SqliteError> + Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let files = Arc::clone(&self.files);
        let job: Job = Box::new(move |connection| {
            let result = files.verify().map_err(E::from).and_then(|()| job(connection));
            let _nobody_waits = sender.send(result);
        });
        let jobs = self.jobs.as_ref().ok_or(SqliteError::Closed)?;
        jobs.send(job).map_err(|_| SqliteError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(SqliteError::Closed.into()))
    }

    pub(super) fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Logs once when the files cannot be used any more, and once when they can be used again.
fn log_state(files: &Files, lost: &mut bool) {
    let found = files.verify();
    match &found {
        Ok(()) if *lost => tracing::info!("the database file is back"),
        Err(error) if !*lost => {
            tracing::error!(error = error as &dyn std::error::Error, "the database cannot be used")
        }
        _ => {}
    }
    *lost = found.is_err();
}
