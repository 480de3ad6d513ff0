//! Tests of `check`, which asks endpoints whether they accept a key.

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Value, json as value};

use crate::mock::{KEY, Mock, empty, reply};
use crate::sts::{Outcome, Sts};

const NO_ENDPOINT: &str = "[WARNING] no endpoint was given, so it is unknown whether the key is accepted: give \
     --otlp-grpc, --otlp-http or --agent\n";

fn check(key: &str, args: &[&str]) -> Outcome {
    Sts::new().run_with_input(&[&["ingestion-api-key", "check"], args].concat(), key)
}

/// Makes a gRPC response with the status in the trailers.
pub(crate) fn grpc(code: &'static str, message: &'static str) -> Response {
    let trailers = HeaderMap::from_iter(
        [("grpc-status", code), ("grpc-message", message)]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    let body = Body::from(vec![0; 5]).with_trailers(async move { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

// Scenario: one key is correct, one is too short, one is mistyped, and one does not have the prefix
// of ingestion API keys. Some keys come from standard input, and others from the environment.
// Guarantee: the output says what is wrong with the key. If no endpoint is given, a warning says
// that it is unknown whether the key is accepted. A key without the prefix passes only if an
// endpoint accepts it.
#[test]
fn the_format_is_checked() {
    let right = "[SUCCESS] format: this is an ingestion API key with a correct checksum\n";
    assert_eq!(
        check(&format!(" {KEY}\n"), &[]),
        Outcome { code: 0, stdout: right.to_owned(), stderr: NO_ENDPOINT.to_owned() }
    );
    assert_eq!(Sts::new().with("API_KEY", KEY).try_key(&["check"]).stdout, right);
    let failed = format!(
        "{NO_ENDPOINT}[ERROR] The key did not pass these checks: format\nCopy the key again; a key \
         that is lost is replaced with `sts ingestion-api-key rotate --id ID`\n"
    );
    for (key, stdout) in [
        (
            &KEY[..42],
            "[ERROR] format: it is not 43 characters long: the key was mistyped or cut off\n",
        ),
        (
            &KEY.replace('1', "2"),
            "[ERROR] format: its checksum is wrong: the key was mistyped or cut off\n",
        ),
    ] {
        assert_eq!(
            check(key, &[]),
            Outcome { code: 2, stdout: stdout.to_owned(), stderr: failed.clone() }
        );
    }
    let shared = "[SUCCESS] format: not checked, because the key does not begin with iapikeyok-; \
         it may be a receiver API key, which can be any text\n";
    let mock = Mock::start(|_| empty(200));
    let outcome = check("stackstate-api-key-1234", &["--agent", &mock.url()]);
    assert!(
        outcome.code == 0 && outcome.stdout.starts_with(shared) && outcome.stderr.is_empty(),
        "{outcome:?}"
    );
    let stdout =
        "[ERROR] format: this is not an ingestion API key, because it does not begin with \
         iapikeyok-; whether it is a receiver API key, only an endpoint can tell\n"
            .to_owned();
    assert_eq!(check("stackstate-api-key-1234", &[]), Outcome { code: 2, stdout, stderr: failed });
    let nothing = check(" \n", &[]);
    assert_eq!(
        (nothing.code, nothing.stderr.as_str()),
        (
            3,
            "[ERROR] There is no key: set the environment variable API_KEY, or write the key to \
             standard input\n"
        )
    );
}

// Scenario: the key is in quotes, or was pasted together with its scheme or its header, or has a
// line end or a blank in it. It comes from standard input or from the environment.
// Guarantee: the output says what is wrong and has no part of the key. It says that the key comes
// from the environment, if it does. Nothing is sent.
#[test]
fn what_was_pasted_with_the_key_is_named() {
    let mock = Mock::start(|_| empty(200));
    for (before, after, problem) in [
        ("\"", "\"", "has a quote in it: give it without quotes"),
        ("StackState ", "", "begins with an authentication scheme: give only the text after it"),
        ("sts-api-key: ", "", "begins with the name of a header: give only the text after it"),
        ("", "\nsecond", "has a line end in it: give it as one line"),
        ("", " second", "has a blank in it: give it without blanks and without other text"),
    ] {
        let key = format!("{before}{KEY}{after}");
        let line = format!("[ERROR] format: the key {problem}\n");
        let url = mock.url();
        let outcome = check(&key, &["--agent", &url, "--otlp-http", &url]);
        assert_eq!(outcome.code, 2);
        assert!(outcome.stdout.starts_with(&line), "{outcome:?}");
        assert!(!format!("{outcome:?}").contains(&KEY[..14]), "{outcome:?}");
        let from = "\nThe key was that of the environment variable API_KEY\n";
        assert!(!outcome.stderr.contains(from), "{outcome:?}");
        let outcome = Sts::new().with("API_KEY", &key).try_key(&["check"]);
        assert!(outcome.stderr.contains(from), "{outcome:?}");
        assert_eq!((outcome.code, outcome.stdout), (2, line));
    }
    assert!(mock.request_lines().is_empty());
}

// Scenario: three endpoints accept the key.
// Guarantee: the exit code is 0. Each endpoint receives one request. The key is in the header that
// this kind of endpoint reads, and the request contains no telemetry.
#[test]
fn endpoints_accept_the_key() {
    let mock =
        Mock::start(
            |request| if request.line.contains("Export") { grpc("0", "") } else { empty(200) },
        );
    let url = mock.url();
    let outcome = check(KEY, &["--otlp-grpc", &url, "--otlp-http", &url, "--agent", &url]);
    let lines = format!(
        "[SUCCESS] otlp-grpc {url}/: accepted\n[SUCCESS] otlp-http {url}/: accepted\n[SUCCESS] \
         agent {url}/: accepted\n"
    );
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.ends_with(&lines), "{}", outcome.stdout);
    let [grpc, http, agent] = &mock.requests()[..] else { panic!("three requests") };
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
    let [.., http, agent] = &mock.requests()[..] else { panic!("more requests") };
    assert_eq!(
        (http.line.as_str(), http.header("authorization")),
        ("POST /v1/traces", format!("SUSEObservability {KEY}").as_str())
    );
    assert_eq!(agent.line, "GET /receiver/stsAgent/api/v1/validate");
}

// Scenario: some endpoints reject the key, or cannot decide about it. Some do not listen. Others
// are not of the kind that the flag requires.
// Guarantee: each case has its own message. The exit code is 4 if every failed check failed because
// the endpoint cannot be reached. Otherwise the exit code is 2.
#[test]
fn endpoints_do_not_accept_the_key() {
    let outcome_of = |answer: fn() -> Response, flag: &str| {
        let mock = Mock::start(move |_| answer());
        let outcome = check(KEY, &[flag, &mock.url()]);
        assert_eq!(outcome.code, 2);
        outcome.stdout.lines().last().unwrap().split_once("/: ").unwrap().1.to_owned()
    };
    assert_eq!(outcome_of(|| empty(401), "--otlp-http"), "refused (401 Unauthorized)");
    assert_eq!(outcome_of(|| empty(403), "--agent"), "refused (403 Forbidden)");
    assert_eq!(
        outcome_of(|| empty(503), "--agent"),
        "the endpoint cannot accept or refuse it now (503 Service Unavailable): try again later"
    );
    assert_eq!(
        outcome_of(|| empty(302), "--otlp-http"),
        "unexpected response (302 Found): check the URL"
    );
    assert_eq!(
        outcome_of(|| grpc("16", "credential refused"), "--otlp-grpc"),
        "refused (gRPC status 16, credential refused)"
    );
    assert_eq!(
        outcome_of(|| grpc("14", "the%20upstream%20is%20unavailable"), "--otlp-grpc"),
        "the endpoint cannot accept or refuse it now (gRPC status 14, the upstream is unavailable): \
         try again later"
    );
    assert_eq!(outcome_of(|| grpc("16", ""), "--otlp-grpc"), "refused (gRPC status 16)");
    let trailers_only =
        || Response::builder().header("grpc-status", "16").body(Body::empty()).unwrap();
    assert_eq!(outcome_of(trailers_only, "--otlp-grpc"), "refused (gRPC status 16)");
    assert_eq!(
        outcome_of(|| empty(200), "--otlp-grpc"),
        "unexpected response (no gRPC status): check the URL"
    );
    let outcome = check(KEY, &["--agent", "http://127.0.0.1:1"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (4, "[ERROR] The key did not pass these checks: agent\n")
    );
    assert!(
        outcome.stdout.contains(
            "agent http://127.0.0.1:1/: no response (tcp connect error: Connection refused"
        ),
        "{outcome:?}"
    );
    let outcome = check("a,b", &["--agent", "http://127.0.0.1:1"]);
    let reason = otlp_auth::Credential::new("StackState", "a,b").unwrap_err();
    let expected = format!("not checked, because the key cannot be sent in a header: {reason}\n");
    assert!(outcome.code == 2 && outcome.stdout.ends_with(&expected), "{outcome:?}");
}

// Scenario: the response has the status 200. The response comes from a gRPC port, from a web server
// that has a page for every path, or from a receiver, with or without a body.
// Guarantee: the key counts as accepted only if an endpoint of the requested kind can send the
// response.
#[test]
fn not_every_200_is_an_acceptance() {
    let outcome_of = |flag: &str, status: u16, content_type: &'static str, body: &'static str| {
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
        assert_eq!(
            outcome_of("--otlp-http", 200, content_type, body),
            "accepted",
            "{content_type}"
        );
    }
    for content_type in ["application/grpc", "text/html", "text/plain; charset=utf-8"] {
        let expected = format!("unexpected response (200 OK, {content_type}): check the URL");
        assert_eq!(outcome_of("--otlp-http", 200, content_type, "x"), expected);
    }
    let bare = Mock::start(|_| Response::new(Body::from("x")));
    assert!(
        check(KEY, &["--otlp-http", &bare.url()])
            .stdout
            .ends_with("(200 OK, no content type): check the URL\n")
    );
    for (content_type, body) in
        [("application/json", r#"{"valid":true}"#), ("text/plain", "ok"), ("", "")]
    {
        assert_eq!(outcome_of("--agent", 200, content_type, body), "accepted", "{content_type}");
    }
    let page = "unexpected response (200 OK, text/html; charset=utf-8): check the URL";
    assert_eq!(outcome_of("--agent", 200, "text/html; charset=utf-8", "<html>"), page);
    assert_eq!(
        outcome_of("--agent", 204, "", ""),
        "unexpected response (204 No Content, no content type): check the URL"
    );
}

// Scenario: a key is checked with `-o json`, and the endpoint rejects it.
// Guarantee: stdout is one JSON document that has the result of every check. stderr is the error as
// JSON.
#[test]
fn the_report_as_json() {
    let mock = Mock::start(|_| empty(403));
    let outcome = check(KEY, &["--agent", &mock.url(), "-o", "json"]);
    let report = serde_json::from_str::<Value>(&outcome.stdout).unwrap();
    let format = value!({"check": "format", "message": "this is an ingestion API key with a \
         correct checksum", "ok": true});
    let agent = value!({"check": "agent", "endpoint": format!("{}/", mock.url()), "message": "refused (403 Forbidden)", "ok": false});
    assert_eq!(report, value!({"checks": [format, agent], "ok": false}));
    assert_eq!(
        serde_json::from_str::<Value>(&outcome.stderr).unwrap()["error-message"],
        "the key did not pass these checks: agent\n`sts ingestion-api-key list --wide` shows \
         whether the key has expired, is disabled or does not exist; if it is active, check the \
         port and the scheme, and that the endpoint belongs to the same server"
    );
}
