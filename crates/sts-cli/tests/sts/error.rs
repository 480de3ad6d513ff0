//! Tests of the messages about error responses.

use axum::response::Response;
use serde_json::{Value, json as value};

use crate::mock::{KEY, Mock, empty, json, reply};
use crate::sts::Sts;

const ENVELOPE: &str = r#"{"trackingKey":"t","serverTimestamp":1590105600000,"_type":"ErrorsResponse","errors":[{"_type":"NotFound","message":"no key has this id\u001b[31m"}]}"#;

// Scenario: the server responds to a request with a documented error.
// Guarantee: the exit code is 2. The text output has the status, the message, and the body as
// escaped YAML with sorted keys. The JSON output has the status, the message and the body too.
#[test]
fn an_error_response_is_printed() {
    let mock = Mock::with_override("DELETE", |_| json(404, ENVELOPE));
    let outcome = Sts::connected_to(&mock).try_key(&["delete", "--id", "7"]);
    let expected = "\
[ERROR] 404 Not Found (no key has this id\\u{1b}[31m)
_type: ErrorsResponse
errors:
  - _type: NotFound
    message: \"no key has this id\\e[31m\"
serverTimestamp: 1590105600000
trackingKey: t
";
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (2, "", expected));
    let outcome = Sts::connected_to(&mock).try_key(&["delete", "--id", "7", "-o", "json"]);
    let error = serde_json::from_str::<Value>(&outcome.stderr).unwrap();
    assert_eq!(
        error,
        value!({"error": true, "error-message": "404 Not Found (no key has this id\\u{1b}[31m)", "error-body": serde_json::from_str::<Value>(ENVELOPE).unwrap()})
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
}

// Scenario: the server responds to the creation of a key with various error statuses. The body is
// an error of the API, other JSON, a text, a web page, or empty.
// Guarantee: the exit code is 2, and the message begins with the status. A hint says what to do,
// where there is useful advice. If the request may have created a key, the hint says so and does
// not advise to try again.
#[test]
fn errors_in_every_form() {
    for (status, content_type, body, expected) in [
        (
            400,
            "application/json",
            r#"{"_type":"IngestionApiKeyInvalidExpiryError","message":"it is in the past"}"#,
            "400 Bad Request (it is in the past)\n_type: IngestionApiKeyInvalidExpiryError\n\
             message: it is in the past",
        ),
        (
            409,
            "application/json; charset=utf-8",
            r#"{"what":["ever"]}"#,
            "409 Conflict\nwhat:\n  - ever",
        ),
        (
            403,
            "text/plain",
            "not\nallowed",
            "403 Forbidden (not\\nallowed)\nThe token is valid but does not have the permission: \
             use another one",
        ),
        (
            500,
            "text/html",
            "<html>oops</html>",
            "500 Internal Server Error\nThe response is a web page: check that the URL and the API \
             path are those of the API, and that no proxy responds instead\nA key may have been \
             created nevertheless: check with `sts ingestion-api-key list`",
        ),
        (
            500,
            "application/json",
            "{broken",
            "500 Internal Server Error\nA key may have been created nevertheless: check with `sts \
             ingestion-api-key list`",
        ),
        (
            502,
            "text/plain",
            "",
            "502 Bad Gateway\nA key may have been created nevertheless: check with `sts \
             ingestion-api-key list`",
        ),
        (
            504,
            "text/plain",
            "",
            "504 Gateway Timeout\nA key may have been created nevertheless: check with `sts \
             ingestion-api-key list`",
        ),
        (
            503,
            "text/plain",
            "",
            "503 Service Unavailable\nTry again; if the error persists, see the log of the server",
        ),
        (404, "text/plain", "", "404 Not Found\nThe server may be too old for this operation"),
        (599, "text/plain", "", "599\nTry again; if the error persists, see the log of the server"),
    ] {
        let mock = Mock::with_override("POST", move |_| reply(status, content_type, body));
        let outcome = Sts::connected_to(&mock).try_key(&["create", "-n", "edge"]);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr),
            (2, "", format!("[ERROR] {expected}\n")),
            "{body}"
        );
    }
}

// Scenario: a request to create a key succeeds, but the body of the response is not a key.
// Guarantee: the exit code is 2. No part of the response is printed. The message says that a key
// may exist.
#[test]
fn a_created_key_that_cannot_be_read() {
    for (content_type, body, message) in [
        ("application/json", "", "The response of the server is empty (200 OK)"),
        ("application/json", "null", "The response of the server is null (200 OK)"),
        (
            "text/html",
            "<html>iapikeyok-canary",
            "The response of the server is not JSON (200 OK, text/html)",
        ),
        (
            "application/json",
            r#"{"id":7,"name":"iapikeyok-canary"}"#,
            "The response of the server does not have the expected fields (200 OK, line 1, column \
             34)",
        ),
        (
            "application/json",
            r#"{"id":"iapikeyok-canary"}"#,
            "The response of the server does not have the expected fields (200 OK, line 1, column \
             25)",
        ),
    ] {
        let mock = Mock::with_override("POST", move |_| reply(200, content_type, body));
        let outcome = Sts::connected_to(&mock).try_key(&["create", "-n", "edge"]);
        let expected = format!(
            "[ERROR] {message}\nCheck that the URL and the API path are those of the API of \
             StackState\nA key may have been created nevertheless: check with `sts \
             ingestion-api-key list`\n"
        );
        assert_eq!((outcome.code, outcome.stderr), (2, expected), "{body}");
    }
    let mock = Mock::with_override("POST", |_| json(200, r#"{"id":7,"apiKey":""}"#));
    let outcome = Sts::connected_to(&mock).try_key(&["create", "-n", "edge"]);
    let expected = "[ERROR] The response of the server has an empty key (200 OK)\nA key may have \
                    been created nevertheless: check with `sts ingestion-api-key list`\n";
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (2, "", expected));
}

// Scenario: a key is changed, rotated and deleted on a server that has only the documented
// operations, and no key with this id.
// Guarantee: for the operations that StackState does not have, a hint says which server has them.
#[test]
fn operations_of_the_gateway_need_the_gateway() {
    let mock = Mock::with_override("DELETE", |_| empty(404));
    let gateway = "The server does not know this operation: it needs the ingestion gateway";
    for (args, hint) in [
        (&["update", "-i", "7", "--enable"][..], gateway),
        (&["rotate", "-i", "7"], gateway),
        (&["delete", "-i", "7"], "The server may be too old for this operation"),
    ] {
        let outcome = Sts::connected_to(&mock).try_key(args);
        let expected = format!("[ERROR] 404 Not Found\n{hint}\n");
        assert_eq!((outcome.code, outcome.stderr), (2, expected), "{args:?}");
    }
}

// Scenario: a key is created, and the response has only the secret.
// Guarantee: the key is printed, because it cannot be requested again.
#[test]
fn a_created_key_is_printed_although_fields_are_absent() {
    let mock = Mock::with_override("POST", |_| json(200, &format!(r#"{{"apiKey":"{KEY}"}}"#)));
    let text = Sts::connected_to(&mock).key(&["create", "-n", "edge"]);
    assert_eq!(text, format!("[SUCCESS] Ingestion API Key generated: {KEY}\n\n"));
}

// Scenario: the request for information about the server fails. The token is wrong or lacks a
// permission, or the response is an error, a web page, or unexpected JSON.
// Guarantee: the exit code is 4, and the message has the URL of the server.
#[test]
fn the_first_request_fails() {
    for (status, content_type, body, expected) in [
        (
            401,
            "application/json",
            "{}",
            ": invalid api-token\nCheck the token and its kind (API token, service token or \
             Kubernetes token); to save another one see `sts context save --help`",
        ),
        (
            403,
            "application/json",
            "",
            " (403 Forbidden)\nThe token is valid but does not have the permission: use another \
             one",
        ),
        (
            500,
            "application/json",
            r#"{"message":"m"}"#,
            " (500 Internal Server Error (m))\nTry again; if the error persists, see the log of \
             the server\nmessage: m",
        ),
        (
            200,
            "text/html",
            "<html>",
            " (the response of the server is not JSON (200 OK, text/html))\nCheck that the URL and \
             the API path are those of the API of StackState",
        ),
        (
            200,
            "application/json",
            "",
            " (the response of the server is empty (200 OK))\nCheck that the URL and the API path \
             are those of the API of StackState",
        ),
        (
            200,
            "application/json",
            "null",
            " (the response of the server is null (200 OK))\nCheck that the URL and the API path \
             are those of the API of StackState",
        ),
        (
            200,
            "application/json",
            "[1]",
            " (the response of the server does not have the expected fields (200 OK, line 1, \
             column 2))\nCheck that the URL and the API path are those of the API of StackState",
        ),
    ] {
        let mock =
            Mock::with_override("GET /api/server/info", move |_| reply(status, content_type, body));
        let outcome = Sts::connected_to(&mock).try_key(&["list"]);
        assert_eq!(
            (outcome.code, outcome.stderr),
            (4, format!("[ERROR] Could not connect to {}/api{expected}\n", mock.url())),
            "{body}"
        );
    }
}

// Scenario: the first request goes to a port that is not that of the management API. A receiver of
// telemetry refuses the token, or the path is unknown, or the method or the content type is.
// Guarantee: the exit code is 4. The message has the status, and a hint says to check the port. The
// message does not say that the token is invalid, because the management API did not see it.
#[test]
fn another_port_is_not_an_invalid_token() {
    type Case = (&'static str, fn() -> Response);
    let cases: [Case; 6] = [
        ("401 Unauthorized", || {
            let mut response = empty(401);
            let challenge = "StackState realm=\"otlp\"".parse().unwrap();
            response.headers_mut().insert("www-authenticate", challenge);
            response
        }),
        ("401 Unauthorized (missing credential)", || {
            json(401, r#"{"code":16,"message":"missing credential"}"#)
        }),
        ("401 Unauthorized", || reply(401, "application/x-protobuf", "")),
        ("404 Not Found", || empty(404)),
        ("405 Method Not Allowed", || empty(405)),
        ("415 Unsupported Media Type", || reply(415, "application/grpc", "")),
    ];
    for (status, respond) in cases {
        let mock = Mock::start(move |_| respond());
        let outcome =
            Sts::new().run(&["context", "save", "--url", &mock.url(), "--api-token", "t"]);
        let expected = format!(
            "[ERROR] Could not connect to {}/api ({status})\nThe management API is \
             not there: check the host, the port and the API path (the gateway has it at port \
             7070, unless it is configured otherwise)\n",
            mock.url()
        );
        let text = outcome.stderr.split_inclusive('\n').take(2).collect::<String>();
        assert_eq!((outcome.code, text), (4, expected));
    }
}

// Scenario: the URL already ends with the path of the API, which is added to it. The server
// responds with 404, with a web page, or with 401. In other cases, the URL has no path or another
// path.
// Guarantee: a hint says which URL to give. There is no such hint if the path is not there twice.
#[test]
fn a_url_with_the_api_path_gets_a_hint() {
    let cases: [fn() -> Response; 4] = [
        || json(404, ENVELOPE),
        || reply(200, "text/html", "<html>"),
        || empty(401),
        || reply(404, "text/html", "<html>"),
    ];
    for respond in cases {
        let mock = Mock::start(move |_| respond());
        for path in ["/api", "/api/", "/sts/api"] {
            let url = format!("{}{path}", mock.url());
            let outcome = Sts::new().try_key(&["list", "--url", &url, "--api-token", "t"]);
            let without = url.trim_end_matches('/').strip_suffix("/api").unwrap();
            let hint = format!(
                "\nThe URL ends with /api, and the API path /api is added to it: write --url \
                 {without}\n"
            );
            assert_eq!(outcome.code, 4);
            assert!(outcome.stderr.contains(&hint), "{outcome:?}");
            assert!(!outcome.stderr.contains("check the host"), "{outcome:?}");
        }
        for path in ["", "/myapi", "/api/v1"] {
            let url = format!("{}{path}", mock.url());
            let outcome = Sts::new().try_key(&["list", "--url", &url, "--api-token", "t"]);
            assert!(!outcome.stderr.contains("is added to it"), "{outcome:?}");
        }
    }
}

// Scenario: the server accepts the token in the first request, but not in the second request.
// Guarantee: the exit code is 4, as if the server had not accepted the token in the first request.
#[test]
fn a_token_that_is_refused_by_the_second_request() {
    let mock = Mock::with_override("GET /api/security", |_| empty(401));
    let outcome = Sts::connected_to(&mock).try_key(&["list"]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("/api: invalid api-token\n"), "{}", outcome.stderr);
}

// Scenario: the server redirects the first or the second request to another server.
// Guarantee: the other server receives no request. The message has the target of the redirect.
#[test]
fn redirects_are_not_followed() {
    let other = Mock::contract();
    for status in [301, 302, 303, 307, 308] {
        for (line, code) in [("GET /api/server", 4), ("POST", 2)] {
            let to = other.url();
            let mock = Mock::with_override(line, move |_| {
                let mut response = empty(status);
                response.headers_mut().insert("location", to.parse().unwrap());
                response
            });
            let outcome = Sts::connected_to(&mock).try_key(&["create", "-n", "edge"]);
            assert_eq!(outcome.code, code);
            assert!(
                outcome.stderr.contains(&format!("The server redirects to {}. ", other.url())),
                "{}",
                outcome.stderr
            );
        }
    }
    assert!(other.request_lines().is_empty());
}
