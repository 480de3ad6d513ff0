//! The kinds of telemetry, and the OTLP paths of each kind.

use std::fmt;

/// A kind of telemetry.
///
/// `Display` writes the kind in lower case: `traces`, `metrics` or `logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Traces. Their items are spans.
    Traces,
    /// Metrics. Their items are metric data points.
    Metrics,
    /// Logs. Their items are log records.
    Logs,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Returns the path of the signal's OTLP/HTTP requests.
    #[must_use]
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// Returns the path of the signal's OTLP/gRPC calls. The path has the service and its only
    /// method.
    #[must_use]
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    pub(crate) fn of_http_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.http_path() == path)
    }

    pub(crate) fn of_grpc_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.grpc_path() == path)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        })
    }
}
