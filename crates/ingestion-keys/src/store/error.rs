//! What can be wrong with a store.

use std::io;

/// A store could not be read or written. No message has a statement, a row or a credential in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the lock file.
    #[error("another process is writing to this database")]
    Locked,
    /// The database was made by a newer version; it was not touched.
    #[error(
        "the database has schema {found}, and this version knows {known}: a newer version wrote it"
    )]
    Newer {
        /// The version of its schema.
        found: i64,
        /// The latest that this version knows.
        known: i64,
    },
    /// The file is no database of ours.
    #[error("the file is not a database of ingestion keys")]
    Foreign,
    /// The file at the path is not the one that is open: it was removed or replaced.
    #[error("the database file was removed or replaced: restore it and restart")]
    Replaced,
    /// Somebody else wrote to the file while it was open, as `cp` does over it.
    #[error("another program wrote to the database file: restore it and restart")]
    Overwritten,
    /// The file is empty and the log of its changes is not: with another file these would be lost.
    #[error(
        "the database file is empty and its log is not: restore the database, or remove the log too"
    )]
    Emptied,
    /// The file has a second name, under which there would be another log of changes and another
    /// lock.
    #[error("the database file has more than one name (hard links): leave it one")]
    Linked,
    /// There is no space left.
    #[error("the disk is full")]
    Full,
    /// The file, or where it lies, cannot be written.
    #[error("the database cannot be written")]
    ReadOnly,
    /// The file is damaged.
    #[error("the database is damaged")]
    Corrupt,
    /// Somebody else held the database for too long.
    #[error("the database is busy")]
    Busy,
    /// The operating system refused.
    #[error("cannot {action}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The database refused for another reason.
    #[error("the database failed with code {code}")]
    Database {
        /// Its own number for it (SQLite: the extended result code).
        code: i32,
    },
    /// A row has something in it that was never written.
    #[error("a row of {table} cannot be understood")]
    Row {
        /// Of which table.
        table: &'static str,
    },
    /// The store was closed, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A key to be changed or deleted has changed or is gone: look again.
    #[error("the key has changed meanwhile")]
    Changed,
    /// The id of a new key was used before.
    #[error("the id was used before")]
    IdTaken,
    /// The store failed.
    #[error("the change could not be kept")]
    Store(#[from] StoreError),
}
