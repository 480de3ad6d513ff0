//! The address of a listener.

use std::fmt;
use std::net::IpAddr;

use otel_confmap::Node;
use serde::{Serialize, Serializer};

/// The address of a listener, `host:port`. With port 0 the operating system chooses a free port.
/// Without a host, as in `:4317`, the listener has every address of this host, as in a Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    pub(in crate::config) fn loopback(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port }
    }

    pub(in crate::config) fn read(node: &Node<'_>) -> Option<Self> {
        let endpoint = Self::parse(node.string()?);
        if endpoint.is_none() {
            node.problem(
                "expected host:port, as in 127.0.0.1:4317 or [::1]:4317, or :4317 for every \
                 address of this host; port 0 takes a free one",
            );
        }
        endpoint
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.bytes().all(legal),
        };
        if !is_host || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { host: bare.unwrap_or(host).to_owned(), port: port.parse().ok()? })
    }

    /// Returns the host and the port. The host is empty if the listener has every address.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Returns whether only programs on this host can reach the address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
