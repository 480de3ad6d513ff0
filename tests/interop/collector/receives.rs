//! The Collector as a server with `bearertokenauth`. Our exporter sends to it.

use otlp_auth_tests::{Items, Totals};

use super::{Collector, service};
use crate::exporter::start_exporter;
use crate::{KEY, TestFile, WRONG_KEY, start_receiver};

const FORWARDING_KEY: &str = "iapikeyok-Forward0-FromTheC-ollector-4d5e6f";

/// Returns the configuration of a Collector that requires a key on both protocols and forwards the
/// telemetry that it accepts.
fn config(port: u16) -> String {
    let head = format!(
        r#"
  extensions:
    bearertokenauth:
      scheme: StackState
      token: "${{env:API_KEY}}"
    bearertokenauth/forward:
      scheme: StackState
      token: {FORWARDING_KEY}
  receivers:
    otlp:
      protocols:
        grpc: {{endpoint: "127.0.0.1:0", auth: {{authenticator: bearertokenauth}}}}
        http: {{endpoint: "127.0.0.1:0", auth: {{authenticator: bearertokenauth}}}}
  exporters:
    otlphttp/forward:
      endpoint: http://127.0.0.1:{port}
      auth: {{authenticator: bearertokenauth/forward}}
"#
    );
    head + &service("bearertokenauth, bearertokenauth/forward", "otlphttp/forward")
}

/// Writes the documented configuration with an exporter for one transport.
fn exporter_config(exporter: &str) -> TestFile {
    TestFile::new(
        "exporter.yaml",
        &[
            super::DOCUMENTED,
            "  exporters:\n",
            exporter,
            "  service:\n    extensions: [bearertokenauth]\n",
        ]
        .concat(),
    )
}

// Scenario: our exporter sends this host's telemetry over each transport to a Collector that checks
// its key, once with the right key and once with a wrong key.
// Guarantee: the Collector forwards as many items as the exporter reports as sent. With the wrong
// key the exporter reports the failure and exits with code 1, and the Collector forwards nothing.
#[test]
fn our_exporter_is_let_in_with_the_right_key_only() {
    let tokens = TestFile::new("tokens", &format!("collector={FORWARDING_KEY}\n"));
    let (mut behind, port) = start_receiver("receiver-axum", &tokens.path(), None);
    let collector = Collector::start(&config(port), KEY);
    let (grpc, http) = (collector.grpc, collector.http.expect("an HTTP receiver"));
    let auth = "auth: {authenticator: bearertokenauth}";
    let exporters = [
        format!(
            "    otlp/stackstate: {{endpoint: \"127.0.0.1:{grpc}\", tls: {{insecure: true}}, {auth}}}\n"
        ),
        format!("    otlphttp/stackstate: {{endpoint: \"http://127.0.0.1:{http}\", {auth}}}\n"),
    ];
    let mut sent = 0;
    for exporter in &exporters {
        let config = exporter_config(exporter);
        let (code, lines) =
            start_exporter(&config.path(), &["--rounds", "2", "--interval", "10ms"], KEY).end();
        let totals = Totals::of(&lines);
        assert_eq!(code, Some(0), "{lines:#?}");
        assert!(totals.sent > 0 && totals.failed == 0, "{lines:#?}");
        sent += totals.sent;

        let (code, lines) = start_exporter(&config.path(), &[], WRONG_KEY).end();
        let totals = Totals::of(&lines);
        assert_eq!(code, Some(1), "{lines:#?}");
        assert!(totals.sent == 0 && totals.failed > 0, "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains(WRONG_KEY)));
    }

    let mut items = Items::default();
    behind.wait_until("all items", |line| {
        items.add_line(line);
        (items.total() >= sent).then_some(())
    });
    collector.program.stop();
    assert_eq!(Items::of(&behind.stop()).total(), sent);
}
