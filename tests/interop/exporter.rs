//! Our exporter with a Collector's YAML, and our receivers. These tests need no programs of others.

use std::path::Path;

use otlp_auth_tests::{Certificate, Items, Program, Totals, example};

use crate::{KEY, TestFile, start_receiver};

/// Starts the exporter with this configuration file and with the key in `API_KEY`.
pub(crate) fn start_exporter(config: &Path, arguments: &[&str], api_key: &str) -> Program {
    Program::start(
        example("otlp-exporter")
            .arg("--config")
            .arg(config)
            .args(arguments)
            .env("API_KEY", api_key),
    )
}

// Scenario: the exporter sends over TLS with each compression that its configuration and the
// protocol support.
// Guarantee: the receiver decodes all of them, and receives as many items as were sent.
#[test]
fn every_compression_arrives() {
    let certificate = Certificate::new();
    let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
    let (receiver, port) = start_receiver("receiver-hyper", &tokens.path(), Some(&certificate));
    let grpc = ["none", "gzip", "zstd", "snappy"].map(|compression| ("otlp", "", compression));
    let http = ["none", "gzip", "zstd", "snappy", "x-snappy-framed", "zlib", "deflate", "lz4"]
        .map(|compression| ("otlphttp", "https://", compression));
    let mut sent = 0;
    for (exporter, scheme, compression) in grpc.into_iter().chain(http) {
        let config = tls_config(
            &format!(
                "{exporter}: {{endpoint: \"{scheme}localhost:{port}\", compression: {compression}"
            ),
            &certificate,
            "localhost",
        );
        let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
        assert_eq!(code, Some(0), "{exporter} {compression}: {lines:#?}");
        sent += Totals::of(&lines).sent;
    }
    let items = Items::of(&receiver.stop());
    assert!(sent > 0);
    assert_eq!(items.total(), sent, "{items:?}");
    assert_eq!(items.identities, ["team-a"]);
}

/// Writes the configuration of an exporter that begins with this text, that trusts the certificate,
/// and that expects this name.
pub(crate) fn tls_config(exporter: &str, trusted: &Certificate, name: &str) -> TestFile {
    TestFile::new(
        "exporter.yaml",
        &format!(
            "extensions:\n  bearertokenauth: {{scheme: StackState, token: \"${{env:API_KEY}}\"}}\n\
             exporters:\n  {exporter}, retry_on_failure: {{enabled: false}}, tls: {{ca_file: {}, server_name_override: {name}}}, auth: {{authenticator: bearertokenauth}}}}\n\
             service:\n  extensions: [bearertokenauth]\n",
            trusted.cert().display()
        ),
    )
}

// Scenario: the receiver has a self-signed certificate that is its own authority, and the exporter
// names it in `ca_file`. The exporter expects a name that the certificate has, and one that it does
// not have. Then the certificate has expired, then the exporter names another
// certificate, and then the receiver has no TLS.
// Guarantee: the exporter sends over both protocols to the name that the certificate has. Otherwise
// it sends nothing, and says what is wrong.
#[test]
fn a_self_signed_certificate_is_trusted_by_name_and_date() {
    let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
    let authority = Certificate::authority();
    let expired = Certificate::with(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    for (served, trusted, name, expected) in [
        (Some(&authority), &authority, "localhost", None),
        (Some(&authority), &authority, "otlp.example.com", Some("is for another name")),
        (Some(&expired), &expired, "localhost", Some("has expired")),
        (Some(&authority), &expired, "localhost", Some("is not trusted")),
        (None, &authority, "localhost", Some("does not seem to use TLS")),
    ] {
        let (receiver, port) = start_receiver("receiver-hyper", &tokens.path(), served);
        for exporter in ["otlp: {endpoint: \"", "otlphttp: {endpoint: \"https://"] {
            let config = tls_config(&format!("{exporter}127.0.0.1:{port}\""), trusted, name);
            let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
            let said = |text: &str| lines.iter().any(|line| line.contains(text));
            match expected {
                None => assert_eq!(code, Some(0), "{exporter}: {lines:#?}"),
                Some(text) => {
                    assert!(code == Some(1) && said(text), "{exporter} {text}: {lines:#?}");
                    assert_eq!(Totals::of(&lines).sent, 0);
                }
            }
        }
        drop(receiver);
    }
}

// Scenario: a key stands in `headers` instead of `auth`, and the endpoint is plaintext to another
// host, over each protocol.
// Guarantee: nothing is sent to the other host, the message names the header and not its value, and
// the exit code means a configuration error.
#[test]
fn a_credential_in_headers_is_not_sent_in_plaintext() {
    for exporter in ["otlp", "otlphttp"] {
        let config = TestFile::new(
            "exporter.yaml",
            &format!(
                "exporters:\n  {exporter}: {{endpoint: \"http://otlp.invalid:4317\", headers: {{sts-api-key: \"${{env:API_KEY}}\"}}}}\n"
            ),
        );
        let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
        assert_eq!(code, Some(64), "{lines:#?}");
        let said = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(said("the header sts-api-key") && said("over plaintext"), "{lines:#?}");
        assert!(!said(KEY), "{lines:#?}");
    }
}

// Scenario: the configuration has several errors and refers to a variable that is not set.
// Guarantee: all errors are reported at once with their paths, nothing is sent, and the exit code
// means a configuration error.
#[test]
fn every_error_of_a_configuration_is_reported() {
    let config = TestFile::new(
        "exporter.yaml",
        "extensions:\n  bearertokenauth: {scheme: StackState, token: \"${env:NO_SUCH_KEY}\", colour: blue}\n\
         exporters:\n  otlp: {endpoint: [], timeout: soon, auth: {authenticator: bearertokenauth}}\n\
         service:\n  extensions: [bearertokenauth]\n",
    );
    let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
    assert_eq!(code, Some(64), "{lines:#?}");
    for expected in ["NO_SUCH_KEY", "colour", "exporters.otlp.endpoint", "exporters.otlp.timeout"] {
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:#?}");
    }
}
