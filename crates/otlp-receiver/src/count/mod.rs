//! Counts the items of a request without building it.
//!
//! A request may be a thousand times as large in memory as it is encoded. Items are counted where
//! they stand, in protobuf and in JSON, and nothing is kept.
//!
//! Requests are counted and not validated: what lies below an item is skipped without being
//! decoded, so it cannot recurse. How deep it is nested is limited all the same, for groups in
//! protobuf as for brackets in JSON.

mod json;
mod protobuf;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::DecodeError;

use crate::signal::Signal;

/// Counts the items of a request in protobuf. The fields of every message from the request down to
/// its items have to be well-formed.
pub(crate) fn protobuf(signal: Signal, request: Bytes) -> Result<usize, DecodeError> {
    protobuf::count(path(signal), request)
}

/// Counts the items of a request in JSON. `null` is an empty value everywhere, as proto3 has it for
/// fields.
pub(crate) fn json(signal: Signal, request: &[u8]) -> serde_json::Result<usize> {
    json::count(path(signal), request)
}

/// A step from a message into the messages of some of its fields.
#[derive(Debug)]
struct Step {
    /// The fields' numbers in protobuf and names in JSON; a message has at most one of them.
    fields: &'static [(u32, &'static str)],
    is_list: bool,
}

impl Step {
    const fn list(field: &'static [(u32, &'static str); 1]) -> Self {
        Self { fields: field, is_list: true }
    }
}

/// The steps from a request of `signal` to its items.
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
