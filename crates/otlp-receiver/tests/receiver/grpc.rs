//! Tests of OTLP/gRPC.

use bytes::Bytes;
use http::{HeaderMap, Request};
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

use crate::{Answer, broken, call, gzip, recording, traces};

/// Puts a message into the frame that gRPC uses.
fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

fn export(signal: Signal) -> http::request::Builder {
    Request::post(signal.grpc_path()).header("content-type", "application/grpc")
}

fn status(answer: &Answer) -> Status {
    let headers: &HeaderMap = &answer.headers;
    Status::from_header_map(headers).unwrap()
}

// Scenario: clients that are generated from the protocol call each service. Traces are sent in
// every compression.
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

// Scenario: the connection of a call fails before the message is complete.
// Guarantee: the status is `UNAVAILABLE`, so that the sender keeps the batch.
#[tokio::test]
async fn a_message_that_breaks_off_is_sent_again() {
    let (receiver, accepted) = recording();
    let request = export(Signal::Traces).body(broken(b"\0\0\0\0\x08\x0a")).unwrap();
    let status = status(&call(receiver, request).await);
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the body ended early"));
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: one message is not an OTLP request, one is larger than the limit on the wire, and one
// becomes larger than 20 MiB. One call has an unknown method of a known service. For one call, the
// sink returns an error.
// Guarantee: each status has a code that senders do not retry, and a text that says what is wrong.
#[tokio::test]
async fn other_calls_are_refused() {
    let failing = Receiver::new(|_| Err(Refusal::Internal("nobody listens")));
    let unknown = "/opentelemetry.proto.collector.logs.v1.LogsService/Import";
    for (receiver, path, message, code, text) in [
        (
            recording().0,
            Signal::Logs.grpc_path(),
            &b"hello"[..],
            Code::InvalidArgument,
            "the body is not an OTLP request",
        ),
        (
            recording().0.with_max_body(100),
            Signal::Logs.grpc_path(),
            &[0; 100],
            Code::ResourceExhausted,
            "the request is too large",
        ),
        (recording().0, unknown, b"", Code::Unimplemented, "there is no such call"),
        (failing, Signal::Logs.grpc_path(), b"", Code::Internal, "nobody listens"),
    ] {
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.body(Full::new(frame(message))).unwrap();
        let status = status(&call(receiver, request).await);
        assert_eq!((status.code(), status.message()), (code, text));
    }

    let (receiver, accepted) = recording();
    let mut compressed = frame(&gzip(&vec![0; MAX_DECODED_BYTES + 1])).to_vec();
    compressed[0] = 1;
    let request = export(Signal::Traces).header("grpc-encoding", "gzip");
    let request = request.body(Full::<Bytes>::from(compressed)).unwrap();
    let status = status(&call(receiver, request).await);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: requests of each transport are sent to a receiver for both transports, and to receivers
// for only one transport.
// Guarantee: the receiver for both transports finds the transport of a request by the content type.
// The other receivers ignore the content type.
#[tokio::test]
async fn both_transports_share_a_port() {
    let (both, accepted) = recording();
    let over_grpc = || export(Signal::Traces).body(Full::new(frame(b""))).unwrap();
    let over_http = || {
        let request = Request::post(Signal::Traces.http_path());
        let request = request.header("content-type", "application/x-protobuf");
        request.body(Full::new(Bytes::from(traces(1).encode_to_vec()))).unwrap()
    };
    assert_eq!(call(both.clone(), over_grpc()).await.headers["content-type"], "application/grpc");
    assert_eq!(call(both.clone(), over_http()).await.status, 200);
    let expected = [(Signal::Traces, 0, Transport::Grpc), (Signal::Traces, 1, Transport::Http)];
    assert_eq!(*accepted.lock().unwrap(), expected);

    let grpc = both.clone().only(Transport::Grpc);
    assert_eq!(status(&call(grpc, over_http()).await).code(), Code::Unimplemented);
    assert_eq!(call(both.only(Transport::Http), over_grpc()).await.status, 404);
}
