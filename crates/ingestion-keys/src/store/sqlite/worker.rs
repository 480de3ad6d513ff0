//! A thread that owns a connection and runs one job after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::error::SqliteError;
use super::file::Stamp;
use super::files::Files;

/// How often the thread that makes changes verifies the files.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection on its own thread. When the worker is dropped, it finishes the jobs that it has.
/// Then it closes the connection, and after that the files.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    files: Arc<Files>,
}

/// How often the thread that makes changes tries to fill the reserve again.
const REFILL_INTERVAL: Duration = Duration::from_secs(60);

/// The time from the start of a thread to its first look at the files. The first look makes a
/// checkpoint and fills the reserve. Both wait for the disk, and the start of the gateway must not.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// What the last look at the files found.
#[derive(Debug)]
struct Watch {
    /// When the reserve was last filled, or nearly so.
    refilled_at: Option<Instant>,
    is_unusable: bool,
    /// The file that has the place of the database.
    other_file: Option<Stamp>,
}

impl Worker {
    /// Starts a thread that reads.
    pub(super) fn reader(connection: Connection, files: Arc<Files>) -> Result<Self, SqliteError> {
        Self::start("keys-reader", connection, files, |_, _| ())
    }

    /// Starts a thread that makes changes and watches the files.
    pub(super) fn writer(connection: Connection, files: Arc<Files>) -> Result<Self, SqliteError> {
        let mut watch = Watch { is_unusable: false, other_file: None, refilled_at: None };
        let look = move |connection: &mut _, files: &_| watch.look(connection, files);
        Self::start("keys-writer", connection, files, look)
    }

    /// Starts a thread. `look` is called after [`FIRST_LOOK`], and then about once in every
    /// [`VERIFY_INTERVAL`].
    fn start(
        name: &str,
        mut connection: Connection,
        files: Arc<Files>,
        mut look: impl FnMut(&mut Connection, &Files) + Send + 'static,
    ) -> Result<Self, SqliteError> {
        let (jobs, received) = mpsc::channel::<Job>();
        let run = {
            let files = Arc::clone(&files);
            move || {
                let (mut looked_at, mut interval) = (Instant::now(), FIRST_LOOK);
                loop {
                    match received.recv_timeout(interval) {
                        Ok(job) => {
                            // If a job panicked, its transaction was rolled back, and the caller of
                            // the job gets an error.
                            let _panicked = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    if looked_at.elapsed() >= interval {
                        look(&mut connection, &files);
                        (looked_at, interval) = (Instant::now(), VERIFY_INTERVAL);
                    }
                }
                if files.other_file().is_some()
                    || matches!(files.verify(), Err(SqliteError::Overwritten))
                {
                    // Moving our changes from the log into the file of another program would
                    // destroy both databases. Moving them into a file without a path would lose
                    // them.
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

impl Watch {
    /// Verifies the files. Logs once when they cannot be used any more, and once when they can be
    /// used again. Gives the database up if another file has its place, and nobody has written to
    /// that file since the last look.
    fn look(&mut self, connection: &mut Connection, files: &Files) {
        let found = files.verify();
        match &found {
            Ok(()) if self.is_unusable => tracing::info!("the database file is back"),
            Err(error) if !self.is_unusable => {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "the database cannot be used");
            }
            _ => {}
        }
        self.is_unusable = found.is_err();
        if found.is_ok() {
            files.make_due_checkpoint(connection);
            if self.refilled_at.is_none_or(|at| at.elapsed() >= REFILL_INTERVAL) {
                files.refill_reserve();
                self.refilled_at = Some(Instant::now());
            }
        }
        let other_file = if found.is_err() { files.other_file() } else { None };
        if other_file.is_some() && other_file == self.other_file && !*files.is_replaced().borrow() {
            tracing::error!("another file has the place of the database");
            files.give_up();
        }
        self.other_file = other_file;
    }
}
