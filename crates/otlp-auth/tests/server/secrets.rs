//! Tests that no output repeats a credential that was presented.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use otlp_auth::server::{
    AuthenticateLayer, FixedTokens, Interceptor, ServerAuthenticator, TokenFile,
};
use otlp_auth::{Credential, CredentialError, Decision, DenyReason, Scheme, Undecided, Verdict};
use tower::Layer;

use crate::peers::{Answer, Call, Http1, Http2};
use crate::receivers::{Server, extractor, status_alone};

/// The canary: a token that no other text contains.
const CANARY: &str = "Q2FuYXJ5MTYxODAzMzk4ODc0OTg5NDg";
/// The length of the parts of the canary, in characters. No output may contain a part of this
/// length.
const PART: usize = 8;

/// The texts that no output may contain: all parts of the canary in plain text, in hexadecimal and
/// in base64, and the bytes of the canary as `Debug` prints them.
struct Parts {
    text: HashSet<String>,
    numbers: Vec<String>,
}

impl Parts {
    fn new() -> Self {
        let spellings =
            [CANARY.to_owned(), hex(CANARY), STANDARD.encode(CANARY)].into_iter().chain(basics());
        let text = spellings.flat_map(|text| parts(&text.to_lowercase()));
        let number = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
        Self { text: text.collect(), numbers: CANARY.as_bytes().windows(4).map(number).collect() }
    }

    fn assert_not_in(&self, bytes: &[u8]) {
        assert!(!self.are_in(bytes), "{}", String::from_utf8_lossy(bytes));
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        self.text.iter().chain(&self.numbers).any(|part| text.contains(part))
    }
}

/// Returns all parts of this ASCII text that are `PART` characters long.
fn parts(text: &str) -> Vec<String> {
    (PART..=text.len()).map(|end| text[end - PART..end].to_owned()).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn all_of(answer: &Answer) -> Vec<u8> {
    [format!("{:?}{:?}", answer.headers, answer.trailers).as_bytes(), &answer.body].concat()
}

/// An authenticator that either knows a set of tokens, or has no verdict.
enum Either {
    Known(FixedTokens),
    Nobody,
}

impl Either {
    fn known(token: &str) -> Self {
        Self::Known(FixedTokens::new([("known", token)]).unwrap())
    }
}

impl ServerAuthenticator for Either {
    type Future = std::future::Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        match self {
            Self::Known(tokens) => tokens.authenticate(credential),
            Self::Nobody => std::future::ready(Err(Undecided::new("connection refused"))),
        }
    }
}

/// Encodes the canary as the password of Basic authentication, once with the right user name and
/// once with another user name.
fn basics() -> [String; 2] {
    ["apikey", "nobody"].map(|user| STANDARD.encode(format!("{user}:{CANARY}")))
}

/// Presents the canary in every form to the server at `address`. Returns everything that the server
/// sends back.
async fn present(address: SocketAddr) -> Vec<Vec<u8>> {
    let [basic, other] = basics();
    let headers = [
        ("authorization", format!("StackState {CANARY}")),
        ("authorization", format!("StackState x{CANARY}")),
        ("authorization", format!("StackState {CANARY} {CANARY}")),
        ("authorization", format!("StackState {CANARY}, StackState {CANARY}")),
        ("authorization", format!("StackState {CANARY}é")),
        ("authorization", format!("{CANARY} x")),
        ("authorization", CANARY.to_owned()),
        ("authorization", format!("Bearer {CANARY}")),
        ("authorization", format!("Basic {basic}")),
        ("authorization", format!("Basic {other}")),
        ("sts-api-key", CANARY.to_owned()),
        ("sts-api-key", format!("{CANARY} x")),
    ];
    let mut shown = Vec::new();
    let mut http2 = Http2::connect(address).await;
    for (name, value) in &headers {
        let encodings = ["application/x-protobuf", "application/json"]
            .map(|encoding| Call::post("/v1/traces").header("content-type", encoding));
        for call in encodings.into_iter().chain([Call::grpc()]) {
            let call = call.header(name, value);
            shown.push(all_of(&http2.call(&call).await));
            let conflicting = call.clone().header("authorization", "StackState something-else");
            shown.push(all_of(&http2.call(&conflicting).await));
            // The servers do not speak gRPC over HTTP/1.
            if call.path == "/v1/traces" {
                shown.push(all_of(&Http1::connect(address).await.call(&call).await));
            }
        }
    }
    for query in [
        format!("api_key={CANARY}"),
        format!("api_key={CANARY}%20x"),
        format!("api_key={CANARY}&api_key=x"),
    ] {
        let call = Call::post(&format!("/stsAgent/intake?{query}"));
        shown.push(all_of(&Http1::connect(address).await.call(&call).await));
        shown.push(all_of(&http2.call(&call).await));
    }
    shown
}

// Scenario: a token is presented to every server on every transport, in headers, in the query and
// as the password of Basic authentication. The token is right, wrong or malformed, conflicts with
// another credential, or gets no verdict. All logs at TRACE are captured, and metrics are on.
// Guarantee: no part of the token is in a response, a log line or a metric.
#[tokio::test]
async fn a_canary_is_never_repeated() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // If there is only one subscriber, tracing asks the subscriber of the thread that logs first
    // whether a line is wanted. That thread may belong to another test. A second subscriber
    // prevents this.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // The subscriber is set for this thread only, and everything below runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();

    let meter = provider.meter("test");
    let mut shown = Vec::new();
    for (server, agent) in [(Server::Tonic, false), (Server::Axum, true), (Server::Hyper, false)] {
        for authenticator in
            [Either::known(CANARY), Either::known("another-token-of-somebody"), Either::Nobody]
        {
            let layer = AuthenticateLayer::new(authenticator)
                .with_extractor(extractor())
                .with_meter(&meter);
            let address =
                server.start(if agent { layer.with_responder(status_alone) } else { layer }).await;
            shown.extend(present(address).await);
        }
    }
    let parts = Parts::new();
    for bytes in &shown {
        parts.assert_not_in(bytes);
    }
    parts.assert_not_in(format!("{:?}", crate::metrics::exported(&provider, &exporter)).as_bytes());
    let log = std::mem::take(&mut *log.0.lock().unwrap());
    let text = String::from_utf8(log).unwrap();
    assert!(
        text.contains("request refused") && text.contains("no verdict on a request"),
        "the log is captured"
    );
    if parts.are_in(text.as_bytes()) {
        text.lines().for_each(|line| parts.assert_not_in(line.as_bytes()));
    }
}

// Scenario: every type that contains a token, or was made from one, is printed with `Debug`. Every
// error is printed with all its sources.
// Guarantee: no part of the token is in these texts.
#[test]
fn a_canary_is_in_no_debug_and_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    let open = |content: &str| {
        std::fs::write(&path, content).unwrap();
        TokenFile::open(&path)
    };
    let tokens = || FixedTokens::new([("name", CANARY)]).unwrap();
    let credential = Credential::new("StackState", CANARY).unwrap();
    let layer = AuthenticateLayer::new(tokens()).with_extractor(extractor());
    let mut shown = vec![
        format!("{credential:?} {:?}", credential.to_header_value()),
        format!("{:?} {:?}", tokens(), tokens().or(tokens())),
        format!("{:?} {:?}", open(CANARY).unwrap(), open(&format!("name={CANARY}")).unwrap()),
        format!("{layer:?} {:?} {:?}", layer.layer(()), Interceptor::new(tokens())),
        format!("{:?}", tokens().authenticate(&credential).into_inner()),
    ];
    let mut errors: Vec<Box<dyn std::error::Error>> = vec![
        Box::new(open(&format!("{CANARY} x")).unwrap_err()),
        Box::new(open(&format!("name={CANARY},")).unwrap_err()),
        Box::new(open(&format!("one={CANARY}\ntwo={CANARY}")).unwrap_err()),
        Box::new(FixedTokens::new([("name", format!("{CANARY}\n"))]).unwrap_err()),
        Box::new(FixedTokens::new([("one", CANARY), ("two", CANARY)]).unwrap_err()),
        Box::new(Credential::new(&format!("{CANARY},"), CANARY).unwrap_err()),
        Box::new(Credential::new("", &CANARY.repeat(1000)).unwrap_err()),
        Box::new(Scheme::try_from(format!("{CANARY},")).unwrap_err()),
        Box::new(Undecided::new(CredentialError::Empty)),
    ];
    for error in errors.drain(..) {
        let mut next: Option<&dyn std::error::Error> = Some(error.as_ref());
        while let Some(error) = next {
            shown.push(format!("{error} {error:?} {error:#?}"));
            next = error.source();
        }
    }
    let reasons = [
        DenyReason::Missing,
        DenyReason::Malformed,
        DenyReason::Conflicting,
        DenyReason::Unknown,
        DenyReason::Revoked,
        DenyReason::Expired,
        DenyReason::NotPermitted,
        DenyReason::LimitExceeded,
    ];
    shown.extend(
        reasons.map(|reason| format!("{reason} {reason:?} {:?}", Decision::Deny(reason.into()))),
    );
    let parts = Parts::new();
    for text in shown {
        parts.assert_not_in(text.as_bytes());
    }
}

// Scenario: a text contains the canary, a part of it, or another spelling of it.
// Guarantee: the search that the tests above use finds the canary in that text.
#[test]
fn a_canary_would_be_seen() {
    let parts = Parts::new();
    let spellings = [
        CANARY[3..12].to_owned(),
        hex(CANARY),
        STANDARD.encode(CANARY),
        CANARY.to_uppercase(),
        format!("{:?}", CANARY.as_bytes()),
    ];
    for text in spellings.into_iter().chain(basics()) {
        assert!(parts.are_in(format!("x{text}x").as_bytes()), "{text}");
    }
    assert!(!parts.are_in(b"request refused reason=malformed transport=http"));
}
