//! Tokens of followers, and what a follower gets from the gateway.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::Code;

use crate::program::{Gateway, Key};

const KEYS: &str = "/api/security/ingestion/api_keys";

/// Creates the token of a follower.
async fn create_token(gateway: &Gateway) -> Key {
    let request = json!({"name": "pipeline", "role": "follower"});
    let response = gateway.call(Method::POST, KEYS).json(&request).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let token: Value = response.json().await.unwrap();
    assert_eq!(token["role"], "follower");
    Key { id: token["id"].as_i64().unwrap(), secret: token["apiKey"].as_str().unwrap().to_owned() }
}

/// Returns the ids in the list with this query.
async fn listed(gateway: &Gateway, query: &str) -> Vec<i64> {
    let response = gateway.call(Method::GET, &format!("{KEYS}{query}")).send().await.unwrap();
    let keys: Value = response.json().await.unwrap();
    keys.as_array().unwrap().iter().map(|key| key["id"].as_i64().unwrap()).collect()
}

// Scenario: the token of a follower is presented on every route for telemetry, and to the endpoints
// that decide for others.
// Guarantee: it is refused everywhere as a key that does not exist.
#[tokio::test]
async fn a_token_sends_no_telemetry() {
    let gateway = Gateway::start().await;
    let token = create_token(&gateway).await.secret;
    assert_eq!(gateway.send_http(&token).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.send_grpc(&token, 1, None).await, Code::Unauthenticated);
    assert_eq!(gateway.validate(&token).await, StatusCode::FORBIDDEN);
    let body = json!({"apiKey": token}).to_string();
    assert_eq!(gateway.authorize("", &body).await.status(), StatusCode::FORBIDDEN);
    let authorize = gateway.call(Method::POST, "/api/security/ingestion/authorize");
    let answer = authorize.json(&json!({"apiKey": token})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let forward_auth = gateway.client.get(gateway.url("authorize", "/authorize"));
    let forward_auth = forward_auth.header("authorization", format!("StackState {token}"));
    assert_eq!(forward_auth.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

// Scenario: there are a key and the token of a follower, and each role is listed. Then a key with an
// unknown role is created, and an unknown role is listed.
// Guarantee: each list has the keys of its role, and the list without a role has those for
// ingestion. An unknown role is an error.
#[tokio::test]
async fn each_role_has_a_list() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    let token = create_token(&gateway).await;
    assert_eq!(listed(&gateway, "").await, [key.id]);
    assert_eq!(listed(&gateway, "?role=ingestion").await, [key.id]);
    assert_eq!(listed(&gateway, "?role=follower").await, [token.id]);
    assert_eq!(gateway.get(token.id).await["role"], "follower");
    assert_eq!(gateway.get(key.id).await["role"], Value::Null);
    let create = gateway.call(Method::POST, KEYS).json(&json!({"name": "n", "role": "admin"}));
    let list = gateway.call(Method::GET, &format!("{KEYS}?role=admin"));
    for request in [create, list] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let text = response.text().await.unwrap();
        assert!(text.contains("`role`: expected ingestion or follower"), "{text}");
    }
}
