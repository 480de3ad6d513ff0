//! Finds the address of the client that sent a request, directly or through trusted proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client, and the peer of its connection. Every request has this value in its
/// extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr, pub(crate) Peer);

/// The other end of the connection on which a request came: the client, or a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address of the peer.
    pub(crate) address: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) is_trusted: bool,
    /// Whether the connection uses TLS.
    pub(crate) is_tls: bool,
}

impl ClientAddress {
    /// Returns the address of the peer. If the peer is a trusted proxy, returns the last address in
    /// `X-Forwarded-For` that is not a trusted proxy. The addresses before that one are ignored,
    /// because anybody may have written them.
    ///
    /// `Forwarded` (RFC 7239) is ignored, too, because a proxy that writes only `X-Forwarded-For`
    /// passes on `Forwarded` as the client sent it.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        let from =
            |address, is_trusted| Self(address, Peer { address: peer, is_trusted, is_tls: false });
        if !is_trusted(&peer) {
            return from(peer, false);
        }
        let lines: Vec<_> =
            headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let mut client = peer;
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = address(hop.trim()) else { break };
            client = address.to_canonical();
            if !is_trusted(&client) {
                break;
            }
        }
        from(client, true)
    }

    /// Returns the address of a client that nothing is known about.
    pub(crate) fn unknown() -> Self {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self(address, Peer { address, is_trusted: false, is_tls: false })
    }
}

/// Parses an address. Some proxies add the port, and brackets around an IPv6 address.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    hop.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: requests arrive directly, through one trusted proxy, and through two trusted
    // proxies. Some addresses have a port or brackets, and some headers are forged.
    // Guarantee: the client's address is the address nearest to the gateway that is not a trusted
    // proxy. If an entry is not an address, the result is the address of the trusted proxy that
    // added the entry.
    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let from = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            ClientAddress::of(peer.parse().unwrap(), &headers, &trusted).0.to_string()
        };
        assert_eq!(from("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(from("10.0.0.1", &["198.51.100.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(from("::ffff:10.0.0.1", &["198.51.100.1", "192.0.2.7, 10.0.0.2"]), "192.0.2.7");
        assert_eq!(from("10.0.0.1", &["192.0.2.7, unknown"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["192.0.2.7:1234,10.0.0.2:80"]), "192.0.2.7");
        assert_eq!(from("10.0.0.1", &["[2001:db8::7]:1234"]), "2001:db8::7");
        assert_eq!(from("10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
    }
}
