//! `limits`: the limits of requests and connections.

use std::time::Duration;

use otel_confmap::{Map, Node};
use serde::Serialize;

use super::read::{positive, positive_duration, set, setting};
use super::{ByteSize, print};

/// The limits of requests and connections. Sizes are measured on the wire, before decompression.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LimitsConfig {
    /// The largest allowed body of a request with telemetry.
    pub max_request_body_size: ByteSize,
    /// The largest allowed size of all headers of a request together.
    pub max_header_size: ByteSize,
    /// The largest number of open connections of one listener. It is smaller if the process may not
    /// open enough files. A further connection takes the place of one without a request in flight:
    /// of the one with the fewest requests so far, and of several such connections, of the oldest.
    /// If every connection has a request in flight, it takes the place of one whose requests all
    /// wait for their bodies, of which less than 4 KiB came within `header_read_timeout`.
    /// Otherwise, the further connection waits.
    pub max_connections: usize,
    /// The largest number of requests in flight on one HTTP/2 connection.
    pub max_streams: u32,
    /// How long a client may take to send the headers of its first request. A connection on which
    /// no request has begun within this time is closed.
    #[serde(serialize_with = "print::duration")]
    pub header_read_timeout: Duration,
    /// How long a connection may be idle, including the time in which the headers of a further
    /// request arrive, and how long a body may make no progress.
    #[serde(serialize_with = "print::duration")]
    pub idle_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_request_body_size: ByteSize::mib(20),
            max_header_size: ByteSize::kib(16),
            max_connections: 10_000,
            max_streams: 100,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        // hyper's HTTP/1.1 parser needs a buffer of at least 8 KiB. No sender has headers of 1 MiB.
        let header = |node: Node<'_>| ByteSize::read(&node, ByteSize::kib(8), ByteSize::mib(1));
        let body = |node: Node<'_>| ByteSize::read(&node, ByteSize::kib(1), ByteSize::mib(1024));
        set(&mut self.max_request_body_size, setting(map, "max_request_body_size").and_then(body));
        set(&mut self.max_header_size, setting(map, "max_header_size").and_then(header));
        let connections = setting(map, "max_connections").and_then(|node| positive(&node));
        set(&mut self.max_connections, connections.map(|connections| connections as usize));
        set(&mut self.max_streams, setting(map, "max_streams").and_then(|node| positive(&node)));
        set(
            &mut self.header_read_timeout,
            setting(map, "header_read_timeout").and_then(|node| positive_duration(&node)),
        );
        set(
            &mut self.idle_timeout,
            setting(map, "idle_timeout").and_then(|node| positive_duration(&node)),
        );
    }
}
