//! `authorize`: the endpoint that other components ask about keys.

use otel_confmap::Map;
use serde::Serialize;

use super::read::endpoint;
use super::{Endpoint, ServerTlsConfig};

/// The endpoint that other components ask about keys.
#[derive(Clone, Debug, Serialize)]
pub struct AuthorizeConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
}

impl Default for AuthorizeConfig {
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(7071), tls: None }
    }
}

impl AuthorizeConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint, &mut self.tls);
        if !self.endpoint.is_loopback() {
            map.node().warning(
                "asks for no credential and can be reached from other hosts: keep it private",
            );
        }
    }
}
