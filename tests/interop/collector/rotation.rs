//! A token file that both the sender and the receiver read. The token is rotated in three steps. In
//! each step, the sender and the receiver reload the file.

use otlp_auth_tests::{Certificate, Items, Program, Totals, send};
use tokio::sync::oneshot;

use super::{Collector, OPEN_RECEIVER, service};
use crate::exporter::start_exporter;
use crate::{TestFile, start_receiver};

const OLD: &str = "iapikeyok-OldKey00-ToBeRota-tedOut00-7a8b9c";
const NEW: &str = "iapikeyok-NewKey00-ToBeRota-tedIn000-9c8b7a";

/// Returns the content of the token file after each of the three steps. Before the first step, the
/// file contains only the old key. In the first step, the receiver also accepts the new key. In the
/// second step, the sender uses the new key, because it is on the first line. In the third step,
/// the old key is removed.
fn steps() -> [String; 3] {
    [format!("{OLD}\n{NEW}\n"), format!("{NEW}\n{OLD}\n"), format!("{NEW}\n")]
}

// Scenario: a Collector sends to our receiver while the token file of both is rotated.
// Guarantee: everything that was sent is received, because no step removes a token that is in use.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_collector_to_our_receiver() {
    const ITEMS: usize = 3;
    let certificate = Certificate::new();
    let tokens = TestFile::new("tokens", &format!("{OLD}\n"));
    let (mut receiver, port) = start_receiver("receiver-tonic", &tokens.path(), Some(&certificate));
    let head = format!(
        "
  extensions:
    bearertokenauth:
      scheme: StackState
      filename: {tokens}
      wait_for_token_file: true
      retry_on_failure: {{enabled: true, interval: 100ms, max_retries: 50}}
  exporters:
    otlp/stackstate:
      auth: {{authenticator: bearertokenauth}}
      endpoint: localhost:{port}
      tls: {{ca_file: {ca}}}
    otlphttp/stackstate:
      auth: {{authenticator: bearertokenauth}}
      endpoint: https://localhost:{port}
      tls: {{ca_file: {ca}}}
",
        tokens = tokens.path().display(),
        ca = certificate.cert().display()
    );
    let config =
        [&head, OPEN_RECEIVER, &service("bearertokenauth", "otlp/stackstate, otlphttp/stackstate")]
            .concat();
    let mut collector = Collector::start(&config, "");

    // This task sends batches until it is stopped, and returns their number.
    let channel = collector.channel();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let sending = tokio::spawn(async move {
        let mut batches = 0;
        while stopped.try_recv().is_err() {
            send(&channel, ITEMS).await;
            batches += 1;
        }
        batches
    });
    wait_for_batches(&mut receiver);
    for step in steps() {
        tokens.replace(&step);
        receiver.wait_for("reloaded tokens");
        collector.program.wait_for("refresh token");
        wait_for_batches(&mut receiver);
    }
    let _ = stop.send(());
    let batches: usize = sending.await.expect("the sender");

    let lines = collector.program.stop();
    assert!(!lines.iter().any(|line| line.contains("ropping data")), "{lines:#?}");
    assert_eq!(Items::of(&receiver.stop()).total(), batches * ITEMS * 3 * 2);
}

// Scenario: our exporter sends to a Collector over each transport while the token file of both is
// rotated.
// Guarantee: everything that was sent is received, and no request failed.
#[test]
fn from_our_exporter_to_a_collector() {
    for grpc in [true, false] {
        let behind_tokens =
            TestFile::new("tokens", "collector=iapikeyok-Forward0-FromTheC-ollector-4d5e6f\n");
        let (mut behind, port) = start_receiver("receiver-axum", &behind_tokens.path(), None);
        let tokens = TestFile::new("tokens", &format!("{OLD}\n"));
        let path = tokens.path();
        let from_file = format!("{{scheme: StackState, filename: {}", path.display());
        let head = format!(
            r#"
  extensions:
    bearertokenauth: {from_file}, wait_for_token_file: true, retry_on_failure: {{enabled: true, interval: 100ms, max_retries: 50}}}}
    bearertokenauth/forward:
      scheme: StackState
      token: iapikeyok-Forward0-FromTheC-ollector-4d5e6f
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
        let mut collector = Collector::start(
            &(head + &service("bearertokenauth, bearertokenauth/forward", "otlphttp/forward")),
            "",
        );
        let exporter = match grpc {
            true => format!(
                "otlp: {{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}",
                collector.grpc
            ),
            false => format!(
                "otlphttp: {{endpoint: \"http://127.0.0.1:{}\"",
                collector.http.expect("an HTTP receiver")
            ),
        };
        let config = format!(
            "extensions:\n  bearertokenauth: {from_file}}}\nexporters:\n  {exporter}, auth: {{authenticator: bearertokenauth}}}}\n\
             service:\n  extensions: [bearertokenauth]\n"
        );
        let config = TestFile::new("exporter.yaml", &config);
        let mut exporter =
            start_exporter(&config.path(), &["--rounds", "0", "--interval", "10ms"], "");
        exporter.wait_for("sent ");
        let mut used = OLD.to_owned();
        for step in steps() {
            // The exporter uses the first token of the file, and reports only its changes.
            let first = step.lines().next().expect("a token").to_owned();
            let is_changed = std::mem::replace(&mut used, first.clone()) != first;
            tokens.replace(&step);
            collector.program.wait_for("refresh token");
            if is_changed {
                exporter.wait_for("reloaded token");
            }
            // An export that began before the reload may still use the old token.
            for _ in 0..6 {
                exporter.wait_for("sent ");
            }
        }
        let totals = Totals::of(&exporter.stop());
        assert!(totals.sent > 0 && totals.failed == 0, "{totals:?}");
        let mut items = Items::default();
        behind.wait_until("all items", |line| {
            items.add_line(line);
            (items.total() >= totals.sent).then_some(())
        });
        collector.program.stop();
        assert_eq!(Items::of(&behind.stop()).total(), totals.sent);
    }
}

/// Waits until more batches have arrived than the Collector sends at the same time. This ensures
/// that every batch that the Collector was already sending has arrived.
fn wait_for_batches(receiver: &mut Program) {
    for _ in 0..100 {
        receiver.wait_for("accepted ");
    }
}
