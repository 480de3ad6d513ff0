//! Tests which keys are allowed on which routes.

use reqwest::StatusCode;
use serde_json::json;
use tonic::Code;

use crate::program::{Gateway, PATIENCE};

const RECEIVER_KEY: &str = "a-shared-key-of-the-installation";
const UNKNOWN_KEY: &str = "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN";

/// Sends a key to all routes, and returns the status of each response.
async fn all_routes(gateway: &Gateway, secret: &str) -> (Code, StatusCode, StatusCode, StatusCode) {
    let authorize = gateway.authorize("", &json!({"apiKey": secret}).to_string()).await;
    let http = gateway.send_http(secret).await.status();
    (
        gateway.send_grpc(secret, 1, None).await,
        http,
        gateway.validate(secret).await,
        authorize.status(),
    )
}

// Scenario: a key is created, disabled, enabled and deleted. Then a key that never existed is sent.
// Guarantee: after each change, every route decides by the new state at once. Each route rejects a
// denied key with its own status.
#[tokio::test]
async fn a_change_is_in_force_at_once() {
    let good = (Code::Ok, StatusCode::OK, StatusCode::OK, StatusCode::NO_CONTENT);
    let refused = (
        Code::Unauthenticated,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::FORBIDDEN,
    );
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    assert_eq!(all_routes(&gateway, &key.secret).await, good);
    for (enabled, expected) in [(false, refused), (true, good)] {
        let path = format!("/api/security/ingestion/api_keys/{}", key.id);
        let change = gateway.call(reqwest::Method::PATCH, &path).json(&json!({"enabled": enabled}));
        assert_eq!(change.send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(all_routes(&gateway, &key.secret).await, expected);
    }
    gateway.delete(key.id).await;
    assert_eq!(all_routes(&gateway, &key.secret).await, refused);
    assert_eq!(all_routes(&gateway, UNKNOWN_KEY).await, refused);
    assert!(!gateway.log.all().contains(&key.secret));
}

// Scenario: a deleted key and an expired key are sent to every receiver twice.
// Guarantee: for each key, the log has exactly one line with its id and the reason. The metric
// counts every request. Neither the log nor the metrics contain a key itself.
#[tokio::test]
async fn a_refused_key_is_logged_by_its_id() {
    let gateway = Gateway::start().await;
    let (deleted, expired) = (gateway.create("deleted").await, gateway.create("expired").await);
    gateway.delete(deleted.id).await;
    let rotate = gateway.call(
        reqwest::Method::POST,
        &format!("/api/security/ingestion/api_keys/{}/rotate", expired.id),
    );
    assert_eq!(rotate.json(&json!({"overlap": 0})).send().await.unwrap().status(), StatusCode::OK);
    for (key, reason) in [(deleted, "revoked"), (expired, "expired")] {
        for _ in 0..2 {
            assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Unauthenticated);
            assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(gateway.validate(&key.secret).await, StatusCode::FORBIDDEN);
        }
        let line = gateway
            .log
            .wait_for(&format!("a key is refused key.id={} reason=\"{reason}\"", key.id))
            .await;
        assert_eq!(gateway.log.all().matches(line.split_once("a key").unwrap().1).count(), 1);
        let metrics = gateway.metrics().await;
        let is_counted = |line: &&str| {
            line.starts_with("ingestion_key_refusals_total") && line.contains(&key.id.to_string())
        };
        let counted = metrics.lines().find(is_counted).unwrap();
        assert!(
            counted.contains(&format!("deny_reason=\"{reason}\"")) && counted.ends_with(" 6"),
            "{counted}"
        );
        assert!(!gateway.log.all().contains(&key.secret) && !metrics.contains(&key.secret));
    }
}

// Scenario: both authorize endpoints get keys of every kind, with and without `withReceiverKey`.
// They also get malformed requests.
// Guarantee: the response for a key is exactly 204 or 403. The response to a malformed request is
// 400, and never 403. No response has a body. Asking does not count as a use of the key.
#[tokio::test]
async fn authorize_answers_exactly() {
    let gateway =
        Gateway::start_with(&["--set", &format!("auth.receiver_api_key={RECEIVER_KEY}")]).await;
    let key = gateway.create("edge").await.secret;
    let asked = |secret: &str| json!({"apiKey": secret, "more": 1}).to_string();
    let with = "?withReceiverKey=true";
    let cases = [
        ("", asked(&key), 204),
        (with, asked(&key), 204),
        ("", asked(&format!(" {key}\t")), 204),
        ("", asked(&format!("{key}\r\n")), 204),
        (with, asked(&format!("{RECEIVER_KEY}\n")), 204),
        ("", asked(RECEIVER_KEY), 403),
        (with, asked(RECEIVER_KEY), 204),
        ("?withReceiverKey=false", asked(RECEIVER_KEY), 403),
        (with, asked(UNKNOWN_KEY), 403),
        (with, asked(""), 403),
        ("", asked("two words"), 403),
        ("", asked("two\nlines"), 403),
        ("", asked(&"k".repeat(5000)), 403),
        ("", String::new(), 400),
        ("", "{".to_owned(), 400),
        ("", "{}".to_owned(), 400),
        ("", json!({"apiKey": null}).to_string(), 400),
        ("", json!([key]).to_string(), 400),
        ("", asked(&"k".repeat(70_000)), 400),
        ("?withReceiverKey=perhaps", asked(&key), 400),
    ];
    for (query, body, expected) in cases {
        let public = gateway
            .call(reqwest::Method::POST, &format!("/api/security/ingestion/authorize{query}"))
            .body(body.clone());
        for response in [gateway.authorize(query, &body).await, public.send().await.unwrap()] {
            assert_eq!(response.status().as_u16(), expected, "{query} {body}");
            assert!(response.text().await.unwrap().is_empty());
        }
    }
    let listed = gateway
        .call(reqwest::Method::GET, "/api/security/ingestion/api_keys")
        .send()
        .await
        .unwrap();
    assert_eq!(
        listed.json::<serde_json::Value>().await.unwrap()[0]["accepted"],
        0,
        "asking is no use"
    );
}

// Scenario: the receiver API key is sent to a gateway whose configuration contains the key, and to
// a gateway without a receiver API key.
// Guarantee: the first gateway allows the key on every receiver, under the name `receiver`. The
// second gateway denies the key.
#[tokio::test]
async fn the_receiver_key_is_allowed() {
    let gateway =
        Gateway::start_with(&["--set", &format!("auth.receiver_api_key={RECEIVER_KEY}")]).await;
    assert_eq!(gateway.send_http(RECEIVER_KEY).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_grpc(RECEIVER_KEY, 1, None).await, Code::Ok);
    assert_eq!(gateway.validate(RECEIVER_KEY).await, StatusCode::OK);
    assert!(gateway.output.wait_for("discarded").await.contains("\"receiver\"="));
    let gateway = Gateway::start().await;
    assert_eq!(gateway.send_http(RECEIVER_KEY).await.status(), StatusCode::UNAUTHORIZED);
}

// Scenario: agents send their key in every header and query parameter that they use, on routes with
// and without `/receiver`. They also send no key, two different keys, and a wrong key.
// Guarantee: the key is found in each of these headers and parameters. The response to a missing
// key is 401, and to a denied key 403. No response has a body.
#[tokio::test]
async fn agents_may_send_their_key_in_any_place() {
    let gateway = Gateway::start().await;
    let key = gateway.create("agent").await.secret;
    // Contains `apikey:` and the key, encoded in base64.
    let basic = {
        use std::fmt::Write as _;
        let bytes = format!("apikey:{key}").into_bytes();
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for index in 0..4 {
                let digit = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                    [(bits >> (18 - 6 * index) & 63) as usize];
                write!(text, "{}", if index > chunk.len() { '=' } else { char::from(digit) })
                    .unwrap();
            }
        }
        format!("Basic {text}")
    };
    let places = [
        ("sts-api-key", key.clone()),
        ("DD-API-KEY", key.clone()),
        ("authorization", format!("ApiKey {key}")),
        ("authorization", format!("StackState {key}")),
        ("authorization", basic),
    ];
    for prefix in ["/stsAgent", "/receiver/stsAgent"] {
        for (name, value) in &places {
            let post = gateway
                .client
                .post(gateway.url("agent", &format!("{prefix}/api/v1/series")))
                .body("{}");
            let response = post.header(*name, value).send().await.unwrap();
            assert_eq!(
                (response.status(), response.content_length()),
                (StatusCode::OK, Some(0)),
                "{prefix} {name}"
            );
        }
        let both = gateway
            .client
            .post(gateway.url("agent", &format!("{prefix}/intake/?api_key={key}")))
            .header("sts-api-key", &key);
        assert_eq!(both.send().await.unwrap().status(), StatusCode::OK);
        let other = gateway
            .client
            .post(gateway.url("agent", &format!("{prefix}/intake/?api_key={key}")))
            .header("sts-api-key", "other");
        assert_eq!(other.send().await.unwrap().status(), StatusCode::FORBIDDEN);
        for (url, expected) in [
            ("/api/v1/validate", StatusCode::UNAUTHORIZED),
            ("/api/v1/validate?api_key=wrong", StatusCode::FORBIDDEN),
        ] {
            let response = gateway
                .client
                .get(gateway.url("agent", &format!("{prefix}{url}")))
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), expected, "{prefix}{url}");
            assert!(response.text().await.unwrap().is_empty());
        }
        use reqwest::Method;
        let methods =
            [(Method::HEAD, 200), (Method::POST, 200), (Method::PUT, 404), (Method::DELETE, 404)];
        for (method, expected) in methods {
            let url = gateway.url("agent", &format!("{prefix}/api/v1/validate"));
            let response = gateway
                .client
                .request(method.clone(), url)
                .header("sts-api-key", &key)
                .send()
                .await
                .unwrap();
            assert_eq!(response.status().as_u16(), expected, "{method}");
        }
        let features = gateway
            .client
            .get(gateway.url("agent", &format!("{prefix}/features")))
            .header("sts-api-key", &key);
        assert_eq!(features.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert!(!gateway.log.all().contains(&key));
}

// Scenario: the database is removed, and more time than `max_staleness` passes.
// Guarantee: the gateway neither allows nor denies a key. Every route asks the sender to try again.
// A credential that does not have the form of a key is still denied. The gateway is alive, but not
// ready.
#[tokio::test]
async fn undecided_is_not_a_refusal() {
    let gateway = Gateway::start_with(&[
        "--set=storage.poll_interval=100ms",
        "--set=storage.max_staleness=5s",
    ])
    .await;
    let key = gateway.create("edge").await;
    std::fs::remove_file(gateway.state().join("keys.db")).unwrap();
    let stale = async { while gateway.send_http(&key.secret).await.status() == StatusCode::OK {} };
    tokio::time::timeout(PATIENCE, stale).await.unwrap();
    for secret in [key.secret.as_str(), UNKNOWN_KEY] {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(
            all_routes(&gateway, secret).await,
            (Code::Unavailable, unavailable, unavailable, unavailable)
        );
        let response = gateway.authorize("", &json!({"apiKey": secret}).to_string()).await;
        let seconds: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds) && response.text().await.unwrap().is_empty());
        let asked = gateway.client.get(gateway.url("authorize", "/authorize"));
        let asked = asked.header("content-type", "application/grpc");
        let response = asked.header("sts-api-key", secret).send().await.unwrap();
        assert_eq!(response.status(), unavailable);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(response.headers().contains_key("grpc-status-details-bin"));
        assert!(response.headers().contains_key("retry-after"));
    }
    let refused = (
        Code::Unauthenticated,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::FORBIDDEN,
    );
    assert_eq!(all_routes(&gateway, "no-key-of-ours").await, refused);
    let ready = gateway.client.get(gateway.url("telemetry", "/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let alive = gateway.client.get(gateway.url("telemetry", "/livez")).send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
}
