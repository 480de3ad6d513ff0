//! The units in which telemetry is counted.

use otlp_receiver::Signal;

/// A unit in which telemetry is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Span,
    DataPoint,
    LogRecord,
    /// A whole request of an agent, because what agents send is not decoded.
    AgentRequest,
}

impl Item {
    pub(crate) const ALL: [Self; 4] =
        [Self::Span, Self::DataPoint, Self::LogRecord, Self::AgentRequest];

    /// Returns the unit in which telemetry of `signal` is counted.
    pub(crate) fn of(signal: Signal) -> Self {
        match signal {
            Signal::Traces => Self::Span,
            Signal::Metrics => Self::DataPoint,
            Signal::Logs => Self::LogRecord,
        }
    }

    /// Returns the name of the unit in metrics and in the lines of the debug exporter.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Span => "spans",
            Self::DataPoint => "data_points",
            Self::LogRecord => "log_records",
            Self::AgentRequest => "agent_requests",
        }
    }
}
