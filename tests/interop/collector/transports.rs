//! The Collector as a client of the gateway and of our receivers, with settings that are easily
//! confused: the ports of the two protocols, and the compressions.

use otlp_auth_tests::{Discarded, Gateway, Home, Items, send};

use super::{Collector, OPEN_RECEIVER, service};
use crate::{RECEIVERS, TestFile, start_receiver};

/// The compressions that a Collector can send over each transport.
const COMPRESSIONS: [(&str, &[&str]); 2] = [
    ("otlp", &["none", "gzip", "zstd", "snappy"]),
    ("otlphttp", &["none", "gzip", "zstd", "snappy", "x-snappy-framed", "zlib", "deflate", "lz4"]),
];

const ITEMS: usize = 5;

/// Returns an exporter that sends with this key in a header, because a Collector refuses
/// `bearertokenauth` on plaintext gRPC.
fn exporter(kind: &str, name: &str, endpoint: &str, compression: &str, key: &str) -> String {
    let endpoint = match kind {
        "otlp" => format!("\"{endpoint}\", tls: {{insecure: true}}"),
        _ => format!("\"http://{endpoint}\""),
    };
    format!(
        "    {kind}/{name}: {{endpoint: {endpoint}, compression: {compression}, \
         headers: {{authorization: \"StackState {key}\"}}}}\n"
    )
}

fn start_collector(exporters: &[(String, String)]) -> Collector {
    let names: Vec<_> = exporters.iter().map(|(name, _)| name.as_str()).collect();
    let blocks: String = exporters.iter().map(|(_, block)| block.as_str()).collect();
    let config = format!("{OPEN_RECEIVER}  exporters:\n{blocks}{}", service("", &names.join(", ")));
    Collector::start(&config, "unused")
}

// Scenario: a Collector sends each signal to the gateway with the two ports swapped: OTLP/gRPC to
// the port of OTLP/HTTP, and the reverse.
// Guarantee: every item arrives.
#[tokio::test]
async fn swapped_ports_lose_nothing() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let key = home.create_key("swapped");
    let exporters = [("otlp", "otlp_http"), ("otlphttp", "otlp_grpc")].map(|(kind, listener)| {
        let endpoint = gateway.address(listener);
        let block = exporter(kind, "swapped", endpoint, "gzip", &key.secret);
        (format!("{kind}/swapped"), block)
    });
    let collector = start_collector(&exporters);
    send(&collector.channel(), ITEMS).await;
    let mut discarded = Discarded::default();
    gateway.program.wait_until("the items of both exporters", |line| {
        discarded.add_line(line);
        (discarded.items >= 2 * 3 * ITEMS).then_some(())
    });
    assert_eq!(discarded.items, 2 * 3 * ITEMS);
    collector.program.stop();
}

// Scenario: a Collector sends each signal over both transports with each compression that it has,
// to each of our receivers. The receivers know the compression by the name of the key.
// Guarantee: every item arrives with every compression.
#[tokio::test]
async fn every_compression_arrives() {
    for receiver in RECEIVERS {
        let all: Vec<_> = COMPRESSIONS
            .iter()
            .flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name)))
            .collect();
        let key = |kind: &str, name: &str| format!("iapikeyok-of-{kind}-{name}");
        let tokens: String =
            all.iter().map(|(kind, name)| format!("{kind}-{name}={}\n", key(kind, name))).collect();
        let tokens = TestFile::new("tokens", &tokens);
        let (mut program, port) = start_receiver(receiver, &tokens.path(), None);
        let endpoint = format!("127.0.0.1:{port}");
        let exporters: Vec<_> = all
            .iter()
            .map(|(kind, name)| {
                let block = exporter(kind, name, &endpoint, name, &key(kind, name));
                (format!("{kind}/{name}"), block)
            })
            .collect();
        let collector = start_collector(&exporters);
        send(&collector.channel(), ITEMS).await;
        let mut items = Items::default();
        let expected = all.len() * 3 * ITEMS;
        program.wait_until("the items of every exporter", |line| {
            items.add_line(line);
            (items.total() >= expected).then_some(())
        });
        let mut senders: Vec<_> = all.iter().map(|(kind, name)| format!("{kind}-{name}")).collect();
        senders.sort();
        items.identities.sort();
        assert_eq!((items.total(), items.identities), (expected, senders), "{receiver}");
        collector.program.stop();
    }
}
