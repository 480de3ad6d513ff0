//! Tests that no secret is written anywhere.

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::program::Gateway;

const KEYS: &str = "/api/security/ingestion/api_keys";
const LISTENERS: [&str; 5] = ["otlp_grpc", "otlp_http", "agent", "management", "authorize"];
const RECEIVER_KEY: &str = "canary-of-the-receiver-key";

// Scenario: the gateway logs at the most verbose level. A key is created, rotated and later
// deleted. Before and after the deletion, every secret is sent to every route, in valid and in
// malformed requests.
// Guarantee: no key and no admin token is in a log, a response, a metric, an audit entry or a file
// of the database.
#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let receiver = format!("auth.receiver_api_key={RECEIVER_KEY}");
    for format in ["text", "json"] {
        let format = format!("telemetry.logs.format={format}");
        let arguments = [
            "--set=telemetry.logs.level=trace",
            "--set",
            &receiver,
            "--set",
            &format,
            "--set=usage.flush_interval=10ms",
        ];
        let mut gateway = Gateway::start_with(&arguments).await;
        let mut answers = String::new();
        let key = gateway.create("edge").await;
        let rotated =
            gateway.call(Method::POST, &format!("{KEYS}/{}/rotate", key.id)).send().await.unwrap();
        let rotated: Value = rotated.json().await.unwrap();
        let rotated_id = rotated["id"].as_i64().unwrap();
        let rotated = rotated["apiKey"].as_str().unwrap().to_owned();
        let secrets =
            [key.secret.clone(), rotated.clone(), RECEIVER_KEY.to_owned(), gateway.token.clone()];
        for round in 0..2 {
            for secret in &secrets {
                gateway.send_grpc(secret, 1, None).await;
                answers += &gateway.send_http(secret).await.text().await.unwrap();
                gateway.validate(secret).await;
                for body in [json!({"apiKey": secret}), json!({"apiKey": [secret]}), json!(secret)]
                {
                    answers +=
                        &gateway.authorize("", &body.to_string()).await.text().await.unwrap();
                    let create = gateway.call(Method::POST, KEYS).json(&body).send().await.unwrap();
                    assert_eq!(create.status(), StatusCode::BAD_REQUEST);
                    answers += &create.text().await.unwrap();
                }
                for path in [
                    format!("{KEYS}/{secret}"),
                    format!("/{secret}"),
                    format!("/api/security/ingestion/audit?after={secret}"),
                ] {
                    answers += &gateway
                        .call(Method::GET, &path)
                        .send()
                        .await
                        .unwrap()
                        .text()
                        .await
                        .unwrap();
                    let nobody = gateway
                        .client
                        .get(gateway.url("management", &path))
                        .header("x-api-key", format!("{secret}x"));
                    answers += &nobody.send().await.unwrap().text().await.unwrap();
                }
                // By mistake, a key may also be sent as a method or in any other header.
                // The gateway recognizes only a key of its own format in a user agent, and then
                // does not record the user agent.
                if secret.starts_with("iapikeyok-") {
                    let request = gateway.client.post(gateway.url("agent", "/stsAgent/intake"));
                    let request = request.header("user-agent", format!("agent/1 ({secret})"));
                    request.header("sts-api-key", &rotated).send().await.unwrap();
                }
                for listener in LISTENERS {
                    for method in [Method::POST, Method::from_bytes(secret.as_bytes()).unwrap()] {
                        let url = gateway.url(listener, &format!("/{secret}?key={secret}"));
                        let request = gateway.client.request(method, url);
                        let request =
                            request.header(secret, secret).header("x-api-key", &gateway.token);
                        answers += &request.send().await.unwrap().text().await.unwrap();
                    }
                }
                let url = gateway.url("agent", &format!("/stsAgent/{secret}?api_key={secret}"));
                answers += &gateway
                    .client
                    .post(url)
                    .header("sts-api-key", "other")
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap();
            }
            if round == 0 {
                gateway.delete(key.id).await;
            }
        }
        let rotated_key = format!("{KEYS}/{rotated_id}");
        for path in [KEYS, &rotated_key, "/api/security/ingestion/audit"] {
            answers += &gateway.call(Method::GET, path).send().await.unwrap().text().await.unwrap();
        }
        answers += &gateway.metrics().await;
        gateway.output.wait_for("discarded").await;
        gateway.signal();
        assert_eq!(gateway.ended().await.code(), Some(0));
        gateway.log.wait_for("stopped").await;

        let database = fs::read_dir(gateway.state()).unwrap().map(|entry| entry.unwrap().path());
        let database: Vec<u8> = database
            .filter(|path| path.file_name().unwrap() != "admin-tokens")
            .flat_map(|path| fs::read(path).unwrap())
            .collect();
        let places = [
            answers.as_bytes(),
            gateway.log.all().as_bytes(),
            gateway.output.all().as_bytes(),
            &database,
        ]
        .map(<[u8]>::to_vec);
        for secret in &secrets {
            for (place, name) in places.iter().zip(["answers", "log", "output", "database"]) {
                assert!(!place.is_empty());
                let found = place.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} is in the {name}", &secret[..14]);
            }
        }
    }
}
