//! Tests of bombs: small bodies that become as large as allowed when they are decompressed.

use bytes::Bytes;
use reqwest::StatusCode;
use tokio::task::JoinSet;
use tonic::Code;

use crate::payload::compressed;
use crate::program::{Gateway, export};

/// The number of bombs of each format that are sent at the same time over each transport.
const BOMBS: usize = 50;

/// The largest number of bytes that a request may have once it is decompressed.
const MAX_DECODED_BYTES: usize = 20 << 20;

/// The largest resident memory that the gateway may have.
const MAX_RESIDENT_BYTES: usize = 256 << 20;

// Scenario: a sender sends 800 bombs at the same time, 50 in every format over each transport. Each
// of them becomes ten million empty resources. Meanwhile, a sender with another key sends one span.
// Guarantee: each bomb is accepted, or its sender is asked to come back. The other sender is
// served. The resident memory of the gateway stays below 256 MiB, where the decompressed bombs have
// 16 GB.
#[tokio::test]
async fn bombs_take_little_memory() {
    let gateway = Gateway::start().await;
    let (attacker, other) = (gateway.create("attacker").await, gateway.create("other").await);
    let mut answers = JoinSet::new();
    for (encoding, bomb) in compressed(&[0x0a, 0].repeat(MAX_DECODED_BYTES / 2)) {
        let bomb = Bytes::from(bomb);
        let channel = gateway.http2("otlp_grpc").await;
        for _ in 0..BOMBS {
            let request =
                gateway.post_traces("otlp_http", &attacker.secret, encoding).body(bomb.clone());
            answers.spawn(async move {
                let status = request.send().await.unwrap().status();
                let is_busy = status == StatusCode::SERVICE_UNAVAILABLE;
                assert!(is_busy || status == StatusCode::OK, "{encoding}: {status}");
            });
            let (channel, secret, bomb) = (channel.clone(), attacker.secret.clone(), bomb.clone());
            answers.spawn(async move {
                let (code, text) = export(channel, &secret, encoding, &bomb).await;
                assert!(matches!(code, Code::Ok | Code::Unavailable), "{encoding}: {code} {text}");
            });
        }
    }
    assert_eq!(gateway.send_http(&other.secret).await.status(), StatusCode::OK);
    answers.join_all().await;
    let peak = gateway.peak_memory();
    assert!(peak < MAX_RESIDENT_BYTES, "{} MiB", peak >> 20);
}
