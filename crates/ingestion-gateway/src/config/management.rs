//! `management`: the management API.

use std::path::{Path, PathBuf};

use otel_confmap::{Map, Problem, Report};
use serde::Serialize;

use super::read::{endpoint, setting};
use super::storage::NO_STATE;
use super::{Database, Endpoint, ServerTlsConfig, StorageConfig};

/// The management API.
#[derive(Clone, Debug, Serialize)]
pub struct ManagementConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
    /// The file with the tokens of administrators.
    pub admin_token_file: PathBuf,
}

impl ManagementConfig {
    /// Returns the defaults. The admin token file is in this directory.
    pub(crate) fn default_in(directory: Option<&Path>) -> Self {
        let admin_token_file = directory.unwrap_or(Path::new("")).join("admin-tokens");
        Self { endpoint: Endpoint::loopback(7070), tls: None, admin_token_file }
    }

    /// Reads the section. Returns whether it names the admin token file.
    pub(super) fn read(&mut self, map: &mut Map<'_>) -> bool {
        endpoint(map, &mut self.endpoint, &mut self.tls);
        let Some(node) = setting(map, "admin_token_file") else { return false };
        if let Some(path) = node.string() {
            if path.is_empty() {
                node.problem("is empty");
            }
            self.admin_token_file = path.into();
        }
        true
    }
}

/// Checks that there is a default for the admin token file. Warns if the default is a file that
/// only one of several gateways has.
pub(super) fn check_default_file(storage: &StorageConfig, report: &Report) {
    const SETTING: &str = "management.admin_token_file";
    if let Database::Postgres(_) = storage.database {
        match storage.directory() {
            Some(_) => report.warning(Problem::new(
                SETTING,
                None,
                "the default is in the state directory, so its tokens are this replica's only: \
                 set a file that every replica has",
            )),
            None => report.problem(Problem::new(SETTING, None, format!("{NO_STATE}; set a file"))),
        }
    }
}
