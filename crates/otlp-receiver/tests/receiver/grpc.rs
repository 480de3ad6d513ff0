//! Tests of OTLP/gRPC.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use otlp_receiver::{MAX_DECODED_BYTES, Receiver, Refusal, Signal, Transport};
use prost::Message;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{Answer, broken, call, compressed, recording, traces};

/// Puts a message into the frame that gRPC uses.
fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn export(signal: Signal) -> http::request::Builder {
    Request::post(signal.grpc_path())
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
}

fn full(body: Vec<u8>) -> Full<Bytes> {
    Full::new(body.into())
}

fn status(answer: &Answer) -> Status {
    assert_eq!(answer.body, "", "the response has only headers");
    Status::from_header_map(&answer.headers).unwrap()
}

// Scenario: clients that are generated from the protocol call each service. Traces are sent in
// every compression that these clients have.
// Guarantee: each call succeeds, and the sink gets the number of its items.
#[tokio::test]
async fn every_service_is_served() {
    let (receiver, accepted) = recording();
    for compression in [None, Some(Gzip), Some(Zstd)] {
        let client = TraceServiceClient::new(receiver.clone());
        let mut client = match compression {
            Some(compression) => client.send_compressed(compression),
            None => client,
        };
        client.export(traces(3)).await.unwrap();
        let batch = accepted.lock().unwrap().pop();
        assert_eq!(batch, Some((Signal::Traces, 3, Transport::Grpc)), "{compression:?}");
    }
    let mut metrics = MetricsServiceClient::new(receiver.clone());
    metrics.export(ExportMetricsServiceRequest::default()).await.unwrap();
    let mut logs = LogsServiceClient::new(receiver);
    logs.export(ExportLogsServiceRequest::default()).await.unwrap();
    let expected = [(Signal::Metrics, 0, Transport::Grpc), (Signal::Logs, 0, Transport::Grpc)];
    assert_eq!(*accepted.lock().unwrap(), expected);
}

// Scenario: the same batch is sent in every format of every compression. It is also sent without
// compression in a call that has a compression, which gRPC allows for each message.
// Guarantee: each batch is accepted with the number of its items. The response has one empty
// message and the status 0 in its trailers. Its body does not state a length, so that clients wait
// for the trailers.
#[tokio::test]
async fn every_compression_is_decoded() {
    let (receiver, accepted) = recording();
    let content = traces(3).encode_to_vec();
    let compressed = compressed(&content);
    let calls = compressed.iter().map(|(name, message)| (*name, frame(1, message)));
    for (name, body) in calls.chain([("gzip", frame(0, &content)), ("", frame(0, &content))]) {
        let request = export(Signal::Traces).header("grpc-encoding", name).body(full(body));
        let answer = call(receiver.clone(), request.unwrap()).await;
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.body, &[0; 5][..], "{name}");
        assert_eq!(answer.stated_length, None, "{name}");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0", "{name}");
        let batch = accepted.lock().unwrap().pop();
        assert_eq!(batch, Some((Signal::Traces, 3, Transport::Grpc)), "{name}");
    }
}

// Scenario: the connection of a call fails before the message is complete, or its stream ends
// there.
// Guarantee: the status is `UNAVAILABLE` with `RetryInfo`, so that the sender keeps the batch.
#[tokio::test]
async fn a_message_that_breaks_off_is_sent_again() {
    let (receiver, accepted) = recording();
    let failed = export(Signal::Traces).body(broken(b"\0\0\0\0\x08\x0a")).unwrap();
    let answers = [
        call(receiver.clone(), failed).await,
        call(receiver.clone(), export(Signal::Traces).body(full(vec![0; 3])).unwrap()).await,
        call(receiver, export(Signal::Traces).body(full(vec![0, 0, 0, 0, 8, 10])).unwrap()).await,
    ];
    for answer in answers {
        let status = status(&answer);
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the body ended early"));
        let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
    }
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: one message is not an OTLP request. Some calls have no message, two messages, an
// undefined flag, or a compressed message without the name of a compression. One compression is
// unknown, and one message is corrupt. For one call, the sink returns an error.
// Guarantee: each status has the code that gRPC defines for it, none of which senders retry, and a
// text that says what is wrong.
#[tokio::test]
async fn other_calls_are_refused() {
    let failing = Receiver::new(|_| Err(Refusal::Internal("nobody listens")));
    let (receiver, accepted) = recording();
    let twice = [frame(0, b""), frame(0, b"")].concat();
    for (receiver, encoding, body, code, text) in [
        (&receiver, "", frame(0, b"hello"), Code::InvalidArgument, "not an OTLP request"),
        (&receiver, "", vec![], Code::Unimplemented, "exactly one message"),
        (&receiver, "", twice, Code::Unimplemented, "exactly one message"),
        (&receiver, "", frame(2, b""), Code::Internal, "not framed as gRPC demands"),
        (&receiver, "identity", frame(1, b""), Code::Internal, "not framed as gRPC demands"),
        (&receiver, "br", frame(1, b""), Code::Unimplemented, "use gzip, zstd, snappy"),
        (&receiver, "gzip", frame(1, b"hello"), Code::Internal, "as its headers say"),
        (&receiver, "gzip", frame(1, b""), Code::Internal, "as its headers say"),
        (&failing, "", frame(0, b""), Code::Internal, "nobody listens"),
    ] {
        let request = export(Signal::Logs).header("grpc-encoding", encoding).body(full(body));
        let answer = call(receiver.clone(), request.unwrap()).await;
        let status = status(&answer);
        assert_eq!(status.code(), code, "{text}");
        assert!(status.message().contains(text), "{}", status.message());
        let supported = answer.headers.get("grpc-accept-encoding");
        assert_eq!(supported.is_some(), encoding == "br");
        let names = "gzip,zstd,snappy,x-snappy-framed,deflate,zlib,lz4";
        assert!(supported.is_none_or(|supported| supported == names), "{supported:?}");
    }
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: messages are larger than the limit on the wire, and the length of one of them is only
// stated. Small messages in every compression become larger than 20 MiB. Another message has
// exactly the largest length.
// Guarantee: the status is `RESOURCE_EXHAUSTED` without `RetryInfo`, on which senders drop the
// batch instead of sending it for ever. The message of the largest length is accepted.
#[tokio::test]
async fn too_large_messages_are_not_sent_again() {
    let (receiver, accepted) = recording();
    let large = vec![0; MAX_DECODED_BYTES + 1];
    let mut calls: Vec<_> =
        compressed(&large).into_iter().map(|(name, message)| (name, frame(1, &message))).collect();
    calls.push(("identity", frame(0, &large)));
    calls.push(("identity", frame(0, &large)[..10].to_vec()));
    for (name, body) in calls {
        let request = export(Signal::Traces).header("grpc-encoding", name).body(full(body));
        let status = status(&call(receiver.clone(), request.unwrap()).await);
        assert_eq!(status.code(), Code::ResourceExhausted, "{name}");
        assert_eq!(status.message(), "the request is too large");
        assert!(status.get_details_retry_info().is_none());
    }
    assert_eq!(*accepted.lock().unwrap(), []);

    let message = traces(1).encode_to_vec();
    let receiver = receiver.with_max_body(message.len());
    let request = export(Signal::Traces).body(full(frame(0, &message))).unwrap();
    assert_eq!(call(receiver, request).await.trailers.unwrap()["grpc-status"], "0");
}
