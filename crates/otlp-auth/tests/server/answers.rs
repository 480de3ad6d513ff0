//! Tests the response to every outcome, on every server, transport and encoding.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use otlp_auth::{Denial, DenyReason, Identity};
use prost::Message;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt};

use crate::peers::{Answer, Call, Http1, Http2, head};
use crate::receivers::{
    EXPIRED, LIMITED, LIMITED_30_S, NOT_PERMITTED, OUTAGE, REVOKED, Server, TEAM_A, TEAM_B, layer,
    status_alone,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed(&'static str),
    Missing,
    Refused,
    NotPermitted,
    /// The number of seconds in `Retry-After`, or `None` if the number is random.
    Limited(Option<u64>),
    Undecided,
}
use Outcome::{Allowed, Limited, Missing, NotPermitted, Refused, Undecided};

type Headers = Vec<(&'static str, Vec<u8>)>;

/// Returns headers that a request may have, each with the outcome of that request.
fn cases() -> Vec<(Headers, Outcome)> {
    let one = |value: &[u8], outcome| (vec![("authorization", value.to_vec())], outcome);
    let text = |value: String, outcome| (vec![("authorization", value.into_bytes())], outcome);
    let two = |first: (&'static str, String), second: (&'static str, String), outcome| {
        (vec![(first.0, first.1.into_bytes()), (second.0, second.1.into_bytes())], outcome)
    };
    let good = format!("StackState {TEAM_A}");
    vec![
        (vec![], Missing),
        text(good.clone(), Allowed("team-a")),
        text(format!("StackState {TEAM_B}"), Allowed("team-b")),
        text(format!("sTACKsTATE {TEAM_A}"), Allowed("team-a")),
        text(format!("StackState    {TEAM_A}"), Allowed("team-a")),
        text(format!("apikey {TEAM_A}"), Allowed("team-a")),
        // HTTP/1.1 servers remove blanks at the ends of a header, and HTTP/2 servers keep them.
        text(format!("StackState {TEAM_A} "), Allowed("team-a")),
        text(format!("StackState {TEAM_A}\t \t"), Allowed("team-a")),
        text(format!(" \tStackState {TEAM_A}"), Allowed("team-a")),
        text(format!("StackState {TEAM_A}{}", " ".repeat(5000)), Allowed("team-a")),
        one(b"", Refused),
        one(b" ", Refused),
        one(b"\t", Refused),
        one(b"StackState", Refused),
        one(b"StackState ", Refused),
        one(b"StackState\t", Refused),
        text(format!("StackState\t{TEAM_A}"), Refused),
        text(format!("StackState \t{TEAM_A}"), Refused),
        text(format!("StackState {TEAM_A} {TEAM_A}"), Refused),
        text(format!("Bearer {TEAM_A}"), Refused),
        text(TEAM_A.to_owned(), Refused),
        text(format!("{good}, {good}"), Refused),
        text(format!("{good},{good}"), Refused),
        text(format!("StackState \"{TEAM_A}\""), Refused),
        one(b"StackState iapikeyok-\xff\xfe", Refused),
        one("StackState iapikeyok-é".as_bytes(), Refused),
        text(format!("StackState {}", "x".repeat(4096)), Refused),
        text(format!("StackState {}", "x".repeat(8000)), Refused),
        one(b"StackState iapikeyok-of-nobody", Refused),
        text(format!("StackState {}", TEAM_A.to_uppercase()), Refused),
        text(format!("StackState {REVOKED}"), Refused),
        text(format!("StackState {EXPIRED}"), Refused),
        text(format!("StackState {NOT_PERMITTED}"), NotPermitted),
        text(format!("StackState {LIMITED}"), Limited(None)),
        text(format!("StackState {LIMITED_30_S}"), Limited(Some(30))),
        text(format!("StackState {OUTAGE}"), Undecided),
        text(format!("StackState {OUTAGE} "), Undecided),
        two(("authorization", good.clone()), ("authorization", good.clone()), Allowed("team-a")),
        two(("authorization", good.clone()), ("sts-api-key", TEAM_A.to_owned()), Allowed("team-a")),
        two(
            ("authorization", good.clone()),
            ("authorization", format!("StackState {TEAM_B}")),
            Refused,
        ),
        two(("authorization", good.clone()), ("sts-api-key", TEAM_B.to_owned()), Refused),
        two(("authorization", good), ("sts-api-key", String::new()), Refused),
        two(
            ("sts-api-key", TEAM_B.to_owned()),
            ("x-other", "not a credential".to_owned()),
            Allowed("team-b"),
        ),
    ]
}

/// The content types of OTLP/HTTP requests. The flag is true if the response is protobuf, and false
/// if the response is JSON.
const ENCODINGS: [(Option<&str>, bool); 7] = [
    (Some("application/x-protobuf"), true),
    (Some("Application/X-Protobuf; messageType=x"), true),
    (Some("application/json"), false),
    (Some("application/json; charset=utf-8"), false),
    (Some("text/plain"), false),
    (Some(""), false),
    (None, false),
];

fn with(mut call: Call, headers: &[(&'static str, Vec<u8>)]) -> Call {
    call.headers.extend_from_slice(headers);
    call
}

/// Returns the expected response to a request with `outcome`. If `retry_after` is `Some`, the
/// response has the header `Retry-After` with this value.
fn refusal(outcome: Outcome, protobuf: bool, retry_after: Option<&str>) -> Answer {
    let (status, body): (_, &[u8]) = match (outcome, protobuf) {
        (Missing, true) => (401, b"\x08\x10\x12\x12missing credential"),
        (Missing, false) => (401, br#"{"code":16,"message":"missing credential"}"#),
        (Refused, true) => (401, b"\x08\x10\x12\x12credential refused"),
        (Refused, false) => (401, br#"{"code":16,"message":"credential refused"}"#),
        (NotPermitted, true) => (403, b"\x08\x07\x12\x0dnot permitted"),
        (NotPermitted, false) => (403, br#"{"code":7,"message":"not permitted"}"#),
        (Limited(_), true) => (429, b"\x08\x08\x12\x0elimit exceeded"),
        (Limited(_), false) => (429, br#"{"code":8,"message":"limit exceeded"}"#),
        (Undecided, true) => (503, b"\x08\x0e\x12\x1aauthentication unavailable"),
        (Undecided, false) => (503, br#"{"code":14,"message":"authentication unavailable"}"#),
        (Allowed(_), _) => unreachable!("allowed"),
    };
    let content_type = if protobuf { "application/x-protobuf" } else { "application/json" };
    let mut headers =
        vec![("content-length", body.len().to_string()), ("content-type", content_type.to_owned())];
    headers.extend(retry_after.map(|seconds| ("retry-after", seconds.to_owned())));
    let error = if outcome == Refused { r#", error="invalid_token""# } else { "" };
    let challenges = if status == 401 { ["StackState", "ApiKey", "Basic"].as_slice() } else { &[] };
    headers.extend(
        challenges
            .iter()
            .map(|scheme| ("www-authenticate", format!(r#"{scheme} realm="otlp"{error}"#))),
    );
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Answer { status, headers, body: body.to_vec(), trailers: None }
}

/// Returns the range of seconds after which a sender should retry, or `None` if the sender should
/// not retry.
fn expected_wait(outcome: Outcome) -> Option<RangeInclusive<u64>> {
    match outcome {
        Limited(Some(seconds)) => Some(seconds..=seconds),
        Limited(None) | Undecided => Some(1..=5),
        _ => None,
    }
}

/// Returns the value of the header `Retry-After` of a response. Panics unless the value is in the
/// range of `expected_wait`. If the sender should not retry, the header must be absent.
fn retry_after(answer: &Answer, outcome: Outcome) -> Option<&str> {
    let seconds = answer.header("retry-after");
    let is_expected = match (seconds, expected_wait(outcome)) {
        (Some(seconds), Some(range)) => range.contains(&seconds.parse().unwrap()),
        (seconds, range) => seconds.is_none() && range.is_none(),
    };
    assert!(is_expected, "{outcome:?} {answer:?}");
    seconds
}

fn check_http(answer: &Answer, outcome: Outcome, protobuf: bool, case: &str) {
    if let Allowed(name) = outcome {
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("identity={name}\nuri=/v1/traces\nbody=2\n").as_str()),
            "{case}"
        );
        return;
    }
    assert_eq!(*answer, refusal(outcome, protobuf, retry_after(answer, outcome)), "{case}");
}

fn check_grpc(answer: &Answer, outcome: Outcome, case: &str) {
    assert_eq!(answer.status, 200, "{case}");
    if let Allowed(name) = outcome {
        let trailers = answer.trailers.as_ref().unwrap();
        assert_eq!(trailers["grpc-status"], "0", "{case}");
        let response = ExportTraceServiceResponse::decode(&answer.body[5..]).unwrap();
        assert_eq!(response.partial_success.unwrap().error_message, name, "{case}");
        return;
    }
    assert_eq!((answer.body.as_slice(), &answer.trailers), (b"".as_slice(), &None), "{case}");
    let (code, message) = match outcome {
        Missing => ("16", "missing credential"),
        Refused => ("16", "credential refused"),
        NotPermitted => ("7", "not permitted"),
        Limited(_) => ("8", "limit exceeded"),
        _ => ("14", "authentication unavailable"),
    };
    let mut expected = vec![
        ("content-type", "application/grpc"),
        ("grpc-message", message),
        ("grpc-status", code),
    ];
    if let Some(seconds) = expected_wait(outcome) {
        let headers: HeaderMap = answer
            .headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
            })
            .collect();
        let status = tonic::Status::from_header_map(&headers).unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::from_bytes(code.as_bytes()), message),
            "{case}"
        );
        let details = tonic_types::pb::Status::decode(status.details()).unwrap();
        assert_eq!(
            (details.code, details.message.as_str(), details.details.len()),
            (code.parse().unwrap(), message, 1),
            "{case}"
        );
        let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(
            seconds.contains(&delay.as_secs()) && delay.subsec_nanos() == 0,
            "{case}: {delay:?}"
        );
        expected
            .push(("grpc-status-details-bin", answer.header("grpc-status-details-bin").unwrap()));
    }
    let headers: Vec<_> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected, "{case}");
}

// Scenario: requests go to tonic, axum and hyper servers, over HTTP/1.1, HTTP/2 and gRPC, in each
// encoding. Their credentials are right, wrong or missing, and have every form. Some requests over
// HTTP/1.1 have the content type of gRPC.
// Guarantee: the outcome of a request is the same on every server and transport, and every byte of
// the response is as expected. No refusal over HTTP/1.1 has the status 200 of gRPC.
#[tokio::test]
async fn every_outcome_has_its_answer_everywhere() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        let mut http2 = Http2::connect(address).await;
        for (headers, outcome) in cases() {
            let shown: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {:.60}", String::from_utf8_lossy(value)))
                .collect();
            for (encoding, protobuf) in ENCODINGS {
                let call = with(Call::post("/v1/traces"), &headers);
                let call = if let Some(encoding) = encoding {
                    call.header("content-type", encoding)
                } else {
                    call
                };
                let case = |transport| format!("{server:?} {transport} {encoding:?} {shown:?}");
                check_http(
                    &Http1::connect(address).await.call(&call).await,
                    outcome,
                    protobuf,
                    &case("HTTP/1.1"),
                );
                check_http(&http2.call(&call).await, outcome, protobuf, &case("HTTP/2"));
            }
            for encoding in ["application/grpc", "application/grpc+proto"] {
                let mut call = with(Call::grpc(), &headers);
                call.headers[0] = ("content-type", encoding.as_bytes().to_vec());
                check_grpc(
                    &http2.call(&call).await,
                    outcome,
                    &format!("{server:?} gRPC {encoding} {shown:?}"),
                );
                if !matches!(outcome, Allowed(_)) {
                    check_http(
                        &Http1::connect(address).await.call(&call).await,
                        outcome,
                        false,
                        &format!("{server:?} HTTP/1.1 {encoding} {shown:?}"),
                    );
                }
            }
        }
    }
}

// Scenario: a sender presents its key as agents do: as the password of Basic authentication, or in
// the query.
// Guarantee: the key is accepted on every server and transport, and does not reach the service.
#[tokio::test]
async fn agents_are_understood_everywhere() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        // The encoded text is `apikey:iapikeyok-of-team-a`.
        let basic = Call::post("/v1/traces")
            .header("authorization", "Basic YXBpa2V5OmlhcGlrZXlvay1vZi10ZWFtLWE=");
        let query = Call::post(&format!("/stsAgent/intake?x=%20&api_key={TEAM_A}&y"))
            .header("sts-api-key", TEAM_A);
        let elsewhere = Call::post(&format!("/v1/traces?api_key={TEAM_A}"));
        for (call, status, text) in [
            (basic, 200, "identity=team-a\nuri=/v1/traces\nbody=2\n"),
            (query, 200, "identity=team-a\nuri=/stsAgent/intake?x=%20&y\nbody=2\n"),
            (elsewhere, 401, r#"{"code":16,"message":"missing credential"}"#),
        ] {
            for answer in [
                Http1::connect(address).await.call(&call).await,
                Http2::connect(address).await.call(&call).await,
            ] {
                assert_eq!((answer.status, answer.text()), (status, text), "{server:?} {call:?}");
            }
        }
    }
}

// Scenario: a layer has a responder that does not write OTLP responses. The responder writes a
// status without a body: 401 if there was no credential, and 403 if the credential was denied.
// Guarantee: the responder writes every rejection, on every server and protocol.
#[tokio::test]
async fn a_responder_writes_every_rejection() {
    for server in Server::ALL {
        let address = server.start(layer().with_responder(status_alone)).await;
        let mut http2 = Http2::connect(address).await;
        for (headers, outcome) in cases() {
            let call = with(
                Call::post("/v1/traces").header("content-type", "application/x-protobuf"),
                &headers,
            );
            let case = format!("{server:?} {outcome:?} {headers:?}");
            let (one, two) =
                (Http1::connect(address).await.call(&call).await, http2.call(&call).await);
            if let Allowed(name) = outcome {
                check_http(&one, Allowed(name), true, &case);
                check_http(&two, Allowed(name), true, &case);
                continue;
            }
            for answer in [one, two] {
                let mut expected = Vec::new();
                let status = match outcome {
                    Missing => 401,
                    Refused | NotPermitted => 403,
                    Limited(_) => 429,
                    _ => 503,
                };
                expected
                    .extend(retry_after(&answer, outcome).map(|seconds| ("retry-after", seconds)));
                if status == 401 {
                    expected.extend(
                        [
                            r#"StackState realm="otlp""#,
                            r#"ApiKey realm="otlp""#,
                            r#"Basic realm="otlp""#,
                        ]
                        .map(|c| ("www-authenticate", c)),
                    );
                }
                // Over HTTP/2, some servers send `content-length: 0` for an empty body.
                let headers =
                    answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let headers: Vec<_> =
                    headers.filter(|header| *header != ("content-length", "0")).collect();
                assert_eq!(
                    (answer.status, headers, answer.body.as_slice()),
                    (status, expected, b"".as_slice()),
                    "{case}"
                );
            }
        }
    }
}

// Scenario: several requests are denied, each for a different reason. Some are denied at once, and
// others after a wait. One more request has no verdict, and another one is allowed.
// Guarantee: the extensions of the response to a denied request contain the denial, with its reason
// and identity. This holds for the default responder and for a custom responder. The other two
// responses contain no denial.
#[tokio::test]
async fn a_denial_stands_in_the_extensions_of_the_response() {
    let inner = || {
        tower::service_fn(async |_: http::Request<String>| {
            Ok::<_, Infallible>(http::Response::new(String::new()))
        })
    };
    for (credential, expected) in [
        (None, Some((DenyReason::Missing, None))),
        (Some("iapikeyok-of-nobody"), Some((DenyReason::Unknown, None))),
        (Some(REVOKED), Some((DenyReason::Revoked, None))),
        (Some(LIMITED), Some((DenyReason::LimitExceeded, Some("restricted")))),
        (Some(OUTAGE), None),
        (Some(TEAM_A), None),
    ] {
        for layer in [layer(), layer().with_responder(status_alone)] {
            let mut request = http::Request::post("/v1/traces");
            if let Some(token) = credential {
                request = request.header("authorization", format!("StackState {token}"));
            }
            let response =
                layer.layer(inner()).oneshot(request.body(String::new()).unwrap()).await.unwrap();
            let denial = response.extensions().get::<Denial>();
            let found =
                denial.map(|denial| (denial.reason(), denial.identity().map(Identity::name)));
            assert_eq!(found, expected, "{credential:?}");
        }
    }
}

// Scenario: 200 requests over HTTP and 200 over gRPC get no verdict, so their senders should retry.
// Guarantee: on both transports, the advised wait takes each of the values from one to five
// seconds.
#[tokio::test]
async fn advice_to_try_again_is_spread() {
    let address = Server::Hyper.start(layer()).await;
    let mut http2 = Http2::connect(address).await;
    let (mut http, mut grpc) = (HashSet::new(), HashSet::new());
    for _ in 0..200 {
        let answer = http2
            .call(&Call::post("/v1/traces").header("authorization", format!("StackState {OUTAGE}")))
            .await;
        http.insert(answer.header("retry-after").unwrap().to_owned());
        let answer =
            http2.call(&Call::grpc().header("authorization", format!("StackState {OUTAGE}"))).await;
        grpc.insert(answer.header("grpc-status-details-bin").unwrap().to_owned());
    }
    assert_eq!((http.len(), grpc.len()), (5, 5));
}

// Scenario: some requests have no credential, and a path or method that the service does not know.
// Other requests have a header that is almost as long as the limit of the server, or longer.
// Guarantee: the requests without a credential get 401, which reveals nothing about the service.
// The requests with a long header never reach the service.
#[tokio::test]
async fn nothing_gets_around_the_layer() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        let mut http2 = Http2::connect(address).await;
        for (method, path) in [
            (Method::GET, "/"),
            (Method::DELETE, "/v1/traces"),
            (Method::POST, "/nowhere"),
            (Method::OPTIONS, "/v1/traces"),
        ] {
            let call = Call::post(path).method(method);
            assert_eq!(http2.call(&call).await.status, 401, "{server:?} {call:?}");
            assert_eq!(
                Http1::connect(address).await.call(&call).await.status,
                401,
                "{server:?} {call:?}"
            );
        }
        for length in [15_000, 1 << 20] {
            let call = Call::post("/v1/traces")
                .header("authorization", format!("StackState {}", "x".repeat(length)));
            let status = Http2::connect(address)
                .await
                .try_call(&call)
                .await
                .map_or(0, |answer| answer.status);
            assert!([0, 401, 431].contains(&status), "{server:?} HTTP/2 {length}: {status}");
            let mut http1 = Http1::connect(address).await;
            let call = call.header("content-length", "0").header("connection", "close");
            // A server may stop reading before the whole header has been written.
            let _ = http1.try_write(&head(&call, Version::HTTP_11)).await;
            let answer = String::from_utf8(http1.read_to_end().await).unwrap();
            assert!(
                ["", "HTTP/1.1 401", "HTTP/1.1 431"]
                    .contains(&answer.get(..12).unwrap_or_default()),
                "{server:?} {answer:.99}"
            );
        }
    }
}
