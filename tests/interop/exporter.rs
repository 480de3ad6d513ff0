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

// Scenario: the exporter sends over TLS with each compression that its configuration supports.
// Guarantee: the receiver decodes all of them, and receives as many items as were sent.
#[test]
fn every_compression_arrives() {
    let certificate = Certificate::new();
    let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
    let (receiver, port) = start_receiver("receiver-hyper", &tokens.path(), Some(&certificate));
    let mut sent = 0;
    for compression in ["none", "gzip", "zstd", "snappy"] {
        for endpoint in [
            format!("otlp: {{endpoint: \"localhost:{port}\""),
            format!("otlphttp: {{endpoint: \"https://localhost:{port}\""),
        ] {
            let config = format!(
                "extensions:\n  bearertokenauth: {{scheme: StackState, token: \"${{env:API_KEY}}\"}}\n\
                 exporters:\n  {endpoint}, compression: {compression}, tls: {{ca_file: {}}}, auth: {{authenticator: bearertokenauth}}}}\n\
                 service:\n  extensions: [bearertokenauth]\n",
                certificate.cert().display()
            );
            let config = TestFile::new("exporter.yaml", &config);
            let (code, lines) = start_exporter(&config.path(), &[], KEY).end();
            assert_eq!(code, Some(0), "{compression}: {lines:#?}");
            sent += Totals::of(&lines).sent;
        }
    }
    let items = Items::of(&receiver.stop());
    assert!(sent > 0);
    assert_eq!(items.total(), sent, "{items:?}");
    assert_eq!(items.identities, ["team-a"]);
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
