//! Measures how long upstreams take to answer.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use super::requests::{BOUNDARIES, HTTP_STATUSES};

/// The instrument of one upstream. It is bound to its attributes when they first occur.
#[derive(Debug)]
pub(crate) struct UpstreamMetrics {
    duration: Histogram<f64>,
    common: Vec<KeyValue>,
    /// Whether the status of a response tells how the request ended. The status of a gRPC call
    /// comes after its response.
    has_status: bool,
    bound: [OnceLock<BoundHistogram<f64>>; HTTP_STATUSES.len()],
}

impl UpstreamMetrics {
    /// Creates the instrument of the upstream at `authority`, which gets calls of gRPC or other
    /// HTTP requests.
    pub(crate) fn new(meter: &Meter, is_grpc: bool, authority: &str) -> Self {
        let (name, description) = match is_grpc {
            true => ("rpc.client.call.duration", "Time until upstreams answer gRPC calls"),
            false => ("http.client.request.duration", "Time until upstreams answer HTTP requests"),
        };
        let duration = meter.f64_histogram(name).with_unit("s").with_description(description);
        let port =
            authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) =
            port.map_or((authority, None), |(host, port): (_, i64)| (host, Some(port)));
        let common = [KeyValue::new("server.address", host.to_owned())]
            .into_iter()
            .chain(port.map(|port| KeyValue::new("server.port", port)))
            .chain(is_grpc.then(|| KeyValue::new("rpc.system.name", "grpc")))
            .collect();
        Self {
            duration: duration.with_boundaries(BOUNDARIES.into()).build(),
            common,
            has_status: !is_grpc,
            bound: Default::default(),
        }
    }

    /// Records that the response to a request has begun.
    pub(crate) fn answered(&self, status: StatusCode, elapsed: Duration) {
        let error = status.is_server_error().then(|| status.as_u16().to_string().into());
        let attributes = || {
            let status = KeyValue::new("http.response.status_code", i64::from(status.as_u16()));
            self.attributes(self.has_status.then_some(status), error)
        };
        let known = HTTP_STATUSES.iter().position(|known| *known == status.as_u16());
        match known.and_then(|known| self.bound.get(known)) {
            Some(cell) => {
                let bound = cell.get_or_init(|| self.duration.bind(&attributes()));
                bound.record(elapsed.as_secs_f64());
            }
            None => self.duration.record(elapsed.as_secs_f64(), &attributes()),
        }
    }

    /// Records that a request got no response. `reason` comes from a fixed set.
    pub(crate) fn failed(&self, reason: &'static str, elapsed: Duration) {
        let attributes = self.attributes(None, Some(reason.into()));
        self.duration.record(elapsed.as_secs_f64(), &attributes);
    }

    fn attributes(&self, status: Option<KeyValue>, error: Option<Value>) -> Vec<KeyValue> {
        let error = error.map(|error| KeyValue::new("error.type", error));
        self.common.iter().cloned().chain(status).chain(error).collect()
    }
}
