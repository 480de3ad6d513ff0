use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::json::MAX_DEPTH;
use super::*;

/// Encodes a request of opentelemetry-proto in protobuf and in JSON, and returns the number of
/// items that are counted in each encoding.
fn counts<T: prost::Message + Default + Serialize + DeserializeOwned>(
    signal: Signal,
    request: &serde_json::Value,
) -> (usize, usize) {
    let request: T = serde_json::from_value(request.clone()).unwrap();
    let in_protobuf = protobuf(signal, &request.encode_to_vec()).unwrap();
    (in_protobuf, json(signal, &serde_json::to_vec(&request).unwrap()).unwrap())
}

// Scenario: opentelemetry-proto encodes requests of each signal. The requests have several
// resources and scopes, and every kind of metric.
// Guarantee: each item is counted once, in protobuf and in JSON.
#[test]
fn items_are_counted() {
    let scopes = |list: &str| json!([{"scope": {"name": "s"}, list: [{}, {}]}, {list: [{}]}, {}]);
    let resource = json!({"attributes": [{"key": "k", "value": {"stringValue": "v"}}]});
    let traces = json!({"resourceSpans": [
        {"resource": resource, "scopeSpans": scopes("spans")},
        {"scopeSpans": scopes("spans")},
    ]});
    assert_eq!(counts::<ExportTraceServiceRequest>(Signal::Traces, &traces), (6, 6));
    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": scopes("logRecords")}]});
    assert_eq!(counts::<ExportLogsServiceRequest>(Signal::Logs, &logs), (3, 3));
    let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
    let metrics: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let mut data = match ["gauge", "summary"].contains(kind) {
                true => json!({}),
                false => json!({"aggregationTemporality": 2}),
            };
            data["dataPoints"] = json!([{}, {}]);
            json!({"name": "m", *kind: data})
        })
        .collect();
    let metrics = json!({"resourceMetrics": [
        {"scopeMetrics": [{"metrics": metrics}, {"metrics": [{"name": "none"}]}]},
    ]});
    assert_eq!(counts::<ExportMetricsServiceRequest>(Signal::Metrics, &metrics), (10, 10));
    assert_eq!(protobuf(Signal::Traces, &[]).unwrap(), 0);
    assert_eq!(json(Signal::Traces, b"{}").unwrap(), 0);
}

// Scenario: JSON requests have `null` in place of a list, of a message in a list, of a field and of
// the whole request. One request has a string that is cut within a character.
// Guarantee: `null` counts as an empty value. Items beside `null` and items with a cut string are
// counted.
#[test]
fn null_is_empty() {
    let count = |signal, request: &str| json(signal, request.as_bytes()).unwrap();
    for empty in
        ["null", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[null,{"scopeSpans":null}]}"#]
    {
        assert_eq!(count(Signal::Traces, empty), 0, "{empty}");
    }
    let spans = concat!(
        r#"{"resourceSpans":[{"resource":null,"scopeSpans":"#,
        r#"[{"spans":null},{"spans":[{"name":"\ud83d"}]}]}]}"#,
    );
    assert_eq!(count(Signal::Traces, spans), 1);
    let metrics = concat!(
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":"#,
        r#"[{"gauge":null,"sum":{"dataPoints":[{}]}}]}]}]}"#,
    );
    assert_eq!(count(Signal::Metrics, metrics), 1);
}

// Scenario: protobuf is cut off, has fields of wrong types, or is nested too deep. Other bytes are
// not protobuf.
// Guarantee: counting fails for each of them.
#[test]
fn malformed_protobuf_is_refused() {
    let request = b"\x0a\x06\x12\x04\x12\x02\x2a\x00";
    assert_eq!(protobuf(Signal::Traces, request).unwrap(), 1);
    for end in 1..request.len() {
        assert!(protobuf(Signal::Traces, &request[..end]).is_err(), "{end}");
    }
    for wrong in [
        &b"\x08\x01"[..],
        b"\x0a\x02\x12\x05",
        b"\x0a\x06\x12\x04\x12\x02\x2a\x01",
        b"hello",
        &[0x1b; 100_000],
    ] {
        assert!(protobuf(Signal::Traces, wrong).is_err(), "{wrong:?}");
    }
}

// Scenario: JSON is cut off, has values of wrong types, or is nested too deep. Other text is not
// JSON.
// Guarantee: counting fails for each of them.
#[test]
fn malformed_json_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let below_item = |depth| {
        let value = nested(depth);
        let span = format!(r#"{{"name":"[[\"[{{","x":{value}}}"#);
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
    };
    assert_eq!(json(Signal::Traces, below_item(MAX_DEPTH - 7).as_bytes()).unwrap(), 1);
    let nested =
        [format!("{{\"x\":{}}}", nested(MAX_DEPTH)), below_item(MAX_DEPTH - 6), nested(100_000)];
    let wrong = [
        "",
        "[]",
        "{",
        "{} x",
        r#"{"resourceSpans": {}}"#,
        r#"{"resourceSpans": [1]}"#,
        r#"{"resourceSpans": [{]}"#,
    ];
    for wrong in wrong.into_iter().chain(nested.iter().map(String::as_str)) {
        assert!(json(Signal::Traces, wrong.as_bytes()).is_err(), "{wrong:.40}");
    }
}

// Scenario: two million empty spans are counted, in protobuf and in JSON.
// Guarantee: the spans are counted in the encoded bytes, and nothing is allocated for them. Even
// one byte per span would be 2 MB.
#[test]
fn items_are_not_built() {
    const SPANS: usize = 2_000_000;
    let nested = |tag: u8, inner: &[u8]| {
        let mut outer = vec![tag];
        prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
        [&outer, inner].concat()
    };
    let in_protobuf = nested(0x0a, &nested(0x12, &[0x12, 0].repeat(SPANS)));
    let in_json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}}{}]}}]}}]}}"#,
        ",{}".repeat(SPANS - 1)
    );
    let measured = allocation_counter::measure(|| {
        assert_eq!(protobuf(Signal::Traces, &in_protobuf).unwrap(), SPANS);
        assert_eq!(json(Signal::Traces, in_json.as_bytes()).unwrap(), SPANS);
    });
    assert!(measured.bytes_max < 1024, "{} bytes", measured.bytes_max);
}
