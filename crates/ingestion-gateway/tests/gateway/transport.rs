//! Tests of the two OTLP ports: each of them serves OTLP/gRPC and OTLP/HTTP.

use http_body_util::BodyExt;
use prost::Message;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tonic::Code;
use tower::ServiceExt;

use crate::payload::gzip;
use crate::program::{Gateway, traces};

const PORTS: [&str; 2] = ["otlp_grpc", "otlp_http"];
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

// Scenario: a sender of each transport sends to each OTLP port, over HTTP/1.1 and HTTP/2.
// Guarantee: every batch is accepted and counted, so that swapped ports lose nothing.
#[tokio::test]
async fn each_port_serves_both_transports() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    for port in PORTS {
        let body = gzip(&traces(10).encode_to_vec());
        let (code, text) = gateway.call_grpc(port, &key.secret, "gzip", &body).await;
        assert_eq!((code, &text[..]), (Code::Ok, ""), "{port}");
        let request = gateway.post_traces(port, &key.secret, "identity");
        let response = request.body(traces(10).encode_to_vec()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{port}");
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        let request = http::Request::post("/v1/traces")
            .header("content-type", "application/json")
            .header("authorization", format!("StackState {}", key.secret))
            .body(tonic::body::Body::empty());
        let answer = gateway.http2(port).await.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "an empty body is not JSON");
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    let metrics = gateway.metrics().await;
    let counted = metrics.lines().find(|line| line.starts_with("ingestion_debug_items_total"));
    assert!(counted.unwrap().ends_with(" 40"), "{counted:?}");
}

// Scenario: requests that are neither OTLP/HTTP nor OTLP/gRPC arrive at each port over HTTP/1.1.
// Some of them have the content type or the path of gRPC.
// Guarantee: none is answered with 200, which senders over HTTP take for success. Each response has
// a status with a text that says what to do.
#[tokio::test]
async fn what_is_not_otlp_is_not_answered_with_success() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await.secret;
    for port in PORTS {
        for (method, path, content_type, status, text) in [
            (Method::POST, EXPORT, "application/json", 415, "use application/grpc"),
            (Method::POST, EXPORT, "application/grpc", 415, "gRPC needs HTTP/2"),
            (Method::POST, "/v1/traces", "application/grpc", 415, "gRPC needs HTTP/2"),
            (Method::POST, "/v1/traces", "text/plain", 415, "use application/x-protobuf"),
            (Method::POST, "/", "application/json", 404, "use /v1/traces"),
            (Method::GET, "/v1/traces", "application/json", 405, "use POST"),
        ] {
            let request = gateway.client.request(method, gateway.url(port, path));
            let request = request.header("content-type", content_type).body("{}");
            let denied = request.try_clone().unwrap().send().await.unwrap();
            assert_eq!(denied.status(), StatusCode::UNAUTHORIZED, "{port} {path} {content_type}");
            let request = request.header("authorization", format!("StackState {key}"));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{port} {path} {content_type}");
            assert!(!response.headers().contains_key("grpc-status"));
            let body: Value = response.json().await.unwrap();
            assert!(body["message"].as_str().unwrap().contains(text), "{body}");
        }
    }
}

// Scenario: a gRPC call of an unknown service arrives at each port over HTTP/2.
// Guarantee: the gRPC status is `UNIMPLEMENTED`.
#[tokio::test]
async fn unknown_calls_are_unimplemented() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await.secret;
    for port in PORTS {
        let request = http::Request::post("/v1/traces")
            .header("content-type", "application/grpc")
            .header("authorization", format!("StackState {key}"))
            .body(tonic::body::Body::empty());
        let answer = gateway.http2(port).await.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["grpc-status"], "12");
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
