//! Tests of refusals that a sender has to be able to read, although it is still writing its body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::program::{Gateway, PATIENCE};

/// The bytes that a client writes at a time.
const CHUNK: usize = 64 << 10;

/// Writes a whole request, and only then reads the response, as many HTTP clients do. Returns the
/// status line, or the error of the write or of the read.
fn write_then_read(address: &str, head: &str, body: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "{head}content-length: {body}\r\n\r\n")?;
    let chunk = [b'x'; CHUNK];
    let mut left = body;
    while left > 0 {
        let length = left.min(CHUNK);
        stream.write_all(&chunk[..length])?;
        left -= length;
    }
    let mut response = Vec::new();
    let mut buffer = [0; 1024];
    while !response.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => response.extend_from_slice(&buffer[..read]),
        }
    }
    let text = String::from_utf8_lossy(&response);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

async fn expect(address: String, head: String, body: usize, tries: usize, status: &'static str) {
    let client = move || {
        for number in 0..tries {
            let response = write_then_read(&address, &head, body);
            let line = response
                .unwrap_or_else(|error| panic!("{head}: try {number} with {body} bytes: {error}"));
            assert!(line.contains(status), "{head}: try {number} with {body} bytes: {line}");
        }
    };
    timeout(PATIENCE, tokio::task::spawn_blocking(client)).await.unwrap().unwrap();
}

// Scenario: a sender without a key writes bodies of 64 KiB to 32 MiB, 40 of each size, and reads
// only when it has written everything.
// Guarantee: the sender reads 401 each time, and never a broken connection.
#[tokio::test]
async fn a_sender_reads_its_refusal_whatever_it_writes() {
    let gateway = Gateway::start().await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n";
    for body in [64 << 10, 300 << 10, 1 << 20, 8 << 20, 32 << 20] {
        expect(gateway.address("otlp_http"), head.to_owned(), body, 40, " 401 ").await;
    }
}

// Scenario: senders, agents and operators write a body of 32 MiB, and read only when they have
// written everything. Their requests are refused for different reasons, by every part of the
// gateway that refuses requests.
// Guarantee: each of them reads its refusal each time.
#[tokio::test]
async fn every_refusal_reaches_its_sender() {
    let gateway = Gateway::start().await;
    let key = format!("authorization: StackState {}\r\n", gateway.create("edge").await.secret);
    let json = "content-type: application/json\r\n";
    let agent_key = key.replace("authorization: StackState", "sts-api-key:");
    let admin = format!("x-api-token: {}\r\n", gateway.token);
    let cases = [
        ("otlp_http", "POST /v1/traces", format!("{key}{json}"), " 413 "),
        ("otlp_http", "POST /v1/traces", format!("{key}content-type: text/plain\r\n"), " 415 "),
        ("otlp_http", "POST /v1/unknown", format!("{key}{json}"), " 404 "),
        ("otlp_http", "PUT /v1/traces", format!("{key}{json}"), " 405 "),
        ("otlp_http", "POST /v1/traces", format!("{key}x: {}\r\n", "x".repeat(32 << 10)), " 431 "),
        ("agent", "POST /stsAgent/intake", String::new(), " 401 "),
        ("agent", "POST /stsAgent/intake", agent_key.clone(), " 413 "),
        ("agent", "POST /elsewhere", agent_key, " 404 "),
        ("management", "POST /api/security/ingestion/api_keys", String::new(), " 401 "),
        ("management", "POST /api/security/ingestion/elsewhere", admin.clone(), " 404 "),
        ("management", "PATCH /api/security/ingestion/api_keys", admin, " 405 "),
        ("authorize", "POST /elsewhere", String::new(), " 404 "),
        ("telemetry", "POST /metrics", String::new(), " 405 "),
    ];
    for (listener, line, headers, status) in cases {
        let head = format!("{line} HTTP/1.1\r\nhost: g\r\n{headers}");
        expect(gateway.address(listener), head, 32 << 20, 4, status).await;
    }
}

// Scenario: senders state a length beyond the limit, and ask whether to write the body, as curl
// does with large bodies.
// Guarantee: the first answer is the refusal, so that nothing of the body is sent.
#[tokio::test]
async fn a_stated_length_is_refused_before_the_body() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await.secret;
    for (listener, path) in [("otlp_http", "/v1/traces"), ("agent", "/stsAgent/otel/v1/traces")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: StackState {key}\r\ncontent-type: application/json\r\ncontent-length: 100000000\r\nexpect: 100-continue\r\n\r\n"
        );
        let mut stream = gateway.connect(listener).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413", "{listener}");
    }
}
