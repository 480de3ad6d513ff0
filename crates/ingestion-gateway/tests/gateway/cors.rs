//! Tests of requests from web pages.

use reqwest::{Method, Response, StatusCode};

use crate::program::Gateway;

const CORS: &str = "--set=receivers.otlp.protocols.http.cors";

/// Asks, as a browser does, whether a page of `origin` may send with these headers.
async fn preflight(gateway: &Gateway, origin: &str, headers: &str) -> Response {
    let request = gateway.client.request(Method::OPTIONS, gateway.url("otlp_http", "/v1/traces"));
    let request = request.header("origin", origin).header("access-control-request-method", "POST");
    request.header("access-control-request-headers", headers).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

// Scenario: pages of an origin that a wildcard allows, of an origin that is listed, and of other
// origins ask whether they may send.
// Guarantee: the allowed pages get the permission to set the headers that OTLP needs and the header
// that is configured, for the configured time. The other pages get no permission.
#[tokio::test]
async fn a_page_of_an_allowed_origin_gets_the_permission() {
    let gateway = Gateway::start_with(&[
        &format!("{CORS}.allowed_origins=['https://*.example.com', 'http://localhost:3000']"),
        &format!("{CORS}.allowed_headers=[X-Scope]"),
        &format!("{CORS}.max_age=7200"),
    ])
    .await;
    for origin in ["https://shop.example.com", "http://localhost:3000"] {
        let response = preflight(&gateway, origin, "authorization,content-type").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "access-control-allow-origin"), Some(origin));
        assert_eq!(header(&response, "access-control-allow-methods"), Some("POST"));
        assert_eq!(header(&response, "access-control-max-age"), Some("7200"));
        assert!(header(&response, "vary").unwrap().contains("origin"));
        let allowed = header(&response, "access-control-allow-headers").unwrap();
        for name in ["authorization", "content-encoding", "content-type", "x-scope"] {
            assert!(allowed.split(',').any(|allowed| allowed == name), "{name}: {allowed}");
        }
        assert!(!allowed.contains("x-other"), "{allowed}");
    }
    for origin in ["https://example.com.evil.org", "http://localhost:3001", "null"] {
        let response = preflight(&gateway, origin, "authorization").await;
        assert_eq!(header(&response, "access-control-allow-origin"), None, "{origin}");
    }
}

// Scenario: every origin and every header is allowed, and nothing is said about the time.
// Guarantee: a page may set any header, by name, because a `*` would not include `Authorization`.
#[tokio::test]
async fn every_page_and_every_header_can_be_allowed() {
    let gateway = Gateway::start_with(&[
        &format!("{CORS}.allowed_origins=['*']"),
        &format!("{CORS}.allowed_headers=['*']"),
    ])
    .await;
    let response = preflight(&gateway, "https://anywhere.example", "authorization,x-other").await;
    assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&response, "access-control-allow-headers"), Some("authorization,x-other"));
    assert_eq!(header(&response, "access-control-max-age"), None);
}

// Scenario: a page of an allowed origin sends with a good key, with a wrong key, without a key, to
// an unknown path, and something that is not OTLP. A page of another origin sends with a good key.
// Guarantee: whatever the answer is, the script of the allowed page can read its status and
// `Retry-After`, and the script of the other page cannot.
#[tokio::test]
async fn a_page_can_read_every_answer() {
    let origins = format!("{CORS}.allowed_origins=['https://*.example.com']");
    let gateway = Gateway::start_with(&[&origins]).await;
    let key = gateway.create("page").await.secret;
    let send = async |origin: &str, path: &str, key: Option<&str>, kind: &str| {
        let request = gateway.client.post(gateway.url("otlp_http", path)).header("origin", origin);
        let request = request.header("content-type", kind).body(r#"{"resourceSpans":[]}"#);
        let request = match key {
            Some(key) => request.header("authorization", format!("StackState {key}")),
            None => request,
        };
        request.send().await.unwrap()
    };
    let (page, json) = ("https://shop.example.com", "application/json");
    for (path, key, kind, status) in [
        ("/v1/traces", Some(&*key), json, 200),
        ("/v1/traces", Some("wrong"), json, 401),
        ("/v1/traces", None, json, 401),
        ("/v1/nothing", Some(&*key), json, 404),
        ("/v1/traces", Some(&*key), "text/html", 415),
    ] {
        let response = send(page, path, key, kind).await;
        assert_eq!(response.status(), status, "{path} {kind}");
        assert_eq!(header(&response, "access-control-allow-origin"), Some(page), "{status}");
        assert_eq!(header(&response, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&response, "access-control-expose-headers"), Some("retry-after"));
    }
    let response = send("https://example.org", "/v1/traces", Some(&key), json).await;
    assert_eq!(header(&response, "access-control-allow-origin"), None);
}
