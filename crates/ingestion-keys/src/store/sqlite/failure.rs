//! What SQLite says, without statements and without rows.

use rusqlite::{Error, ErrorCode};

use crate::store::{CommitError, StoreError};

/// A failure inside a transaction, which is rolled back then.
#[derive(Debug)]
pub(super) struct Failure(pub(super) CommitError);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        store_error(&error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<Failure> for StoreError {
    fn from(Failure(error): Failure) -> Self {
        match error {
            CommitError::Store(error) => error,
            // Only changes are told these.
            CommitError::Changed | CommitError::IdTaken => Self::Busy,
        }
    }
}

fn store_error(error: &Error) -> StoreError {
    let Error::SqliteFailure(failure, _) = error else {
        return match error {
            Error::SqlInputError { error, .. } => {
                StoreError::Database { code: error.extended_code }
            }
            _ => StoreError::Row { table: "the database" },
        };
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly,
        ErrorCode::DatabaseCorrupt => StoreError::Corrupt,
        ErrorCode::NotADatabase => StoreError::Foreign,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy,
        _ => StoreError::Database { code: failure.extended_code },
    }
}
