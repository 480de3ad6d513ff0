//! `storage`: where keys are stored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otel_confmap::{Env, Map, Node, Problem, Report};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

use super::print;
use super::read::{NOT_BUILT, not_built, positive_duration, section, set, setting};

/// Where keys are stored.
#[derive(Clone, Debug, Serialize)]
pub struct StorageConfig {
    /// The absolute path of the SQLite file.
    #[serde(rename = "url", serialize_with = "url")]
    pub path: PathBuf,
    /// The time between two regular reads of the store. A notification of a change causes a further
    /// read.
    #[serde(serialize_with = "print::duration")]
    pub poll_interval: Duration,
    /// How long the gateway decides about keys after its last successful read of the store.
    #[serde(serialize_with = "print::duration")]
    pub max_staleness: Duration,
}

impl StorageConfig {
    pub(super) fn read(root: &mut Map<'_>, env: Env<'_>, report: &Report) -> Option<Self> {
        let mut given = None;
        let (mut path, mut poll_interval, mut max_staleness) =
            (None, Duration::from_secs(5), Duration::from_secs(600));
        section(root, "storage", |map| {
            given = setting(map, "url");
            path = given.as_ref().and_then(sqlite_path);
            not_built(map, "password_file", "it is for PostgreSQL");
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
        if given.is_none() {
            path =
                state_directory(env).map(|directory| directory.join("ingestion-gateway/keys.db"));
            if path.is_none() {
                let why = "there is no state directory: neither XDG_STATE_HOME nor HOME is an absolute path; set \
                           sqlite:///path/to/keys.db";
                report.problem(Problem::new("storage.url", None, why));
            }
        }
        Some(Self { path: path?, poll_interval, max_staleness })
    }
}

fn sqlite_path(node: &Node<'_>) -> Option<PathBuf> {
    const EXPECTED: &str = "expected sqlite:///path/to/keys.db";
    let text = node.string()?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        node.problem(format!("PostgreSQL is {NOT_BUILT}; {EXPECTED}"));
        return None;
    }
    let path = text
        .strip_prefix("sqlite://")
        .filter(|path| path.starts_with('/') && !path.contains(['?', '#']));
    let path = path.and_then(|path| percent_decode_str(path).decode_utf8().ok());
    // A path without a file name (the root, or a path that ends in `..`) cannot be a database file.
    let path =
        path.map(|path| PathBuf::from(path.as_ref())).filter(|path| path.file_name().is_some());
    if path.is_none() {
        node.problem(EXPECTED);
    }
    path
}

/// Returns the directory in which programs keep the state of a user (XDG base directory
/// specification).
fn state_directory(env: Env<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

fn url<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let path = path
        .to_str()
        .ok_or_else(|| serde::ser::Error::custom("the path of the database is not UTF-8"))?;
    // Without an escape, these characters would end the path of the URL or begin an escape
    // sequence.
    let escaped = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    serializer.collect_str(&format_args!("sqlite://{escaped}"))
}
