//! Tests of HTTP/2 connections and requests that break the rules of HTTP/2.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PING, PREFACE, PUSH_PROMISE,
    Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::program::{Gateway, PATIENCE};

/// The error code `CANCEL`.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A gateway and a key that it allows.
struct Target {
    gateway: Gateway,
    key: String,
    authorization: String,
}

impl Target {
    async fn start() -> Self {
        let gateway = Gateway::start().await;
        let key = gateway.create("edge").await.secret;
        Self { gateway, authorization: format!("StackState {key}"), key }
    }

    async fn connect(&self) -> Peer {
        Peer::connect(&self.gateway.address("otlp_grpc")).await
    }

    /// Returns the headers of an export that is allowed.
    fn headers(&self) -> Vec<(&str, &str)> {
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "g"),
            (":path", "/v1/traces"),
            ("content-type", "application/json"),
            ("authorization", &self.authorization),
        ]
    }

    /// Sends a request with these headers and the body `{}`, and returns what becomes of it.
    async fn send(&self, headers: &[(&str, &str)]) -> Outcome {
        let mut peer = self.connect().await;
        let headers = frame(HEADERS, END_HEADERS, 1, &block(headers));
        peer.write_bytes(&[headers, frame(DATA, END_STREAM, 1, b"{}")].concat()).await;
        peer.outcome(1).await
    }

    /// Asserts that the gateway still serves.
    async fn assert_served(&self) {
        assert_eq!(self.send(&self.headers()).await, Outcome::Accepted);
        assert_eq!(self.gateway.send_http(&self.key).await.status(), 200);
    }
}

// Scenario: connections begin with bytes that resemble the preface of HTTP/2, with frames without a
// preface, with the preface of TLS, and with the preface without settings.
// Guarantee: each connection is closed, and no request of it is answered with success.
#[tokio::test]
async fn a_bad_preface_ends_the_connection() {
    let target = Target::start().await;
    let request = frame(HEADERS, END_HEADERS, 1, &block(&target.headers()));
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"pri * http/2.0\r\n\r\nsm\r\n\r\n",
        b"PRI * HTTP/2.0\n\nSM\n\n",
        &frame(SETTINGS, 0, 0, &[]),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        PREFACE,
    ] {
        let mut stream = target.gateway.connect("otlp_grpc").await;
        let _ = stream.write_all(&[preface, &request].concat()).await;
        let mut answer = Vec::new();
        // Bytes that could be the beginning of a head of HTTP/1.1 need an end.
        let _ = stream.write_all(b"\r\n\r\n").await;
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains(" 200 ") && !answer.contains(&0x88), "{preface:?}: {text}");
    }
    target.assert_served().await;
}

// Scenario: requests with a good key have pseudo-headers twice, too late, unknown, missing or
// empty, names in upper case, headers that only connections of HTTP/1.1 have, and values with line
// ends.
// Guarantee: none of them is accepted.
#[tokio::test]
async fn a_malformed_request_is_refused() {
    let target = Target::start().await;
    for header in [
        (":method", "POST"),
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "other"),
        (":path", "/v1/traces"),
        (":path", "/v1/logs"),
        (":protocol", "websocket"),
        (":status", "200"),
        (":unknown", "x"),
        (":", "x"),
        ("", "x"),
        ("X-Upper", "x"),
        ("x y", "x"),
        ("x:y", "x"),
        ("x\r\ny", "x"),
        ("x", "a\r\ncontent-length: 5"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("connection", "keep-alive"),
        ("connection", "authorization"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("content-length", "1"),
        ("content-length", "3"),
        ("content-length", "x"),
        ("content-length", "+2"),
        ("content-length", "2, 2"),
        ("content-length", "-2"),
    ] {
        let headers = [target.headers(), vec![header]].concat();
        let outcome = target.send(&headers).await;
        assert_ne!(outcome, Outcome::Accepted, "{header:?}");
    }
    for lengths in [["2", "30"], ["30", "2"], ["2", "1"]] {
        let lengths = lengths.map(|length| ("content-length", length));
        let headers = [&target.headers()[..], &lengths].concat();
        assert_ne!(target.send(&headers).await, Outcome::Accepted, "{lengths:?}");
    }
    for pseudo in [":method", ":scheme", ":path"] {
        let without: Vec<_> =
            target.headers().into_iter().filter(|(name, _)| *name != pseudo).collect();
        assert_ne!(target.send(&without).await, Outcome::Accepted, "without {pseudo}");
    }
    for path in
        ["", "v1/traces", "/v1/traces x", "/v1/tra\r\nces", "/v1/traces\0", "*", "http://g/"]
    {
        let headers: Vec<_> = target
            .headers()
            .into_iter()
            .map(|(name, value)| (name, if name == ":path" { path } else { value }))
            .collect();
        assert_ne!(target.send(&headers).await, Outcome::Accepted, "{path:?}");
    }
    target.assert_served().await;
}

// Scenario: a request has more headers than `limits.max_header_size`, in one value and in many. The
// headers of another one never end.
// Guarantee: none of them is accepted, and the gateway does not keep what it does not accept.
#[tokio::test]
async fn giant_headers_are_refused() {
    let target = Target::start().await;
    let value = "x".repeat(15 << 10);
    for (name, count) in [("x", 2), ("x-many", 200)] {
        let value = &value[..value.len() * 2 / count];
        let headers = [target.headers(), vec![(name, value); count]].concat();
        let mut peer = target.connect().await;
        // Each frame has at most 16 KiB.
        let block = block(&headers);
        let (first, rest) = block.split_at(8 << 10);
        peer.write(HEADERS, END_STREAM, 1, first).await;
        for (index, part) in rest.chunks(8 << 10).enumerate() {
            let is_last = (index + 1) * (8 << 10) >= rest.len();
            peer.write(CONTINUATION, if is_last { END_HEADERS } else { 0 }, 1, part).await;
        }
        assert_ne!(peer.outcome(1).await, Outcome::Accepted, "{name}");
    }
    for (part, count) in [(block(&[("x", &value)]), 4000), (Vec::new(), 1 << 17)] {
        let mut peer = target.connect().await;
        peer.write(HEADERS, 0, 1, &block(&target.headers())).await;
        peer.write_bytes(&frame(CONTINUATION, 0, 1, &part).repeat(count)).await;
        assert_ne!(peer.outcome(1).await, Outcome::Accepted);
        peer.wait_for_end().await;
    }
    target.assert_served().await;
    let memory = target.gateway.peak_memory();
    assert!(memory < 100 << 20, "{memory} bytes");
}

// Scenario: connections carry frames that must not be there: data and windows of streams that do
// not exist, streams with even numbers, frames that are too large or too short, promises of a
// client, windows that overflow, and headers that cannot be decoded.
// Guarantee: the gateway ends each of these connections, and no other one.
#[tokio::test]
async fn a_frame_out_of_place_ends_the_connection() {
    let target = Target::start().await;
    let mut bystander = target.connect().await;
    let good = block(&target.headers());
    for bytes in [
        frame(DATA, 0, 0, b"{}"),
        frame(DATA, 0, 5, b"{}"),
        frame(HEADERS, END_HEADERS, 0, &good),
        frame(HEADERS, END_HEADERS, 2, &good),
        [frame(HEADERS, END_HEADERS, 5, &good), frame(HEADERS, END_HEADERS, 3, &good)].concat(),
        frame(HEADERS, END_HEADERS, 1, &[0xff; 40]),
        frame(HEADERS, END_HEADERS, 1, &[0x80]),
        frame(HEADERS, END_HEADERS, 1, &[0x00, 0x7f]),
        [frame(HEADERS, 0, 1, &good), frame(DATA, END_STREAM, 1, b"{}")].concat(),
        [frame(HEADERS, 0, 1, &good), frame(HEADERS, END_HEADERS, 3, &good)].concat(),
        frame(CONTINUATION, END_HEADERS, 1, &good),
        frame(RST_STREAM, 0, 7, &CANCEL),
        frame(RST_STREAM, 0, 0, &CANCEL),
        frame(RST_STREAM, 0, 1, &[0]),
        frame(SETTINGS, 0, 1, &[]),
        frame(SETTINGS, 0, 0, &[0, 1, 2]),
        frame(SETTINGS, 1, 0, &[0; 6]),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
        frame(PING, 0, 0, &[0; 7]),
        frame(PING, 0, 1, &[0; 8]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(WINDOW_UPDATE, 0, 9, &[0, 0, 0, 1]),
        frame(DATA, 0, 1, &[0; 1 << 20]),
    ] {
        let mut peer = target.connect().await;
        peer.write_bytes(&bytes).await;
        peer.wait_for_end().await;
    }
    let good = [frame(HEADERS, END_HEADERS, 1, &good), frame(DATA, END_STREAM, 1, b"{}")].concat();
    bystander.write_bytes(&good).await;
    assert_eq!(bystander.outcome(1).await, Outcome::Accepted);
}

// Scenario: a sender resets its request in the middle of the body, and sends data on after that.
// Another one closes its connection in the middle of the body.
// Guarantee: nothing is accepted of either, and the first connection carries the next request.
#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_accepts_nothing() {
    let target = Target::start().await;
    let headers = block(&target.headers());
    let mut peer = target.connect().await;
    for (kind, flags, stream, payload) in [
        (HEADERS, END_HEADERS, 1, &headers[..]),
        (DATA, 0, 1, b"{"),
        (RST_STREAM, 0, 1, &CANCEL),
        (DATA, END_STREAM, 1, b"}"),
        (HEADERS, END_HEADERS, 3, &headers),
        (DATA, END_STREAM, 3, b"{}"),
    ] {
        assert!(peer.write(kind, flags, stream, payload).await);
    }
    assert_eq!(peer.outcome(3).await, Outcome::Accepted);
    let mut peer = target.connect().await;
    peer.write(HEADERS, END_HEADERS, 1, &headers).await;
    peer.write(DATA, 0, 1, b"{").await;
    drop(peer);
    target.assert_served().await;
}
