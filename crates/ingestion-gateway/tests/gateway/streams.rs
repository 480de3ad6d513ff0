//! Tests of long streams and large bodies: who ends them, and what they cost while one side is
//! slow.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use reqwest::Method;
use serde_json::json;
use test_postgres::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::calls::{ARROW, Call, Client, EMPTY, Status, TRACES};
use crate::program::{Gateway, Key, PATIENCE};
use crate::scripted::{GrpcConnection, Upstream};

/// The bytes that are sent to a side that does not read them.
const LARGE: usize = 32 << 20;

/// The memory that the gateway may take for them.
const MAX_GROWTH: usize = 12 << 20;

/// The bytes that are sent at a time.
const CHUNK: usize = 64 << 10;

/// How long nothing must move until a transfer counts as blocked.
const BLOCKED: Duration = Duration::from_millis(500);

/// The limits of a gateway through which large bodies pass.
const LIMITS: [&str; 2] = ["--set=limits.max_request_body_size=1GiB", "--set=upstream.agent=debug"];

/// A gateway that forwards both transports to a scripted upstream each.
struct Forwarding {
    gateway: Gateway,
    grpc: Upstream,
    http: Upstream,
}

impl Forwarding {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[&str]) -> Self {
        let (grpc, http) = (Upstream::bind().await, Upstream::bind().await);
        let settings = [grpc.setting("otlp_grpc"), http.setting("otlp_http")];
        let arguments = [&settings.each_ref().map(String::as_str)[..], &LIMITS, more].concat();
        let gateway = Gateway::start_with(&arguments).await;
        Self { gateway, grpc, http }
    }

    /// Asserts that the gateway has taken little memory since it had `before`.
    fn assert_small(&self, before: usize) {
        let now = self.gateway.resident_memory();
        assert!(now < before + MAX_GROWTH, "{before} bytes before, {now} now");
    }

    /// Changes a key with the management API.
    async fn patch(&self, key: &Key, change: serde_json::Value) {
        let path = format!("/api/security/ingestion/api_keys/{}", key.id);
        let response = self.gateway.call(Method::PATCH, &path).json(&change).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// Waits until `count` has not changed for a while, and returns it.
async fn wait_until_blocked(count: &AtomicUsize) -> usize {
    let mut before = count.load(Relaxed);
    let blocked = async {
        loop {
            tokio::time::sleep(BLOCKED).await;
            let now = count.load(Relaxed);
            if now == before && now > 0 {
                return now;
            }
            before = now;
        }
    };
    timeout(PATIENCE, blocked).await.expect("the transfer blocks")
}

// Scenario: keys have Arrow streams open, with a message in each direction. One key is deleted, one
// is disabled, and one expires. The stream of a fourth key stays open.
// Guarantee: each of the three streams ends with `UNAUTHENTICATED`, and the upstream sees that it
// is cancelled. The fourth stream goes on.
#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let forwarding = Forwarding::start().await;
    let client = Client::connect(&forwarding.gateway, "otlp_grpc").await;
    let mut connection: Option<GrpcConnection> = None;
    let mut open = async |name: &str| {
        let key = forwarding.gateway.create(name).await;
        let mut call: Call = client.open(ARROW, &key.secret).await;
        call.messages.send_data(EMPTY, false).unwrap();
        if connection.is_none() {
            connection = Some(forwarding.grpc.accept_grpc().await);
        }
        let mut forwarded = connection.as_mut().unwrap().call().await.unwrap();
        assert_eq!(forwarded.data().await.unwrap().unwrap(), EMPTY);
        let mut stream = forwarded.begin();
        stream.send_data(EMPTY, false).unwrap();
        (key, call, forwarded, stream)
    };
    let mut kept = open("kept").await;
    let deleted = open("deleted").await;
    let disabled = open("disabled").await;
    let expired = open("expired").await;
    forwarding.gateway.delete(deleted.0.id).await;
    forwarding.patch(&disabled.0, json!({"enabled": false})).await;
    // The old key expires a second after its rotation.
    let path = format!("/api/security/ingestion/api_keys/{}/rotate", expired.0.id);
    let rotation = forwarding.gateway.call(Method::POST, &path).json(&json!({"overlap": 1000}));
    assert_eq!(rotation.send().await.unwrap().status(), 200);
    for (_, call, mut forwarded, mut stream) in [deleted, disabled, expired] {
        let end = call.end().await;
        assert_eq!((end.messages, end.status), (EMPTY.to_vec(), Status::UNAUTHENTICATED));
        let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
        timeout(PATIENCE, reset).await.expect("the call is cancelled").unwrap();
        assert!(forwarded.body().await.is_err(), "the call ended regularly");
    }
    let (_, call, forwarded, stream) = &mut kept;
    call.messages.send_data(EMPTY, false).unwrap();
    assert_eq!(forwarded.data().await.unwrap().unwrap(), EMPTY);
    stream.send_data(EMPTY, false).unwrap();
    let mut body = call.response().await;
    for _ in 0..2 {
        assert_eq!(timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap(), EMPTY);
    }
}

// Scenario: a key has an Arrow stream open through one gateway, and is deleted through another one
// on the same PostgreSQL database.
// Guarantee: the stream ends with `UNAUTHENTICATED`.
#[tokio::test]
async fn a_stream_ends_with_its_key_on_another_gateway() {
    let server = Postgres::shared();
    let url = format!("--set=storage.url={}", server.create_database());
    let forwarding = Forwarding::start_with(&[&url]).await;
    let other = Gateway::start_with(&[&url]).await;
    let key = forwarding.gateway.create("edge").await;
    let client = Client::connect(&forwarding.gateway, "otlp_grpc").await;
    let call = client.open(ARROW, &key.secret).await;
    let mut connection = forwarding.grpc.accept_grpc().await;
    let mut stream = connection.call().await.unwrap().begin();
    stream.send_data(EMPTY, false).unwrap();
    other.delete(key.id).await;
    let end = call.end().await;
    assert_eq!((end.messages, end.status), (EMPTY.to_vec(), Status::UNAUTHENTICATED));
}

// Scenario: a key and the shared receiver API key have Arrow streams open. The database is moved
// away for longer than `max_staleness`.
// Guarantee: the stream of the key ends with `UNAVAILABLE` and a time to try again, because nobody
// knows whether the key is still valid. The stream of the shared key, which is not in the database,
// goes on.
#[tokio::test]
async fn a_stream_ends_when_the_keys_are_too_old() {
    const RECEIVER: &str = "a-shared-key-of-the-installation";
    let forwarding = Forwarding::start_with(&[
        "--set=storage.poll_interval=100ms",
        "--set=storage.max_staleness=5s",
        &format!("--set=auth.receiver_api_key={RECEIVER}"),
    ])
    .await;
    let gateway = &forwarding.gateway;
    let key = gateway.create("edge").await.secret;
    let client = Client::connect(gateway, "otlp_grpc").await;
    let mut ends: Call = client.open(ARROW, &key).await;
    let mut connection = forwarding.grpc.accept_grpc().await;
    let mut stream = connection.call().await.unwrap().begin();
    stream.send_data(EMPTY, false).unwrap();
    let mut goes_on = client.open(ARROW, RECEIVER).await;
    let mut kept = connection.call().await.unwrap().begin();
    ends.messages.send_data(EMPTY, false).unwrap();
    fs::rename(gateway.state().join("keys.db"), gateway.state().join("elsewhere")).unwrap();
    let end = ends.end().await;
    assert_eq!((end.messages, end.status), (EMPTY.to_vec(), Status::UNAVAILABLE));
    kept.send_data(EMPTY, false).unwrap();
    let mut body = goes_on.response().await;
    assert_eq!(timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap(), EMPTY);
}

// Scenario: a sender over OTLP/HTTP writes a body without an end, and its key is deleted.
// Guarantee: the body is cut: the sender gets no success, and the upstream sees no complete
// request.
#[tokio::test]
async fn a_body_ends_with_its_key() {
    let forwarding = Forwarding::start().await;
    let key = forwarding.gateway.create("edge").await;
    let mut stream = forwarding.gateway.connect("otlp_http").await;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        key.secret
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"1\r\n{\r\n").await.unwrap();
    let mut connection = forwarding.http.accept().await;
    connection.arrived_head().await.unwrap();
    forwarding.gateway.delete(key.id).await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = async {
        while writer.write_all(b"1\r\n \r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reading = async {
        let mut read = Vec::new();
        let _ = reader.read_to_end(&mut read).await;
        String::from_utf8(read).unwrap()
    };
    let all = async { tokio::join!(writing, reading, connection.rest()) };
    let ((), answer, rest) = timeout(PATIENCE, all).await.expect("the body is cut");
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the body seems complete");
}

// Scenario: over each transport, a sender writes 32 MiB to an upstream that does not read. Then
// the upstream reads.
// Guarantee: the gateway stops reading, and its memory stays small. Then everything arrives.
#[tokio::test]
async fn a_slow_upstream_slows_down_the_sender() {
    let forwarding = Forwarding::start().await;
    let key = forwarding.gateway.create("edge").await.secret;
    let sent = Arc::new(AtomicUsize::new(0));
    let before = forwarding.gateway.resident_memory();

    let mut stream = forwarding.gateway.connect("otlp_http").await;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\ncontent-type: application/json\r\ncontent-length: {LARGE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let count = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        let chunk = vec![b' '; CHUNK];
        for _ in 0..LARGE / CHUNK {
            stream.write_all(&chunk).await.unwrap();
            count.fetch_add(CHUNK, Relaxed);
        }
        stream
    });
    let mut connection = forwarding.http.accept().await;
    connection.arrived_head().await.unwrap();
    assert!(wait_until_blocked(&sent).await < LARGE);
    forwarding.assert_small(before);
    connection.skip(LARGE).await;
    connection.accept_export().await;
    let mut answer = [0; 15];
    let mut stream = timeout(PATIENCE, sender).await.unwrap().unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    sent.store(0, Relaxed);
    let client = Client::connect(&forwarding.gateway, "otlp_grpc").await;
    let mut call = client.open(TRACES, &key).await;
    let count = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        let chunk = Bytes::from(vec![b' '; CHUNK]);
        for _ in 0..LARGE / CHUNK {
            call.send(chunk.clone()).await.unwrap();
            count.fetch_add(CHUNK, Relaxed);
        }
        call.messages.send_data(Bytes::new(), true).unwrap();
        call
    });
    let mut connection = forwarding.grpc.accept_grpc().await;
    let mut forwarded = connection.call().await.unwrap();
    assert!(wait_until_blocked(&sent).await < LARGE);
    forwarding.assert_small(before);
    let mut arrived = 0;
    while let Some(data) = forwarded.data().await.unwrap() {
        arrived += data.len();
    }
    assert_eq!(arrived, LARGE);
    forwarded.finish("0");
    let call = timeout(PATIENCE, sender).await.unwrap().unwrap();
    assert_eq!(call.end().await.status, Status::OK);
    forwarding.assert_small(before);
}

// Scenario: over each transport, an upstream writes a response of 32 MiB to a sender that does not
// read. Then the sender reads.
// Guarantee: the gateway stops reading, and its memory stays small. Then everything arrives.
#[tokio::test]
async fn a_slow_sender_slows_down_the_upstream() {
    let forwarding = Forwarding::start().await;
    let key = forwarding.gateway.create("edge").await.secret;
    let sent = Arc::new(AtomicUsize::new(0));
    let before = forwarding.gateway.resident_memory();

    let mut stream = forwarding.gateway.connect("otlp_http").await;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut connection = forwarding.http.accept().await;
    connection.arrived().await.unwrap();
    connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    let count = Arc::clone(&sent);
    let upstream = tokio::spawn(async move {
        let chunk = vec![b' '; CHUNK];
        for _ in 0..LARGE / CHUNK {
            connection.write(&chunk).await;
            count.fetch_add(CHUNK, Relaxed);
        }
    });
    assert!(wait_until_blocked(&sent).await < LARGE);
    forwarding.assert_small(before);
    let mut arrived = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap() {
            0 => break,
            read => arrived += read,
        }
    }
    assert!(arrived > LARGE, "{arrived}");
    timeout(PATIENCE, upstream).await.unwrap().unwrap();

    sent.store(0, Relaxed);
    let client = Client::connect(&forwarding.gateway, "otlp_grpc").await;
    let mut call = client.open(ARROW, &key).await;
    let mut connection = forwarding.grpc.accept_grpc().await;
    let mut forwarded = connection.call().await.unwrap();
    let mut response = forwarded.begin();
    let count = Arc::clone(&sent);
    let upstream = tokio::spawn(async move {
        for _ in 0..LARGE / CHUNK {
            let mut chunk = Bytes::from(vec![b' '; CHUNK]);
            while !chunk.is_empty() {
                response.reserve_capacity(chunk.len());
                let capacity = std::future::poll_fn(|cx| response.poll_capacity(cx)).await;
                let capacity = capacity.unwrap().unwrap().min(chunk.len());
                response.send_data(chunk.split_to(capacity), false).unwrap();
                count.fetch_add(capacity, Relaxed);
            }
        }
        response.send_trailers(crate::scripted::trailers("0")).unwrap();
        (forwarded, connection)
    });
    let body = call.response().await;
    assert!(wait_until_blocked(&sent).await < LARGE);
    forwarding.assert_small(before);
    let end = crate::calls::end(body).await;
    assert_eq!((end.messages.len(), end.status), (LARGE, Status::OK));
    let _upstream = timeout(PATIENCE, upstream).await.unwrap().unwrap();
    forwarding.assert_small(before);
}

// Scenario: a sender opens a call and resets it at once, 20,000 times on one connection, each with
// a good key, and then on connections of its own. Another sender sends meanwhile.
// Guarantee: the gateway ends the connection, or the calls. Its memory stays small, the upstream
// has few calls, and the other sender is served.
#[tokio::test]
async fn rapid_resets_stop_nobody_else() {
    let forwarding = Forwarding::start().await;
    let key = forwarding.gateway.create("edge").await.secret;
    let before = forwarding.gateway.resident_memory();
    let upstream = async {
        loop {
            let mut connection = forwarding.grpc.accept_grpc().await;
            tokio::spawn(async move {
                while let Some(mut call) = connection.call().await {
                    tokio::spawn(async move {
                        if call.body().await.is_ok() {
                            call.finish("0");
                        }
                    });
                }
            });
        }
    };
    let attack = async {
        for _ in 0..20 {
            let client = Client::connect(&forwarding.gateway, "otlp_grpc").await;
            for _ in 0..1000 {
                let Some(mut call) = client.try_open(TRACES, &key).await else { break };
                call.messages.send_reset(Reason::CANCEL);
            }
        }
    };
    let good = async {
        let client = Client::connect(&forwarding.gateway, "otlp_http").await;
        for _ in 0..100 {
            assert_eq!(client.call(TRACES, &key).await.status, Status::OK);
        }
    };
    tokio::select! {
        _ = async { tokio::join!(attack, good) } => {}
        () = upstream => unreachable!("the upstream never ends"),
    }
    forwarding.assert_small(before);
}
