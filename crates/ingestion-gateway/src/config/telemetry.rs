//! `telemetry`: the gateway's own metrics, health and log.

use otel_confmap::Map;
use serde::Serialize;

use super::Endpoint;
use super::read::{endpoint, one_of, section, set};

/// The gateway's own metrics, health and log.
#[derive(Clone, Debug, Serialize)]
pub struct TelemetryConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The gateway's log.
    pub logs: LogsConfig,
}

/// The gateway's log, on standard error.
#[derive(Clone, Debug, Serialize)]
pub struct LogsConfig {
    /// The least severe level that is logged.
    pub level: &'static str,
    /// The format of a line.
    pub format: LogFormat,
}

/// The format of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::loopback(8888),
            logs: LogsConfig { level: "info", format: LogFormat::Text },
        }
    }
}

impl TelemetryConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint);
        section(map, "logs", |map| self.logs.read(map));
    }
}

impl LogsConfig {
    fn read(&mut self, map: &mut Map<'_>) {
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        set(&mut self.level, map.get("level").and_then(|node| one_of(&node, levels)));
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        set(&mut self.format, map.get("format").and_then(|node| one_of(&node, formats)));
    }
}
