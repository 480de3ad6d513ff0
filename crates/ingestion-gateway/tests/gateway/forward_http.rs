//! Tests of OTLP/HTTP that is forwarded: what an upstream may do wrong, and what the sender sees.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::program::{Gateway, Lines, PATIENCE};
use crate::raw::Answer;
use crate::scripted::{Connection, Upstream};

/// A gateway that forwards OTLP/HTTP to a scripted upstream.
struct Forwarding {
    gateway: Gateway,
    upstream: Upstream,
    key: String,
}

impl Forwarding {
    async fn start(arguments: &[&str]) -> Self {
        let upstream = Upstream::bind().await;
        let setting = upstream.setting("otlp_http");
        let debug = ["--set=upstream.otlp_grpc=debug", "--set=upstream.agent=debug"];
        let arguments = [&[setting.as_str()], &debug[..], arguments].concat();
        let gateway = Gateway::start_with(&arguments).await;
        let key = gateway.create("edge").await.secret;
        Self { gateway, upstream, key }
    }

    /// Returns an export with these last headers and this body.
    fn export(&self, rest: &str) -> String {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {}\r\ncontent-type: application/json\r\n{rest}",
            self.key
        )
    }

    /// Sends an export on a connection of its own, and returns the response.
    async fn answer(&self) -> Answer {
        let request = self.export("content-length: 2\r\nconnection: close\r\n\r\n{}");
        let answers = self.gateway.exchange("otlp_http", request.as_bytes()).await;
        let [answer] = <[_; 1]>::try_from(answers).unwrap();
        answer
    }

    /// Sends an export that the upstream answers with these bytes, and then closes the connection.
    async fn answer_to(&self, bytes: &[u8]) -> Answer {
        let upstream = async {
            loop {
                let mut connection = self.upstream.accept().await;
                if connection.arrived().await.is_some() {
                    connection.write(bytes).await;
                }
            }
        };
        tokio::select! {
            answer = self.answer() => answer,
            () = upstream => unreachable!("the upstream never ends"),
        }
    }

    /// Connects and writes these bytes.
    async fn begin(&self, bytes: &str) -> TcpStream {
        let mut stream = self.gateway.connect("otlp_http").await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Asserts that the next export succeeds.
    async fn assert_served(&self) {
        let answer = self.answer_to(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    }
}

fn assert_unavailable(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{why}: {answer:?}");
    let retry_after: u64 = answer.header("retry-after").expect(why).parse().unwrap();
    assert!((1..=5).contains(&retry_after), "{why}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{why}");
    let status: serde_json::Value = serde_json::from_slice(&answer.body).expect(why);
    assert!(status["message"].is_string(), "{why}: {status}");
}

// Scenario: an export is forwarded, with a query and with headers of its own.
// Guarantee: the upstream gets the request as it is, without the credential, and the sender gets
// the answer as it is. The next export uses the same connection.
#[tokio::test]
async fn an_export_passes_as_it_is() {
    let forwarding = Forwarding::start(&[]).await;
    let request = forwarding.export("traceparent: 00-1-2-03\r\ncontent-length: 2\r\n\r\n{}");
    let request = request.replacen("/v1/traces", "/v1/traces?a=b%20c", 1);
    let stream = forwarding.begin(&request.repeat(2)).await;
    let answers = Lines::of(stream);
    let mut connection = forwarding.upstream.accept().await;
    for _ in 0..2 {
        let arrived = connection.arrived().await.unwrap();
        assert_eq!(arrived.line, "POST /v1/traces?a=b%20c HTTP/1.1");
        assert_eq!(arrived.body, b"{}");
        assert_eq!(arrived.all("host"), [forwarding.upstream.address()]);
        assert_eq!(arrived.all("traceparent"), ["00-1-2-03"]);
        assert_eq!(arrived.all("content-type"), ["application/json"]);
        assert_eq!(arrived.all("x-ingestion-key-name"), ["edge"]);
        assert_eq!(arrived.all("authorization"), [""; 0]);
        connection.accept_export().await;
    }
    answers.wait_for("HTTP/1.1 200 OK").await;
}

// Scenario: an upstream closes the connection before its answer, in the middle of the head, or
// resets it. Its answer is not an answer, has two lengths, or has a head without an end.
// Guarantee: the sender is told each time to try again later, in the encoding of its request.
#[tokio::test]
async fn an_upstream_without_an_answer_is_unavailable() {
    let forwarding = Forwarding::start(&[]).await;
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(8 << 20));
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\0\0\x12\x04\0\0\0\0\0",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        &endless,
    ] {
        let upstream = async {
            loop {
                let mut connection = forwarding.upstream.accept().await;
                if connection.arrived().await.is_some() {
                    // The gateway may have closed the connection before everything is written.
                    connection.try_write(answer).await;
                }
            }
        };
        let why = &answer[..answer.len().min(60)];
        tokio::select! {
            answer = forwarding.answer() => assert_unavailable(&answer, why),
            () = upstream => unreachable!("the upstream never ends"),
        }
    }
    let resets = async {
        loop {
            let mut connection = forwarding.upstream.accept().await;
            connection.arrived().await;
            connection.reset();
        }
    };
    tokio::select! {
        answer = forwarding.answer() => assert_unavailable(&answer, "a reset"),
        () = resets => unreachable!("the upstream never ends"),
    }
    forwarding.assert_served().await;
}

// Scenario: nobody listens at the upstream's address. Then an upstream takes requests and never
// answers.
// Guarantee: the sender is told each time to try again later.
#[tokio::test]
async fn an_upstream_that_never_answers_is_unavailable() {
    let forwarding = Forwarding::start(&["--set=upstream.otlp_http.response_timeout=1s"]).await;
    let silent = async {
        let mut kept = Vec::new();
        loop {
            let mut connection = forwarding.upstream.accept().await;
            connection.arrived().await;
            kept.push(connection);
        }
    };
    tokio::select! {
        answer = forwarding.answer() => assert_unavailable(&answer, "silence"),
        () = silent => unreachable!("the upstream never ends"),
    }
    let Forwarding { gateway, upstream, key } = forwarding;
    drop(upstream);
    let response = gateway.send_http(&key).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

// Scenario: an upstream closes the connection in the middle of the body of its answer, which has a
// length or is chunked.
// Guarantee: the sender can see that the answer is not complete.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_complete() {
    let forwarding = Forwarding::start(&[]).await;
    for head in ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let upstream = async {
            let mut connection = forwarding.upstream.accept().await;
            connection.arrived().await.unwrap();
            connection.write(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        };
        let sender = async {
            let request = forwarding.export("content-length: 2\r\n\r\n{}");
            let mut stream = forwarding.begin(&request).await;
            let mut read = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap();
            String::from_utf8(read).unwrap()
        };
        let ((), answer) = tokio::join!(upstream, sender);
        // The gateway may not have written the beginning yet when it has to give up.
        let is_complete = match answer.contains("transfer-encoding: chunked") {
            true => answer.ends_with("\r\n0\r\n\r\n"),
            false => !answer.is_empty() && !answer.contains("content-length: 100"),
        };
        assert!(!is_complete || answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    forwarding.assert_served().await;
}

// Scenario: an upstream answers with successes, redirects, and refusals of its own, among them
// those that the gateway has for itself, and with headers that are about its connection.
// Guarantee: the sender gets each answer, without what is about the connection.
#[tokio::test]
async fn an_answer_of_the_upstream_passes() {
    let forwarding = Forwarding::start(&[]).await;
    for status in [200, 202, 301, 307, 400, 401, 403, 404, 408, 413, 429, 500, 501, 502, 503, 504] {
        let answer = format!(
            "HTTP/1.1 {status} Text\r\nlocation: http://other.example/\r\nretry-after: 77\r\nx-own: 1\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nbody"
        );
        let answer = forwarding.answer_to(answer.as_bytes()).await;
        assert_eq!((answer.status, &answer.body[..]), (status, &b"body"[..]));
        let header = |name| answer.header(name);
        assert_eq!(
            ["location", "retry-after", "x-own", "content-type"].map(header),
            [Some("http://other.example/"), Some("77"), Some("1"), Some("text/plain")]
        );
        assert_eq!(["x-hop", "keep-alive"].map(header), [None, None]);
    }
    let interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(forwarding.answer_to(interim).await.status, 204);
    let until_end = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
    assert_eq!(forwarding.answer_to(until_end).await.body, b"until the end");
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;x=y\r\nbody\r\n0\r\n\r\n";
    assert_eq!(forwarding.answer_to(chunked).await.body, b"body");
    let same = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody";
    assert_eq!(forwarding.answer_to(same).await.body, b"body");
}

// Scenario: an upstream writes more than its answer: a second answer that nobody asked for.
// Guarantee: the next sender does not get it.
#[tokio::test]
async fn an_answer_to_nobody_is_thrown_away() {
    let forwarding = Forwarding::start(&[]).await;
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    let upstream = async {
        loop {
            let mut connection = forwarding.upstream.accept().await;
            if connection.arrived().await.is_some() {
                connection.try_write(&format!("{ok}{stray}")).await;
                // A second request on this connection is not answered.
                let _ = connection.arrived().await;
            }
        }
    };
    let sender = async {
        for _ in 0..3 {
            let answer = forwarding.answer().await;
            assert_ne!(answer.body, b"stray", "{answer:?}");
        }
    };
    tokio::select! {
        () = sender => {}
        () = upstream => unreachable!("the upstream never ends"),
    }
}

// Scenario: an upstream refuses an export before it has read the body, of which the sender has
// written only the beginning.
// Guarantee: the sender gets the refusal while it is still writing.
#[tokio::test]
async fn an_answer_before_the_end_of_the_body_passes() {
    let forwarding = Forwarding::start(&[]).await;
    let stream = forwarding.begin(&forwarding.export("content-length: 1000000\r\n\r\n{")).await;
    let mut connection = forwarding.upstream.accept().await;
    connection.arrived_head().await.unwrap();
    connection.write("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
    let (reader, _writer) = stream.into_split();
    Lines::of(reader).wait_for("HTTP/1.1 413").await;
}

// Scenario: senders go away in the middle of their bodies, which have a length or are chunked.
// Another one goes away while it waits for the answer.
// Guarantee: the upstream never sees a complete request of the first two. In each case its
// connection ends.
#[tokio::test]
async fn a_sender_that_goes_away_leaves_no_whole_request() {
    let forwarding = Forwarding::start(&[]).await;
    for body in ["content-length: 10\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let stream = forwarding.begin(&forwarding.export(body)).await;
        let mut connection = forwarding.upstream.accept().await;
        connection.arrived_head().await.unwrap();
        connection.skip(1).await;
        drop(stream);
        let rest = connection.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{body:?}: the body seems complete");
    }
    let stream = forwarding.begin(&forwarding.export("content-length: 2\r\n\r\n{}")).await;
    let mut connection = forwarding.upstream.accept().await;
    connection.arrived().await.unwrap();
    drop(stream);
    assert_eq!(connection.rest().await, b"");
}

// Scenario: over HTTP/2, senders reset their streams in the middle of the body, with `CANCEL`, and
// with `NO_ERROR`, as some proxies do.
// Guarantee: the upstream never sees a complete request. Its connection ends.
#[tokio::test]
async fn a_body_that_is_reset_is_not_complete() {
    let forwarding = Forwarding::start(&[]).await;
    let stream = forwarding.gateway.connect("otlp_http").await;
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        send = timeout(PATIENCE, send.ready()).await.unwrap().unwrap();
        let request = http::Request::post("http://g/v1/traces")
            .header("content-type", "application/json")
            .header("authorization", format!("StackState {}", forwarding.key));
        let (_response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data("{".into(), false).unwrap();
        let mut upstream = forwarding.upstream.accept().await;
        let head = upstream.arrived_head().await.unwrap();
        assert_eq!(head.all("transfer-encoding"), ["chunked"]);
        body.send_reset(reason);
        let rest = upstream.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{reason}: the body seems complete");
    }
    driver.abort();
}

// Scenario: an upstream closes each connection after the answer without having said so. A sender
// sends 50 exports on one connection, each after the upstream's connection is closed.
// Guarantee: every export succeeds.
#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_no_export() {
    let forwarding = Forwarding::start(&[]).await;
    for number in 0..50 {
        let upstream = async {
            loop {
                let mut connection = forwarding.upstream.accept().await;
                if connection.arrived().await.is_some() {
                    connection.accept_export().await;
                    return;
                }
            }
        };
        let export = forwarding.gateway.send_http(&forwarding.key);
        let (response, ()) = tokio::join!(export, upstream);
        assert_eq!(response.status(), 200, "export {number}");
    }
}

// Scenario: a sender asks whether to write its body, as curl does with large bodies.
// Guarantee: the sender is asked for the body, and the upstream gets the whole request.
#[tokio::test]
async fn a_sender_that_waits_for_a_go_ahead_gets_it() {
    let forwarding = Forwarding::start(&[]).await;
    let head = forwarding.export("content-length: 2\r\nexpect: 100-continue\r\n\r\n");
    let (reader, mut writer) = forwarding.begin(&head).await.into_split();
    let answer = Lines::of(reader);
    let upstream = async {
        let mut connection = forwarding.upstream.accept().await;
        let arrived = connection.arrived().await.unwrap();
        connection.accept_export().await;
        (arrived, connection)
    };
    let sender = async {
        answer.wait_for("100 Continue").await;
        writer.write_all(b"{}").await.unwrap();
        answer.wait_for("200 OK").await;
    };
    let ((arrived, _connection), ()) = tokio::join!(upstream, sender);
    assert_eq!(arrived.body, b"{}");
}

// Scenario: the body of an export is larger than `limits.max_request_body_size`, which its length
// says, or which shows while it arrives.
// Guarantee: the sender gets 413. The upstream sees nothing, or no complete request.
#[tokio::test]
async fn a_body_that_is_too_large_is_not_forwarded() {
    let forwarding = Forwarding::start(&["--set=limits.max_request_body_size=64KiB"]).await;
    let body = "x".repeat(65 << 10);
    let stated = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let request = forwarding.export(&stated);
    let statuses = forwarding.gateway.statuses("otlp_http", request.as_bytes()).await;
    assert_eq!(statuses, [413]);
    forwarding.upstream.assert_left_alone().await;

    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let request = forwarding
        .export(&format!("transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}"));
    let upstream = async {
        let mut connection = forwarding.upstream.accept().await;
        connection.arrived_head().await;
        connection.rest().await
    };
    let (statuses, rest) =
        tokio::join!(forwarding.gateway.statuses("otlp_http", request.as_bytes()), upstream);
    assert_eq!(statuses, [413]);
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "the body seems complete");
}

// Scenario: an export is in flight when the gateway gets SIGTERM. The upstream answers afterwards.
// Guarantee: the sender gets the answer, and the gateway ends with exit code 0.
#[tokio::test]
async fn an_export_in_flight_is_finished_at_the_end() {
    let mut forwarding = Forwarding::start(&["--set=shutdown_grace=600s"]).await;
    let stream = forwarding.begin(&forwarding.export("content-length: 2\r\n\r\n{}")).await;
    let mut connection: Connection = forwarding.upstream.accept().await;
    connection.arrived().await.unwrap();
    forwarding.gateway.signal();
    forwarding.gateway.log.wait_for("stopping").await;
    connection.accept_export().await;
    Lines::of(stream).wait_for("200 OK").await;
    assert_eq!(forwarding.gateway.ended().await.code(), Some(0));
}
