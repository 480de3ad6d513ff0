//! `management`: the management API.

use std::path::{Path, PathBuf};

use otel_confmap::Map;
use serde::Serialize;

use super::read::{endpoint, setting};
use super::{Endpoint, ServerTlsConfig};

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
    /// Returns the defaults. The admin token file is in the directory of the key database.
    pub(crate) fn beside(database: &Path) -> Self {
        let admin_token_file = database.with_file_name("admin-tokens");
        Self { endpoint: Endpoint::loopback(7070), tls: None, admin_token_file }
    }

    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint, &mut self.tls);
        if let Some(node) = setting(map, "admin_token_file")
            && let Some(path) = node.string()
        {
            if path.is_empty() {
                node.problem("is empty");
            }
            self.admin_token_file = path.into();
        }
    }
}
