//! Tests of peers that do not read what the gateway writes, or do not finish what they send.

use std::io::Write;
use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::{Gateway, Lines, PATIENCE, client, command, free_ports, terminate};

/// How many bytes fit into a pipe before somebody has to read from it.
const PIPE_BYTES: usize = 64 << 10;

// Scenario: standard output is a full pipe that nobody reads. Telemetry arrives, and then the
// gateway gets SIGTERM.
// Guarantee: the telemetry is accepted, and the gateway exits with code 0.
#[tokio::test]
async fn nobody_has_to_read_the_output() {
    let directory = TempDir::new().unwrap();
    let ready_file = directory.path().join("ready.json");
    let mut arguments = free_ports();
    arguments.extend([
        "--set=auth.receiver_api_key=a-key-of-some-length".to_owned(),
        format!("--ready-file={}", ready_file.display()),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'.'; PIPE_BYTES]).unwrap();
    let mut gateway =
        command(directory.path(), &arguments).stdout(Stdio::from(writer)).spawn().unwrap();
    let log = Lines::of(gateway.stderr.take().unwrap());
    log.wait_for("otlp_grpc").await;

    let addresses: Value = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
    let url = format!("http://{}/stsAgent/intake", addresses["agent"].as_str().unwrap());
    let response = client()
        .post(url)
        .header("sts-api-key", "a-key-of-some-length")
        .body("data")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    terminate(&gateway);
    assert_eq!(timeout(PATIENCE, gateway.wait()).await.unwrap().unwrap().code(), Some(0));
    log.wait_for("stopped").await;
}

// Scenario: a sender of OTLP/HTTP and an agent begin to write a body, and then write nothing more.
// Guarantee: the responses tell senders to keep their data and try again. OTLP/HTTP gets 503 with
// `Retry-After`, and the agent gets 408.
#[tokio::test]
async fn a_body_that_stalls_can_be_sent_again() {
    let gateway = Gateway::start_with(&["--set", "limits.idle_timeout=2s"]).await;
    let key = gateway.create("edge").await.secret;
    for (listener, path, expected) in
        [("otlp_http", "/v1/traces", "503"), ("agent", "/stsAgent/intake", "408")]
    {
        let address = gateway.url(listener, "").split_off("http://".len());
        let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{"
        );
        writer.write_all(head.as_bytes()).await.unwrap();
        let answer = Lines::of(reader);
        answer.wait_for(&format!("HTTP/1.1 {expected}")).await;
        if expected == "503" {
            answer.wait_for("retry-after: ").await;
        }
    }
}

// Scenario: clients open as many connections as are allowed. They send requests without a
// credential, and read no response.
// Guarantee: the gateway drops each of these connections, and the next client gets a response.
#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    let gateway =
        Gateway::start_with(&["--set=limits.max_connections=3", "--set=limits.idle_timeout=1s"])
            .await;
    let address = gateway.url("otlp_http", "").split_off("http://".len());
    let mut peers = JoinSet::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // Once the responses fill the socket's buffers, the gateway stops reading requests, too.
        peers.spawn(async move {
            while stream.write_all(b"GET /x HTTP/1.1\r\nhost: g\r\n\r\n").await.is_ok() {}
        });
    }
    let response = timeout(PATIENCE, client().get(gateway.url("otlp_http", "/v1/traces")).send())
        .await
        .unwrap();
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    timeout(PATIENCE, peers.join_all()).await.unwrap();
}

// Scenario: a client keeps its connection after a response. Then two other connections begin, of
// which one stays silent and one sends half a head. Both are closed after
// `limits.header_read_timeout`. Then the client sends its next request.
// Guarantee: the client gets its response on the kept connection, which only `limits.idle_timeout`
// ends. Senders often send once in 10 s to 60 s.
#[tokio::test]
async fn a_pause_between_two_requests_is_not_a_stall() {
    let gateway = Gateway::start_with(&["--set=limits.header_read_timeout=200ms"]).await;
    let request = b"GET /livez HTTP/1.1\r\nhost: g\r\n\r\n";
    let (reader, mut kept) = gateway.connect("telemetry").await.into_split();
    let answers = Lines::of(reader);
    kept.write_all(request).await.unwrap();
    answers.wait_for("alive").await;
    for begun in [&b""[..], b"GET /livez HTTP/1.1\r\nhost:"] {
        let mut silent = gateway.connect("telemetry").await;
        silent.write_all(begun).await.unwrap();
        // A reset ends the connection, too.
        let _ = timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await.unwrap();
    }
    kept.write_all(&request.repeat(2)).await.unwrap();
    timeout(PATIENCE, async {
        while answers.all().matches("alive").count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
