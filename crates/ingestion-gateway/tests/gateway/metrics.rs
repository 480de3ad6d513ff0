//! Tests of the metrics, and that their document is complete.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::json;
use tonic::Code;

use crate::program::Gateway;

const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

/// Returns the value of the series of a metric that has all these labels.
fn value(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |line: &str, (label, value): &(&str, &str)| {
        [format!("{{{label}=\"{value}\""), format!(",{label}=\"{value}\"")]
            .iter()
            .any(|label| line.contains(label))
    };
    let mut lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let line = lines.find(|line| labels.iter().all(|label| has(line, label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

// Scenario: requests of each kind of sender are let in and refused, management and other components
// call, and the metrics are scraped.
// Guarantee: every metric is in the document, by its name in Prometheus, and every documented
// metric is there, apart from those that the document expects only later.
#[tokio::test]
async fn the_document_lists_every_metric() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Ok);
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    gateway.authorize("", &json!({"apiKey": key.secret}).to_string()).await;
    gateway.delete(key.id).await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::UNAUTHORIZED);
    let refused = gateway.client.get(gateway.url("management", "/api/server/info")).send().await;
    assert_eq!(refused.unwrap().status(), StatusCode::UNAUTHORIZED);
    // The usage of a deleted key is not shown any more, so another key is used.
    let key = gateway.create("other").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    let metrics = gateway.metrics().await;

    let scraped: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let kinds = ["` (counter", "` (gauge", "` (histogram"];
    let rows = DOCUMENT.lines().filter(|line| kinds.iter().any(|kind| line.contains(kind)));
    let mut documented = BTreeSet::new();
    let mut expected = BTreeSet::new();
    for row in rows {
        let columns: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, name, _, _, from] = columns[..] else { panic!("five columns: {row}") };
        let name = name.trim_matches('`');
        documented.insert(name);
        if from.is_empty() {
            expected.insert(name);
        }
    }
    assert!(scraped.is_subset(&documented), "{:?}", scraped.difference(&documented));
    assert!(expected.is_subset(&scraped), "{:?}", expected.difference(&scraped));
}

// Scenario: a key sends over HTTP and gRPC, to a path that nobody serves, and after it was deleted.
// Guarantee: the durations and the decisions name the route and the status. A path that nobody
// serves is no label. A request that has ended is not in flight.
#[tokio::test]
async fn requests_are_measured_by_route_and_status() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Ok);
    let unknown = gateway.client.post(gateway.url("otlp_http", "/a-path-of-nobody"));
    let unknown = unknown.header("authorization", format!("StackState {}", key.secret));
    assert_eq!(unknown.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    gateway.delete(key.id).await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Unauthenticated);

    let metrics = gateway.metrics().await;
    let http = "http_server_request_duration_seconds_count";
    let grpc = "rpc_server_call_duration_seconds_count";
    let decisions = "ingestion_auth_decisions_total";
    let export = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let route = format!("/{export}");
    let status = ("http_response_status_code", "404");
    for (name, labels) in [
        (http, [("http_route", "/v1/traces"), ("http_response_status_code", "200")]),
        (http, [("http_route", "/v1/traces"), ("http_response_status_code", "401")]),
        (http, [("http_request_method", "POST"), status]),
        (grpc, [("rpc_method", export), ("rpc_response_status_code", "OK")]),
        (grpc, [("rpc_method", export), ("rpc_response_status_code", "UNAUTHENTICATED")]),
        (decisions, [("http_route", "/v1/traces"), ("outcome", "allow")]),
        (decisions, [("http_route", "/v1/traces"), ("deny_reason", "revoked")]),
        (decisions, [("http_route", &route), ("deny_reason", "revoked")]),
    ] {
        assert_eq!(value(&metrics, name, &labels), Some(1.0), "{name} {labels:?}\n{metrics}");
    }
    assert!(!metrics.contains("nobody"), "{metrics}");
    let active = metrics.lines().find(|line| line.starts_with("http_server_active_requests{"));
    assert!(active.is_some_and(|line| line.ends_with(" 0")), "{metrics}");
}

// Scenario: the upstreams of HTTP and gRPC are at a port where nobody listens. A key sends to both.
// Guarantee: the time until each upstream failed is measured by the upstream, with the cause. The
// requests are measured as answered with 503 and `UNAVAILABLE`, and count as failed.
#[tokio::test]
async fn upstreams_are_measured() {
    // Nobody listens on a port that was bound and is closed again.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start_with(&[
        "--set",
        &format!("upstream.otlp_http.endpoint=http://{closed}"),
        "--set",
        &format!("upstream.otlp_grpc.endpoint=http://{closed}"),
        "--set",
        "upstream.agent=debug",
    ])
    .await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Unavailable);
    let (metrics, port) = (gateway.metrics().await, closed.port().to_string());
    let unavailable = ("error_type", "unavailable");
    for (name, labels) in [
        ("http_client_request_duration_seconds_count", [("server_port", &*port), unavailable]),
        ("rpc_client_call_duration_seconds_count", [("server_port", &*port), unavailable]),
        (
            "http_server_request_duration_seconds_count",
            [("http_route", "/v1/traces"), ("http_response_status_code", "503")],
        ),
        (
            "rpc_server_call_duration_seconds_count",
            [("rpc_system_name", "grpc"), ("rpc_response_status_code", "UNAVAILABLE")],
        ),
        ("ingestion_key_requests_total", [("key_id", &*key.id.to_string()), ("outcome", "failed")]),
    ] {
        let expected = if name == "ingestion_key_requests_total" { 2.0 } else { 1.0 };
        assert_eq!(value(&metrics, name, &labels), Some(expected), "{name}\n{metrics}");
    }
}
