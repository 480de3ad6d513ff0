//! Valid requests of OTLP, each in protobuf and in JSON.

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otlp_receiver::Signal;
use prost::Message;
use serde_json::{Value, json};

use crate::mutate::pick;

/// The signals, each with its paths on both transports.
pub(crate) const SIGNALS: [(Signal, &str, &str); 3] = [
    (Signal::Traces, "/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    (
        Signal::Metrics,
        "/v1/metrics",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    ),
    (Signal::Logs, "/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
];

/// Makes a request of the signal with a few items.
pub(crate) fn request(rng: &mut Rng, signal: Signal) -> Value {
    let list = |rng: &mut Rng, make: &dyn Fn(&mut Rng) -> Value| -> Value {
        (0..rng.u8(..4)).map(|_| make(rng)).collect()
    };
    match signal {
        Signal::Traces => json!({ "resourceSpans": list(rng, &|rng| json!({
            "resource": {"attributes": list(rng, &attribute)},
            "scopeSpans": list(rng, &|rng| json!({
                "scope": {"name": "s", "version": "1"},
                "spans": list(rng, &|rng| json!({
                    "traceId": "0102030405060708090a0b0c0d0e0f10",
                    "spanId": "0102030405060708",
                    "name": "w\u{e4}rk",
                    "startTimeUnixNano": "1",
                    "attributes": list(rng, &attribute),
                })),
            })),
        })) }),
        Signal::Logs => json!({ "resourceLogs": list(rng, &|rng| json!({
            "resource": {"attributes": list(rng, &attribute)},
            "scopeLogs": list(rng, &|rng| json!({
                "logRecords": list(rng, &|rng| json!({
                    "timeUnixNano": "18446744073709551615",
                    "body": {"stringValue": "\"\\\n\u{1f600}"},
                    "attributes": list(rng, &attribute),
                })),
            })),
        })) }),
        Signal::Metrics => json!({ "resourceMetrics": list(rng, &|rng| json!({
            "scopeMetrics": list(rng, &|rng| json!({
                "metrics": list(rng, &metric),
            })),
        })) }),
    }
}

fn attribute(rng: &mut Rng) -> Value {
    let mut value = json!({"stringValue": "v"});
    for _ in 0..rng.u8(..6) {
        value = json!({"arrayValue": {"values": [value]}});
    }
    json!({"key": "k", "value": value})
}

fn metric(rng: &mut Rng) -> Value {
    let kind = *pick(rng, &["gauge", "sum", "histogram", "exponentialHistogram", "summary"]);
    let points: Value = (0..rng.u8(..4)).map(|_| json!({"timeUnixNano": "7"})).collect();
    let data = match kind {
        "gauge" | "summary" => json!({"dataPoints": points}),
        _ => json!({"dataPoints": points, "aggregationTemporality": 2}),
    };
    json!({"name": "m", kind: data})
}

/// Encodes a request in protobuf.
pub(crate) fn protobuf(signal: Signal, request: &Value) -> serde_json::Result<Vec<u8>> {
    let request = request.clone();
    Ok(match signal {
        Signal::Traces => {
            serde_json::from_value::<ExportTraceServiceRequest>(request)?.encode_to_vec()
        }
        Signal::Metrics => {
            serde_json::from_value::<ExportMetricsServiceRequest>(request)?.encode_to_vec()
        }
        Signal::Logs => {
            serde_json::from_value::<ExportLogsServiceRequest>(request)?.encode_to_vec()
        }
    })
}

/// Decodes the whole request as other receivers do, and counts its spans or log records. Returns
/// `None` if it cannot be decoded, and for metrics: the kind of a metric is one of several fields,
/// of which decoding keeps the last one.
pub(crate) fn decoded_items(signal: Signal, request: Bytes) -> Option<usize> {
    match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request).ok()?;
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            Some(scopes.map(|scope| scope.spans.len()).sum())
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request).ok()?;
            let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
            Some(scopes.map(|scope| scope.log_records.len()).sum())
        }
        Signal::Metrics => None,
    }
}
