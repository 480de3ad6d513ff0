//! Tests of a gateway whose keys are in a PostgreSQL database.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_postgres::{Link, Postgres};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;

use crate::calls::{ARROW, Client, Status, TRACES};
use crate::program::{Gateway, PATIENCE, run_to_end};

/// A key with the right format, which no database has.
const KEY: &str = "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN";
const RECEIVER_KEY: &str = "a-shared-key-of-the-installation";
const KEYS: &str = "/api/security/ingestion/api_keys";

/// Starts a gateway whose keys are in the database with this URL.
async fn start(url: &str) -> Gateway {
    let url = format!("--set=storage.url={url}");
    let receiver = format!("--set=auth.receiver_api_key={RECEIVER_KEY}");
    Gateway::start_with(&[&url, &receiver]).await
}

/// Starts a gateway whose keys are in the database behind a link, and soon too old if the link is
/// cut.
async fn start_behind(link: &Link, url: &str) -> Gateway {
    let (_, database) = url.rsplit_once('/').unwrap();
    let url = format!("--set=storage.url=postgres://postgres@{}/{database}", link.address());
    let settings = ["--set=storage.poll_interval=1s", "--set=storage.max_staleness=5s"];
    Gateway::start_with(&[&url, settings[0], settings[1]]).await
}

/// Starts a gateway whose database is at this address, where no database is.
async fn start_without_database(address: SocketAddr) -> Gateway {
    start(&format!("postgres://keys@{address}/keys?sslmode=disable")).await
}

/// Sends with a key until the answer has this status. Every answer before must have `before`.
async fn until(gateway: &Gateway, key: &str, before: StatusCode, status: StatusCode) {
    let answers = async {
        loop {
            match gateway.send_http(key).await.status() {
                answer if answer == status => break,
                answer => assert_eq!(answer, before),
            }
        }
    };
    timeout(PATIENCE, answers).await.unwrap();
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

    let mut calls = JoinSet::new();
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
        let call = body.iter().fold(call, |call, body| call.json(body)).send();
        calls.spawn(async move {
            let response = call.await.unwrap();
            assert_undecided(&response);
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["errors"][0]["_type"], "Unavailable", "{method} {path}: {problem}");
        });
    }
    let asked = json!({"apiKey": KEY});
    let asked = gateway.call(Method::POST, "/api/security/ingestion/authorize").json(&asked);
    assert_undecided(&asked.send().await.unwrap());
    timeout(PATIENCE, calls.join_all()).await.unwrap();

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
    assert_waits(start_without_database(socket.local_addr().unwrap()).await).await;
}

// Scenario: somebody accepts connections at the address of the database, and says nothing.
// Guarantee: the same.
#[tokio::test]
async fn a_silent_port_is_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_waits(start_without_database(silent.local_addr().unwrap()).await).await;
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

// Scenario: a key is created, listed, used, rotated and deleted. Then another gateway starts on the
// same database.
// Guarantee: the keys are in the database. Each change is in force when it is answered, and also in
// the other gateway.
#[tokio::test]
async fn keys_live_in_the_database() {
    let server = Postgres::shared();
    let url = server.create_database();
    let gateway = start(&url).await;
    assert_eq!(readyz(&gateway).await.0, StatusCode::OK);
    let (rotated, deleted) = (gateway.create("rotated").await, gateway.create("deleted").await);
    let listed: Value = gateway.call(Method::GET, KEYS).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    for key in [&rotated, &deleted] {
        assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
        assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, Code::Ok);
    }
    gateway.delete(deleted.id).await;
    let path = format!("{KEYS}/{}/rotate", rotated.id);
    let rotation = gateway.call(Method::POST, &path).json(&json!({"overlap": 0})).send();
    let new: Value = rotation.await.unwrap().json().await.unwrap();
    let new = new["apiKey"].as_str().unwrap();
    for gateway in [&gateway, &start(&url).await] {
        assert_eq!(gateway.send_http(new).await.status(), StatusCode::OK);
        for key in [&rotated, &deleted] {
            let refused = gateway.send_http(&key.secret).await.status();
            assert_eq!(refused, StatusCode::UNAUTHORIZED);
        }
        assert!(gateway.metrics().await.contains("\ningestion_keys_lag"));
    }
}

// Scenario: two gateways share a database. A key is created on one of them, used on the other one,
// and deleted on the first one.
// Guarantee: the other gateway lets the key in, and refuses it soon after the deletion. Its answer
// is never undecided.
#[tokio::test]
async fn gateways_follow_each_other() {
    let server = Postgres::shared();
    let url = server.create_database();
    let (one, other) = (start(&url).await, start(&url).await);
    let key = one.create("edge").await;
    until(&other, &key.secret, StatusCode::UNAUTHORIZED, StatusCode::OK).await;
    one.delete(key.id).await;
    until(&other, &key.secret, StatusCode::OK, StatusCode::UNAUTHORIZED).await;
    assert_eq!(other.send_grpc(&key.secret, 1, None).await, Code::Unauthenticated);
}

// Scenario: the network between a gateway and the database is cut, and breaks down without a word.
// Each time, another gateway deletes a key, and the network is mended after more than
// `max_staleness`.
// Guarantee: the first gateway decides from memory, then is undecided, and then decides again: the
// deleted key is refused, and the other key is let in. No valid key is ever refused.
#[tokio::test]
async fn an_outage_of_the_network_is_no_decision() {
    let server = Postgres::shared();
    let url = server.create_database();
    let link = Link::to(server.address());
    let (behind, other) = (start_behind(&link, &url).await, start(&url).await);
    let kept = other.create("kept").await.secret;
    until(&behind, &kept, StatusCode::UNAUTHORIZED, StatusCode::OK).await;
    for lose in [Link::cut, Link::freeze] {
        let deleted = other.create("deleted").await;
        until(&behind, &deleted.secret, StatusCode::UNAUTHORIZED, StatusCode::OK).await;
        lose(&link);
        other.delete(deleted.id).await;
        until(&behind, &deleted.secret, StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_undecided(&behind.send_http(&kept).await);
        assert_eq!(readyz(&behind).await.1, "not ready: the keys could not be read for too long\n");
        link.mend();
        let undecided = StatusCode::SERVICE_UNAVAILABLE;
        until(&behind, &deleted.secret, undecided, StatusCode::UNAUTHORIZED).await;
        assert_eq!(behind.send_http(&kept).await.status(), StatusCode::OK);
        assert_eq!(readyz(&behind).await.0, StatusCode::OK);
    }
}

// Scenario: a gateway creates a key and ends. Then the server of the database stops, a gateway
// starts, and the server starts again.
// Guarantee: the gateway is undecided about the key and not ready. When the server is back, the
// gateway is ready and lets the key in, without a restart.
#[tokio::test]
async fn a_cold_start_waits_for_the_server() {
    let server = Postgres::start();
    let url = server.create_database();
    let key = start(&url).await.create("edge").await.secret;
    server.stop_fast();
    let gateway = start(&url).await;
    assert_undecided(&gateway.send_http(&key).await);
    assert_eq!(readyz(&gateway).await.1, "not ready: the keys were never read\n");
    server.start_again();
    until(&gateway, &key, StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK).await;
    assert_eq!(readyz(&gateway).await.0, StatusCode::OK);
    gateway.log.wait_for("the keys were read").await;
}

// Scenario: a gateway starts while the server of its database is stopped. When the server is back,
// it has no such database.
// Guarantee: the gateway ends with exit code 69, as it does at the start.
#[tokio::test]
async fn a_database_that_does_not_exist_is_not_waited_for() {
    let server = Postgres::start();
    let url = server.url("nothing");
    server.stop_fast();
    let mut gateway = start(&url).await;
    server.start_again();
    assert_eq!(gateway.ended().await.code(), Some(69));
    let line = gateway.log.wait_for("the gateway ends").await;
    assert!(line.contains("there is no such database") && line.contains(&url), "{line}");
}

// Scenario: the database asks for a password, which is in the URL or in a file. Other gateways have
// a wrong password, and none.
// Guarantee: the first two are ready. The others end with exit code 69 and say why. No log has a
// password.
#[tokio::test]
async fn a_password_is_read_and_never_shown() {
    let server = Postgres::options().password("p@ss word").start();
    let url = server.url("postgres");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    let from_file = format!("--set=storage.password_file={}", file.display());
    let with = |password: &str| {
        format!("--set=storage.url={}", url.replace("postgres@", &format!("postgres:{password}@")))
    };
    fs::write(&file, "p@ss word\n").unwrap();
    for arguments in
        [vec![format!("--set=storage.url={url}"), from_file], vec![with("p%40ss%20word")]]
    {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let gateway = Gateway::start_with(&arguments).await;
        assert_eq!(readyz(&gateway).await.0, StatusCode::OK);
        gateway.create("edge").await;
        let log = gateway.log.all();
        assert!(!log.contains("p%40ss") && !log.contains("p@ss") && log.contains(&url), "{log}");
    }
    let (wrong, none) = (with("canary"), format!("--set=storage.url={url}"));
    for (argument, cause) in
        [(wrong, "refuses the user or the password"), (none, "password missing")]
    {
        let (code, _, errors) = run_to_end(directory.path(), &[&argument]).await;
        assert_eq!(code, 69, "{errors}");
        assert!(errors.contains(cause) && !errors.contains("canary"), "{errors}");
    }
}

// Scenario: the SQLite database of a gateway is copied while the gateway runs, after it was
// stopped, and once more. The two URLs are also given the wrong way round, and there is a source
// that does not exist.
// Guarantee: only the copy of the stopped gateway is made, and its keys are valid in a gateway on
// the copy. Otherwise nothing is copied, and the message says why. No source is created.
#[tokio::test]
async fn keys_move_from_sqlite() {
    let server = Postgres::shared();
    let to = server.create_database();
    let mut gateway = Gateway::start().await;
    let directory = Arc::clone(&gateway.directory);
    let (kept, deleted) = (gateway.create("kept").await, gateway.create("deleted").await);
    gateway.delete(deleted.id).await;
    let from = format!("sqlite://{}", gateway.state().join("keys.db").display());
    let copy = async |from: &str, to: &str| {
        let arguments = ["storage", "copy", "--from", from, "--to", to];
        run_to_end(directory.path(), &arguments).await
    };
    let (code, _, errors) = copy(&from, &to).await;
    assert_eq!((code, errors.contains("another process")), (69, true), "{errors}");
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    let missing = format!("sqlite://{}/missing.db", directory.path().display());
    for (from, to, code, expected) in [
        (to.as_str(), from.as_str(), 64, "copies go from sqlite://"),
        (&missing, &to, 69, "missing.db: No such file"),
        (&from, &server.url("nothing"), 69, "there is no such database"),
    ] {
        let (found, _, errors) = copy(from, to).await;
        assert_eq!((found, errors.contains(expected)), (code, true), "{errors}");
    }
    assert!(!directory.path().join("missing.db").exists());
    let (code, output, errors) = copy(&from, &to).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    let counts = "1 keys, 1 deleted keys, 4 changes, 3 entries of the audit log";
    assert!(output.contains(counts), "{output}");
    let (code, _, errors) = copy(&from, &to).await;
    assert_eq!((code, errors.contains("the target is not empty")), (69, true), "{errors}");

    let gateway = start(&to).await;
    assert_eq!(gateway.send_http(&kept.secret).await.status(), StatusCode::OK);
    assert_eq!(gateway.send_http(&deleted.secret).await.status(), StatusCode::UNAUTHORIZED);
}

// Scenario: the tables are created by the command, which then runs once more, and once with an
// SQLite database.
// Guarantee: the command succeeds twice with PostgreSQL, and explains itself otherwise.
#[tokio::test]
async fn tables_are_created_by_a_command() {
    let server = Postgres::shared();
    let url = server.create_database();
    let directory = TempDir::new().unwrap();
    let set = format!("--set=storage.url={url}");
    for _ in 0..2 {
        let (code, output, errors) =
            run_to_end(directory.path(), &[&set, "storage", "migrate"]).await;
        assert_eq!((code, output), (0, format!("{url} is up to date\n")), "{errors}");
    }
    let (_, database) = url.rsplit_once('/').unwrap();
    assert_eq!(server.psql(database, "SELECT count(*) FROM ingestion_keys.keys"), "0");
    let (code, _, errors) = run_to_end(directory.path(), &["storage", "migrate"]).await;
    assert_eq!((code, errors.contains("no PostgreSQL database")), (64, true), "{errors}");
}
