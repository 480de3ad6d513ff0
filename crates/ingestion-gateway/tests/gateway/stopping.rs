//! Tests of stopping: who is waited for, and who is not.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::Peer;
use crate::program::{Gateway, Lines, PATIENCE, client};

/// A grace that is much longer than [`PATIENCE`].
const LONG_GRACE: &[&str] = &["--set=shutdown_grace=600s"];

/// Connects to a listener and writes `bytes`.
async fn connected(gateway: &Gateway, listener: &str, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address(listener)).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Reads until the end of the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset ends the connection, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    String::from_utf8_lossy(&rest).into_owned()
}

// Scenario: each listener has a silent connection, half a preface of HTTP/2, half a head of a
// request, a connection that is kept alive after a response, and an HTTP/2 connection without a
// request, whose peer answers no ping. The gateway gets SIGTERM.
// Guarantee: the gateway ends long before the grace, with exit code 0, and waits for no request.
// The HTTP/2 peers get GOAWAY.
#[tokio::test]
async fn nobody_waits_for_idle_connections() {
    let mut gateway = Gateway::start_with(LONG_GRACE).await;
    let (mut streams, mut peers) = (Vec::new(), Vec::new());
    for listener in ["otlp_grpc", "otlp_http", "agent", "management", "authorize", "telemetry"] {
        streams.push(connected(&gateway, listener, "").await);
        streams.push(connected(&gateway, listener, "PRI * HTTP/2.0").await);
        streams.push(connected(&gateway, listener, "POST /v1/traces HTTP/1.1\r\nhost:").await);
        let mut kept = connected(&gateway, listener, "GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
        assert_ne!(kept.read(&mut [0; 1024]).await.unwrap(), 0);
        streams.push(kept);
        peers.push(Peer::connect(&gateway.address(listener)).await);
    }
    gateway.signal();
    for mut peer in peers {
        assert!(timeout(PATIENCE, peer.is_sent_away()).await.unwrap());
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.log.wait_for("stopped").await;
    assert!(!gateway.log.all().contains("still in flight"), "{}", gateway.log.all());
}

// Scenario: on HTTP/1.1 and on HTTP/2, a sender with a key begins a request and then writes nothing
// more of its body. The gateway gets SIGTERM.
// Guarantee: the gateway ends long before the grace. The senders get a response that tells them to
// send their data again: OTLP/HTTP gets 503, and the agent gets 408.
#[tokio::test]
async fn a_body_that_stalls_does_not_delay_the_end() {
    let mut gateway = Gateway::start_with(LONG_GRACE).await;
    let key = format!("StackState {}", gateway.create("edge").await.secret);
    let mut requests = Vec::new();
    for (listener, path, status) in
        [("otlp_http", "/v1/traces", "503"), ("agent", "/stsAgent/intake", "408")]
    {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: {key}\r\ncontent-type: application/json\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
        );
        let mut stream = connected(&gateway, listener, &head).await;
        // The request is in flight once the gateway asks for its body.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 100"));
        stream.write_all(b"{").await.unwrap();
        requests.push((stream, status));
    }
    let mut peer = Peer::connect(&gateway.address("otlp_http")).await;
    peer.open_stream("/v1/traces", &key).await;
    gateway.signal();
    for (stream, status) in requests {
        let response = rest(stream).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
    assert!(timeout(PATIENCE, peer.is_answered()).await.unwrap());
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(!gateway.log.all().contains("still in flight"), "{}", gateway.log.all());
}

// Scenario: a sender writes its body without a pause, until after the gateway has got SIGTERM.
// Then the sender ends its body.
// Guarantee: the sender gets 200, and the gateway ends with exit code 0.
#[tokio::test]
async fn a_request_in_flight_is_answered() {
    let mut gateway = Gateway::start_with(LONG_GRACE).await;
    let key = gateway.create("edge").await.secret;
    let head = format!(
        "POST /stsAgent/intake HTTP/1.1\r\nhost: g\r\nsts-api-key: {key}\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
    );
    let (reader, mut writer) = connected(&gateway, "agent", &head).await.into_split();
    let answer = Lines::of(reader);
    answer.wait_for("100 Continue").await;
    gateway.signal();
    let body = async {
        loop {
            writer.write_all(b"1\r\nx\r\n").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = body => {}
        _ = gateway.log.wait_for("stopping") => {}
    }
    // The listeners are closed once they refuse connections.
    timeout(PATIENCE, async {
        while TcpStream::connect(gateway.address("agent")).await.is_ok() {
            writer.write_all(b"1\r\nx\r\n").await.unwrap();
        }
    })
    .await
    .unwrap();
    writer.write_all(b"0\r\n\r\n").await.unwrap();
    answer.wait_for("200 OK").await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}

// Scenario: a line of the debug exporter is printed. Another sender sends a batch, and the gateway
// gets SIGTERM before the next line is due.
// Guarantee: the gateway prints a line for this batch before it ends.
#[tokio::test]
async fn the_last_batch_is_printed() {
    let mut gateway = Gateway::start().await;
    let keys = [gateway.create("first").await.secret, gateway.create("last").await.secret];
    // No connection is left at the end, so that the gateway waits for nobody.
    gateway.client = client();
    for (key, line) in keys.iter().zip([Some("\"first\""), None]) {
        let request = format!(
            "POST /stsAgent/intake HTTP/1.1\r\nhost: g\r\nsts-api-key: {key}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let response = rest(connected(&gateway, "agent", &request).await).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        if let Some(line) = line {
            gateway.output.wait_for(line).await;
        }
    }
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.output.wait_for("\"last\"").await;
}

// Scenario: a sender without a key writes a body without an end. The gateway has refused it, and
// reads what it writes. Then the gateway gets SIGTERM.
// Guarantee: the gateway ends long before the grace.
#[tokio::test]
async fn a_refused_sender_does_not_delay_the_end() {
    let mut gateway = Gateway::start_with(LONG_GRACE).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: g\r\ncontent-length: 1000000000000\r\n\r\n";
    let (reader, mut writer) = connected(&gateway, "otlp_http", head).await.into_split();
    Lines::of(reader).wait_for(" 401 ").await;
    let body = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    timeout(PATIENCE, body).await.unwrap().unwrap();
}
