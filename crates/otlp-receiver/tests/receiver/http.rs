//! Tests of OTLP/HTTP.

use std::io::Write;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use otlp_receiver::{MAX_DECODED_BYTES, Receiver, Refusal, Signal, Transport};
use prost::Message;
use serde::Deserialize;

use crate::{Answer, JSON, PROTOBUF, broken, call, compressed, gzip, recording, traces};

/// `google.rpc.Status` in JSON.
#[derive(Debug, Deserialize, PartialEq)]
struct Status {
    code: i32,
    message: String,
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = headers
        .iter()
        .fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

fn status_in_json(answer: &Answer) -> Status {
    assert_eq!(answer.headers["content-type"], "application/json");
    serde_json::from_slice(&answer.body).unwrap()
}

// Scenario: the same batch is sent in every format of every compression. Some names of compressions
// are in upper case, in a list, or on one of several lines of the header. Some names are beside
// `identity`, and one header has no value.
// Guarantee: each batch is accepted with the number of its items. Each response means full success.
#[tokio::test]
async fn every_compression_is_decoded() {
    let (receiver, accepted) = recording();
    let content = traces(3).encode_to_vec();
    let zstd = zstd::encode_all(&content[..], 1).unwrap();
    let named = compressed(&content);
    let named = named.iter().map(|(name, body)| (vec![("content-encoding", *name)], body.clone()));
    let bodies = [
        (vec![], content.clone()),
        (vec![("content-encoding", "")], content.clone()),
        (vec![("content-encoding", "GZIP")], gzip(&content)),
        (vec![("content-encoding", "identity, gzip")], gzip(&content)),
        (vec![("content-encoding", "identity"), ("content-encoding", "zstd")], zstd),
    ];
    for (codings, body) in named.chain(bodies) {
        let headers = [&[PROTOBUF], &codings[..]].concat();
        let answer = call(receiver.clone(), post("/v1/traces", &headers, body)).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{codings:?}");
        assert_eq!(answer.headers["content-type"], "application/x-protobuf");
        assert_eq!(
            accepted.lock().unwrap().pop(),
            Some((Signal::Traces, 3, Transport::Http)),
            "{codings:?}"
        );
    }
}

// Scenario: requests name two compressions in a list or on two lines, an unknown compression, or a
// compression that the body does not have.
// Guarantee: each request is refused with a status that senders do not retry, and nothing is
// counted.
#[tokio::test]
async fn other_compressions_are_refused() {
    let (receiver, accepted) = recording();
    let content = traces(3).encode_to_vec();
    let twice = gzip(&gzip(&content));
    for (codings, body, expected) in [
        (&["gzip, gzip"][..], twice.clone(), 415),
        (&["gzip", "gzip"], twice, 415),
        (&["identity", "br"], content.clone(), 415),
        (&["gzip"], content.clone(), 400),
        (&["snappy"], content.clone(), 400),
        (&["zstd"], content.clone(), 400),
        (&["lz4"], content.clone(), 400),
        (&["deflate"], content.clone(), 400),
    ] {
        let headers: Vec<_> = codings.iter().map(|coding| ("content-encoding", *coding)).collect();
        let request = post("/v1/traces", &[&[PROTOBUF], &headers[..]].concat(), body);
        assert_eq!(call(receiver.clone(), request).await.status, expected, "{codings:?}");
    }
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: a zstd frame asks for a window of 128 MiB, as `zstd --ultra --long` makes it.
// Guarantee: the frame is accepted. Its window costs nothing, because the batch is its own window.
#[tokio::test]
async fn a_zstd_window_may_be_wide() {
    let (receiver, accepted) = recording();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&traces(3).encode_to_vec()).unwrap();
    let body = encoder.finish().unwrap();
    let request = post("/v1/traces", &[PROTOBUF, ("content-encoding", "zstd")], body);
    assert_eq!(call(receiver, request).await.status, StatusCode::OK);
    assert_eq!(accepted.lock().unwrap()[0].1, 3);
}

// Scenario: the connection fails before the body is complete. This happens once in each encoding.
// Guarantee: the response is 503 with `Retry-After`, so that the sender keeps the batch.
#[tokio::test]
async fn a_body_that_breaks_off_is_sent_again() {
    let (receiver, accepted) = recording();
    for content_type in ["application/x-protobuf", "application/json"] {
        let request = Request::post("/v1/traces").header("content-type", content_type);
        let answer = call(receiver.clone(), request.body(broken(b"{")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let seconds: u32 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds), "{seconds}");
        assert_eq!(answer.headers["content-type"], content_type);
    }
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: requests have no content type, or a content type that OTLP does not define.
// Guarantee: the response is 415 with a status in JSON. An authentication layer in front of the
// receiver answers such requests in JSON, too.
#[tokio::test]
async fn an_unknown_content_type_is_answered_in_json() {
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let answer = call(recording().0, post("/v1/traces", headers, "{}")).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
        let message = "use application/x-protobuf or application/json".to_owned();
        assert_eq!(status_in_json(&answer), Status { code: 3, message });
    }
}

// Scenario: a path is unknown, a method is not `POST`, a body is not a batch, or the sink fails.
// Each happens in both encodings.
// Guarantee: the HTTP status and the code are those of the table in the crate's documentation. The
// body is a `google.rpc.Status` in the encoding of the request.
#[tokio::test]
async fn refusals_carry_a_status() {
    let failing = Receiver::new(|_| Err(Refusal::Internal("nobody listens")));
    for (receiver, method, path, body, status, code, message) in [
        (recording().0, "POST", "/v1/x", "", 404, 12, "use /v1/traces, /v1/metrics or /v1/logs"),
        (recording().0, "GET", "/v1/logs", "", 405, 12, "use POST"),
        (recording().0, "POST", "/v1/logs", "{", 400, 3, "the body is not an OTLP request"),
        (failing, "POST", "/v1/logs", "null", 500, 13, "nobody listens"),
    ] {
        let mut request = post(path, &[JSON], body);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = call(receiver.clone(), request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(status_in_json(&answer), Status { code, message: message.to_owned() });
        assert_eq!(answer.headers.get("allow").is_some(), status == 405);

        let body = if status == 500 { "" } else { body };
        let mut request = post(path, &[PROTOBUF], body);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = call(receiver, request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["content-type"], "application/x-protobuf");
        let in_protobuf = tonic_types::Status::decode(answer.body).unwrap();
        assert_eq!((in_protobuf.code, &in_protobuf.message[..]), (code, message));
    }
}

// Scenario: some bodies are larger than the limit on the wire. Small bodies in every compression
// become larger than 20 MiB.
// Guarantee: each body is refused as too large, and nothing is counted.
#[tokio::test]
async fn too_large_bodies_are_refused() {
    let (receiver, accepted) = recording();
    let large = vec![0; MAX_DECODED_BYTES + 1];
    let mut bodies = compressed(&large);
    bodies.push(("identity", large));
    for (coding, body) in bodies {
        let request = post("/v1/traces", &[PROTOBUF, ("content-encoding", coding)], body);
        let answer = call(receiver.clone(), request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{coding}");
        assert_eq!(tonic_types::Status::decode(answer.body).unwrap().code, 3);
    }
    let receiver = receiver.with_max_body(1000);
    let answer = call(receiver, post("/v1/traces", &[PROTOBUF], vec![0; 1001])).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(*accepted.lock().unwrap(), []);
}

// Scenario: one request is JSON as JavaScript and hand-written senders produce it, with `null` and
// with a string that is cut within a character. Another request has JSON that is nested 100,000
// deep, in a field that is skipped.
// Guarantee: the first request is counted, and the second is refused.
#[tokio::test]
async fn json_is_lenient_within_bounds() {
    let (receiver, accepted) = recording();
    let spans = concat!(
        r#"{"resourceSpans":[null,{"resource":null,"scopeSpans":"#,
        r#"[{"spans":null},{"spans":[{"name":"\ud83d"}]}]}]}"#,
    );
    let answer = call(receiver.clone(), post("/v1/traces", &[JSON], spans)).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(*accepted.lock().unwrap(), [(Signal::Traces, 1, Transport::Http)]);

    let nested = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = call(receiver, post("/v1/traces", &[JSON], nested)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
