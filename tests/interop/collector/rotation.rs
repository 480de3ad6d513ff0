//! One token file under both ends, rotated in steps that each end has seen.

use otlp_auth_tests::{Certificate, Items, Program, Totals, send};
use tokio::sync::oneshot;

use super::{Collector, OPEN_RECEIVER, service};
use crate::exporter::start_exporter;
use crate::{TestFile, start_receiver};

const OLD: &str = "iapikeyok-OldKey00-ToBeRota-tedOut00-7a8b9c";
const NEW: &str = "iapikeyok-NewKey00-ToBeRota-tedIn000-9c8b7a";

/// After the old key alone: the receiving end learns the new one, the sending end takes it, the old
/// one goes.
fn steps() -> [String; 3] {
    [format!("{OLD}\n{NEW}\n"), format!("{NEW}\n{OLD}\n"), format!("{NEW}\n")]
}

/// A Collector sends to our receiver, from one token file, while that is rotated.
/// Everything that was sent is received: no step refuses a token that is in use.
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

    // Sends without a pause until told to stop; answers how many batches.
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

/// Our exporter sends to a Collector that checks its key, from one token file, while that is
/// rotated; once over each transport. Everything that was sent is received, and nothing failed.
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
        for step in steps() {
            tokens.replace(&step);
            collector.program.wait_for("refresh token");
            exporter.wait_for("reloaded token");
            // The round under way may have begun before.
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

/// More batches than the Collector has under way at once: all that were sent before have arrived.
fn wait_for_batches(receiver: &mut Program) {
    for _ in 0..100 {
        receiver.wait_for("accepted ");
    }
}
