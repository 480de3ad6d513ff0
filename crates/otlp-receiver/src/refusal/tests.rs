use std::collections::HashSet;
use std::time::Duration;

use http::{Request, Version};
use otlp_auth::server::{CredentialExtractor, OtlpResponder, Rejection, Responder};
use otlp_auth::{DenyReason, Scheme};

use super::*;

/// The HTTP statuses on which a sender sends its batch again, according to the section "OTLP/HTTP
/// response" of the OTLP specification.
const RETRYABLE_OVER_HTTP: [u16; 4] = [429, 502, 503, 504];

/// The gRPC statuses on which a sender sends its batch again, according to the section "OTLP/gRPC
/// response" of the OTLP specification. `RESOURCE_EXHAUSTED` is one of them if it has `RetryInfo`.
const RETRYABLE_OVER_GRPC: [Code; 6] = [
    Code::Cancelled,
    Code::DeadlineExceeded,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unavailable,
    Code::DataLoss,
];

/// Whether a sender should send its batch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Drops,
    SendsAgain,
}
use Sender::{Drops, SendsAgain};

const REFUSALS: [Refusal; 16] = [
    Refusal::UnknownPath,
    Refusal::UnknownCall,
    Refusal::NotGrpc,
    Refusal::GrpcWithoutHttp2,
    Refusal::NotPost,
    Refusal::UnknownContentType,
    Refusal::UnknownCompression,
    Refusal::TooLarge,
    Refusal::EndedEarly,
    Refusal::Busy,
    Refusal::CorruptCompression,
    Refusal::MalformedFrame,
    Refusal::NotOneMessage,
    Refusal::Malformed,
    Refusal::UpstreamUnavailable,
    Refusal::Internal("nobody listens"),
];

/// Says what a sender should do with its batch. A batch that can never be received is dropped. A
/// batch that the receiver could not receive at this time is sent again.
fn expected(refusal: Refusal) -> Sender {
    match refusal {
        Refusal::EndedEarly | Refusal::Busy | Refusal::UpstreamUnavailable => SendsAgain,
        Refusal::UnknownPath
        | Refusal::UnknownCall
        | Refusal::NotGrpc
        | Refusal::GrpcWithoutHttp2
        | Refusal::NotPost
        | Refusal::UnknownContentType
        | Refusal::UnknownCompression
        | Refusal::TooLarge
        | Refusal::CorruptCompression
        | Refusal::MalformedFrame
        | Refusal::NotOneMessage
        | Refusal::Malformed
        | Refusal::Internal(_) => Drops,
    }
}

/// Returns what a sender over OTLP/HTTP does, and how long it waits before.
fn over_http<B>(response: &Response<B>) -> (Sender, Option<Duration>) {
    let wait = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().parse());
    let sender = match RETRYABLE_OVER_HTTP.contains(&response.status().as_u16()) {
        true => SendsAgain,
        false => Drops,
    };
    (sender, wait.map(|seconds| Duration::from_secs(seconds.unwrap())))
}

/// Returns what a sender over OTLP/gRPC does, and how long it waits before.
fn over_grpc<B>(response: &Response<B>) -> (Sender, Option<Duration>) {
    assert_eq!(response.status(), StatusCode::OK);
    let status = Status::from_header_map(response.headers()).unwrap();
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let is_throttled = status.code() == Code::ResourceExhausted && wait.is_some();
    match is_throttled || RETRYABLE_OVER_GRPC.contains(&status.code()) {
        true => (SendsAgain, wait),
        false => (Drops, wait),
    }
}

/// Checks that a sender does what it should, and is told when exactly if it should come back.
fn check(response: (Sender, Option<Duration>), expected: Sender, what: &str) {
    let (sender, wait) = response;
    assert_eq!(sender, expected, "{what}");
    assert_eq!(wait.is_some(), expected == SendsAgain, "{what}");
    assert!(wait.is_none_or(|wait| (1..=5).contains(&wait.as_secs())), "{what}: {wait:?}");
}

// Scenario: the receiver refuses a request for each reason, on both transports.
// Guarantee: a sender that follows the OTLP specification sends exactly those batches again that
// could be received later. It is told when, on both transports.
#[test]
fn only_what_can_be_received_later_is_sent_again() {
    let listed: HashSet<_> = REFUSALS.iter().map(std::mem::discriminant).collect();
    assert_eq!(listed.len(), REFUSALS.len());
    for refusal in REFUSALS {
        let what = format!("{refusal:?}");
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            check(over_http(&refusal.http_response(encoding)), expected(refusal), &what);
        }
        check(over_grpc(&refusal.grpc_response()), expected(refusal), &what);
    }
}

// Scenario: the authentication layer in front of the receiver rejects a request for each reason, on
// both transports.
// Guarantee: a sender that follows the OTLP specification sends exactly those batches again that
// could be received later. It is told when, on both transports.
#[test]
fn only_what_can_be_allowed_later_is_sent_again() {
    let extractor = CredentialExtractor::empty().with_scheme(Scheme::from_static("StackState"));
    let denied = [
        (DenyReason::Missing, Drops),
        (DenyReason::Malformed, Drops),
        (DenyReason::Conflicting, Drops),
        (DenyReason::Unknown, Drops),
        (DenyReason::Revoked, Drops),
        (DenyReason::Expired, Drops),
        (DenyReason::NotPermitted, Drops),
        (DenyReason::LimitExceeded, SendsAgain),
    ];
    let rejections = denied
        .into_iter()
        .map(|(reason, expected)| (Rejection::denied(reason.into(), &extractor), expected))
        .chain([(Rejection::undecided(), SendsAgain)]);
    for (rejection, expected) in rejections {
        let respond = |content_type: &str| {
            let request = Request::post("/").version(Version::HTTP_2);
            let request = request.header(CONTENT_TYPE, content_type).body(()).unwrap();
            OtlpResponder.respond(&rejection, &request.into_parts().0)
        };
        let what = rejection.message();
        for content_type in ["application/x-protobuf", "application/json", "text/plain"] {
            check(over_http(&respond(content_type)), expected, what);
        }
        check(over_grpc(&respond("application/grpc")), expected, what);
    }
}
