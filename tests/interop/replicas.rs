//! Three gateways on one database, and the documented rotation of a key under load.

use otlp_auth_tests::{Cluster, Items, Key, Program, Totals, send};
use tokio::sync::oneshot;

use crate::canary::request;
use crate::collector::{Collector, OPEN_RECEIVER, service};
use crate::exporter::start_exporter;
use crate::proxies::wait_for_answer;
use crate::{KEY, TestFile, start_receiver};

/// The number of rotations.
const ROTATIONS: usize = 10;

/// The number of items of each kind in a batch of the Collector.
const ITEMS: usize = 3;

/// The `auth` setting of every exporter.
const AUTH: &str = "auth: {authenticator: bearertokenauth}";

/// Returns the exporters of a sender: over gRPC through TLS, and over HTTP.
fn exporters(cluster: &Cluster) -> [String; 2] {
    let (_, port) = cluster.grpc.rsplit_once(':').expect("a port");
    let trusted = cluster.certificate.cert();
    let tls = format!("tls: {{ca_file: {}}}", trusted.display());
    [
        format!("otlp: {{endpoint: \"localhost:{port}\", {tls}, {AUTH}}}"),
        format!("otlphttp: {{endpoint: \"http://{}\", {AUTH}}}", cluster.http),
    ]
}

/// Starts a Collector that sends everything over both transports.
fn start_collector(cluster: &Cluster, key_file: &TestFile) -> Collector {
    let [grpc, http] = exporters(cluster);
    let path = key_file.path();
    let head = format!(
        "
  extensions:
    bearertokenauth:
      scheme: StackState
      filename: {}
      wait_for_token_file: true
      retry_on_failure: {{enabled: true, interval: 100ms, max_retries: 50}}
  exporters:
    {grpc}
    {http}
",
        path.display()
    );
    let service = service("bearertokenauth", "otlp, otlphttp");
    Collector::start(&[&head, OPEN_RECEIVER, &service].concat(), "")
}

/// Starts our exporter over each transport.
fn start_our_exporters(cluster: &Cluster, key_file: &TestFile) -> [(Program, TestFile); 2] {
    exporters(cluster).map(|exporter| {
        let config = format!(
            "extensions:\n  bearertokenauth: {{scheme: StackState, filename: {}}}\n\
             exporters:\n  {exporter}\nservice:\n  extensions: [bearertokenauth]\n",
            key_file.path().display()
        );
        let config = TestFile::new("exporter.yaml", &config);
        let arguments = ["--rounds", "0", "--interval", "20ms"];
        (start_exporter(&config.path(), &arguments, ""), config)
    })
}

/// Returns the number of requests that all gateways together have counted for a key.
fn requests(cluster: &Cluster, key: &Key) -> u64 {
    let key = cluster.home.sts_key(&["describe", "--id", &key.id.to_string()]);
    let item = &key["ingestion-api-key"];
    item["accepted"].as_u64().expect("a count") + item["failed"].as_u64().expect("a count")
}

/// Waits until no gateway has counted a request with this key for three flushes of the counters,
/// as the documentation says: until the key is idle.
fn wait_until_idle(cluster: &Cluster, key: &Key, mut pass: impl FnMut()) {
    let mut last = (requests(cluster, key), 0);
    while last.1 < 3 {
        pass();
        let now = requests(cluster, key);
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
    }
}

// Scenario: a Collector and our exporter send over both transports through nginx to three gateways
// on one database. Ten times the key is rotated as the documentation says: rotate with an overlap,
// wait until every gateway knows the new key, write it to the file of the
// senders, wait until the old key is idle on all gateways, delete the old key.
// Guarantee: every item that was sent is received once. No gateway ever refused a request, and
// every gateway has admitted some.
#[tokio::test(flavor = "multi_thread")]
async fn ten_rotations_lose_nothing() {
    let tokens = TestFile::new("tokens", &format!("gateway={KEY}\n"));
    let (receiver, port) = start_receiver("receiver-hyper", &tokens.path(), None);
    let upstream = format!(
        "{{endpoint: \"http://127.0.0.1:{port}\", auth: {{scheme: StackState, token: {KEY}}}}}"
    );
    let cluster = Cluster::start(&[
        format!("--set=upstream.otlp_grpc={upstream}"),
        format!("--set=upstream.otlp_http={upstream}"),
        "--set=upstream.agent=debug".to_owned(),
        "--set=usage.flush_interval=100ms".to_owned(),
    ]);
    let mut key = cluster.home.create_key("senders");
    let key_file = TestFile::new("key", &format!("{}\n", key.secret));
    let collector = start_collector(&cluster, &key_file);
    let mut exporters = start_our_exporters(&cluster, &key_file);

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
    for _ in 0..ROTATIONS {
        let id = key.id.to_string();
        let new = Key::of(&cluster.home.sts_key(&["rotate", "--id", &id, "--overlap", "1h"]));
        for gateway in &cluster.replicas {
            wait_for_answer(gateway.address("authorize"), &new.secret, 204);
        }
        key_file.replace(&format!("{}\n", new.secret));
        for (exporter, _) in &mut exporters {
            exporter.wait_for("reloaded token");
        }
        wait_until_idle(&cluster, &key, || {
            for (exporter, _) in &mut exporters {
                exporter.wait_for("sent ");
            }
        });
        cluster.home.delete_key(&key);
        key = new;
    }
    let _ = stop.send(());
    let batches: usize = sending.await.expect("the sender");
    let mut sent = batches * ITEMS * 3 * 2;
    for (exporter, _) in exporters {
        let totals = Totals::of(&exporter.stop());
        assert!(totals.sent > 0 && totals.failed == 0, "{totals:?}");
        sent += totals.sent;
    }
    let lines = collector.program.stop();
    assert!(!lines.iter().any(|line| line.contains("ropping data")), "{lines:#?}");
    for gateway in cluster.replicas {
        let metrics = request(gateway.address("telemetry"), "GET", "/metrics", &[], "");
        let decisions: String = metrics
            .split_inclusive('\n')
            .filter(|line| line.starts_with("ingestion_auth_decisions_total"))
            .collect();
        assert!(decisions.contains("\"allow\"") && !decisions.contains("\"deny\""), "{decisions}");
        gateway.program.stop();
    }
    let items = Items::of(&receiver.stop());
    println!("{ROTATIONS} rotations: {sent} items sent, {} received", items.total());
    assert_eq!(items.total(), sent, "{items:?}");
}
