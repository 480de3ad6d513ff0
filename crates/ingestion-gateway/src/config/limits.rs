//! What one client may use up, and what is kept of how keys are used.

use std::time::Duration;

use otlp_auth::confmap::{Map, Node, Value};
use serde::Serialize;

use super::{ByteSize, positive, positive_duration, print, set};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What one client may use up. Sizes are those on the wire.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LimitsConfig {
    /// The body of a request of telemetry.
    pub max_request_body_size: ByteSize,
    /// The headers of a request.
    pub max_header_size: ByteSize,
    /// Connections of one listener at a time; others wait to be accepted.
    pub max_connections: usize,
    /// Requests of one HTTP/2 connection at a time.
    pub max_streams: u32,
    /// How long the headers of a request may take.
    #[serde(serialize_with = "print::duration")]
    pub header_read_timeout: Duration,
    /// How long a connection may do nothing, and a body may make no progress.
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
    pub(super) fn read(&mut self, map: &mut Map<'_>, root: &Value) {
        // Less than 8 KiB the HTTP/1.1 parser cannot work with; more than 1 MiB is no header.
        let header =
            |node: Node<'_>| ByteSize::read(&node, root, ByteSize::kib(8), ByteSize::mib(1));
        let body =
            |node: Node<'_>| ByteSize::read(&node, root, ByteSize::kib(1), ByteSize::mib(1024));
        set(&mut self.max_request_body_size, map.get("max_request_body_size").and_then(body));
        set(&mut self.max_header_size, map.get("max_header_size").and_then(header));
        let connections = map.get("max_connections").and_then(|node| positive::<u32>(&node));
        set(&mut self.max_connections, connections.map(|connections| connections as usize));
        set(&mut self.max_streams, map.get("max_streams").and_then(|node| positive(&node)));
        set(
            &mut self.header_read_timeout,
            map.get("header_read_timeout").and_then(|node| positive_duration(&node)),
        );
        set(
            &mut self.idle_timeout,
            map.get("idle_timeout").and_then(|node| positive_duration(&node)),
        );
    }
}

/// What is kept of how keys are used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsageConfig {
    /// How often counters go to the store: what a crash may lose.
    #[serde(serialize_with = "print::duration")]
    pub flush_interval: Duration,
    /// How many places are kept that a key was used from; none with 0.
    pub sources: usize,
    /// How long such a place is kept.
    #[serde(serialize_with = "print::duration")]
    pub retain: Duration,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { flush_interval: Duration::from_secs(10), sources: 5, retain: 30 * DAY }
    }
}

impl UsageConfig {
    /// Places of one key that are looked through for each request.
    const MAX_SOURCES: u64 = 100;

    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        set(
            &mut self.flush_interval,
            map.get("flush_interval").and_then(|node| positive_duration(&node)),
        );
        let sources = map.get("sources").and_then(|node| Some((node.u64()?, node)));
        if let Some((sources, node)) = sources {
            match usize::try_from(sources) {
                Ok(count) if sources <= Self::MAX_SOURCES => self.sources = count,
                _ => node.problem(format!("expected a number from 0 to {}", Self::MAX_SOURCES)),
            }
        }
        set(&mut self.retain, map.get("retain").and_then(|node| days(&node)));
    }
}

/// A duration that may be in days, which Go's do not have.
fn days(node: &Node<'_>) -> Option<Duration> {
    let days = node.string()?.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    match days {
        Some(days @ 1..) => Some(days * DAY),
        _ => positive_duration(node),
    }
}
