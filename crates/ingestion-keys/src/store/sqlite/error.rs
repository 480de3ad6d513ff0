//! The errors of an SQLite database. No message contains a statement, a row or a credential.

use std::io;

use rusqlite::{Error, ErrorCode, ffi};

use crate::store::{CommitError, StoreError, StoreErrorKind};

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    /// Another process has locked the lock file.
    #[error("another process is writing to this database: stop it, or use another database")]
    Locked,
    /// A newer version made the database. The database was not changed.
    #[error(
        "the database has schema {found}, and this version knows {known}: a newer version wrote it"
    )]
    Newer { found: i64, known: i64 },
    /// Another program made the file.
    #[error("the file is not a database of ingestion keys")]
    Foreign,
    /// The file at the path is not the file that is open. The open file was removed or replaced.
    #[error("the database file was removed or replaced: restore it and restart")]
    Replaced,
    /// Another program wrote to the file while it was open. For example, `cp` copied a backup over
    /// it.
    #[error("another program wrote to the database file: restore it and restart")]
    Overwritten,
    /// The file is empty, but its log is not. If the empty file were used, the changes in the log
    /// would be lost.
    #[error(
        "the database file is empty and its log is not: restore the database, or remove the log too"
    )]
    Emptied,
    /// The file is no database with a log, but there is a log beside it. SQLite would write the
    /// pages of the log into the file.
    #[error(
        "the log beside the database file belongs to another database: move the log with `-wal` \
         aside, or restore the database that it belongs to"
    )]
    ForeignLog,
    /// The file has a second name (a hard link). Opened by that name, it would have another log and
    /// another lock file.
    #[error("the database file has more than one name (hard links): leave it one")]
    Linked,
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The file or its directory cannot be written.
    #[error("the database cannot be written")]
    ReadOnly,
    /// SQLite reports that the file is damaged.
    #[error("the database is damaged")]
    Corrupt,
    /// Another program held SQLite's own lock for too long.
    #[error("the database is busy")]
    Busy,
    /// The operating system reported an error.
    #[error("cannot {action}")]
    Io { action: &'static str, source: io::Error },
    /// SQLite failed for another reason.
    #[error("the database failed with code {}", .0.extended_code)]
    Other(#[source] ffi::Error),
    /// A row has a value that no version writes.
    #[error("a row of {table} cannot be understood")]
    Row { table: &'static str },
    /// The thread that owns the connection has ended.
    #[error("the store is closed")]
    Closed,
}

/// A change was not made, and its transaction was rolled back.
#[derive(Debug)]
pub(super) enum CommitFailure {
    /// The key has changed.
    Changed,
    /// The id of a new key was used before.
    IdTaken,
    /// The database failed.
    Sqlite(SqliteError),
}

impl SqliteError {
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Locked => StoreErrorKind::Locked,
            Self::Newer { .. } => StoreErrorKind::TooNew,
            Self::Foreign => StoreErrorKind::NotOurs,
            Self::Replaced | Self::Overwritten | Self::Emptied | Self::ForeignLog => {
                StoreErrorKind::Replaced
            }
            Self::Linked => StoreErrorKind::Misconfigured,
            Self::Full => StoreErrorKind::Full,
            Self::ReadOnly => StoreErrorKind::ReadOnly,
            Self::Corrupt | Self::Row { .. } => StoreErrorKind::Corrupt,
            Self::Busy | Self::Closed => StoreErrorKind::Unavailable,
            Self::Io { .. } => StoreErrorKind::Io,
            Self::Other(error) => match error.code {
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => StoreErrorKind::Io,
                _ => StoreErrorKind::Internal,
            },
        }
    }
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        let public = Self::new(error.kind(), error.to_string());
        match error {
            SqliteError::Io { source, .. } => public.with_source(source),
            SqliteError::Other(source) => public.with_source(source),
            _ => public,
        }
    }
}

impl From<Error> for SqliteError {
    fn from(error: Error) -> Self {
        let failure = match error {
            Error::SqliteFailure(failure, _) => failure,
            // The rest of this error contains the statement, and is left out.
            Error::SqlInputError { error, .. } => return Self::Other(error),
            // A value of a row has another type than its column.
            _ => return Self::Row { table: "the database" },
        };
        match failure.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
            ErrorCode::DatabaseCorrupt => Self::Corrupt,
            ErrorCode::NotADatabase => Self::Foreign,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            _ => Self::Other(failure),
        }
    }
}

impl From<Error> for CommitFailure {
    fn from(error: Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<SqliteError> for CommitFailure {
    fn from(error: SqliteError) -> Self {
        Self::Sqlite(error)
    }
}

impl From<CommitFailure> for CommitError {
    fn from(failure: CommitFailure) -> Self {
        match failure {
            CommitFailure::Changed => Self::Changed,
            CommitFailure::IdTaken => Self::IdTaken,
            CommitFailure::Sqlite(error) => Self::Store(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: SQLite reports that it cannot read or open a file, and that a statement is wrong.
    // Guarantee: the first two errors are I/O errors. The last error is an internal error.
    #[test]
    fn failures_of_files_are_io_errors() {
        for (code, kind) in [
            (ffi::SQLITE_IOERR_READ, StoreErrorKind::Io),
            (ffi::SQLITE_CANTOPEN, StoreErrorKind::Io),
            (ffi::SQLITE_ERROR, StoreErrorKind::Internal),
        ] {
            let error = SqliteError::from(Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!(StoreError::from(error).kind(), kind, "code {code}");
        }
    }
}
