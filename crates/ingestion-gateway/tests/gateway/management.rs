//! Tests every call of the management API, with and without a credential.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::program::{Gateway, PATIENCE};

const KEYS: &str = "/api/security/ingestion/api_keys";
const OPENAPI: &str = "/api/openapi.json";

/// Returns every call in the gateway's own OpenAPI document.
async fn calls(gateway: &Gateway) -> Vec<(Method, String)> {
    let document: Value =
        gateway.call(Method::GET, OPENAPI).send().await.unwrap().json().await.unwrap();
    let calls = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let path = path.replace("{id}", "1");
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(move |method| (method.to_uppercase().parse().unwrap(), path.clone()))
    });
    calls.collect()
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

async fn message(response: Response) -> String {
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["_type"], "ErrorsResponse");
    assert!(body["trackingKey"].is_string() && body["serverTimestamp"].is_i64(), "{body}");
    body["errors"][0]["message"].as_str().unwrap().to_owned()
}

// Scenario: every call is made without a credential, and with a wrong credential in each header. A
// call that does not exist and a call with a wrong method are made in the same ways.
// Guarantee: each response is 401, with the challenge and an error body. Each attempt is counted,
// and is logged with the address of its client.
#[tokio::test]
async fn no_call_without_a_credential() {
    let gateway = Gateway::start().await;
    let presented = [
        None,
        Some(("x-api-token", "wrong-canary")),
        Some(("x-api-key", "wrong-canary")),
        Some(("x-api-servicebearer", "wrong-canary")),
        Some(("authorization", "ApiKey wrong-canary")),
        Some(("authorization", "Bearer wrong-canary")),
    ];
    let mut calls = calls(&gateway).await;
    assert!(calls.len() >= 10, "{calls:?}");
    for (method, path) in [(Method::GET, "/api/nothing"), (Method::PUT, KEYS), (Method::GET, "/")] {
        calls.push((method, path.to_owned()));
    }
    let mut refused = 0;
    for (method, path) in calls {
        for credential in presented {
            let request = gateway.client.request(method.clone(), gateway.url("management", &path));
            let request = credential
                .into_iter()
                .fold(request, |request, (name, value)| request.header(name, value));
            let response = request.send().await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path} {credential:?}"
            );
            let scheme = if path.contains("/follow") { "StackState" } else { "ApiKey" };
            let challenge = format!("{scheme} realm=\"management\"");
            assert_eq!(response.headers()["www-authenticate"], challenge);
            assert_eq!(content_type(&response), "application/json");
            assert!(!message(response).await.contains("canary"));
            refused += 1;
        }
    }
    let line = gateway.log.wait_for("reason=\"unknown\"").await;
    assert!(
        line.contains("source=127.0.0.1 ") && line.contains("a management call was refused"),
        "{line}"
    );
    assert!(!gateway.log.all().contains("canary"));
    let metrics = gateway.metrics().await;
    let counted =
        metrics.lines().filter(|line| line.starts_with("ingestion_management_refusals_total"));
    assert_eq!(
        counted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap()).sum::<u32>(),
        refused
    );
}

// Scenario: the admin token is sent in each form that clients use.
// Guarantee: the server returns its version information in the form that the original client needs.
#[tokio::test]
async fn the_token_is_accepted_in_every_form() {
    let gateway = Gateway::start().await;
    let token = gateway.token.clone();
    let forms = [
        ("x-api-token", token.clone()),
        ("x-api-key", token.clone()),
        ("x-api-servicebearer", token.clone()),
        ("authorization", format!("ApiKey {token}")),
        ("authorization", format!("apikey  {token}")),
    ];
    for (name, value) in forms {
        let request =
            gateway.client.get(gateway.url("management", "/api/server/info")).header(name, value);
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status(), content_type(&response)),
            (StatusCode::OK, "application/json"),
            "{name}"
        );
        let expected = r#"{"version":{"major":6,"minor":0,"patch":0,"diff":"","commit":"","isDev":false},"deploymentMode":"SelfHosted","platformVersion":"6.0.0"}"#;
        assert_eq!(response.text().await.unwrap(), expected);
    }
}

// Scenario: a named administrator creates, reads, changes, rotates and deletes a key.
// Guarantee: each response is as documented. The audit log lists every change with its author.
// Neither the audit log nor the gateway's log contains a secret.
#[tokio::test]
async fn the_life_of_a_key() {
    let gateway = Gateway::start().await;
    std::fs::write(
        gateway.state().join("admin-tokens"),
        format!("{}\nops=a-second-token-of-ops\n", gateway.token),
    )
    .unwrap();
    // The gateway notices changes of the admin token file. Wait until the gateway accepts the new
    // token.
    let ops = |method: Method, path: &str| {
        gateway
            .client
            .request(method, gateway.url("management", path))
            .header("x-api-key", "a-second-token-of-ops")
    };
    let is_in_force = async {
        while ops(Method::GET, "/api/server/info").send().await.unwrap().status() != StatusCode::OK
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_in_force).await.unwrap();

    let body = json!({"name": " edge <b> ", "description": "d", "expiration": 4_102_444_800_000_i64, "unknown": [1]});
    let response = ops(Method::POST, KEYS).json(&body).send().await.unwrap();
    assert_eq!((response.status(), content_type(&response)), (StatusCode::OK, "application/json"));
    let created: Value = response.json().await.unwrap();
    let (id, secret) =
        (created["id"].as_i64().unwrap(), created["apiKey"].as_str().unwrap().to_owned());
    assert!(
        0 < id && id < 1 << 53 && created["name"] == "edge <b>" && created["status"] == "active",
        "{created}"
    );
    assert_eq!(created["duplicateName"], Value::Null);
    let again: Value = ops(Method::POST, KEYS)
        .json(&json!({"name": "edge <b>"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(again["duplicateName"], true);

    let listed: Value = ops(Method::GET, KEYS).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let one = format!("{KEYS}/{id}");
    let change = json!({"name": "edge", "expiration": null, "enabled": true});
    let changed: Value =
        ops(Method::PATCH, &one).json(&change).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&changed["name"], &changed["expiration"], &changed["description"]),
        (&json!("edge"), &Value::Null, &json!("d"))
    );

    let response = ops(Method::POST, &format!("{one}/rotate")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let rotated: Value = response.json().await.unwrap();
    assert_ne!(rotated["apiKey"], created["apiKey"]);
    let response = ops(Method::POST, &format!("{one}/rotate"))
        .json(&json!({"overlap": 0}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let conflict: Value = response.json().await.unwrap();
    assert_eq!(conflict["errors"][0]["successor"], rotated["id"].to_string());

    let response = ops(Method::DELETE, &one).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.text().await.unwrap().is_empty());
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let response = ops(method, &one).json(&json!({})).send().await.unwrap();
        assert_eq!(
            (response.status(), content_type(&response)),
            (StatusCode::NOT_FOUND, "application/json")
        );
    }

    let audit = ops(Method::GET, "/api/security/ingestion/audit?after=0&limit=100")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let page: Value = serde_json::from_str(&audit).unwrap();
    let actions: Vec<_> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["create", "create", "update", "rotate", "delete"]);
    assert!(
        page["entries"].as_array().unwrap().iter().all(|entry| entry["who"] == "ops"),
        "{audit}"
    );
    assert!(
        !audit.contains(&secret)
            && !gateway.log.all().contains(&secret)
            && !gateway.log.all().contains(&gateway.token)
    );
}

// Scenario: requests have invalid fields, bodies and paths.
// Guarantee: the status shows the kind of the error, and the message names the field. No message
// repeats what was sent.
#[tokio::test]
async fn errors_name_the_invalid_field() {
    let gateway = Gateway::start().await;
    let past = json!({"name": "n", "expiration": 1_590_105_600_000_i64});
    let response = gateway.call(Method::POST, KEYS).json(&past).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["_type"], "IngestionApiKeyInvalidExpiryError");
    assert!(body["message"].as_str().unwrap().contains("expiration"), "{body}");

    let long = "x".repeat(256);
    let wrong = [
        (Method::POST, KEYS.to_owned(), json!({"name": 7}).to_string(), 400, "`name`"),
        (Method::POST, KEYS.to_owned(), json!({"name": "  "}).to_string(), 400, "name is empty"),
        (
            Method::POST,
            KEYS.to_owned(),
            json!({"name": "<canary\u{202e}>"}).to_string(),
            400,
            "name",
        ),
        (Method::POST, KEYS.to_owned(), json!({"name": long}).to_string(), 400, "255"),
        (
            Method::POST,
            KEYS.to_owned(),
            json!({"name": "n", "expiration": "canary"}).to_string(),
            400,
            "`expiration`",
        ),
        (Method::POST, KEYS.to_owned(), "[\"canary\"]".to_owned(), 400, "object"),
        (Method::POST, KEYS.to_owned(), "{canary".to_owned(), 400, "JSON"),
        (Method::POST, KEYS.to_owned(), String::new(), 400, "`name` is required"),
        (Method::POST, KEYS.to_owned(), " ".repeat((64 << 10) + 1), 413, "65536"),
        (
            Method::PATCH,
            format!("{KEYS}/1"),
            json!({"enabled": "canary"}).to_string(),
            400,
            "`enabled`",
        ),
        (Method::PATCH, format!("{KEYS}/1"), json!({"name": null}).to_string(), 400, "`name`"),
        (Method::GET, format!("{KEYS}/0"), String::new(), 404, "no key"),
        (Method::GET, format!("{KEYS}/-1"), String::new(), 404, "no key"),
        (Method::GET, format!("{KEYS}/9007199254740992"), String::new(), 404, "no key"),
        (Method::GET, format!("{KEYS}/9223372036854775808"), String::new(), 400, "`id`"),
        (Method::GET, format!("{KEYS}/0x10"), String::new(), 400, "`id`"),
        (Method::DELETE, format!("{KEYS}/canary"), String::new(), 400, "`id`"),
        (
            Method::POST,
            format!("{KEYS}/5/rotate"),
            json!({"overlap": -1}).to_string(),
            400,
            "`overlap`",
        ),
        (
            Method::GET,
            "/api/security/ingestion/audit?after=canary".to_owned(),
            String::new(),
            400,
            "`after`",
        ),
        (Method::GET, "/api/canary".to_owned(), String::new(), 404, "no such call"),
        (Method::PUT, KEYS.to_owned(), String::new(), 405, "method"),
    ];
    for (method, path, body, status, expected) in wrong {
        let response = gateway.call(method.clone(), &path).body(body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), content_type(&response)),
            (status, "application/json"),
            "{method} {path}"
        );
        let message = message(response).await;
        assert!(
            message.contains(expected)
                && !message.contains("canary")
                && !message.contains(['<', '>']),
            "{path}: {message}"
        );
    }
}

// Scenario: the database is removed while the gateway runs.
// Guarantee: the response to a change is 503, with the cause and with `Retry-After`. The gateway
// still decides about keys from memory.
#[tokio::test]
async fn a_lost_database_acknowledges_nothing() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    std::fs::remove_file(gateway.state().join("keys.db")).unwrap();
    let response =
        gateway.call(Method::POST, KEYS).json(&json!({"name": "lost"})).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let seconds: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds));
    let message = message(response).await;
    assert!(message.contains("removed or replaced"), "{message}");
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
}

// Scenario: at the default log level, one call is denied, and another call asks for a key that does
// not exist.
// Guarantee: the log line of each call contains the tracking key of its response.
#[tokio::test]
async fn a_tracking_key_is_in_the_log() {
    let gateway = Gateway::start().await;
    let nobody = gateway.client.get(gateway.url("management", KEYS));
    for (request, expected) in [
        (nobody, "was refused"),
        (gateway.call(Method::GET, &format!("{KEYS}/5")), "was not fulfilled"),
    ] {
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        let line = gateway
            .log
            .wait_for(&format!("tracking_key={}", body["trackingKey"].as_str().unwrap()))
            .await;
        assert!(line.contains(expected), "{line}");
    }
}

// Scenario: the id in the path is not a number, or is not valid text.
// Guarantee: the response is 400 with an error body. The content type is exactly
// `application/json`, because clients compare it byte by byte.
#[tokio::test]
async fn a_path_that_is_not_an_id_is_a_bad_request() {
    let gateway = Gateway::start().await;
    for id in ["%ff", "x", "-", "99999999999999999999"] {
        let response = gateway.call(Method::GET, &format!("{KEYS}/{id}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{id}");
        assert_eq!(content_type(&response), "application/json", "{id}");
        assert!(message(response).await.starts_with("`id`: expected"), "{id}");
    }
}
