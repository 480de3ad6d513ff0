//! The Collector as a client, with the documented configuration.

use otlp_auth_tests::{Certificate, Items, send};

use super::{Collector, DOCUMENTED, OPEN_RECEIVER, service};
use crate::{KEY, RECEIVERS, TestFile, WRONG_KEY, start_receiver};

const BATCHES: usize = 5;
const ITEMS: usize = 7;

/// Returns the documented configuration with the endpoints and the certificate of this test.
fn config(port: u16, certificate: &Certificate) -> String {
    let ca = certificate.cert();
    let exporters = format!(
        "
  exporters:
    otlp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: localhost:{port}
      tls: {{ca_file: {ca}}}
    otlphttp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: https://localhost:{port}
      tls: {{ca_file: {ca}}}
",
        ca = ca.display()
    );
    [
        DOCUMENTED,
        OPEN_RECEIVER,
        &exporters,
        &service("bearertokenauth", "otlp/stackstate, otlphttp/stackstate"),
    ]
    .concat()
}

// Scenario: a Collector with the right key sends all three signals over both transports to each of
// our receivers.
// Guarantee: every item arrives exactly once on each transport, under the name of the key.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_right_key_everything_arrives() {
    for name in RECEIVERS {
        let certificate = Certificate::new();
        let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
        let (mut receiver, port) = start_receiver(name, &tokens.path(), Some(&certificate));
        let collector = Collector::start(&config(port, &certificate), KEY);
        for _ in 0..BATCHES {
            send(&collector.channel(), ITEMS).await;
        }

        let mut items = Items::default();
        receiver.wait_until("all items", |line| {
            items.add_line(line);
            (items.reach("grpc", BATCHES * ITEMS) && items.reach("http", BATCHES * ITEMS))
                .then_some(())
        });
        collector.program.stop();
        let items = Items::of(&receiver.stop());
        assert_eq!(items.total(), 3 * 2 * BATCHES * ITEMS, "{name}: {items:?}");
        assert_eq!(items.identities, ["team-a"], "{name}");
    }
}

// Scenario: a Collector sends with a key that our receivers do not know.
// Guarantee: the Collector is answered as unauthenticated on both transports, and no item is
// accepted.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_wrong_key_nothing_is_accepted() {
    for name in RECEIVERS {
        let certificate = Certificate::new();
        let tokens = TestFile::new("tokens", &format!("team-a={KEY}\n"));
        let (receiver, port) = start_receiver(name, &tokens.path(), Some(&certificate));
        let mut collector = Collector::start(&config(port, &certificate), WRONG_KEY);
        send(&collector.channel(), ITEMS).await;

        // There are two exporters and three signals. Each exporter drops one batch of each signal.
        let mut refused = Vec::new();
        collector.program.wait_until("six dropped batches", |line| {
            if line.contains("Dropping data") || line.contains("dropping data") {
                refused.push(line.to_owned());
            }
            (refused.len() == 6).then_some(())
        });
        let over_http = |line: &&String| line.contains("401");
        let over_grpc = |line: &&String| line.contains("Unauthenticated") && !line.contains("401");
        assert_eq!(refused.iter().filter(over_http).count(), 3, "{refused:#?}");
        assert_eq!(refused.iter().filter(over_grpc).count(), 3, "{refused:#?}");
        assert!(!refused.iter().any(|line| line.contains(WRONG_KEY)));
        collector.program.stop();
        let lines = receiver.stop();
        assert_eq!(Items::of(&lines).total(), 0, "{name}");
        assert!(
            !lines.iter().any(|line| line.contains(WRONG_KEY)),
            "{name} repeats what was presented"
        );
    }
}
