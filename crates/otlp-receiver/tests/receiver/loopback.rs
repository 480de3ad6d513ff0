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
