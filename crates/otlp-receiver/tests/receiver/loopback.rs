//! Tests of the receiver on a socket, served by hyper.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use otlp_receiver::MAX_DECODED_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::recording;

/// How long the test waits before it fails. A test that succeeds never waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

// Scenario: a sender over HTTP/1.1 writes a body of 20 MiB to a receiver that accepts 1 MiB. The
// sender reads the response only after it has written the whole body.
// Guarantee: the sender can write the whole body and reads 413. The connection is not reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_drained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TowerToHyperService::new(recording().0.with_max_body(1 << 20));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let builder = auto::Builder::new(TokioExecutor::new());
        _ = builder.serve_connection(TokioIo::new(stream), service).await;
    });

    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = vec![0; MAX_DECODED_BYTES];
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: r\r\ncontent-type: application/x-protobuf\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut response = Vec::new();
    timeout(PATIENCE, async {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.read_to_end(&mut response).await.unwrap();
    })
    .await
    .unwrap();
    assert!(response.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&response));
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

// Scenario: senders over HTTP/1.1 ask whether they should write a body of 24 MiB, a body of an
// unknown type, and a body for an unknown path.
// Guarantee: they read the refusal at once, and are not asked for the body.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_is_not_asked_for() {
    for (path, content_type, length, status) in [
        ("/v1/traces", "application/x-protobuf", 24 << 20, 413),
        ("/v1/traces", "text/plain", 10, 415),
        ("/", "application/x-protobuf", 10, 404),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TowerToHyperService::new(recording().0);
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let builder = auto::Builder::new(TokioExecutor::new());
            _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: r\r\ncontent-type: {content_type}\r\n\
             expect: 100-continue\r\ncontent-length: {length}\r\n\r\n",
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(line, format!("HTTP/1.1 {status}").as_bytes());
        drop(stream);
        timeout(PATIENCE, server).await.unwrap().unwrap();
    }
}
