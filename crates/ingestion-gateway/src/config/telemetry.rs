//! `telemetry`: the gateway's own metrics, health and log.

use otel_confmap::Map;
use serde::Serialize;

use super::read::{endpoint_or_null, one_of, section, set, setting};
use super::{Endpoint, ServerTlsConfig};

/// The gateway's own metrics, health and log.
#[derive(Clone, Debug, Serialize)]
pub struct TelemetryConfig {
    /// The address to listen on. The listener is off if there is none.
    pub endpoint: Option<Endpoint>,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
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
            endpoint: Some(Endpoint::loopback(8888)),
            tls: None,
            logs: LogsConfig { level: "info", format: LogFormat::Text },
        }
    }
}

impl TelemetryConfig {
    /// Reads the section. `None` switches the listener off.
    pub(super) fn read(&mut self, map: Option<&mut Map<'_>>) {
        let Some(map) = map else {
            self.endpoint = None;
            return;
        };
        endpoint_or_null(map, &mut self.endpoint, &mut self.tls);
        section(map, "logs", |map| self.logs.read(map));
    }
}

impl LogsConfig {
    fn read(&mut self, map: &mut Map<'_>) {
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        set(&mut self.level, setting(map, "level").and_then(|node| one_of(&node, levels)));
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        set(&mut self.format, setting(map, "format").and_then(|node| one_of(&node, formats)));
    }
}
