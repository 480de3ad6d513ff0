//! The sockets of all listeners.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::TcpListener;

use super::ready::Addresses;
use super::tls::{ListenerTls, ServerTls};
use crate::config::{Config, Endpoint, Protocols};

/// How many connections may wait until they are accepted. The kernel may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

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

/// The bound socket of each listener, or `None` if the listener is off.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) otlp_grpc: Option<Socket>,
    pub(crate) otlp_http: Option<Socket>,
    pub(crate) agent: Option<Socket>,
    pub(crate) management: Option<Socket>,
    pub(crate) authorize: Option<Socket>,
    pub(crate) telemetry: Option<Socket>,
}

/// A bound socket, its address and its TLS. The operating system may have chosen the port.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The path of the listener in the configuration.
    pub(crate) name: &'static str,
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<ServerTls>,
    address: SocketAddr,
}

impl Sockets {
    /// Binds the sockets of all listeners.
    pub(crate) async fn bind(config: &Config, mut tls: ListenerTls) -> Result<Self, BindError> {
        let Config { receivers, management, authorize, telemetry, .. } = config;
        let Protocols { grpc, http } = &receivers.otlp.protocols;
        let grpc = grpc.as_ref().map(|grpc| &grpc.endpoint);
        let http = http.as_ref().map(|http| &http.endpoint);
        let agent = receivers.agent.as_ref().map(|agent| &agent.endpoint);
        let management = management.as_ref().map(|management| &management.endpoint);
        let authorize = authorize.as_ref().map(|authorize| &authorize.endpoint);
        let tls = &mut tls;
        Ok(Self {
            otlp_grpc: bind("receivers.otlp.protocols.grpc", grpc, tls).await?,
            otlp_http: bind("receivers.otlp.protocols.http", http, tls).await?,
            agent: bind("receivers.agent", agent, tls).await?,
            management: bind("management", management, tls).await?,
            authorize: bind("authorize", authorize, tls).await?,
            telemetry: bind("telemetry", telemetry.endpoint.as_ref(), tls).await?,
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let address = |socket: &Option<Socket>| socket.as_ref().map(|socket| socket.address);
        Addresses {
            otlp_grpc: address(&self.otlp_grpc),
            otlp_http: address(&self.otlp_http),
            agent: address(&self.agent),
            management: address(&self.management),
            authorize: address(&self.authorize),
            telemetry: address(&self.telemetry),
        }
    }
}

/// Binds the endpoint of a listener, if the listener is on.
async fn bind(
    name: &'static str,
    endpoint: Option<&Endpoint>,
    tls: &mut ListenerTls,
) -> Result<Option<Socket>, BindError> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let bound = match endpoint.host_and_port() {
        ("", port) => bind_every_address(port).await,
        // If the host is a name with several addresses, Tokio binds the first address that can be
        // bound.
        address => TcpListener::bind(address).await,
    };
    bound
        .and_then(|listener| {
            // A second call replaces the number of the runtime, which is small.
            SockRef::from(&listener).listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Some(Socket { name, listener, address, tls: tls.remove(name) }))
        })
        .map_err(|source| BindError { listener: name, endpoint: endpoint.to_string(), source })
}

/// Binds one socket to every address of this host: to IPv6, which includes IPv4, or to IPv4 alone
/// on a host without IPv6.
async fn bind_every_address(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            let error = Sockets::bind(&config, ListenerTls::new()).await.unwrap_err();
            assert_eq!((error.listener, &error.endpoint), (failing, &endpoint));
        }
    }

    // Scenario: after a restart, 500 senders connect before the first of them is accepted.
    // Guarantee: all connections are established.
    #[tokio::test]
    async fn many_connections_can_wait() {
        let sets = ["management.endpoint=127.0.0.1:0".to_owned()];
        let sources = Sources { files: Vec::new(), sets: sets.into() };
        let env = |name: &str| (name == "HOME").then(|| "/home/ops".to_owned());
        let (config, _) = Config::load(&sources, &env).unwrap();
        let endpoint = config.management.as_ref().map(|management| &management.endpoint);
        let socket = bind("management", endpoint, &mut ListenerTls::new()).await;
        let socket = socket.unwrap().unwrap();
        let patience = Duration::from_secs(10);
        let connect = |_| std::net::TcpStream::connect_timeout(&socket.address, patience).unwrap();
        let connections: Vec<_> = (0..500).map(connect).collect();
        drop(connections);
    }
}
