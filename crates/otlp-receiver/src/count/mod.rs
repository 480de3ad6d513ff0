//! Counts the items of a request without building the request in memory.
//!
//! A request that is built may take a thousand times the memory of its encoded bytes. Therefore
//! items are counted in the encoded bytes, in protobuf and in JSON, and nothing is kept.
//!
//! Requests are not validated. The content of an item is skipped without being decoded, so deep
//! nesting cannot cause deep recursion. Nevertheless, the nesting of groups in protobuf and of
//! brackets in JSON is limited.

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

use prost::DecodeError;

use crate::signal::Signal;

/// Counts the items of a request in protobuf. Every message on the path from the request down to
/// its items must have well-formed fields.
pub(crate) fn protobuf(signal: Signal, request: &[u8]) -> Result<usize, Malformed> {
    protobuf::count(path(signal), request)
}

/// Counts the items of a request in JSON. `null` counts as an empty value everywhere, as proto3
/// defines for fields.
pub(crate) fn json(signal: Signal, request: &[u8]) -> Result<usize, Malformed> {
    json::count(path(signal), request).map_err(|_| Malformed)
}

/// The request is not an OTLP request of the signal. A sender needs no details, because only an
/// error in its program causes this.
#[derive(Debug)]
pub(crate) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// A step on the path from a request to its items. The step leads from a message to the messages
/// that are in certain fields of that message.
#[derive(Debug)]
struct Step {
    /// The fields that this step descends into, each with its number in protobuf and its name in
    /// JSON. A message has at most one of these fields.
    fields: &'static [(u32, &'static str)],
    is_list: bool,
}

impl Step {
    const fn list(field: &'static [(u32, &'static str); 1]) -> Self {
        Self { fields: field, is_list: true }
    }
}

/// Returns the steps from a request of `signal` to its items.
fn path(signal: Signal) -> &'static [Step] {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

const TRACES: [Step; 3] = [
    Step::list(&[(1, "resourceSpans")]),
    Step::list(&[(2, "scopeSpans")]),
    Step::list(&[(2, "spans")]),
];

const LOGS: [Step; 3] = [
    Step::list(&[(1, "resourceLogs")]),
    Step::list(&[(2, "scopeLogs")]),
    Step::list(&[(2, "logRecords")]),
];

const METRICS: [Step; 5] = [
    Step::list(&[(1, "resourceMetrics")]),
    Step::list(&[(2, "scopeMetrics")]),
    Step::list(&[(2, "metrics")]),
    Step {
        fields: &[
            (5, "gauge"),
            (7, "sum"),
            (9, "histogram"),
            (10, "exponentialHistogram"),
            (11, "summary"),
        ],
        is_list: false,
    },
    Step::list(&[(1, "dataPoints")]),
];
