//! Requests that become much larger when they are decompressed.

use std::net::SocketAddr;
use std::thread;

use http_body_util::Full;
use otlp_auth_tests::{COMPRESSIONS, compress, grpc_frame};
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::ServiceExt as _;

use crate::gateway::TestEnv;
use crate::http::{Client, request_with};
use crate::keys::Key;

/// How many requests of one compression are sent at the same time.
const PARALLEL: usize = 100;

/// How many gRPC calls share a connection.
const STREAMS: usize = 25;

/// The largest memory that the gateway may use, in bytes.
const MAX_MEMORY: usize = 256 << 20;

/// The number of resources in the largest request that is allowed. Each has two bytes.
pub(crate) const RESOURCES: usize = 10 << 20;

/// A resource of a request for traces without any content.
pub(crate) const EMPTY_RESOURCE: &[u8] = b"\x0a\x00";

/// The path of OTLP/gRPC for traces.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Returns the statuses of the answers to one request that is sent many times over HTTP/1.1.
fn over_http(address: SocketAddr, key: &str, compression: &str, body: &[u8]) -> Vec<u16> {
    let request = traces(key, compression, body);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..PARALLEL)
            .map(|_| {
                let (mut client, request) = (Client::new(address), &request);
                scope.spawn(move || client.call(request).expect("an answer").status)
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("a status")).collect()
    })
}

/// Returns the codes of the answers to one message that is sent many times over gRPC.
async fn over_grpc(address: &str, key: &str, compression: &str, message: &[u8]) -> Vec<String> {
    let framed = bytes::Bytes::from(grpc_frame(true, message));
    let mut calls = Vec::new();
    for _ in 0..PARALLEL / STREAMS {
        let channel = Endpoint::try_from(address.to_owned()).expect("a URL").connect_lazy();
        for _ in 0..STREAMS {
            let request = http::Request::post(GRPC_PATH)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-encoding", compression)
                .header("authorization", format!("StackState {key}"))
                .body(Body::new(Full::new(framed.clone())))
                .expect("a request");
            calls.push(tokio::spawn(channel.clone().oneshot(request)));
        }
    }
    let mut codes = Vec::new();
    for call in calls {
        let response = call.await.expect("a call").expect("an answer");
        let code = response.headers().get("grpc-status").map(|code| code.to_str().expect("text"));
        codes.push(code.unwrap_or("in the trailers").to_owned());
    }
    codes
}

/// Returns a request for traces with a compressed body.
pub(crate) fn traces(key: &str, compression: &str, body: &[u8]) -> Vec<u8> {
    let headers = [
        ("authorization", &*format!("StackState {key}")),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", compression),
    ];
    request_with("POST", "/v1/traces", &headers, body)
}

// Scenario: a sender with a good key sends 100 requests at the same time, with each compression
// over each transport. The requests become as large as is allowed, and then four times as large.
// Guarantee: each request is answered: it is accepted, refused as too large, or asked to come back.
// The gateway never uses more than 256 MiB, and then accepts a small request.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_do_not_decide_the_memory() {
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let key = Key::create(&mut gateway.caller(), "bombs");
    let http = gateway.address("otlp_http");
    let grpc = format!("http://{}", gateway.address("otlp_grpc"));
    let largest: &[&str] = &COMPRESSIONS;
    for (resources, compressions) in [(RESOURCES, largest), (4 * RESOURCES, &["gzip", "zstd"])] {
        let plain = EMPTY_RESOURCE.repeat(resources);
        for &compression in compressions {
            let bomb = compress(compression, &plain).expect("a bomb");
            let statuses = over_http(http, &key.secret, compression, &bomb);
            assert!(
                statuses.iter().all(|status| [200, 413, 503].contains(status)),
                "{compression}: {statuses:?}"
            );
            let codes = over_grpc(&grpc, &key.secret, compression, &bomb).await;
            assert!(
                codes.iter().all(|code| ["in the trailers", "0", "8", "14"].contains(&&**code)),
                "{compression}: {codes:?}"
            );
            let memory = gateway.memory("VmHWM");
            println!("{compression} of {} bytes: {} MiB", plain.len(), memory >> 20);
            assert!(memory < MAX_MEMORY, "{compression}: {memory} bytes");
        }
    }
    assert_eq!(gateway.caller().export(&key.secret).status, 200);
    gateway.stop();
}
