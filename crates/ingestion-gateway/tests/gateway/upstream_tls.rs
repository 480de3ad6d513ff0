//! Tests of TLS to an upstream, which is another gateway with TLS.

use std::fs;

use reqwest::StatusCode;
use rustls::DEFAULT_VERSIONS;
use serde_json::json;
use tonic::Code;

use crate::certificates::{Authority, Pair, replace};
use crate::program::{Gateway, client};

/// The key of the upstream, which several senders share.
const SHARED: &str = "a-shared-key-of-some-length";

/// Starts a gateway whose OTLP listeners have TLS and ask for client certificates.
async fn start_upstream(authority: &Authority) -> Gateway {
    let pair = authority.issue("upstream");
    let further = format!(", client_ca_file: {}", authority.file().display());
    let transports = ["grpc", "http"].map(|it| format!("receivers.otlp.protocols.{it}"));
    let [grpc, http] = transports.map(|listener| pair.option(&listener, &further));
    let key = format!("--set=auth.receiver_api_key={SHARED}");
    Gateway::start_with(&[&grpc, &http, &key]).await
}

/// Starts a gateway that forwards OTLP to the upstream with these settings of `tls`.
async fn start(upstream: &Gateway, tls: &str) -> Gateway {
    let options = ["otlp_grpc", "otlp_http"].map(|listener| {
        format!(
            "--set=upstream.{listener}={{endpoint: 'https://{}', tls: {{{tls}}}, \
             auth: {{scheme: StackState, token: {SHARED}}}}}",
            upstream.address(listener)
        )
    });
    Gateway::start_with(&[&options[0], &options[1], "--set=upstream.agent=debug"]).await
}

/// Sends over both transports. Returns whether both were accepted, or whether both were told to
/// come again.
async fn is_accepted(gateway: &Gateway, key: &str) -> bool {
    let (grpc, http) =
        (gateway.send_grpc(key, 1, None).await, gateway.send_http(key).await.status());
    match (grpc, http) {
        (Code::Ok, StatusCode::OK) => true,
        (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE) => false,
        other => panic!("{other:?}"),
    }
}

/// Returns the settings of `tls` that name the certificate of this gateway.
fn identity(pair: &Pair) -> String {
    format!("cert_file: {}, key_file: {}", pair.cert.display(), pair.key.display())
}

// Scenario: a gateway forwards over gRPC and HTTP to an upstream with TLS, which asks for a client
// certificate. The gateway trusts the upstream's authority or another one, expects its name or
// another one, accepts every certificate, and has a client certificate of the right authority, of
// another one, or none.
// Guarantee: it forwards only if the upstream is trusted and accepts the gateway. Otherwise senders
// are told to come again, over both transports.
#[tokio::test]
async fn only_a_trusted_upstream_gets_data() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = start_upstream(&authority).await;
    let ca_file = |authority: &Authority| format!("ca_file: {}", authority.file().display());
    let (ours, theirs) = (identity(&authority.issue("ours")), identity(&other.issue("theirs")));
    let (trusted, untrusted) = (ca_file(&authority), ca_file(&other));
    for (tls, accepted) in [
        (format!("{trusted}, {ours}"), true),
        (format!("{trusted}, {ours}, min_version: '1.3'"), true),
        (format!("{trusted}, {ours}, server_name_override: upstream"), true),
        (format!("{trusted}, {ours}, server_name_override: otlp.example.com"), false),
        (trusted.clone(), false),
        (format!("{trusted}, {theirs}"), false),
        (format!("{untrusted}, {ours}"), false),
        (ours.clone(), false),
        (format!("{untrusted}, {ours}, insecure_skip_verify: true"), true),
    ] {
        let gateway = start(&upstream, &tls).await;
        let key = gateway.create("edge").await.secret;
        assert_eq!(is_accepted(&gateway, &key).await, accepted, "{tls}");
    }
}

// Scenario: the file with the authority of an upstream is wrong. Then it is replaced while the
// gateway runs.
// Guarantee: senders are told to come again, and are accepted once the file is right.
#[tokio::test]
async fn a_new_authority_of_an_upstream_comes_into_force() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = start_upstream(&authority).await;
    let trusted = authority.file().with_file_name("trusted.pem");
    fs::copy(other.file(), &trusted).unwrap();
    let identity = identity(&authority.issue("ours"));
    let tls = format!("ca_file: {}, {identity}, reload_interval: 20ms", trusted.display());
    let gateway = start(&upstream, &tls).await;
    let key = gateway.create("edge").await.secret;
    assert!(!is_accepted(&gateway, &key).await);
    replace(&trusted, &authority.file());
    for upstream in ["upstream.otlp_grpc", "upstream.otlp_http"] {
        let reloaded = format!("the TLS files were reloaded section=\"{upstream}\"");
        gateway.log.wait_for(&reloaded).await;
    }
    assert!(is_accepted(&gateway, &key).await);
}

// Scenario: a sender uses TLS, with HTTP/2 and with HTTP/1.1. The gateway forwards to a plaintext
// upstream.
// Guarantee: the requests are accepted and forwarded.
#[tokio::test]
async fn tls_of_a_sender_ends_at_the_gateway() {
    let authority = Authority::new();
    let key = format!("--set=auth.receiver_api_key={SHARED}");
    let upstream = Gateway::start_with(&[&key]).await;
    let to = format!(
        "--set=upstream.otlp_http={{endpoint: 'http://{}', auth: {{scheme: StackState, token: {SHARED}}}}}",
        upstream.address("otlp_http")
    );
    let listener = authority.issue("gateway").option("receivers.otlp.protocols.http", "");
    let rest = ["--set=upstream.agent=debug", "--set=upstream.otlp_grpc=debug"];
    let gateway = Gateway::start_with(&[&listener, &to, rest[0], rest[1]]).await;
    let key = gateway.create("edge").await.secret;
    client();
    for protocols in [&[&b"h2"[..]], &[&b"http/1.1"[..]]] {
        let tls = rustls::ClientConfig::clone(&authority.client(None, DEFAULT_VERSIONS, protocols));
        let sender = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
        let request = sender
            .post(format!("https://{}/v1/traces", gateway.address("otlp_http")))
            .header("authorization", format!("StackState {key}"))
            .json(&json!({"resourceSpans": []}));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }
}
