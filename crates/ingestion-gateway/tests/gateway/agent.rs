//! Tests of what the agent listener receives besides the payloads of agents.

use prost::Message as _;
use reqwest::{RequestBuilder, StatusCode};

use crate::program::{Gateway, traces};

impl Gateway {
    fn post_agent(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url("agent", path))
    }

    /// Waits until the metrics count this number of items of a kind.
    async fn counts(&self, item: &str, count: usize) -> bool {
        let request = self.client.get(self.url("telemetry", "/metrics"));
        let metrics = request.send().await.unwrap().text().await.unwrap();
        let item = format!("item=\"{item}\"");
        metrics.lines().any(|line| line.contains(&item) && line.ends_with(&format!(" {count}")))
    }
}

// Scenario: a sender of OTLP uses the agent listener with the path prefix for OTLP, with and
// without `/receiver`, in both encodings. It sends good batches, a batch without a key, a batch
// with a wrong key, and a batch to a path that OTLP does not have.
// Guarantee: the items of the good batches are counted as on an OTLP listener. Every other response
// has the status of OTLP and a `google.rpc.Status` in the encoding of the request.
#[tokio::test]
async fn otlp_below_the_prefix_of_agents_is_otlp() {
    let gateway = Gateway::start().await;
    let key = gateway.create("agent").await.secret;
    let batch = traces(7).encode_to_vec();
    let protobuf = |path: &str| {
        let request = gateway.post_agent(path).header("content-type", "application/x-protobuf");
        request.body(batch.clone())
    };
    for prefix in ["/stsAgent/otel", "/receiver/stsAgent/otel"] {
        let path = format!("{prefix}/v1/traces");
        let authorization = format!("SUSEObservability {key}");
        let response = protobuf(&path).header("authorization", authorization).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        let json = gateway.post_agent(&path).header("content-type", "application/json");
        let json = json.header("sts-api-key", &key).body(r#"{"resourceSpans":[]}"#);
        assert_eq!(json.send().await.unwrap().text().await.unwrap(), "{}");

        let wrong = protobuf(&path).header("sts-api-key", "wrong");
        let unknown_path = protobuf(&format!("{prefix}/v1/nothing")).header("sts-api-key", &key);
        for (request, status, code) in
            [(protobuf(&path), 401, 16), (wrong, 401, 16), (unknown_path, 404, 12)]
        {
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()["content-type"], "application/x-protobuf");
            let body = response.bytes().await.unwrap();
            // The first field of the status is its code.
            assert_eq!(body[..2], [0x08, code], "{body:?}");
        }
    }
    assert!(gateway.counts("spans", 14).await);
    assert!(!gateway.counts("agent_requests", 2).await);
}
