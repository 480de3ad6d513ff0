//! `trusted_proxies`: the proxies that are trusted to name the client's address in
//! `X-Forwarded-For`.

use std::net::IpAddr;

use ipnet::IpNet;
use otel_confmap::Node;

use super::read::strings;

/// Reads a list of IP addresses and networks.
pub(super) fn read(node: &Node<'_>) -> Vec<IpNet> {
    let network = |(node, text): (Node<'_>, &str)| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map_err(|_| node.problem("expected an IP address or a network, as in 10.0.0.0/8"))
            .ok()
    };
    strings(node).into_iter().filter_map(network).collect()
}
