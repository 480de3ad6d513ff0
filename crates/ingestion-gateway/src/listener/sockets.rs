//! The sockets of all listeners.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::ready::Addresses;
use crate::config::{Config, Endpoint};

/// A listener cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("{listener}: cannot listen on {endpoint}")]
pub struct BindError {
    /// The path of the listener in the configuration.
    pub listener: &'static str,
    /// The configured address.
    pub endpoint: String,
    /// The cause.
    pub source: io::Error,
}

/// The bound socket of each listener.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) otlp_grpc: Socket,
    pub(crate) otlp_http: Socket,
    pub(crate) agent: Socket,
    pub(crate) management: Socket,
    pub(crate) authorize: Socket,
    pub(crate) telemetry: Socket,
}

/// A bound socket and its address. The operating system may have chosen the port.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: TcpListener,
    address: SocketAddr,
}

impl Sockets {
    /// Binds the sockets of all listeners.
    pub(crate) async fn bind(config: &Config) -> Result<Self, BindError> {
        let protocols = &config.receivers.otlp.protocols;
        Ok(Self {
            otlp_grpc: bind("receivers.otlp.protocols.grpc", &protocols.grpc.endpoint).await?,
            otlp_http: bind("receivers.otlp.protocols.http", &protocols.http.endpoint).await?,
            agent: bind("receivers.agent", &config.receivers.agent.endpoint).await?,
            management: bind("management", &config.management.endpoint).await?,
            authorize: bind("authorize", &config.authorize.endpoint).await?,
            telemetry: bind("telemetry", &config.telemetry.endpoint).await?,
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            otlp_grpc: self.otlp_grpc.address,
            otlp_http: self.otlp_http.address,
            agent: self.agent.address,
            management: self.management.address,
            authorize: self.authorize.address,
            telemetry: self.telemetry.address,
        }
    }
}

/// Binds an endpoint. If the host is a name with several addresses, binds the first address that
/// can be bound.
async fn bind(listener: &'static str, endpoint: &Endpoint) -> Result<Socket, BindError> {
    let bound = TcpListener::bind(endpoint.host_and_port()).await;
    bound
        .and_then(|listener| Ok(Socket { address: listener.local_addr()?, listener }))
        .map_err(|source| BindError { listener, endpoint: endpoint.to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    // Scenario: the gateway binds all its listeners several times. Each time, the address of a
    // different listener is already in use.
    // Guarantee: the error names the listener whose address is in use, and this address.
    #[tokio::test]
    async fn the_listener_that_failed_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = taken.local_addr().unwrap().to_string();
        let listeners = [
            "receivers.otlp.protocols.grpc",
            "receivers.otlp.protocols.http",
            "receivers.agent",
            "management",
            "authorize",
            "telemetry",
        ];
        for failing in listeners {
            let sets = listeners.map(|listener| {
                let endpoint = if listener == failing { &endpoint } else { "127.0.0.1:0" };
                format!("{listener}.endpoint={endpoint}")
            });
            let sources = Sources { files: Vec::new(), sets: sets.into() };
            let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
            let (config, _) = Config::load(&sources, &env).unwrap();
            let error = Sockets::bind(&config).await.unwrap_err();
            assert_eq!((error.listener, &error.endpoint), (failing, &endpoint));
        }
    }
}
