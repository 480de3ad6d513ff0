//! The Collector as a client of the gateway, with a key that `sts` created.

use otlp_auth_tests::{Discarded, Gateway, Home, Totals, send};

use super::{Collector, DOCUMENTED, OPEN_RECEIVER, service};
use crate::TestFile;
use crate::exporter::start_exporter;

const BATCHES: usize = 3;
const ITEMS: usize = 7;

/// Returns the documented configuration with this exporter.
fn config(exporter: &str, rest: &str) -> String {
    [DOCUMENTED, "  exporters:\n    ", exporter, rest].concat()
}

// Scenario: `sts` creates a key. A Collector uses the key over OTLP/HTTP, and our exporter uses it
// over OTLP/gRPC. Then `sts` deletes the key. (A Collector sends no key over gRPC without TLS.)
// Guarantee: both senders are allowed as soon as the key is created, and the gateway counts each
// item once for this key. Once `sts` has reported the deletion, no item is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_lets_in_at_once_and_is_refused_at_once() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let key = home.create_key("collector");

    let over_http = format!(
        "otlphttp/stackstate: {{endpoint: \"{}\", auth: {{authenticator: bearertokenauth}}}}\n",
        gateway.url("otlp_http")
    );
    let rest = [OPEN_RECEIVER, &service("bearertokenauth", "otlphttp/stackstate")].concat();
    let mut collector = Collector::start(&config(&over_http, &rest), &key.secret);
    for _ in 0..BATCHES {
        send(&collector.channel(), ITEMS).await;
    }
    let over_grpc = format!(
        "otlp/stackstate: {{endpoint: \"{}\", tls: {{insecure: true}}, auth: {{authenticator: bearertokenauth}}}}\n",
        gateway.address("otlp_grpc")
    );
    let yaml = TestFile::new(
        "exporter.yaml",
        &config(&over_grpc, "  service:\n    extensions: [bearertokenauth]\n"),
    );
    let (code, lines) = start_exporter(&yaml.path(), &[], &key.secret).end();
    let totals = Totals::of(&lines);
    assert!(code == Some(0) && totals.sent > 0 && totals.failed == 0, "{lines:#?}");

    let sent = BATCHES * ITEMS * 3 + totals.sent;
    let mut discarded = Discarded::default();
    gateway.program.wait_until("all items", |line| {
        discarded.add_line(line);
        (discarded.items >= sent).then_some(())
    });
    home.delete_key(&key);

    let (code, lines) = start_exporter(&yaml.path(), &[], &key.secret).end();
    assert!(code == Some(1) && Totals::of(&lines).sent == 0, "{lines:#?}");
    send(&collector.channel(), ITEMS).await;
    // The Collector drops one batch of each signal.
    let mut refused = Vec::new();
    collector.program.wait_until("three dropped batches", |line| {
        if line.contains("ropping data") {
            refused.push(line.to_owned());
        }
        (refused.len() == 3).then_some(())
    });
    assert!(refused.iter().all(|line| line.contains("401")), "{refused:#?}");
    assert!(!refused.iter().chain(&lines).any(|line| line.contains(&key.secret)));
    collector.program.stop();
    let discarded = Discarded::of(&gateway.program.stop());
    assert_eq!(discarded.items, sent);
    assert_eq!(discarded.keys, [format!("\"collector\"({})", key.id)]);
}
