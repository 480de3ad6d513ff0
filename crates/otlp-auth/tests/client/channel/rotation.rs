//! Tests tokens that change, and tokens that the server does not know.

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::Code;
use tonic::transport::Channel;

use super::{channel, collector, rotated_collector};
use crate::support::{Collector, ENDPOINT, Tokens, batch, wait_for_header};

/// Makes an SDK with a batch processor. The processor exports on its own thread, which has no Tokio
/// runtime.
fn provider(channel: Channel) -> SdkTracerProvider {
    let exporter = SpanExporter::builder().with_tonic().with_channel(channel).build().unwrap();
    SdkTracerProvider::builder().with_batch_exporter(exporter).build()
}

/// Scenario: the server stops accepting the old token before the client's file changes. The file
/// changes before the rejection reaches the client.
/// Guarantee: the request arrives once, and later requests have the new token at once.
#[test]
fn a_rotation_loses_no_request() {
    let (collector, tokens) = rotated_collector();
    let auth = tokens.unbound();
    let mut client = TraceServiceClient::new(channel(&auth, &collector.endpoint()));
    block_on(client.export(batch("first"))).unwrap();
    block_on(client.export(batch("second"))).unwrap();
    assert_eq!(collector.received.spans(), ["first", "second"]);
}

/// Scenario: the first request is rejected while the file has the old token. The file changes when
/// the second request is rejected, while that request waits for the file to be read.
/// Guarantee: the first rejection is returned, and the second request arrives.
#[test]
fn a_file_written_while_a_request_waits() {
    let client_tokens = Tokens::new("token-0");
    let refusals = Arc::new(Mutex::new(0));
    let rotate = {
        let (refusals, client_tokens) = (Arc::clone(&refusals), client_tokens.clone());
        move || {
            *refusals.lock().unwrap() += 1;
            if *refusals.lock().unwrap() == 2 {
                client_tokens.replace("token-1");
            }
        }
    };
    let collector = Collector::start_at(
        "127.0.0.1:0".parse().unwrap(),
        Tokens::new("token-1").accepted(),
        rotate,
    );
    let mut client =
        TraceServiceClient::new(channel(&client_tokens.unbound(), &collector.endpoint()));
    assert_eq!(block_on(client.export(batch("first"))).unwrap_err().code(), Code::Unauthenticated);
    block_on(client.export(batch("second"))).unwrap();
    assert_eq!(collector.received.spans(), ["second"]);
}

/// Scenario: the exporter of opentelemetry-rust runs with the SDK's batch processor in a program
/// without a runtime, while the token is rotated.
/// Guarantee: every batch arrives exactly once.
#[test]
fn the_exporter_without_a_runtime() {
    let (collector, tokens) = rotated_collector();
    let provider = provider(channel(&tokens.unbound(), &collector.endpoint()));
    for name in ["a", "b", "c"] {
        provider.tracer("test").in_span(name, |_| ());
        provider.force_flush().unwrap();
    }
    assert_eq!(collector.received.spans(), ["a", "b", "c"]);
    provider.shutdown().unwrap();
}

/// Scenario: the same exporter runs in a program with a Tokio runtime. The program awaits an
/// export, and flushes the batch processor.
/// Guarantee: every batch arrives exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exporter_in_a_runtime() {
    let (collector, tokens) = rotated_collector();
    let auth = tokens.unbound();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel(&auth, &collector.endpoint()))
        .build()
        .unwrap();
    opentelemetry_sdk::trace::SpanExporter::export(&exporter, crate::support::sdk_span("awaited"))
        .await
        .unwrap();
    let provider = provider(channel(&auth, &collector.endpoint()));
    provider.tracer("test").in_span("flushed", |_| ());
    tokio::task::spawn_blocking({
        let provider = provider.clone();
        move || provider.force_flush().and_then(|()| provider.shutdown())
    })
    .await
    .unwrap()
    .unwrap();
    assert_eq!(collector.received.spans(), ["awaited", "flushed"]);
}

/// Scenario: the server accepts no token that the client has.
/// Guarantee: the rejection is returned as over a direct channel, and the exporter gets an error.
#[test]
fn a_dead_token_is_an_error() {
    let (collector, _) = collector();
    let tokens = Tokens::new("token-9");
    let channel = channel(&tokens.unbound(), &collector.endpoint());
    let status =
        block_on(TraceServiceClient::new(channel.clone()).export(batch("span"))).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "credential refused"));
    let provider = provider(channel);
    provider.tracer("test").in_span("span", |_| ());
    provider.force_flush().unwrap_err();
    assert!(collector.received.spans().is_empty());
}

/// Scenario: 100 requests are in flight at the same time on clones of one channel when the server
/// rejects their token.
/// Guarantee: every request arrives exactly once.
#[test]
fn a_hundred_requests_at_once() {
    let (collector, tokens) = rotated_collector();
    let channel = channel(&tokens.unbound(), &collector.endpoint());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut expected: Vec<_> = (0..100).map(|number| format!("span-{number}")).collect();
    let under_way: Vec<_> = expected
        .iter()
        .map(|name| {
            let (mut client, batch) = (TraceServiceClient::new(channel.clone()), batch(name));
            runtime.spawn(async move { client.export(batch).await })
        })
        .collect();
    for request in under_way {
        runtime.block_on(request).unwrap().unwrap();
    }
    expected.sort();
    assert_eq!(collector.received.spans(), expected);
}

/// Scenario: the file changes first, and then the server stops accepting the old token, so that no
/// request is rejected.
/// Guarantee: requests have the new token as soon as the file has it.
#[test]
fn a_rotation_in_the_usual_order() {
    let (collector, server_tokens) = collector();
    let client_tokens = Tokens::new("token-0");
    let auth = client_tokens.unbound();
    let mut client = TraceServiceClient::new(channel(&auth, &collector.endpoint()));
    block_on(client.export(batch("old"))).unwrap();
    let accepted = server_tokens.accepted();
    server_tokens.replace("token-0\ntoken-1");
    block_on(accepted.generation().wait_for(1)).unwrap();
    client_tokens.replace("token-1");
    wait_for_header(&auth.for_endpoint(ENDPOINT).unwrap(), "StackState token-1");
    drop(accepted);
    block_on(client.export(batch("new"))).unwrap();
    assert_eq!(collector.received.spans(), ["new", "old"]);
}
