//! Tests of the limits of connections: what ends a connection is counted by the name of the limit.

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, block, frame};
use crate::program::{Gateway, PATIENCE};
use crate::scripted::Upstream;

/// Waits until the metrics have a number of connections of a listener that ended for a reason.
async fn wait_for(gateway: &Gateway, listener: &str, reason: &str, count: u64) {
    let (listener, reason) = (format!("listener=\"{listener}\""), format!("reason=\"{reason}\""));
    let is_it = |line: &str| {
        line.starts_with("ingestion_connections_ended")
            && line.contains(&listener)
            && line.contains(&reason)
            && line.ends_with(&format!(" {count}"))
    };
    let counted = async { while !gateway.metrics().await.lines().any(is_it) {} };
    assert!(timeout(PATIENCE, counted).await.is_ok(), "{}", gateway.metrics().await);
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset ends the connection, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap();
    String::from_utf8_lossy(&read).into_owned()
}

// Scenario: connections to one listener stay silent, stay open after a response, have headers of
// 20 KiB, and send junk behind the preface of HTTP/2.
// Guarantee: each of them ends, and is counted by the limit that it has reached. The one with the
// headers gets 431.
#[tokio::test]
async fn each_limit_is_counted() {
    let hasty = Gateway::start_with(&["--set=limits.header_read_timeout=200ms"]).await;
    let gateway = Gateway::start_with(&["--set=limits.idle_timeout=1s"]).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: g\r\nx: {}\r\n\r\n", "x".repeat(20 << 10));
    for (gateway, sent, reason, answer) in [
        (&hasty, "", "header_read_timeout", ""),
        (&gateway, "GET / HTTP/1.1\r\nhost: g\r\n\r\n", "idle_timeout", "HTTP/1.1 401 "),
        (&gateway, &huge, "max_header_size", "HTTP/1.1 431 "),
        (&gateway, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunk and more junk", "failed", ""),
    ] {
        let mut stream = gateway.connect("otlp_grpc").await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let read = read_to_end(&mut stream).await;
        assert!(read.starts_with(answer), "{reason}: {read}");
        wait_for(gateway, "receivers.otlp.protocols.grpc", reason, 1).await;
    }
}

// Scenario: the upstream does not answer a call. Its sender says nothing more, and answers no ping.
// Guarantee: the gateway ends the connection, although a call is in flight, and counts it as idle.
#[tokio::test]
async fn a_peer_that_answers_no_ping_is_gone() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::start_with(&[
        &upstream.setting("otlp_grpc"),
        "--set=upstream.otlp_http=debug",
        "--set=upstream.agent=debug",
        "--set=limits.idle_timeout=1s",
        "--set=limits.header_read_timeout=1s",
    ])
    .await;
    let headers = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &format!("StackState {}", gateway.create("edge").await.secret)),
    ]);
    let mut peer = Peer::connect(&gateway.address("otlp_grpc")).await;
    let call =
        [frame(HEADERS, END_HEADERS, 1, &headers), frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0])];
    peer.write_bytes(&call.concat()).await;
    let mut connection = upstream.accept_grpc().await;
    let _unanswered = connection.call().await.unwrap();
    peer.wait_for_end().await;
    wait_for(&gateway, "receivers.otlp.protocols.grpc", "idle_timeout", 1).await;
}

// Scenario: a sender opens calls that break the rules of HTTP/2 on one connection, until the
// gateway has reset too many of them.
// Guarantee: the gateway ends the connection, and counts it by this reason.
#[tokio::test]
async fn too_many_resets_are_counted() {
    let gateway = Gateway::start().await;
    let mut peer = Peer::connect(&gateway.address("otlp_grpc")).await;
    let without_path = block(&[(":method", "POST"), (":scheme", "http"), (":authority", "g")]);
    let calls = (1..5000).step_by(2);
    let calls = calls.map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &without_path));
    peer.write_bytes(&calls.flatten().collect::<Vec<_>>()).await;
    peer.wait_for_end().await;
    wait_for(&gateway, "receivers.otlp.protocols.grpc", "too_many_resets", 1).await;
}

// Scenario: a listener allows two connections. A sender with a valid key holds both with requests
// whose bodies do not come. Another sender sends a request on a new connection.
// Guarantee: a connection whose body does not come gives way, and is counted. The other sender is
// answered.
#[tokio::test]
async fn bodies_that_do_not_come_give_way() {
    let limits = ["--set=limits.header_read_timeout=200ms", "--set=limits.max_connections=2"];
    let gateway = Gateway::start_with(&limits).await;
    let key = gateway.create("edge").await.secret;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = gateway.connect("otlp_http").await;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\n\
             content-type: application/json\r\ncontent-length: 10\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let answer = timeout(PATIENCE, gateway.send_http(&key)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    wait_for(&gateway, "receivers.otlp.protocols.http", "max_connections", 1).await;
}
