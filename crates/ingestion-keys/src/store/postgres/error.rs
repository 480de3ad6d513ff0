//! The errors of a PostgreSQL database. No message contains a statement, a row or a credential.

use std::error::Error;
use std::io;

use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{WasNull, WrongType};

use crate::store::{CommitError, Committed, StoreError, StoreErrorKind};

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    /// The database cannot be reached, or the connection to it broke.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The server has a certificate that is not trusted.
    #[error("the certificate of the database is not trusted")]
    NotTrusted(#[source] Box<dyn Error + Send + Sync>),
    /// The server wants something that the configuration does not have, such as a password or TLS.
    #[error("the database cannot be used with this configuration")]
    Configuration(#[source] Box<dyn Error + Send + Sync>),
    /// The database did not answer in time.
    #[error("the database did not answer within {} seconds", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// No connection became free in time.
    #[error("too many calls wait for the database")]
    Busy,
    /// The database refused a statement or a connection.
    #[error("{}", advice(&.0.state))]
    Database(#[source] Answer),
    /// A newer version made the schema. The schema was not changed.
    #[error(
        "the database has schema {found}, and this version knows {known}: a newer version wrote it"
    )]
    Newer { found: i64, known: i64 },
    /// The certificates of `sslrootcert` cannot be used.
    #[error("the certificates to trust cannot be used")]
    Certificates(#[source] Box<dyn Error + Send + Sync>),
    /// A row has a value that no version writes.
    #[error("a row of {table} cannot be understood")]
    Row { table: &'static str },
    /// The protocol was not followed.
    #[error("the database answered in a way that was not expected")]
    Unexpected,
}

/// The error that the database answered: its code and its message. The details of the error are
/// left out, because they may contain values of a row.
#[derive(Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {})", .state.code())]
pub(super) struct Answer {
    state: SqlState,
    message: String,
}

/// A change was not made.
#[derive(Debug)]
pub(super) enum CommitFailure {
    /// The key has changed.
    Changed,
    /// The id of a new key was used before.
    IdTaken,
    /// The database failed. The change was not made.
    Postgres(PostgresError),
    /// The connection broke after the database was told to commit the change, and before it
    /// answered. It may have made the change.
    Unanswered(Committed, PostgresError),
}

impl CommitFailure {
    /// Returns whether the connection must not be used again.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::Changed | Self::IdTaken => false,
            Self::Postgres(error) => error.breaks_connection(),
            Self::Unanswered(..) => true,
        }
    }
}

/// Says what is wrong, and what can be done about it.
fn advice(state: &SqlState) -> &'static str {
    match kind(state) {
        StoreErrorKind::Full => "the disk of the database is full",
        StoreErrorKind::Corrupt => "the database is damaged",
        StoreErrorKind::Io => "the database cannot read or write its files",
        StoreErrorKind::Unavailable if *state == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "the database cannot be written to: it may be a standby"
        }
        StoreErrorKind::Unavailable => "the database cannot be used at the moment",
        StoreErrorKind::Misconfigured => match state {
            state if *state == SqlState::INSUFFICIENT_PRIVILEGE => {
                "the user of the database has not the rights that it needs: grant them, or migrate \
                 the database as its owner"
            }
            state if *state == SqlState::INVALID_CATALOG_NAME => "there is no such database",
            _ => "the database refuses the user or the password",
        },
        _ => "the database failed",
    }
}

fn kind(state: &SqlState) -> StoreErrorKind {
    let unavailable = [
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if unavailable.contains(state) {
        return StoreErrorKind::Unavailable;
    }
    let code = state.code();
    match code.get(..2).unwrap_or_default() {
        _ if *state == SqlState::DISK_FULL => StoreErrorKind::Full,
        _ if *state == SqlState::INSUFFICIENT_PRIVILEGE
            || *state == SqlState::INVALID_CATALOG_NAME =>
        {
            StoreErrorKind::Misconfigured
        }
        "28" => StoreErrorKind::Misconfigured,
        // Connections, resources such as the number of connections, and operators who stop the
        // database.
        "08" | "53" | "57" => StoreErrorKind::Unavailable,
        "58" => StoreErrorKind::Io,
        "XX" if code != "XX000" => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Internal,
    }
}

impl PostgresError {
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Busy => StoreErrorKind::Unavailable,
            Self::Database(answer) => kind(&answer.state),
            Self::Newer { .. } => StoreErrorKind::TooNew,
            Self::Certificates(_) | Self::NotTrusted(_) | Self::Configuration(_) => {
                StoreErrorKind::Misconfigured
            }
            Self::Row { .. } => StoreErrorKind::Corrupt,
            Self::Unexpected => StoreErrorKind::Internal,
        }
    }

    /// Returns whether the database ended the statement, most often because it took too long.
    pub(super) fn is_canceled(&self) -> bool {
        matches!(self, Self::Database(answer) if answer.state == SqlState::QUERY_CANCELED)
    }

    /// Returns whether the connection must not be used again: it is broken, its last statement may
    /// still run, or it belongs to a database that cannot be written to.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::NotTrusted(_)
            | Self::Configuration(_)
            | Self::TimedOut(_)
            | Self::Unexpected => true,
            Self::Database(answer) => {
                answer.state == SqlState::READ_ONLY_SQL_TRANSACTION
                    || answer.state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                    || matches!(answer.state.code().get(..2), Some("08" | "57" | "XX"))
            }
            Self::Busy | Self::Newer { .. } | Self::Certificates(_) | Self::Row { .. } => false,
        }
    }
}

impl From<&DbError> for Answer {
    fn from(error: &DbError) -> Self {
        Self { state: error.code().clone(), message: error.message().to_owned() }
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Self::Database(answer.into());
        }
        if error.is_closed() {
            return Self::Unreachable("the connection was closed".into());
        }
        match error.into_source() {
            Some(source) if source.is::<WrongType>() || source.is::<WasNull>() => {
                Self::Row { table: "the database" }
            }
            Some(source) => match source.downcast::<io::Error>() {
                Ok(error) if is_untrusted(&error) => Self::NotTrusted(error),
                Ok(error) => Self::Unreachable(error),
                Err(source) => Self::Configuration(source),
            },
            None => Self::Unexpected,
        }
    }
}

/// Returns whether the handshake of TLS failed because of the certificate of the server.
fn is_untrusted(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        let public = Self::new(error.kind(), error.to_string());
        match error {
            PostgresError::Unreachable(source)
            | PostgresError::Certificates(source)
            | PostgresError::NotTrusted(source)
            | PostgresError::Configuration(source) => public.with_source(source),
            PostgresError::Database(answer) => public.with_source(answer),
            _ => public,
        }
    }
}

impl From<tokio_postgres::Error> for CommitFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}

impl From<PostgresError> for CommitFailure {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(error)
    }
}

impl From<CommitFailure> for CommitError {
    fn from(failure: CommitFailure) -> Self {
        match failure {
            CommitFailure::Changed => Self::Changed,
            CommitFailure::IdTaken => Self::IdTaken,
            CommitFailure::Postgres(error) | CommitFailure::Unanswered(_, error) => {
                Self::Store(error.into())
            }
        }
    }
}
