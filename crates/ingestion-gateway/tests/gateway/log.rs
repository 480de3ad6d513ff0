//! Tests that a caller who is refused cannot fill the log.

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::followers::{self, FOLLOW};
use crate::program::Gateway;

/// The number of refused calls. Each minute, 10 of them are logged.
const CALLS: usize = 2000;

// Scenario: one caller makes 2,000 management calls without a token. Then the gateway is stopped.
// Guarantee: the log has a line for a small part of the calls. It says how many of the other calls
// were left out, and no call is missing in the sum.
#[tokio::test]
async fn refused_calls_do_not_fill_the_log() {
    let mut gateway = Gateway::start().await;
    let url = gateway.url("management", "/api/security/ingestion/api_keys");
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (client, url) = (gateway.client.clone(), url.clone());
        calls.spawn(async move {
            for _ in 0..CALLS / 20 {
                assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
            }
        });
    }
    calls.join_all().await;
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.log.wait_for("stopped").await;
    let log = gateway.log.all();
    let logged = log.matches("a management call was refused").count();
    let left_out: usize = log
        .lines()
        .filter(|line| line.contains("more callers were refused than are logged"))
        .map(|line| line.rsplit_once("left_out=").unwrap().1.parse::<usize>().unwrap())
        .sum();
    assert_eq!(logged + left_out, CALLS, "{log}");
    assert!(logged < CALLS / 10, "{logged} lines");
}

// Scenario: there is no place for a follower. It tries again a hundred times.
// Guarantee: it is told when to come back, and nothing else. The log has no line about it, and a
// metric counts it.
#[tokio::test]
async fn followers_without_a_place_do_not_fill_the_log() {
    let gateway = Gateway::start_with(&["--set=limits.max_connections=8"]).await;
    let token = followers::create_token(&gateway).await.secret;
    let follow =
        async || followers::call(&gateway, Method::GET, FOLLOW, &token).send().await.unwrap();
    let mut connected = Vec::new();
    for _ in 0..6 {
        connected.push(follow().await);
        assert_eq!(connected.last().unwrap().status(), 200);
    }
    for _ in 0..100 {
        let refused = follow().await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        let text = refused.text().await.unwrap();
        assert!(text.contains("\"too many followers are connected\""), "{text}");
    }
    let metrics = gateway.metrics().await;
    let counted = |line: &str| {
        line.starts_with("ingestion_follower_refusals_total{reason=\"full\"")
            && line.ends_with(" 100")
    };
    assert!(metrics.lines().any(counted), "{metrics}");
    let log = gateway.log.all();
    assert!(!log.contains("a management call"), "{log}");
}

// Scenario: a key is created, updated, rotated and deleted through the management API. A change
// that is not valid is refused. The names and descriptions have texts of their own.
// Guarantee: the log has one line for each change that was made, with who made it, what was changed
// and the id of the key. It has no name and no description.
#[tokio::test]
async fn changes_are_logged() {
    let gateway = Gateway::start().await;
    let key = gateway.create("a-name-of-a-person").await;
    let path = format!("/api/security/ingestion/api_keys/{}", key.id);
    let call = async |method, path: &str, body: serde_json::Value| {
        let call = gateway.call(method, path).json(&body);
        call.send().await.unwrap()
    };
    let update = serde_json::json!({"description": "a-text-of-a-person", "enabled": true});
    assert_eq!(call(Method::PATCH, &path, update).await.status(), 200);
    let update = serde_json::json!({"description": "a-text-of-a-person", "name": "another-name"});
    assert_eq!(call(Method::PATCH, &path, update).await.status(), 200);
    assert_eq!(call(Method::PATCH, &path, serde_json::json!({"name": ""})).await.status(), 400);
    let rotated = call(Method::POST, &format!("{path}/rotate"), serde_json::json!({})).await;
    let rotated: serde_json::Value = rotated.json().await.unwrap();
    gateway.delete(key.id).await;
    let log = gateway.log.wait_for("change=\"delete\"").await;
    assert!(log.contains("who=\"token-1\""), "{log}");
    let log = gateway.log.all();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a key was changed")).collect();
    let id = format!("key.id={}", key.id);
    let successor = format!("new_key.id={}", rotated["id"]);
    let expected = [
        ["change=\"create\"", &id, ""],
        ["change=\"update\"", &id, "fields=\"description\""],
        ["change=\"update\"", &id, "fields=\"name\""],
        ["change=\"rotate\"", &id, &successor],
        ["change=\"delete\"", &id, ""],
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, parts) in lines.iter().zip(expected) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}: {parts:?}");
    }
    assert!(!log.contains("of-a-person") && !log.contains("another-name"), "{log}");
}

// Scenario: a peer without a key sends wrong frames over HTTP/2, which the HTTP library logs: 1,000
// acknowledgements of pings that were never sent.
// Guarantee: the log has no line about these frames.
#[tokio::test]
async fn wrong_frames_do_not_fill_the_log() {
    let mut gateway = Gateway::start().await;
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let acknowledgement =
        [0, 0, 8, 6, 1, 0, 0, 0, 0, b'n', b'o', b' ', b'p', b'i', b'n', b'g', b'!'];
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, b'm', b'y', b' ', b'p', b'i', b'n', b'g', b'!'];
    for listener in ["otlp_grpc", "management"] {
        let mut connection = gateway.connect(listener).await;
        let frames = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &empty_settings[..],
            &acknowledgement.repeat(1000),
            &ping,
        ]
        .concat();
        connection.write_all(&frames).await.unwrap();
        // The frames before the ping have been read once the ping is acknowledged.
        let mut answer = Vec::new();
        while !answer.windows(8).any(|window| window == b"my ping!") {
            assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
    }
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.log.wait_for("stopped").await;
    let lines = gateway.log.all().lines().count();
    assert!(lines < 100, "{lines} lines");
}
