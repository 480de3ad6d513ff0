//! `storage`: where keys are stored.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ingestion_keys::store::PostgresOptions;
use otel_confmap::{Env, Map, Node, Problem, Report};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

use super::print;
use super::read::{positive_duration, section, set, setting};

/// Where keys are stored.
#[derive(Clone, Debug, Serialize)]
pub struct StorageConfig {
    /// The database.
    #[serde(rename = "url", serialize_with = "url")]
    pub database: Database,
    /// The file with the password for a PostgreSQL database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The time between two regular reads of the store. A notification of a change causes a further
    /// read.
    #[serde(serialize_with = "print::duration")]
    pub poll_interval: Duration,
    /// How long the gateway decides about keys after its last successful read of the store.
    #[serde(serialize_with = "print::duration")]
    pub max_staleness: Duration,
    /// The directory of the user's state for this program, if there is one.
    #[serde(skip)]
    state: Option<PathBuf>,
}

/// The database of keys. Its text form names the database in messages, and has no password.
#[derive(Clone, Debug)]
pub enum Database {
    /// The absolute path of an SQLite file, which one gateway uses.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which many gateways share.
    Postgres(Box<PostgresOptions>),
}

impl StorageConfig {
    pub(super) fn read(root: &mut Map<'_>, env: Env<'_>, report: &Report) -> Option<Self> {
        let mut is_given = false;
        let (mut database, mut password_file) = (None, None);
        let (mut poll_interval, mut max_staleness) =
            (Duration::from_secs(5), Duration::from_secs(600));
        section(root, "storage", |map| {
            let given = setting(map, "url");
            is_given = given.is_some();
            database = given.as_ref().and_then(Database::read);
            let password = setting(map, "password_file");
            password_file = password
                .as_ref()
                .and_then(|node| read_password_file(node, is_given, database.as_ref()));
            set(
                &mut poll_interval,
                setting(map, "poll_interval").and_then(|node| positive_duration(&node)),
            );
            let staleness = setting(map, "max_staleness");
            set(&mut max_staleness, staleness.as_ref().and_then(positive_duration));
            if max_staleness <= poll_interval {
                staleness
                    .as_ref()
                    .unwrap_or(map.node())
                    .problem("`max_staleness` must be longer than `poll_interval`");
            }
        });
        let state = state_directory(env).map(|directory| directory.join("ingestion-gateway"));
        if !is_given {
            database = state.as_ref().map(|state| Database::Sqlite(state.join("keys.db")));
            if database.is_none() {
                let why = format!("{NO_STATE}; set sqlite:///path/to/keys.db");
                report.problem(Problem::new("storage.url", None, why));
            }
        }
        Some(Self { database: database?, password_file, poll_interval, max_staleness, state })
    }

    /// Returns the directory in which the gateway keeps what is not in its database: that of the
    /// SQLite file, or else that of the user's state. Returns `None` if there is no such directory.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.database {
            Database::Sqlite(path) => path.parent(),
            Database::Postgres(_) => self.state.as_deref(),
        }
    }
}

impl Database {
    fn read(node: &Node<'_>) -> Option<Self> {
        node.string()?.parse().map_err(|problem: DatabaseError| node.problem(problem.0)).ok()
    }
}

/// What is wrong with the URL of a database. The text does not contain the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(String);

impl FromStr for Database {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        const EXPECTED: &str =
            "expected sqlite:///path/to/keys.db or postgres://user@host:port/database";
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return match PostgresOptions::parse(text) {
                Ok(options) => Ok(Self::Postgres(Box::new(options))),
                Err(error) => Err(DatabaseError(error.to_string())),
            };
        }
        let path = text
            .strip_prefix("sqlite://")
            .filter(|path| path.starts_with('/') && !path.contains(['?', '#']));
        let path = path.and_then(|path| percent_decode_str(path).decode_utf8().ok());
        // A path without a file name (the root, or a path that ends in `..`) cannot be a database
        // file.
        let path =
            path.map(|path| PathBuf::from(path.as_ref())).filter(|path| path.file_name().is_some());
        path.map(Self::Sqlite).ok_or_else(|| DatabaseError(EXPECTED.to_owned()))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(options) => options.fmt(f),
        }
    }
}

/// Part of the messages about files for which there is no default.
pub(super) const NO_STATE: &str =
    "there is no state directory: neither XDG_STATE_HOME nor HOME is an absolute path";

/// Reads the path of a password file, which is only for PostgreSQL. A URL that is given and wrong
/// has a problem of its own.
fn read_password_file(
    node: &Node<'_>,
    url_is_given: bool,
    database: Option<&Database>,
) -> Option<PathBuf> {
    let path = node.string()?;
    match database {
        _ if path.is_empty() => node.problem("is empty"),
        Some(Database::Postgres(options)) if options.has_password() => {
            node.problem("`storage.url` has a password, too: give one of them");
        }
        Some(Database::Postgres(_)) => {}
        None if url_is_given => {}
        Some(Database::Sqlite(_)) | None => {
            node.problem("is only for PostgreSQL, and `storage.url` names no such database");
        }
    }
    Some(path.into())
}

/// Returns the directory in which programs keep the state of a user (XDG base directory
/// specification).
fn state_directory(env: Env<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

fn url<S: Serializer>(database: &Database, serializer: S) -> Result<S::Ok, S::Error> {
    let path = match database {
        Database::Sqlite(path) => path,
        Database::Postgres(options) => return serializer.collect_str(options),
    };
    let path = path
        .to_str()
        .ok_or_else(|| serde::ser::Error::custom("the path of the database is not UTF-8"))?;
    // Without an escape, these characters would end the path of the URL or begin an escape
    // sequence.
    let escaped = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    serializer.collect_str(&format_args!("sqlite://{escaped}"))
}
