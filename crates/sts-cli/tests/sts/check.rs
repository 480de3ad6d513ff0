//! What endpoints answer to a key.

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Value, json as value};

use crate::mock::{KEY, Mock, empty, reply};
use crate::sts::{Outcome, Sts};

const NOT_ASKED: &str =
    "[WARNING] no endpoint was asked, so whether the key is accepted is not known\n";

fn check(key: &str, args: &[&str]) -> Outcome {
    Sts::new().run_with_input(&[&["ingestion-api-key", "check"], args].concat(), key)
}

/// An answer of gRPC: headers, and the status in trailers.
pub(crate) fn grpc(code: &'static str, message: &'static str) -> Response {
    let trailers = HeaderMap::from_iter(
        [("grpc-status", code), ("grpc-message", message)]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    let body = Body::from(vec![0; 5]).with_trailers(async move { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

// Scenario: keys that are right, cut, mistyped, and of another kind; from standard input and from
// the environment. Guarantee: what is wrong is named, and that nobody was asked; a key of another
// kind is right only if an endpoint says so.
#[test]
fn the_format_is_checked() {
    let right = "[SUCCESS] format: an ingestion API key, and its checksum is right\n";
    assert_eq!(
        check(&format!(" {KEY}\n"), &[]),
        Outcome { code: 0, stdout: right.to_owned(), stderr: NOT_ASKED.to_owned() }
    );
    assert_eq!(Sts::new().with("API_KEY", KEY).try_key(&["check"]).stdout, right);
    let failed = format!("{NOT_ASKED}[ERROR] The key did not pass: format\n");
    for (key, stdout) in [
        (&KEY[..42], "[ERROR] format: it is not 43 characters long: it was mistyped or cut\n"),
        (&KEY.replace('1', "2"), "[ERROR] format: its checksum is wrong: it was mistyped or cut\n"),
    ] {
        assert_eq!(
            check(key, &[]),
            Outcome { code: 2, stdout: stdout.to_owned(), stderr: failed.clone() }
        );
    }
    let shared = "[SUCCESS] format: no ingestion API key, as it does not begin with iapikeyok-; it may be a receiver API key\n";
    let mock = Mock::start(|_| empty(200));
    let outcome = check("stackstate-api-key-1234", &["--agent", &mock.url()]);
    assert!(
        outcome.code == 0 && outcome.stdout.starts_with(shared) && outcome.stderr.is_empty(),
        "{outcome:?}"
    );
    let stdout = shared.replace("SUCCESS", "ERROR");
    assert_eq!(check("stackstate-api-key-1234", &[]), Outcome { code: 2, stdout, stderr: failed });
    let nothing = check(" \n", &[]);
    assert_eq!(
        (nothing.code, nothing.stderr.as_str()),
        (3, "[ERROR] There is no key in API_KEY and none on standard input\n")
    );
}

// Scenario: three endpoints take the key. Guarantee: each was asked with the key where it looks for
// it and without data; the exit code is 0.
#[test]
fn endpoints_that_take_it() {
    let mock =
        Mock::start(|asked| if asked.line.contains("Export") { grpc("0", "") } else { empty(200) });
    let url = mock.url();
    let outcome = check(KEY, &["--otlp-grpc", &url, "--otlp-http", &url, "--agent", &url]);
    let lines = format!(
        "[SUCCESS] otlp-grpc {url}/: accepted\n[SUCCESS] otlp-http {url}/: accepted\n[SUCCESS] agent {url}/: accepted\n"
    );
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.ends_with(&lines), "{}", outcome.stdout);
    let [grpc, http, agent] = &mock.asked()[..] else { panic!("three requests") };
    assert!(
        grpc.line.starts_with("POST ")
            && grpc.line.ends_with("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        "{}",
        grpc.line
    );
    assert_eq!(
        (grpc.header("authorization"), grpc.header("te"), grpc.body.as_str()),
        (format!("StackState {KEY}").as_str(), "trailers", "\0\0\0\0\0")
    );
    assert_eq!(
        (http.line.as_str(), http.header("authorization"), http.body.as_str()),
        ("POST /v1/traces", format!("StackState {KEY}").as_str(), "")
    );
    assert_eq!(
        (agent.line.as_str(), agent.header("sts-api-key")),
        ("GET /stsAgent/api/v1/validate", KEY)
    );
    check(
        KEY,
        &[
            "--agent",
            &format!("{url}/receiver/stsAgent/"),
            "--otlp-http",
            &format!("{url}/v1/traces"),
            "--scheme",
            "SUSEObservability",
        ],
    );
    let [.., http, agent] = &mock.asked()[..] else { panic!("more requests") };
    assert_eq!(
        (http.line.as_str(), http.header("authorization")),
        ("POST /v1/traces", format!("SUSEObservability {KEY}").as_str())
    );
    assert_eq!(agent.line, "GET /receiver/stsAgent/api/v1/validate");
}

// Scenario: endpoints that refuse, cannot decide, do not listen, and are something else.
// Guarantee: each is told from the others; 4 if all that fails is out of reach, 2 otherwise.
#[test]
fn endpoints_that_do_not_take_it() {
    let said = |answer: fn() -> Response, flag: &str| {
        let mock = Mock::start(move |_| answer());
        let outcome = check(KEY, &[flag, &mock.url()]);
        assert_eq!(outcome.code, 2);
        outcome.stdout.lines().last().unwrap().split_once("/: ").unwrap().1.to_owned()
    };
    assert_eq!(said(|| empty(401), "--otlp-http"), "refused (401 Unauthorized)");
    assert_eq!(said(|| empty(403), "--agent"), "refused (403 Forbidden)");
    assert_eq!(
        said(|| empty(503), "--agent"),
        "it could not decide (503 Service Unavailable): try again"
    );
    assert_eq!(
        said(|| empty(302), "--otlp-http"),
        "an unexpected answer (302 Found): is it the right URL?"
    );
    assert_eq!(
        said(|| grpc("16", "credential refused"), "--otlp-grpc"),
        "refused (gRPC status 16, credential refused)"
    );
    assert_eq!(
        said(|| grpc("14", ""), "--otlp-grpc"),
        "it could not decide (gRPC status 14, ): try again"
    );
    let trailers_only =
        || Response::builder().header("grpc-status", "16").body(Body::empty()).unwrap();
    assert_eq!(said(trailers_only, "--otlp-grpc"), "refused (gRPC status 16)");
    assert_eq!(
        said(|| empty(200), "--otlp-grpc"),
        "an unexpected answer (no gRPC status): is it the right URL?"
    );
    let outcome = check(KEY, &["--agent", "http://127.0.0.1:1"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (4, "[ERROR] The key did not pass: agent\n")
    );
    assert!(
        outcome.stdout.contains(
            "agent http://127.0.0.1:1/: no answer (tcp connect error: Connection refused"
        ),
        "{outcome:?}"
    );
    let unsendable = check("a,b", &["--agent", "http://127.0.0.1:1"]);
    assert!(
        unsendable.code == 2
            && unsendable
                .stdout
                .contains("not asked, as the key cannot be sent: the token has a character other than visible ASCII")
    );
}

// Scenario: what answers 200 is a port of gRPC, a web server that has a page for everything, or a
// receiver with and without a body. Guarantee: only an answer that such an endpoint could give is
// taken for one.
#[test]
fn not_every_200_is_an_acceptance() {
    let said = |flag: &str, status: u16, content_type: &'static str, body: &'static str| {
        let mock = Mock::start(move |_| {
            if content_type.is_empty() { empty(status) } else { reply(status, content_type, body) }
        });
        let outcome = check(KEY, &[flag, &mock.url()]);
        let text = outcome.stdout.lines().last().unwrap().split_once("/: ").unwrap().1.to_owned();
        assert_eq!(outcome.code, if text == "accepted" { 0 } else { 2 }, "{text}");
        text
    };
    for (content_type, body) in [
        ("application/x-protobuf", ""),
        ("application/json", "{}"),
        ("Application/JSON; charset=utf-8", "{}"),
        ("", ""),
    ] {
        assert_eq!(said("--otlp-http", 200, content_type, body), "accepted", "{content_type}");
    }
    for content_type in ["application/grpc", "text/html", "text/plain; charset=utf-8"] {
        let expected =
            format!("an unexpected answer (200 OK, {content_type}): is it the right URL?");
        assert_eq!(said("--otlp-http", 200, content_type, "x"), expected);
    }
    let bare = Mock::start(|_| Response::new(Body::from("x")));
    assert!(
        check(KEY, &["--otlp-http", &bare.url()])
            .stdout
            .ends_with("(200 OK, no content type): is it the right URL?\n")
    );
    for (content_type, body) in
        [("application/json", r#"{"valid":true}"#), ("text/plain", "ok"), ("", "")]
    {
        assert_eq!(said("--agent", 200, content_type, body), "accepted", "{content_type}");
    }
    let page = "an unexpected answer (200 OK, text/html; charset=utf-8): is it the right URL?";
    assert_eq!(said("--agent", 200, "text/html; charset=utf-8", "<html>"), page);
    assert_eq!(
        said("--agent", 204, "", ""),
        "an unexpected answer (204 No Content, no content type): is it the right URL?"
    );
}

// Scenario: a check with `-o json`, of a key that is refused.
// Guarantee: stdout is one document with every finding, stderr the JSON error.
#[test]
fn findings_as_json() {
    let mock = Mock::start(|_| empty(403));
    let outcome = check(KEY, &["--agent", &mock.url(), "-o", "json"]);
    let report = serde_json::from_str::<Value>(&outcome.stdout).unwrap();
    let format = value!({"check": "format", "message": "an ingestion API key, and its checksum is right", "ok": true});
    let agent = value!({"check": "agent", "endpoint": format!("{}/", mock.url()), "message": "refused (403 Forbidden)", "ok": false});
    assert_eq!(report, value!({"checks": [format, agent], "ok": false}));
    assert_eq!(
        serde_json::from_str::<Value>(&outcome.stderr).unwrap()["error-message"],
        "the key did not pass: agent"
    );
}
