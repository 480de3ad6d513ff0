//! Tests of a gateway whose keys are in a PostgreSQL database.

use std::fs;
use std::net::TcpListener;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::calls::{ARROW, Client, Status, TRACES};
use crate::program::{Gateway, run_to_end};

/// A key with the right format, which no database has.
const KEY: &str = "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN";
const RECEIVER_KEY: &str = "a-shared-key-of-the-installation";
const KEYS: &str = "/api/security/ingestion/api_keys";

/// Starts a gateway whose database is at this port.
async fn start(port: u16) -> Gateway {
    let url = format!("--set=storage.url=postgres://keys@127.0.0.1:{port}/keys?sslmode=disable");
    let receiver = format!("--set=auth.receiver_api_key={RECEIVER_KEY}");
    Gateway::start_with(&[&url, &receiver]).await
}

async fn readyz(gateway: &Gateway) -> (StatusCode, String) {
    let response = gateway.client.get(gateway.url("telemetry", "/readyz")).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// Asserts that a response asks its receiver to come back later.
fn assert_undecided(response: &Response) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"), "{response:?}");
}

/// Asserts that a gateway which has never reached its database serves all listeners, decides about
/// no key, and stops when it is told to.
async fn assert_waits(mut gateway: Gateway) {
    gateway.log.wait_for("the keys were not read yet").await;
    let (status, why) = readyz(&gateway).await;
    assert_eq!(
        (status, why.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the keys were never read\n")
    );

    let client = Client::connect(&gateway, "otlp_grpc").await;
    for path in [TRACES, ARROW] {
        assert_eq!(client.call(path, KEY).await.status, Status::UNAVAILABLE, "{path}");
    }
    assert_undecided(&gateway.send_http(KEY).await);
    for path in ["/stsAgent/api/v1/validate", "/stsAgent/intake", "/receiver/stsAgent/intake"] {
        let url = gateway.url("agent", path);
        assert_undecided(&gateway.client.get(url).header("sts-api-key", KEY).send().await.unwrap());
    }
    let authorize = gateway.authorize("", &json!({"apiKey": KEY}).to_string()).await;
    assert_undecided(&authorize);
    let forward = gateway.client.get(gateway.url("authorize", "/authorize"));
    let forward = forward.header("authorization", format!("StackState {KEY}"));
    assert_undecided(&forward.send().await.unwrap());

    for (method, path, body) in [
        (Method::GET, KEYS.to_owned(), None),
        (Method::POST, KEYS.to_owned(), Some(json!({"name": "edge"}))),
        (Method::GET, format!("{KEYS}/1"), None),
        (Method::PATCH, format!("{KEYS}/1"), Some(json!({"enabled": false}))),
        (Method::POST, format!("{KEYS}/1/rotate"), Some(json!({}))),
        (Method::DELETE, format!("{KEYS}/1"), None),
        (Method::GET, "/api/security/ingestion/audit".to_owned(), None),
    ] {
        let call = gateway.call(method.clone(), &path);
        let call = body.iter().fold(call, |call, body| call.json(body));
        let response = call.send().await.unwrap();
        assert_undecided(&response);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["errors"][0]["_type"], "Unavailable", "{method} {path}: {problem}");
    }
    let asked = json!({"apiKey": KEY});
    let asked = gateway.call(Method::POST, "/api/security/ingestion/authorize").json(&asked);
    assert_undecided(&asked.send().await.unwrap());

    // What needs no database is decided.
    assert_eq!(gateway.send_http(RECEIVER_KEY).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_http("not-a-key").await.status(), StatusCode::UNAUTHORIZED);
    let info = gateway.call(Method::GET, "/api/server/info").send().await.unwrap();
    assert_eq!(info.status(), StatusCode::OK);
    assert!(!gateway.metrics().await.contains("ingestion_keys_lag"));

    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

// Scenario: nobody listens at the address of the database when the gateway starts.
// Guarantee: the gateway starts. It is not ready, every decision about a key is undecided on every
// route, and every management call that needs the database answers 503. The gateway stops cleanly.
#[tokio::test]
async fn a_closed_port_is_waited_for() {
    let socket = TcpSocket::new_v4().unwrap();
    // A port that is bound and does not listen belongs to nobody else, and refuses connections.
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_waits(start(socket.local_addr().unwrap().port()).await).await;
}

// Scenario: somebody accepts connections at the address of the database, and says nothing.
// Guarantee: the same.
#[tokio::test]
async fn a_silent_port_is_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_waits(start(silent.local_addr().unwrap().port()).await).await;
}

// Scenario: the password file does not exist, or contains only a line end.
// Guarantee: the gateway does not start. The message names the setting and the file.
#[tokio::test]
async fn a_password_file_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    let set = format!("--set=storage.password_file={}", file.display());
    let arguments = ["--set=storage.url=postgres://keys@127.0.0.1:1/keys", &set];
    for cause in ["No such file", "the file is empty"] {
        let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
        assert_eq!(code, 69, "{errors}");
        let expected = format!("storage.password_file {} cannot be used", file.display());
        assert!(errors.contains(&expected) && errors.contains(cause), "{errors}");
        fs::write(&file, "\n").unwrap();
    }
}
