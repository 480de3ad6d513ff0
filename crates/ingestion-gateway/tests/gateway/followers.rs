//! Tokens of followers, and what a follower gets from the gateway.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;

use crate::program::{Gateway, Key, PATIENCE};

pub(crate) const FOLLOW: &str = "/api/security/ingestion/follow";
const USAGE: &str = "/api/security/ingestion/follow/usage";
const KEYS: &str = "/api/security/ingestion/api_keys";

/// Creates the token of a follower.
pub(crate) async fn create_token(gateway: &Gateway) -> Key {
    let request = json!({"name": "pipeline", "role": "follower"});
    let response = gateway.call(Method::POST, KEYS).json(&request).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let token: Value = response.json().await.unwrap();
    assert_eq!(token["role"], "follower");
    Key { id: token["id"].as_i64().unwrap(), secret: token["apiKey"].as_str().unwrap().to_owned() }
}

/// Creates a request with the token of a follower.
pub(crate) fn call(gateway: &Gateway, method: Method, path: &str, token: &str) -> RequestBuilder {
    let request = gateway.client.request(method, gateway.url("management", path));
    request.header("authorization", format!("StackState {token}"))
}

/// The events that a follower gets.
struct Events {
    response: Response,
    received: Vec<u8>,
}

impl Events {
    /// Follows the gateway after a cursor.
    async fn after(gateway: &Gateway, cursor: Option<&str>, token: &str) -> Self {
        let query = cursor.map(|cursor| format!("?after={cursor}")).unwrap_or_default();
        let request = call(gateway, Method::GET, &format!("{FOLLOW}{query}"), token);
        let response = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { response, received: Vec::new() }
    }

    /// Waits for the next event. There is none if the gateway has ended the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk =
                timeout(PATIENCE, self.response.chunk()).await.expect("an event, or an end");
            self.received.extend_from_slice(&chunk.ok()??);
        }
    }

    /// Waits for a position after keys or after the hello. Returns the keys and the cursor.
    async fn group(&mut self) -> (Vec<Value>, String) {
        let mut keys = Vec::new();
        loop {
            let mut event = self.next().await.expect("the stream goes on");
            if let Some(position) = event.get("position") {
                return (keys, position["cursor"].as_str().unwrap().to_owned());
            }
            keys.append(event["keys"].as_array_mut().unwrap());
        }
    }

    /// Waits for keys that were changed, and returns them with the cursor after them.
    async fn changes(&mut self) -> (Vec<Value>, String) {
        loop {
            let (keys, cursor) = self.group().await;
            if !keys.is_empty() {
                return (keys, cursor);
            }
        }
    }

    async fn hello(&mut self) -> Value {
        self.next().await.unwrap()["hello"].clone()
    }

    /// Waits until the gateway ends the stream.
    async fn end(mut self) {
        while self.next().await.is_some() {}
    }
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

// Scenario: there are a key and the token of a follower, and each role is listed. Then a key with
// an unknown role is created, and an unknown role is listed.
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

// Scenario: a follower gets all keys. Then a key is created, and another one is deleted. Then the
// follower comes back with its cursor, with an old cursor, and with a cursor that is not known.
// Guarantee: the follower gets each change as it is made, and after its cursor only what it does
// not have yet. It gets all keys if its cursor is not known. It gets no key itself and no token.
#[tokio::test]
async fn a_follower_gets_every_change() {
    let gateway = Gateway::start().await;
    let token = create_token(&gateway).await;
    let key = gateway.create("edge").await;
    let mut events = Events::after(&gateway, None, &token.secret).await;
    assert_eq!(events.hello().await["snapshot"], true);
    let (keys, first) = events.group().await;
    assert_eq!(keys.len(), 1);
    assert_eq!((&keys[0]["id"], &keys[0]["name"]), (&json!(key.id), &json!("edge")));
    assert!(!format!("{keys:?}").contains(&key.secret));

    let other = gateway.create("other").await;
    let (keys, _) = events.changes().await;
    assert_eq!((keys.len(), &keys[0]["id"]), (1, &json!(other.id)));
    create_token(&gateway).await;
    gateway.delete(key.id).await;
    let (keys, last) = events.changes().await;
    assert_eq!((keys.len(), &keys[0]["id"]), (1, &json!(key.id)));
    assert!(keys[0]["deleted"].is_i64() && keys[0]["name"].is_null(), "{keys:?}");

    let mut again = Events::after(&gateway, Some(&last), &token.secret).await;
    assert_eq!(again.hello().await["snapshot"], false);
    assert_eq!(again.group().await, (vec![], last.clone()));
    let mut again = Events::after(&gateway, Some(&first), &token.secret).await;
    assert_eq!(again.hello().await["snapshot"], false);
    let (keys, cursor) = again.group().await;
    assert_eq!((keys.len(), &cursor), (2, &last));
    let unknown = format!("{}.{}", 1, "0".repeat(32));
    let mut again = Events::after(&gateway, Some(&unknown), &token.secret).await;
    assert_eq!(again.hello().await["snapshot"], true);
    assert_eq!(again.group().await.1, last);
}

// Scenario: followers are connected. The token of one is deleted, and then the gateway stops.
// Guarantee: the stream of the deleted token ends, and the others go on until the gateway stops.
// They do not keep the gateway from stopping.
#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_the_gateway() {
    let gateway = Gateway::start_with(&["--set=shutdown_grace=600s"]).await;
    let (token, other) = (create_token(&gateway).await, create_token(&gateway).await);
    let events = Events::after(&gateway, None, &token.secret).await;
    let mut others = Events::after(&gateway, None, &other.secret).await;
    gateway.delete(token.id).await;
    events.end().await;
    let request = call(&gateway, Method::GET, FOLLOW, &token.secret).send().await.unwrap();
    assert_eq!(request.status(), StatusCode::UNAUTHORIZED);
    others.hello().await;
    let key = gateway.create("edge").await;
    assert_eq!(others.changes().await.0[0]["id"], key.id);
    let gateway = gateway.restart().await;
    others.end().await;
    let events = Events::after(&gateway, None, &other.secret).await;
    drop(events);
}

// Scenario: a follower is connected for much longer than the idle timeout, and nothing changes.
// Guarantee: the connection stays, and the follower gets another position.
#[tokio::test]
async fn an_idle_follower_stays_connected() {
    let gateway = Gateway::start_with(&["--set=limits.idle_timeout=1s"]).await;
    let token = create_token(&gateway).await;
    let mut events = Events::after(&gateway, None, &token.secret).await;
    events.hello().await;
    for _ in 0..2 {
        assert_eq!(events.group().await.0, [] as [Value; 0]);
    }
}

// Scenario: the follow endpoints are called with a key for ingestion and with the admin token, and
// other calls with the token of a follower.
// Guarantee: each call is refused, and the challenge names the scheme that it needs.
#[tokio::test]
async fn each_token_has_its_calls() {
    let gateway = Gateway::start().await;
    let (key, token) = (gateway.create("edge").await, create_token(&gateway).await);
    for secret in [&key.secret, &gateway.token] {
        for (method, path) in [(Method::GET, FOLLOW), (Method::POST, USAGE), (Method::PUT, FOLLOW)]
        {
            let response = call(&gateway, method, path, secret).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let challenge = &response.headers()["www-authenticate"];
            assert_eq!(challenge, "StackState realm=\"management\"");
        }
    }
    let request = gateway.client.get(gateway.url("management", KEYS));
    let response = request.header("x-api-token", &token.secret).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let wrong = call(&gateway, Method::GET, &format!("{FOLLOW}?after=7"), &token.secret);
    assert_eq!(wrong.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

// Scenario: a follower reports usage, and sends the same report again. Its clock is ten days ahead.
// Then the gateway stops and starts again.
// Guarantee: the usage is in the list at once, counts once, and is still there after the restart.
// The times are those of the gateway's clock. A user agent that contains a key is not kept.
#[tokio::test]
async fn reported_usage_counts_once() {
    let gateway = Gateway::start().await;
    let (key, token) = (gateway.create("edge").await, create_token(&gateway).await);
    let created = gateway.get(key.id).await["createdTimestamp"].as_i64().unwrap();
    let ahead = created + 10 * 86_400_000;
    let source = |agent: &str| json!({"address": "192.0.2.7", "userAgent": agent, "lastUsedTimestamp": ahead});
    let report = json!({"source": "0f".repeat(16), "number": 1, "timestamp": ahead, "keys": [
        {"id": key.id, "accepted": 3, "failed": 2, "denied": 1, "bytes": 9, "lastUsedTimestamp": ahead,
         "sources": [source(&key.secret), source("agent")]},
        {"id": 17, "accepted": 1}]});
    for _ in 0..2 {
        let request = call(&gateway, Method::POST, USAGE, &token.secret).json(&report);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }
    let check = |listed: &Value| {
        let counters = ["accepted", "failed", "denied", "bytes"].map(|name| &listed[name]);
        assert_eq!(counters, [&json!(3), &json!(2), &json!(1), &json!(9)]);
        let last_use = listed["lastUsedTimestamp"].as_i64().unwrap();
        assert!(last_use >= created && last_use < ahead, "{listed}");
        let sources = listed["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 2);
        assert!(!listed.to_string().contains(&key.secret));
    };
    check(&gateway.get(key.id).await);
    let gateway = gateway.restart().await;
    check(&gateway.get(key.id).await);
    assert_eq!(gateway.get(token.id).await["accepted"], 2);

    let no_address = json!({"id": 1, "sources": [{"address": "x", "lastUsedTimestamp": 0}]});
    for wrong in
        [json!({"source": "x"}), json!({"keys": [{"id": 0}]}), json!({"keys": [no_address]})]
    {
        let source = "0f".repeat(16);
        let mut report = json!({"source": source, "number": 2, "timestamp": 1, "keys": []});
        report.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let request = call(&gateway, Method::POST, USAGE, &token.secret).json(&report);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::BAD_REQUEST, "{report}");
    }
}

// Scenario: two processes follow with one token. Then one of them ends.
// Guarantee: the list of tokens has each process that is connected, its address, and how far behind
// it is, and so has every other answer with a token. Keys for ingestion have no such field.
#[tokio::test]
async fn connected_followers_are_listed() {
    let gateway = Gateway::start().await;
    let (key, token) = (gateway.create("edge").await, create_token(&gateway).await);
    let connections = async || {
        let list =
            gateway.call(Method::GET, &format!("{KEYS}?role=follower")).send().await.unwrap();
        let tokens: Value = list.json().await.unwrap();
        tokens[0]["connections"].as_array().unwrap().clone()
    };
    assert_eq!(connections().await, [] as [Value; 0]);
    let mut events = Events::after(&gateway, None, &token.secret).await;
    let mut others = Events::after(&gateway, None, &token.secret).await;
    for events in [&mut events, &mut others] {
        events.hello().await;
        events.group().await;
    }
    let listed = connections().await;
    assert_eq!(listed.len(), 2);
    for follower in listed {
        assert_eq!(
            (&follower["address"], &follower["revisionsBehind"]),
            (&json!("127.0.0.1"), &json!(0))
        );
        assert!(follower["millisecondsBehind"].is_i64() && follower["connectedTimestamp"].is_i64());
    }
    assert_eq!(gateway.get(token.id).await["connections"].as_array().unwrap().len(), 2);
    assert_eq!(gateway.get(key.id).await["connections"], Value::Null);
    drop(events);
    let gone = async { while connections().await.len() != 1 {} };
    timeout(PATIENCE, gone).await.unwrap();
    let path = format!("{KEYS}/{}", token.id);
    let update = gateway.call(Method::PATCH, &path).json(&json!({"description": "d"}));
    let rotate = gateway.call(Method::POST, &format!("{path}/rotate")).json(&json!({}));
    for (request, connected) in [(update, 1), (rotate, 0)] {
        let token: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(token["connections"].as_array().unwrap().len(), connected, "{token}");
    }
}
