//! Tests of the questions that other proxies ask about requests, over HTTP.

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::program::Gateway;

const RECEIVER_KEY: &str = "a-shared-key-of-the-installation";
const UNKNOWN_KEY: &str = "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN";

/// Asks with these headers of a sender's request.
async fn ask(gateway: &Gateway, method: Method, headers: &[(&str, &str)]) -> Response {
    let mut request = gateway.client.request(method, gateway.url("authorize", "/authorize"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

// Scenario: a proxy asks with every method about requests that carry a key in each place where
// senders put it. One of the places is the query, on the path of an agent.
// Guarantee: the answer is 204 without a body. It has the id and the name of the key, in characters
// that a header may have, and nothing that the sender has put into these headers. The answers are
// counted, but not as uses of the key.
#[tokio::test]
async fn a_good_key_is_allowed_wherever_it_stands() {
    let gateway =
        Gateway::start_with(&["--set", &format!("auth.receiver_api_key={RECEIVER_KEY}")]).await;
    let key = gateway.create("Zürich, 100 %").await;
    let (bearer, tenant) =
        (format!("StackState {}", key.secret), format!("SUSEObservability {}", key.secret));
    let (uri, otlp) = (
        format!("/receiver/stsAgent/api/v1/series?api_key={}", key.secret),
        ("x-forwarded-uri", "/v1/traces"),
    );
    let asked: [&[(&str, &str)]; 7] = [
        &[("authorization", &bearer)],
        &[("authorization", &tenant), otlp, ("content-type", "application/x-protobuf")],
        &[("authorization", &bearer), ("content-type", "application/grpc")],
        &[("sts-api-key", &key.secret), ("x-forwarded-uri", "/stsAgent/intake")],
        &[("dd-api-key", &key.secret), ("x-forwarded-uri", &uri)],
        &[("x-forwarded-uri", &uri), ("x-forwarded-method", "POST")],
        &[("authorization", &bearer), ("x-ingestion-key-id", "1"), ("x-ingestion-key-name", "me")],
    ];
    for headers in asked {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            let response = ask(&gateway, method.clone(), headers).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT, "{method} {headers:?}");
            assert_eq!(header(&response, "x-ingestion-key-id"), key.id.to_string());
            assert_eq!(header(&response, "x-ingestion-key-name"), "Z%C3%BCrich%2C%20100%20%25");
            assert_eq!(response.text().await.unwrap(), "");
        }
    }
    let shared = format!("StackState {RECEIVER_KEY}");
    let response = ask(&gateway, Method::GET, &[("authorization", &shared)]).await;
    assert_eq!(header(&response, "x-ingestion-key-name"), "receiver");
    assert_eq!(response.headers()["x-ingestion-key-id"], "");

    let shown = gateway.get(key.id).await;
    assert_eq!((&shown["accepted"], &shown["lastUsedTimestamp"]), (&json!(0), &json!(null)));
    let metrics = gateway.metrics().await;
    let counted = metrics.lines().find(|line| {
        line.starts_with("ingestion_authorize_answers") && line.contains("outcome=\"allow\"")
    });
    assert!(counted.unwrap().ends_with(" 36"), "{counted:?}");
}

// Scenario: a proxy asks about requests without a key, with a wrong key, with two keys and with a
// query that counts only on the paths of agents. The senders speak gRPC or HTTP, or are agents.
// Guarantee: the status is 401, and for the wrong key of an agent 403. Each 401 has challenges. For
// a sender of gRPC, the answer has the status of gRPC. For others of OTLP, it has the body of
// OTLP/HTTP in their encoding. For agents, it has no body. No answer has an identity.
#[tokio::test]
async fn a_refusal_is_what_the_sender_expects() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await.secret;
    let (good, wrong) = (format!("StackState {key}"), format!("StackState {UNKNOWN_KEY}"));
    let in_query = format!("/v1/traces?api_key={key}");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "missing credential"),
        (&[("x-forwarded-uri", &in_query)], "missing credential"),
        (&[("authorization", &wrong)], "credential refused"),
        (&[("authorization", &key)], "credential refused"),
        (&[("authorization", &good), ("sts-api-key", UNKNOWN_KEY)], "credential refused"),
    ];
    for (headers, message) in cases {
        let as_sender = async |content_type: &'static str| {
            let headers = [headers, &[("content-type", content_type)]].concat();
            let response = ask(&gateway, Method::GET, &headers).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{headers:?}");
            assert!(header(&response, "www-authenticate").starts_with("StackState realm="));
            assert_eq!(response.headers().get("x-ingestion-key-id"), None);
            response
        };
        let response = as_sender("application/grpc+proto").await;
        assert_eq!(header(&response, "content-type"), "application/grpc");
        assert_eq!(header(&response, "grpc-status"), "16");
        assert_eq!(header(&response, "grpc-message"), message);
        assert_eq!(response.text().await.unwrap(), "");

        let response = as_sender("application/x-protobuf").await;
        assert_eq!(response.headers().get("grpc-status"), None);
        assert_eq!(header(&response, "content-type"), "application/x-protobuf");
        assert!(response.text().await.unwrap().ends_with(message));

        let response = as_sender("application/json").await;
        let expected = json!({"code": 16, "message": message});
        assert_eq!(response.json::<serde_json::Value>().await.unwrap(), expected);
    }
    let uri = ("x-forwarded-uri", "/stsAgent/api/v1/series?api_key=");
    for (headers, status) in [
        (vec![("x-forwarded-uri", "/stsAgent/intake")], StatusCode::UNAUTHORIZED),
        (vec![uri], StatusCode::FORBIDDEN),
        (vec![uri, ("sts-api-key", &key)], StatusCode::FORBIDDEN),
        (
            vec![("x-forwarded-uri", "/stsAgent/intake"), ("sts-api-key", "x")],
            StatusCode::FORBIDDEN,
        ),
    ] {
        let response = ask(&gateway, Method::GET, &headers).await;
        assert_eq!(response.status(), status, "{headers:?}");
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert!(!gateway.log.all().contains(&key));
}

// Scenario: a proxy asks twice about requests with a deleted key.
// Guarantee: the log has one line with the id of the key and the reason, as for a request that the
// gateway receives itself, and the metric counts both. Neither has the key.
#[tokio::test]
async fn a_refused_key_is_logged_by_its_id() {
    let gateway = Gateway::start().await;
    let key = gateway.create("deleted").await;
    gateway.delete(key.id).await;
    for _ in 0..2 {
        let response = ask(&gateway, Method::GET, &[("dd-api-key", key.secret.as_str())]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    let line = format!("a key is refused key.id={} reason=\"revoked\"", key.id);
    gateway.log.wait_for(&line).await;
    assert_eq!(gateway.log.all().matches(&line).count(), 1);
    let metrics = gateway.metrics().await;
    let of_key = |line: &&str| {
        line.starts_with("ingestion_key_refusals_total") && line.contains(&key.id.to_string())
    };
    assert!(metrics.lines().find(of_key).unwrap().ends_with(" 2"));
    assert!(!gateway.log.all().contains(&key.secret) && !metrics.contains(&key.secret));
}

// Scenario: the gateway is configured to tell an upstream the name of the key in another header,
// and in another gateway to tell it nothing. A proxy asks about a request that names itself.
// Guarantee: the answer has the default headers always, and the configured header besides.
#[tokio::test]
async fn configured_headers_come_besides_the_default_ones() {
    for (set, tenant) in [("{X-Scope-OrgID: name}", "edge"), ("false", "")] {
        let set = format!("upstream.identity_headers={set}");
        let gateway = Gateway::start_with(&["--set", &set]).await;
        let key = gateway.create("edge").await;
        let headers = [("sts-api-key", key.secret.as_str()), ("x-scope-orgid", "forged")];
        let response = ask(&gateway, Method::GET, &headers).await;
        assert_eq!(header(&response, "x-ingestion-key-id"), key.id.to_string());
        assert_eq!(header(&response, "x-ingestion-key-name"), "edge");
        assert_eq!(header(&response, "x-scope-orgid"), tenant);
    }
}
