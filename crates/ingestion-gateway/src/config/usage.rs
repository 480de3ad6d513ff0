//! `usage`: what the store keeps about the use of keys.

use std::time::Duration;

use otel_confmap::{Map, Node};
use serde::Serialize;

use super::print;
use super::read::{positive_duration, set, setting};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the store keeps about the use of keys.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsageConfig {
    /// The time between two writes of the counters to the store. A crash loses at most the counts
    /// of this time.
    #[serde(serialize_with = "print::duration")]
    pub flush_interval: Duration,
    /// The largest number of clients that the store keeps for each key. With 0, the store keeps no
    /// clients.
    pub sources: usize,
    /// How long the store keeps a client after the client last used the key.
    #[serde(serialize_with = "print::duration")]
    pub retain: Duration,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { flush_interval: Duration::from_secs(10), sources: 5, retain: 30 * DAY }
    }
}

impl UsageConfig {
    /// The largest allowed value of `sources`. The value is limited because the gateway searches
    /// the clients of a key at each request.
    pub(crate) const MAX_SOURCES: u64 = 100;

    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        set(
            &mut self.flush_interval,
            setting(map, "flush_interval").and_then(|node| positive_duration(&node)),
        );
        let sources = setting(map, "sources").and_then(|node| node.integer(0..=Self::MAX_SOURCES));
        set(&mut self.sources, sources.and_then(|sources| sources.try_into().ok()));
        set(&mut self.retain, setting(map, "retain").and_then(|node| days(&node)));
    }
}

/// Reads a duration that may be given in days, a unit that the Collector's durations do not have.
fn days(node: &Node<'_>) -> Option<Duration> {
    let days = node.string()?.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    match days {
        Some(days @ 1..) => Some(days * DAY),
        _ => positive_duration(node),
    }
}
