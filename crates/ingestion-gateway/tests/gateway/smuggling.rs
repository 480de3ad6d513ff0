//! Tests of what reaches an upstream of requests that an attacker has written: one request for each
//! that was allowed, with the gateway's word on who sent it.

use tokio::task::JoinHandle;

use crate::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, Peer, block, frame};
use crate::program::Gateway;
use crate::scripted::{Arrived, Upstream};

/// A request that must not reach the upstream, because it has no key.
const SMUGGLED: &str = "POST /v1/logs HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\nx-ingestion-key-name: admin\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// The value of an identity header that a sender makes up.
const FORGED: &str = "forged";

/// A gateway that forwards to an upstream that accepts everything, and keeps it.
struct Target {
    gateway: Gateway,
    key: String,
    arrived: tokio::sync::mpsc::UnboundedReceiver<Arrived>,
    upstream: JoinHandle<()>,
}

impl Target {
    async fn start(arguments: &[&str]) -> Self {
        let upstream = Upstream::bind().await;
        let setting = upstream.setting("otlp_http");
        let debug = ["--set=upstream.otlp_grpc=debug", "--set=upstream.agent=debug"];
        let arguments = [&[setting.as_str()], &debug[..], arguments].concat();
        let gateway = Gateway::start_with(&arguments).await;
        let key = gateway.create("edge").await.secret;
        let (sender, arrived) = tokio::sync::mpsc::unbounded_channel();
        let upstream = tokio::spawn(async move {
            loop {
                let (mut connection, sender) = (upstream.accept().await, sender.clone());
                tokio::spawn(async move {
                    while let Some(request) = connection.arrived().await {
                        let _ = sender.send(request);
                        connection.accept_export().await;
                    }
                });
            }
        });
        Self { gateway, key, arrived, upstream }
    }

    fn head(&self) -> String {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {}\r\ncontent-type: application/json\r\n",
            self.key
        )
    }

    /// Sends bytes on a connection of their own, and returns the statuses of the responses and what
    /// has reached the upstream. Another export follows on another connection, so that everything
    /// that was to arrive has arrived.
    async fn send(&mut self, bytes: &str) -> (Vec<u16>, Vec<Arrived>) {
        let statuses = self.gateway.statuses("otlp_http", bytes.as_bytes()).await;
        (statuses, self.arrivals().await)
    }

    async fn arrivals(&mut self) -> Vec<Arrived> {
        let mark = self.head().replacen("/v1/traces", "/v1/metrics", 1);
        let mark = format!("{mark}content-length: 2\r\nconnection: close\r\n\r\n[]");
        assert_eq!(self.gateway.statuses("otlp_http", mark.as_bytes()).await, [200]);
        let mut all = Vec::new();
        loop {
            let request = self.arrived.recv().await.unwrap();
            if request.body == b"[]" {
                return all;
            }
            all.push(request);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.upstream.abort();
    }
}

// Scenario: requests with a good key have bodies whose lengths two readers could read differently.
// Within or behind the body there is a request without a key.
// Guarantee: the request behind never reaches the upstream. The first one reaches it at most once,
// with one length and with the body that the gateway has read.
#[tokio::test]
async fn a_request_within_a_request_is_not_forwarded() {
    let mut target = Target::start(&[]).await;
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    for rest in [
        format!("content-length: 2\r\n\r\n{{}}{SMUGGLED}"),
        format!("content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}{SMUGGLED}"),
        format!("content-length: 2\r\ncontent-length: 200\r\n\r\n{{}}{SMUGGLED}"),
        format!("content-length: 200\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{chunked}{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n{chunked}{SMUGGLED}"),
        format!("Transfer-Encoding: CHUNKED\r\n\r\n{chunked}{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\n\r\n2;{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\n\r\n2;x\r\n{{}}\r\n0;x\r\n\r\n{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nx: y\r\n\r\n{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\n\r\n2\n{{}}\n0\n\n{SMUGGLED}"),
        format!("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n{chunked}{SMUGGLED}"),
        format!("transfer-encoding: x\r\ncontent-length: 2\r\n\r\n{{}}{SMUGGLED}"),
        format!("content-length: 0\r\n\r\n{SMUGGLED}"),
        format!("x: y\r\n content-length: 2\r\n\r\n{SMUGGLED}"),
        format!("x: y\rcontent-length: 2\r\n\r\n{SMUGGLED}"),
        format!("content-length : 2\r\n\r\n{{}}{SMUGGLED}"),
    ] {
        let (statuses, arrived) = target.send(&format!("{}{rest}", target.head())).await;
        assert!(statuses.iter().filter(|status| **status == 200).count() <= 1, "{rest:?}");
        assert!(arrived.len() <= 1, "{rest:?}: {arrived:?}");
        if let [arrived] = &arrived[..] {
            assert_eq!(arrived.line, "POST /v1/traces HTTP/1.1", "{rest:?}");
            assert!(arrived.body.is_empty() || arrived.body == b"{}", "{rest:?}: {arrived:?}");
            assert_eq!(arrived.all("x-ingestion-key-name"), ["edge"], "{rest:?}");
        }
    }
}

// Scenario: every line of a request ends with a bare LF, as some old clients write it.
// Guarantee: the request is refused, or reaches the upstream as one request.
#[tokio::test]
async fn bare_line_feeds_are_one_request_or_none() {
    let mut target = Target::start(&[]).await;
    let request = format!("{}content-length: 2\r\nconnection: close\r\n\r\n", target.head());
    let (statuses, arrived) = target.send(&(request.replace("\r\n", "\n") + "{}")).await;
    assert!(matches!((&statuses[..], arrived.len()), ([200], 1) | ([400], 0)), "{statuses:?}");
}

// Scenario: over HTTP/2, whose values have no line ends to give, a request states lengths, hosts
// and trailers that would be ambiguous over HTTP/1.1.
// Guarantee: what reaches the upstream is one request of HTTP/1.1 with one length and one host.
#[tokio::test]
async fn http2_does_not_become_two_requests() {
    let mut target = Target::start(&[]).await;
    let authorization = format!("StackState {}", target.key);
    for extra in [
        &[("content-length", "2")][..],
        &[("content-length", "2"), ("content-length", "2")],
        &[("content-length", "2"), ("content-length", "200")],
        &[("content-length", "200"), ("content-length", "2")],
        &[("host", "other")],
        &[("host", "other"), ("host", "third")],
        &[("trailer", "content-length")],
        &[("expect", "100-continue")],
        &[("te", "trailers")],
        &[("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")],
        &[("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1")],
        &[("content-encoding", "gzip, chunked")],
        &[("x", "transfer-encoding: chunked")],
    ] {
        let base = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "g"),
            (":path", "/v1/traces"),
            ("content-type", "application/json"),
            ("authorization", &authorization),
        ];
        let headers = block(&[&base[..], extra].concat());
        let mut peer = Peer::connect(&target.gateway.address("otlp_http")).await;
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, &headers),
            frame(DATA, 0, 1, b"{}"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("content-length", "200")])),
        ];
        peer.write_bytes(&bytes.concat()).await;
        let outcome = peer.outcome(1).await;
        let arrived = target.arrivals().await;
        let count = usize::from(outcome == Outcome::Accepted);
        assert_eq!(arrived.len(), count, "{extra:?}: {outcome:?} {arrived:?}");
        if let [arrived] = &arrived[..] {
            assert_eq!((&*arrived.line, &*arrived.body), ("POST /v1/traces HTTP/1.1", &b"{}"[..]));
            assert_eq!(arrived.all("x-forwarded-host"), ["g"], "{extra:?}");
            for hop in ["te", "http2-settings", "expect", "connection"] {
                assert_eq!(arrived.all(hop), [""; 0], "{extra:?}");
            }
        }
    }
}

// Scenario: over HTTP/2, a request ends with its headers.
// Guarantee: the upstream gets a request of HTTP/1.1 with a length of 0, and no chunks.
#[tokio::test]
async fn http2_without_a_body_has_a_length() {
    let mut target = Target::start(&[]).await;
    let headers = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "g"),
        (":path", "/v1/traces"),
        ("content-type", "application/json"),
        ("authorization", &format!("StackState {}", target.key)),
    ]);
    let mut peer = Peer::connect(&target.gateway.address("otlp_http")).await;
    peer.write_bytes(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers)).await;
    assert_eq!(peer.outcome(1).await, Outcome::Accepted);
    let arrived = target.arrivals().await;
    assert_eq!(arrived[0].all("content-length"), ["0"]);
    assert_eq!(arrived[0].all("transfer-encoding"), [""; 0]);
}

// Scenario: a sender presents identity headers of its own, in several spellings and several times,
// and names ours, and the credential, in `connection`.
// Guarantee: the upstream gets the identity of the key, once, and no credential.
#[tokio::test]
async fn nobody_says_who_they_are_themselves() {
    let mut target = Target::start(&[]).await;
    for headers in [
        format!("x-ingestion-key-id: {FORGED}\r\nx-ingestion-key-name: {FORGED}\r\n"),
        format!("X-INGESTION-KEY-ID: {FORGED}\r\nX-Ingestion-Key-Name: {FORGED}\r\n"),
        format!("x-ingestion-key-name: {FORGED}\r\n").repeat(3),
        "connection: x-ingestion-key-id, x-ingestion-key-name\r\n".to_owned(),
        "connection: authorization, host, content-length, content-type\r\n".to_owned(),
        "connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host\r\n".to_owned(),
        format!(
            "connection: x-a\r\nx-a: {FORGED}\r\nkeep-alive: {FORGED}\r\nproxy-authorization: {FORGED}\r\n"
        ),
        format!(
            "x-forwarded-for: {FORGED}\r\nx-forwarded-proto: {FORGED}\r\nx-forwarded-host: {FORGED}\r\n"
        ),
    ] {
        let request =
            format!("{}{headers}content-length: 2\r\nconnection: close\r\n\r\n{{}}", target.head());
        let (statuses, arrived) = target.send(&request).await;
        assert_eq!(statuses, [200], "{headers:?}");
        let [arrived] = <[_; 1]>::try_from(arrived).unwrap();
        assert_eq!(arrived.all("x-ingestion-key-name"), ["edge"], "{headers:?}");
        assert_eq!(arrived.all("x-ingestion-key-id").len(), 1, "{headers:?}");
        assert_eq!(arrived.all("content-type"), ["application/json"], "{headers:?}");
        assert_eq!(arrived.all("x-forwarded-for"), ["127.0.0.1"], "{headers:?}");
        assert_eq!(arrived.all("x-forwarded-host"), ["g"], "{headers:?}");
        assert_eq!(arrived.all("x-forwarded-proto"), ["http"], "{headers:?}");
        let everything = format!("{arrived:?}");
        assert!(!everything.contains(FORGED) && !everything.contains(&target.key), "{everything}");
    }
}

// Scenario: targets in absolute form, with user information, dots, slashes, and escapes, with a
// good key.
// Guarantee: only the exact path reaches the upstream, in origin form and with its query.
#[tokio::test]
async fn only_the_exact_path_reaches_the_upstream() {
    let mut target = Target::start(&[]).await;
    for (path, forwarded) in [
        ("http://g/v1/traces", Some("/v1/traces")),
        ("http://other.example/v1/traces?x=y", Some("/v1/traces?x=y")),
        ("/v1/traces?x=/../../admin", Some("/v1/traces?x=/../../admin")),
        ("/v1/traces?", Some("/v1/traces?")),
        ("http://user:secret@g/v1/traces", Some("/v1/traces")),
        ("http://g", None),
        ("/v1/traces/../../admin", None),
        ("/v1/traces/..%2f..%2fadmin", None),
        ("/v1%2ftraces", None),
        ("/v1/traces/", None),
        ("/admin", None),
        ("//other.example/v1/traces", None),
    ] {
        let request = target.head().replacen("/v1/traces", path, 1);
        let request = format!("{request}content-length: 2\r\nconnection: close\r\n\r\n{{}}");
        let (statuses, arrived) = target.send(&request).await;
        let lines: Vec<_> = arrived.iter().map(|request| request.line.as_str()).collect();
        match forwarded {
            Some(path) => assert_eq!(lines, [format!("POST {path} HTTP/1.1")], "{path}"),
            None => assert_eq!((&statuses[..], lines.len()), (&[404][..], 0), "{path}"),
        }
    }
}
