//! Tests of how the answers to requests are counted.

use reqwest::StatusCode;
use serde_json::Value;
use tonic::Code;

use crate::program::{Gateway, Key};

/// Returns the numbers of accepted, failed and denied requests.
async fn counters(gateway: &Gateway, key: &Key) -> [u64; 3] {
    let used = gateway.get(key.id).await;
    ["accepted", "failed", "denied"].map(|name| used[name].as_u64().unwrap())
}

// Scenario: a key sends batches that are taken and batches that cannot be, on every receiver. Then
// the key is disabled and sends again, and the gateway is restarted.
// Guarantee: what was answered with success is accepted, and what was let in and answered otherwise
// has failed, also in the list and in the metrics. What was not let in is denied. Nothing is lost
// in the restart.
#[tokio::test]
async fn only_success_counts_as_accepted() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Ok);
    assert_eq!(gateway.validate(&key.secret).await, StatusCode::OK);
    assert_eq!(counters(&gateway, &key).await, [3, 0, 0]);

    let post = async |listener: &str, path: &str| {
        let request = gateway.client.post(gateway.url(listener, path));
        let request = request.header("content-type", "application/json").body("{");
        let request = request.header("authorization", format!("StackState {}", key.secret));
        request.send().await.unwrap().status()
    };
    assert_eq!(post("otlp_http", "/v1/traces").await, StatusCode::BAD_REQUEST);
    assert_eq!(post("otlp_http", "/v1/nothing").await, StatusCode::NOT_FOUND);
    assert_eq!(post("agent", "/nothing").await, StatusCode::NOT_FOUND);
    assert_eq!(counters(&gateway, &key).await, [3, 3, 0]);
    assert_ne!(gateway.send_grpc(&key.secret, 500_000, None).await, Code::Ok);
    assert_eq!(counters(&gateway, &key).await, [3, 4, 0]);

    let metrics = gateway.metrics().await;
    for (outcome, count) in [("accepted", 3), ("failed", 4)] {
        let labels = [format!("key_id=\"{}\"", key.id), format!("outcome=\"{outcome}\"")];
        let line = metrics.lines().find(|line| {
            line.starts_with("ingestion_key_requests_total")
                && labels.iter().all(|label| line.contains(label))
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{metrics}");
    }
    let path = format!("/api/security/ingestion/api_keys/{}", key.id);
    let disable = gateway.call(reqwest::Method::PATCH, &path);
    let disable = disable.json(&serde_json::json!({"enabled": false})).send().await.unwrap();
    assert_eq!(disable.status(), StatusCode::OK);
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::UNAUTHORIZED);
    let gateway = gateway.restart().await;
    assert_eq!(counters(&gateway, &key).await, [3, 4, 1]);
    let list = gateway.call(reqwest::Method::GET, "/api/security/ingestion/api_keys");
    let listed: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!((&listed[0]["accepted"], &listed[0]["failed"]), (&3.into(), &4.into()));
}

// Scenario: a key is used from more user agents than are kept. In another gateway, `usage.sources`
// is 0. Both gateways are restarted.
// Guarantee: the first gateway shows the latest user agents, the last one among them, and no more
// than it should keep. The other gateway keeps no source at all, and counts all the same.
#[tokio::test]
async fn the_latest_sources_are_kept_or_none() {
    for (sources, kept) in [("usage.sources=3", 3), ("usage.sources=0", 0)] {
        let gateway = Gateway::start_with(&["--set", sources]).await;
        let key = gateway.create("edge").await;
        for number in 0..6 {
            let request = gateway.client.post(gateway.url("agent", "/stsAgent/intake"));
            let request = request.header("sts-api-key", &key.secret);
            let sent = request.header("user-agent", format!("sender/{number}")).send().await;
            assert_eq!(sent.unwrap().status(), StatusCode::OK);
        }
        let shown = async |gateway: &Gateway| {
            let used = gateway.get(key.id).await;
            assert_eq!(used["accepted"], 6);
            let sources = used["sources"].as_array().cloned().unwrap_or_default();
            let agents = sources.iter().map(|source| source["userAgent"].as_str().unwrap());
            agents.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = shown(&gateway).await;
        assert_eq!(before.len(), kept, "{before:?}");
        assert!(kept == 0 || before.contains(&"sender/5".to_owned()), "{before:?}");
        let gateway = gateway.restart().await;
        assert_eq!(shown(&gateway).await.len(), kept);
    }
}
