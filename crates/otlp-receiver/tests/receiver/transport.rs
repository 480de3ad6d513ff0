//! Tests of one port for both transports: every request is answered by the transport that it uses.

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use otlp_receiver::{Signal, Transport};
use prost::Message;
use tonic::{Code, Status};

use crate::{PROTOBUF, call, recording, traces};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn request(
    version: Version,
    path: &str,
    (name, content_type): (&str, &str),
    body: &[u8],
) -> Request<Full<Bytes>> {
    Request::post(path)
        .version(version)
        .header(name, content_type)
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap()
}

/// A call with one empty message, which is a batch without items.
const EMPTY_CALL: &[u8] = &[0; 5];

// Scenario: batches of every signal arrive over both transports, and over both versions of HTTP.
// Guarantee: one receiver accepts all of them, and tells the sink the transport of each batch.
#[tokio::test]
async fn both_transports_share_a_port() {
    let (receiver, accepted) = recording();
    for signal in Signal::ALL {
        let over_grpc = request(Version::HTTP_2, signal.grpc_path(), GRPC, EMPTY_CALL);
        let answer = call(receiver.clone(), over_grpc).await;
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(accepted.lock().unwrap().pop(), Some((signal, 0, Transport::Grpc)));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let over_http = request(version, signal.http_path(), PROTOBUF, b"");
            assert_eq!(call(receiver.clone(), over_http).await.status, 200);
            assert_eq!(accepted.lock().unwrap().pop(), Some((signal, 0, Transport::Http)));
        }
    }
}

// Scenario: HTTP requests have the path of a call, an unknown path, the wrong method or a wrong
// content type, over both versions of HTTP. One content type is that of gRPC-Web.
// Guarantee: none is answered as gRPC, whose HTTP status would be 200. Each has a status that
// senders do not retry, and a text that says what to do.
#[tokio::test]
async fn what_is_not_grpc_is_answered_over_http() {
    let call_path = Signal::Traces.grpc_path();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (method, path, content_type, status, text) in [
            (
                "POST",
                call_path,
                PROTOBUF.1,
                415,
                "use application/grpc, or OTLP/HTTP at /v1/traces",
            ),
            ("GET", call_path, "", 415, "use application/grpc"),
            ("POST", "/", PROTOBUF.1, 404, "use /v1/traces, /v1/metrics or /v1/logs"),
            ("POST", "/v1/traces/", PROTOBUF.1, 404, "use /v1/traces"),
            ("PUT", "/v1/traces", PROTOBUF.1, 405, "use POST"),
            ("POST", "/v1/traces", "application/grpc-web", 415, "use application/x-protobuf or"),
        ] {
            let body = traces(1).encode_to_vec();
            let mut request = request(version, path, ("content-type", content_type), &body);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            let (receiver, accepted) = recording();
            let answer = call(receiver, request).await;
            assert_eq!(answer.status, status, "{method} {path} {content_type}");
            assert!(!answer.headers.contains_key("grpc-status"), "{path} {content_type}");
            let message = match content_type == PROTOBUF.1 {
                true => tonic_types::Status::decode(answer.body).unwrap().message,
                false => String::from_utf8(answer.body.to_vec()).unwrap(),
            };
            assert!(message.contains(text), "{message}");
            assert_eq!(*accepted.lock().unwrap(), []);
        }
    }
}

// Scenario: requests with the content type of gRPC come over HTTP/1.1, or have a method that gRPC
// does not use.
// Guarantee: they are answered over HTTP, with a status that is not a success, because their sender
// may not read the status of gRPC.
#[tokio::test]
async fn what_only_looks_like_grpc_is_not_answered_with_success() {
    for (version, method, path, status) in [
        (Version::HTTP_11, "POST", Signal::Traces.grpc_path(), 415),
        (Version::HTTP_11, "POST", Signal::Traces.http_path(), 415),
        (Version::HTTP_11, "POST", "/", 404),
        (Version::HTTP_2, "GET", Signal::Traces.http_path(), 405),
        (Version::HTTP_2, "PUT", Signal::Traces.grpc_path(), 405),
    ] {
        let (receiver, accepted) = recording();
        let mut request = request(version, path, GRPC, EMPTY_CALL);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = call(receiver, request).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(!answer.headers.contains_key("grpc-status"));
        assert_eq!(*accepted.lock().unwrap(), []);
    }
}

// Scenario: gRPC calls have an unknown service, an unknown method, or the path of an OTLP/HTTP
// request.
// Guarantee: the gRPC status is `UNIMPLEMENTED`.
#[tokio::test]
async fn unknown_calls_are_unimplemented() {
    for path in [
        "/opentelemetry.proto.collector.logs.v1.LogsService/Import",
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/v1/traces",
        "/",
    ] {
        let answer = call(recording().0, request(Version::HTTP_2, path, GRPC, EMPTY_CALL)).await;
        assert_eq!(answer.status, 200);
        let status = Status::from_header_map(&answer.headers).unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unimplemented, "there is no such call")
        );
    }
}
