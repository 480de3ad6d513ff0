//! Counts the connections of each listener, and why they ended.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

/// Counts the connections of all listeners.
#[derive(Clone, Debug)]
pub(super) struct ConnectionMetrics {
    open: UpDownCounter<i64>,
    ended: Counter<u64>,
}

/// A connection that counts as open until this value is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    metrics: ConnectionMetrics,
    listener: KeyValue,
    pub(super) end: End,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// One of both sides has closed it in order.
    Closed,
    /// It broke, or its peer broke the protocol.
    Failed,
    /// The handshake of TLS failed.
    TlsHandshake,
    /// A request had too many headers.
    MaxHeaderSize,
    /// No request had begun, or its headers had not arrived, in time.
    HeaderReadTimeout,
    /// It had been idle.
    IdleTimeout,
    /// It gave way to a new connection.
    MaxConnections,
    /// The peer had not read its responses.
    Unread,
    /// The peer had cancelled too many requests.
    TooManyResets,
    /// The server stopped.
    Stopped,
}

impl ConnectionMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let open = meter.i64_up_down_counter("ingestion.connections").with_unit("{connection}");
        let ended = meter.u64_counter("ingestion.connections.ended").with_unit("{connection}");
        Self {
            open: open.with_description("Open connections, by listener").build(),
            ended: ended.with_description("Connections that ended, by listener and reason").build(),
        }
    }

    /// Counts a connection of a listener.
    pub(super) fn begin(&self, listener: &'static str) -> OpenConnection {
        let listener = KeyValue::new("listener", listener);
        self.open.add(1, std::slice::from_ref(&listener));
        OpenConnection { metrics: self.clone(), listener, end: End::Failed }
    }
}

impl End {
    /// Returns the name of the reason. The reason that is a limit has the name of its setting.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::TlsHandshake => "tls_handshake",
            Self::MaxHeaderSize => "max_header_size",
            Self::HeaderReadTimeout => "header_read_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxConnections => "max_connections",
            Self::Unread => "unread",
            Self::TooManyResets => "too_many_resets",
            Self::Stopped => "stopped",
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.open.add(-1, std::slice::from_ref(&self.listener));
        let reason = KeyValue::new("reason", self.end.name());
        self.metrics.ended.add(1, &[self.listener.clone(), reason]);
    }
}
