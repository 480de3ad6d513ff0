//! What is said when a server refuses, or is none.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json as value};

use crate::mock::{CREATED, Mock, empty, json, reply};
use crate::sts::Sts;

const ENVELOPE: &str = r#"{"trackingKey":"t","serverTimestamp":"1590105600000","_type":"ErrorsResponse","errors":[{"_type":"NotFound","message":"no key has this id\u001b[31m"}]}"#;

// Scenario: a call is answered with a documented error. Guarantee: exit code 2; the status, the
// message, and the body as YAML, harmless and sorted; JSON has both too.
#[test]
fn an_error_of_the_call() {
    let mock = Mock::but("DELETE", |_| json(404, ENVELOPE));
    let outcome = Sts::of(&mock).try_key(&["delete", "--id", "7"]);
    let expected = "\
[ERROR] 404 Not Found (no key has this id\\u{1b}[31m)
_type: ErrorsResponse
errors:
  - _type: NotFound
    message: \"no key has this id\\e[31m\"
serverTimestamp: \"1590105600000\"
trackingKey: t
";
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (2, "", expected));
    let outcome = Sts::of(&mock).try_key(&["delete", "--id", "7", "-o", "json"]);
    let error = serde_json::from_str::<Value>(&outcome.stderr).unwrap();
    assert_eq!(
        error,
        value!({"error": true, "error-message": "404 Not Found (no key has this id\\u{1b}[31m)", "error-body": serde_json::from_str::<Value>(ENVELOPE).unwrap()})
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
}

// Scenario: the expiration is in the past, the body is empty, a text, a page, of a form that nobody
// knows, or the server is busy. Guarantee: exit code 2, the status first, and what to do where
// something can be done; where a key may exist, that and not to try again.
#[test]
fn errors_in_every_form() {
    for (status, content_type, body, expected) in [
        (
            400,
            "application/json",
            r#"{"_type":"IngestionApiKeyInvalidExpiryError","message":"it is in the past"}"#,
            "400 Bad Request (it is in the past)\n_type: IngestionApiKeyInvalidExpiryError\nmessage: it is in the past",
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
            "403 Forbidden (not\\nallowed)\nThe token is valid but may not do this",
        ),
        (
            500,
            "text/html",
            "<html>oops</html>",
            "500 Internal Server Error\nThe answer is a web page: check that --url and the API path lead to the API, and what stands in between\nA key may have been created all the same: look for it with `sts ingestion-api-key list`",
        ),
        (
            500,
            "application/json",
            "{broken",
            "500 Internal Server Error\nA key may have been created all the same: look for it with `sts ingestion-api-key list`",
        ),
        (
            502,
            "text/plain",
            "",
            "502 Bad Gateway\nA key may have been created all the same: look for it with `sts ingestion-api-key list`",
        ),
        (
            504,
            "text/plain",
            "",
            "504 Gateway Timeout\nA key may have been created all the same: look for it with `sts ingestion-api-key list`",
        ),
        (
            503,
            "text/plain",
            "",
            "503 Service Unavailable\nTry again; if it stays, look for it in the server's log",
        ),
        (404, "text/plain", "", "404 Not Found\nThe server may not know this call"),
        (599, "text/plain", "", "599\nTry again; if it stays, look for it in the server's log"),
    ] {
        let mock = Mock::but("POST", move |_| reply(status, content_type, body));
        let outcome = Sts::of(&mock).try_key(&["create", "-n", "edge"]);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr),
            (2, "", format!("[ERROR] {expected}\n")),
            "{body}"
        );
    }
}

// Scenario: a key is created, and the answer is no key. Guarantee: exit code 2, nothing of the
// answer is printed, and a key that may exist is pointed out.
#[test]
fn a_key_that_cannot_be_read() {
    for (content_type, body, message) in [
        ("application/json", "", "The server's answer is not JSON (200 OK, application/json)"),
        (
            "text/html",
            "<html>iapikeyok-canary",
            "The server's answer is not JSON (200 OK, text/html)",
        ),
        (
            "application/json",
            r#"{"apiKey":"iapikeyok-canary"}"#,
            "The server's answer has not the expected form (200 OK at line 1, column 29)",
        ),
        (
            "application/json",
            r#"{"id":"iapikeyok-canary"}"#,
            "The server's answer has not the expected form (200 OK at line 1, column 25)",
        ),
    ] {
        let mock = Mock::but("POST", move |_| reply(200, content_type, body));
        let outcome = Sts::of(&mock).try_key(&["create", "-n", "edge"]);
        let expected = format!(
            "[ERROR] {message}\nCheck that --url and the API path lead to the API of StackState\nA key may have been created all the same: look for it with `sts ingestion-api-key list`\n"
        );
        assert_eq!((outcome.code, outcome.stderr), (2, expected), "{body}");
    }
}

// Scenario: the first question is refused: bad token, not allowed, broken, a page, JSON of another
// form. Guarantee: exit code 4, and the server is named.
#[test]
fn no_connection_by_the_servers_word() {
    for (status, content_type, body, expected) in [
        (
            401,
            "application/json",
            "{}",
            ": invalid api-token\nCheck the token and that it is of the right kind; save another one with `sts context save --help`",
        ),
        (403, "application/json", "", " (403 Forbidden)\nThe token is valid but may not do this"),
        (
            500,
            "application/json",
            r#"{"message":"m"}"#,
            " (500 Internal Server Error (m))\nTry again; if it stays, look for it in the server's log\nmessage: m",
        ),
        (
            200,
            "text/html",
            "<html>",
            " (the server's answer is not JSON (200 OK, text/html))\nCheck that --url and the API path lead to the API of StackState",
        ),
        (
            200,
            "application/json",
            "[1]",
            " (the server's answer has not the expected form (200 OK at line 1, column 2))\nCheck that --url and the API path lead to the API of StackState",
        ),
    ] {
        let mock = Mock::but("GET /api/server/info", move |_| reply(status, content_type, body));
        let outcome = Sts::of(&mock).try_key(&["list"]);
        assert_eq!(
            (outcome.code, outcome.stderr),
            (4, format!("[ERROR] Could not connect to {}/api{expected}\n", mock.url())),
            "{body}"
        );
    }
}

// Scenario: the token is refused by the call itself.
// Guarantee: exit code 4, as when it is refused at first.
#[test]
fn a_token_that_is_refused_later() {
    let mock = Mock::but("GET /api/security", |_| empty(401));
    let outcome = Sts::of(&mock).try_key(&["list"]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("/api: invalid api-token\n"), "{}", outcome.stderr);
}

// Scenario: both calls are redirected, to another server.
// Guarantee: the other one is never asked; it is said where the server points.
#[test]
fn redirects_are_not_followed() {
    let other = Mock::contract();
    for status in [301, 302, 303, 307, 308] {
        for (line, code) in [("GET /api/server", 4), ("POST", 2)] {
            let to = other.url();
            let mock = Mock::but(line, move |_| {
                let mut response = empty(status);
                response.headers_mut().insert("location", to.parse().unwrap());
                response
            });
            let outcome = Sts::of(&mock).try_key(&["create", "-n", "edge"]);
            assert_eq!(outcome.code, code);
            assert!(
                outcome.stderr.contains(&format!("The server redirects to {}. ", other.url())),
                "{}",
                outcome.stderr
            );
        }
    }
    assert!(other.lines().is_empty());
}

// Scenario: nothing listens; a host has no address; the URL says TLS and the server does not.
// Guarantee: exit code 4, the cause, and what to do.
#[test]
fn no_connection_at_all() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sts = || Sts::new().with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list", "--url", &format!("http://{free}")]);
    let expected = format!(
        "[ERROR] Could not connect to http://{free}/api (tcp connect error: Connection refused (os error 111))\nCheck the URL, that the server is up, and the proxy settings of the environment\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (4, expected));
    let mock = Mock::contract();
    let outcome = sts().try_key(&["list", "--url", &format!("https://{}", mock.address)]);
    assert!(
        outcome.stderr.ends_with(
            "\nCheck that the server speaks TLS: the URL may have to begin with http://\n"
        ),
        "{}",
        outcome.stderr
    );
    let outcome = sts().try_key(&["list", "--url", "https://no.such.host.invalid"]);
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.ends_with(
            "\nCheck the URL, that the server is up, and the proxy settings of the environment\n"
        ),
        "{}",
        outcome.stderr
    );
}

// Scenario: a server answers and never ends its answer.
// Guarantee: exit code 4, and that more time may help.
#[test]
fn an_answer_without_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").unwrap();
        // Until the client goes away.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let outcome =
        Sts::new().try_key(&["list", "--url", &url, "--api-token", "t", "--timeout", "500ms"]);
    server.join().unwrap();
    assert_eq!(outcome.code, 4);
    assert!(
        outcome
            .stderr
            .ends_with("\nCheck that the server is up, or give it more time with --timeout\n"),
        "{outcome:?}"
    );
}

// Scenario: a server accepts the connection and never answers, at first and when a key is created.
// Guarantee: the command gives up after its timeout with exit code 4, and says that a key may have
// been created.
#[test]
fn a_silent_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let outcome =
        Sts::new().try_key(&["list", "--url", &url, "--api-token", "t", "--timeout", "50ms"]);
    let expected = format!(
        "[ERROR] Could not connect to {url}/api (no answer in time)\nCheck that the server is up, or give it more time with --timeout\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (4, expected));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    let mock = Mock::but("POST", move |_| {
        // Until the test ends.
        let _ = receiver.lock().unwrap().recv();
        json(200, CREATED)
    });
    let outcome = Sts::of(&mock).try_key(&["create", "-n", "edge", "--timeout", "500ms"]);
    drop(sender);
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.ends_with("A key may have been created all the same: look for it with `sts ingestion-api-key list`\n"),
        "{}",
        outcome.stderr
    );
}
