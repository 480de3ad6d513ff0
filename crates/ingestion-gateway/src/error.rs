//! Why the gateway did not start, or had to stop.

use std::io;
use std::path::PathBuf;

use ingestion_keys::store::{CopyError, StoreError};
use opentelemetry_sdk::error::OTelSdkError;
use otlp_auth::client::BuildError;
use otlp_auth::server::FixedTokensError;
use tokio::task::JoinError;

use crate::admission::admin_tokens::AdminTokensError;
use crate::config::DatabaseError;
use crate::listener::ready::ReadyFileError;
use crate::listener::sockets::BindError;
use crate::tls::TlsError;

/// Why the gateway did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The key database cannot be opened or read, or another file has its place.
    #[error("the key database {database} cannot be used")]
    Store {
        /// The path of an SQLite file, or the URL of a PostgreSQL database without its password.
        database: String,
        /// The cause.
        source: StoreError,
    },
    /// The password file of the key database cannot be used.
    #[error("storage.password_file {path} cannot be used")]
    PasswordFile {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The key database cannot be backed up.
    #[error("the key database {path} cannot be backed up")]
    Backup {
        /// The path of the database.
        path: PathBuf,
        /// The cause.
        source: StoreError,
    },
    /// The key database cannot be copied.
    #[error("the key database was not copied to {to}")]
    Copy {
        /// The URL of the target without its password.
        to: String,
        /// The cause.
        source: CopyError,
    },
    /// There is no key database to be copied.
    #[error("there is no key database {path}")]
    NoSource {
        /// The path of the database.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The threads of a command cannot be started.
    #[error("the threads of the command cannot be started")]
    Runtime(#[source] io::Error),
    /// The URL of a database is wrong. The message does not contain the URL.
    #[error("a URL cannot be used")]
    Url(#[source] DatabaseError),
    /// The command is not for a database of this kind.
    #[error("{0}")]
    OtherKind(&'static str),
    /// The admin token file cannot be used.
    #[error(transparent)]
    AdminTokens(#[from] AdminTokensError),
    /// The files of a `tls` section cannot be used.
    #[error("the files of {section}.tls cannot be used")]
    Tls {
        /// The path of the listener or of the upstream in the configuration.
        section: &'static str,
        /// The cause.
        source: Box<TlsError>,
    },
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A bound listener cannot be served.
    #[error("a listener cannot be served")]
    Listener(#[source] io::Error),
    /// The ready file cannot be written.
    #[error(transparent)]
    ReadyFile(#[from] ReadyFileError),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] OTelSdkError),
    /// The set of fixed tokens cannot be created, because the operating system returns no random
    /// bytes.
    #[error("the set of accepted tokens cannot be made")]
    Tokens(#[from] FixedTokensError),
    /// The credential for an upstream cannot be used.
    #[error("{section}.auth cannot be used")]
    UpstreamAuth {
        /// The path of the upstream in the configuration.
        section: &'static str,
        /// The cause.
        source: BuildError,
    },
    /// An upstream cannot be set up, because of an error in this program.
    #[error("an upstream cannot be set up")]
    Upstream(#[source] http::Error),
    /// A background task ended, because of an error in this program.
    #[error("a background task of the gateway ended")]
    BackgroundTask(#[from] JoinError),
}

impl RunError {
    /// Returns the exit code of the process. The code is 64 if the command does not fit the
    /// configuration, 69 if something that the gateway needs is not available, and 70 after an
    /// error in this program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OtherKind(_) | Self::Url(_) => 64,
            Self::Store { .. }
            | Self::PasswordFile { .. }
            | Self::Backup { .. }
            | Self::Copy { .. }
            | Self::NoSource { .. }
            | Self::AdminTokens(_)
            | Self::Tls { .. }
            | Self::Bind(_)
            | Self::Listener(_)
            | Self::ReadyFile(_)
            | Self::UpstreamAuth { .. } => 69,
            Self::Metrics(_)
            | Self::Runtime(_)
            | Self::Tokens(_)
            | Self::Upstream(_)
            | Self::BackgroundTask(_) => 70,
        }
    }
}
