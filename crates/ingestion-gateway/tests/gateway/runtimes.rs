//! Tests of the threads: senders have threads of their own.

use std::sync::{Arc, mpsc};

use ingestion_gateway::Workers;
use ingestion_gateway::config::{Config, Sources};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::program::{PATIENCE, client, free_ports};

// Scenario: every thread that serves senders is occupied, as if by requests that take very long to
// decode. A sender sends a request. An operator creates and deletes a key, another component asks
// about a key, and the health check runs. Then the gateway is stopped.
// Guarantee: all of them get their answers, and only the sender waits. The gateway stops, although
// the threads of the senders are still occupied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_senders() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut sets: Vec<String> =
        free_ports().into_iter().map(|set| set.replace("--set=", "")).collect();
    sets.extend([
        format!("storage.url=sqlite://{}", path("keys.db")),
        format!("management.admin_token_file={}", path("admin-tokens")),
        "shutdown_grace=100ms".to_owned(),
    ]);
    let sources = Sources { files: Vec::new(), sets };
    let (config, _) = Config::load(&sources, &|_| None).unwrap();

    let senders = Arc::new(Workers::start_threads(1).unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let (threads, ready_file) = (Arc::clone(&senders), path("ready.json"));
    let gateway = tokio::spawn({
        let ready_file = ready_file.clone();
        async move {
            let stop = async { drop(stopped.await) };
            ingestion_gateway::run(config, Some(ready_file.as_ref()), &threads, stop).await
        }
    });
    let addresses: Value = timeout(PATIENCE, async {
        loop {
            match std::fs::read(&ready_file) {
                Ok(addresses) => break serde_json::from_slice(&addresses).unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    let url = |listener: &str, path: &str| {
        format!("http://{}{path}", addresses[listener].as_str().unwrap())
    };

    let (release, held) = mpsc::channel::<()>();
    let (occupied, is_occupied) = oneshot::channel();
    senders.handles()[0].spawn(async move {
        occupied.send(()).unwrap();
        // This blocks the only thread.
        let _ = held.recv();
    });
    is_occupied.await.unwrap();
    let sender = tokio::spawn(client().post(url("otlp_http", "/v1/traces")).body("{}").send());

    let client = client();
    let health = client.get(url("telemetry", "/livez"));
    assert_eq!(timeout(PATIENCE, health.send()).await.unwrap().unwrap().status(), StatusCode::OK);
    let keys = url("management", "/api/security/ingestion/api_keys");
    let tokens = std::fs::read_to_string(path("admin-tokens")).unwrap();
    let token = tokens.lines().next().unwrap();
    let create = client.post(&keys).header("x-api-token", token).json(&json!({"name": "edge"}));
    let created = timeout(PATIENCE, create.send()).await.unwrap().unwrap();
    assert_eq!(created.status(), StatusCode::OK);
    let key: Value = created.json().await.unwrap();
    let ask = url("authorize", "/internal/api/security/ingestion/authorize");
    let ask = client.post(ask).json(&json!({"apiKey": key["apiKey"]}));
    let asked = timeout(PATIENCE, ask.send()).await.unwrap().unwrap();
    assert_eq!(asked.status(), StatusCode::NO_CONTENT);
    let delete = client.delete(format!("{keys}/{}", key["id"])).header("x-api-token", token);
    let deleted = timeout(PATIENCE, delete.send()).await.unwrap().unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(!sender.is_finished());

    stop.send(()).unwrap();
    timeout(PATIENCE, gateway).await.unwrap().unwrap().unwrap();
    drop(release);
    drop(senders);
}
