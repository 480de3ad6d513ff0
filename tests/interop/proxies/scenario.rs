//! What each proxy has to go through.

use std::collections::BTreeSet;
use std::fs;

use otlp_auth_examples::Accepted;
use otlp_auth_tests::{Gateway, Home, Key, PATIENCE, Program, send};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::{Files, Ports, ask, at, upstream, wait_for_answer};
use crate::collector::{Collector, OPEN_RECEIVER, service};

const ITEMS: usize = 3;

const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

/// A name that a header can have only in an encoded form, and this form.
const NAME: (&str, &str) = ("Zürich, 100 %", "Z%C3%BCrich%2C%20100%20%25");

/// A proxy under test.
pub(super) struct Proxy {
    /// The files that the documentation has for it.
    pub(super) files: &'static [&'static str],
    /// Starts it, and waits until it serves.
    pub(super) start: fn(&Files, &Ports) -> Program,
    /// Whether its configuration has the paths of agents.
    pub(super) has_agents: bool,
}

/// Runs a Collector that sends over gRPC and HTTP through the proxy, with a good and with a deleted
/// key, in each of two headers. The Collector also tries to name itself in the headers of the
/// gateway. It sends a batch
/// while the gateway decides, one while the gateway is undecided, one while it accepts connections
/// and never answers, and one after it was killed. After each outage, the gateway decides again.
///
/// Everything that was sent with the good key must arrive once, under the name and the id of the
/// key, and without the key. The batches of the deleted key are dropped, but not during an outage.
/// The proxy logs no key.
pub(super) async fn run(proxy: &Proxy) {
    let (upstream, batches) = upstream::start().await;
    let ports = Ports::choose(upstream);
    let home = Home::new();
    let mut gateway = start_gateway(&home, &ports);
    home.save_context(&gateway);
    let (good, deleted) = (home.create_key(NAME.0), home.create_key("deleted"));
    home.delete_key(&deleted);
    let files = Files::of(proxy.files, &ports);
    let program = (proxy.start)(&files, &ports);
    let exporters: &[&str] = match proxy.has_agents {
        true => &["otlp_grpc", "otlp_http", "otlp_http/agent"],
        false => &["otlp_grpc", "otlp_http"],
    };
    let mut sender = Sender::start(exporters, &ports, &files, [&good, &deleted], batches);

    sender.send().await;
    sender.wait_until_settled(&good).await;

    let database = home.path().join(".local/state/ingestion-gateway/keys.db");
    let elsewhere = home.path().join("elsewhere");
    fs::rename(&database, &elsewhere).expect("the database is moved away");
    wait_for_answer(&at(ports.authorize), &good.secret, 503);
    sender.send().await;
    sender.wait_until_kept();
    fs::rename(&elsewhere, &database).expect("the database is moved back");
    sender.wait_until_settled(&good).await;

    stop(gateway.program.pid());
    sender.send().await;
    sender.wait_until_kept();
    kill_process(gateway.program.pid(), Signal::CONT).expect("the gateway is stopped");
    sender.wait_until_settled(&good).await;

    drop(gateway);
    assert_eq!(ask(&at(ports.authorize), &good.secret), None);
    sender.send().await;
    sender.wait_until_kept();
    gateway = start_gateway(&home, &ports);
    sender.wait_until_settled(&good).await;

    let lines = sender.collector.program.stop();
    let lost = |line: &&String| line.contains("ropping data") && !line.contains("deleted");
    assert_eq!(lines.iter().find(lost), None);
    assert!(sender.batches.try_recv().is_err(), "more arrived than was sent");
    gateway.program.stop();
    kill_process(program.pid(), Signal::TERM).expect("the proxy runs");
    let (_, lines) = program.end();
    let secrets = [&good.secret, &deleted.secret];
    let shown = |line: &&String| secrets.iter().any(|secret| line.contains(secret.as_str()));
    assert_eq!(lines.iter().find(shown), None);
}

/// Stops a child process and waits until it has stopped. The signal alone does not stop it at once:
/// on a busy machine, its other threads go on until one of them has taken the signal.
fn stop(process: Pid) {
    kill_process(process, Signal::STOP).expect("the gateway runs");
    let status = waitpid(Some(process), WaitOptions::UNTRACED).expect("the gateway is our child");
    assert!(status.is_some_and(|(_, status)| status.stopped()));
}

fn start_gateway(home: &Home, ports: &Ports) -> Gateway {
    let mut command = home.gateway();
    command.arg(format!("--set=authorize.endpoint=127.0.0.1:{}", ports.authorize));
    command.args(["--set=storage.poll_interval=100ms", "--set=storage.max_staleness=5s"]);
    Gateway::ready(Program::start(&mut command), home)
}

/// A Collector, and what has become of its batches.
struct Sender {
    collector: Collector,
    exporters: usize,
    batches: UnboundedReceiver<Accepted>,
    /// The number of times that `send` was called.
    sent: usize,
    arrived: usize,
    /// The number of batches of the deleted key that were dropped.
    dropped: usize,
    /// The exporters and the signals that have kept a batch for later since the last `send`.
    kept: BTreeSet<(String, &'static str)>,
}

impl Sender {
    fn start(
        exporters: &[&str],
        ports: &Ports,
        files: &Files,
        [good, deleted]: [&Key; 2],
        batches: UnboundedReceiver<Accepted>,
    ) -> Self {
        let mut config = "extensions:\n".to_owned();
        for (name, key) in [("good", good), ("deleted", deleted)] {
            let token = &key.secret;
            config +=
                &format!("  bearertokenauth/{name}: {{scheme: StackState, token: {token}}}\n");
        }
        config += "exporters:\n";
        let mut names = Vec::new();
        for (exporter, key) in
            exporters.iter().flat_map(|exporter| ["good", "deleted"].map(|key| (exporter, key)))
        {
            let (kind, path) = exporter.split_once('/').unwrap_or((exporter, ""));
            let endpoint = match (kind, path) {
                ("otlp_grpc", _) => format!("endpoint: localhost:{}", ports.grpc),
                (_, "") => format!("endpoint: https://localhost:{}", ports.http),
                // An agent sends its key in the query, too.
                _ => {
                    let key = if key == "good" { good } else { deleted };
                    let endpoint = |signal: &str| {
                        let url = format!("https://localhost:{}/stsAgent/otel/v1/", ports.http);
                        format!("{signal}_endpoint: \"{url}{signal}?a=b&api_key={}\"", key.secret)
                    };
                    SIGNALS.map(endpoint).join("\n    ")
                }
            };
            let name = format!("{kind}/{path}{key}");
            config += &format!(
                "  {name}:
    auth: {{authenticator: bearertokenauth/{key}}}
    {endpoint}
    tls: {{ca_file: {ca}}}
    headers: {{sts-api-key: {token}, x-ingestion-key-id: \"1\", x-ingestion-key-name: forged}}
    retry_on_failure: {{initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0s}}
",
                token = if key == "good" { &good.secret } else { &deleted.secret },
                ca = files.certificate.cert().display()
            );
            names.push(name);
        }
        let service = service("bearertokenauth/good, bearertokenauth/deleted", &names.join(", "));
        let indented = config.replace('\n', "\n  ");
        let config = format!("\n  {indented}{OPEN_RECEIVER}{service}");
        Self {
            collector: Collector::start(&config, ""),
            exporters: exporters.len(),
            batches,
            sent: 0,
            arrived: 0,
            dropped: 0,
            kept: BTreeSet::new(),
        }
    }

    /// Sends a batch of each signal.
    async fn send(&mut self) {
        self.kept.clear();
        send(&self.collector.channel(), ITEMS).await;
        self.sent += 1;
    }

    /// Waits until everything of the good key has arrived, and everything of the deleted key was
    /// dropped.
    async fn wait_until_settled(&mut self, good: &Key) {
        let batches = self.sent * SIGNALS.len() * self.exporters;
        while self.arrived < batches * ITEMS {
            let batch = timeout(PATIENCE, self.batches.recv()).await;
            let batch = batch.expect("everything arrives").expect("the upstream lives");
            let id = u64::try_from(good.id).ok();
            assert_eq!((batch.identity.name(), batch.identity.id()), (NAME.1, id));
            self.arrived += batch.items;
        }
        assert_eq!(self.arrived, batches * ITEMS);
        self.wait("the refused batches are dropped", |sender| sender.dropped == batches);
    }

    /// Waits until each exporter has failed to send each signal, and has kept the batch.
    fn wait_until_kept(&mut self) {
        let expected = 2 * self.exporters * SIGNALS.len();
        self.wait("every batch is kept", |sender| sender.kept.len() == expected);
    }

    /// Reads the log of the Collector until the condition holds.
    fn wait(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            let line = self.collector.program.wait_until(what, |line| {
                let is_about_a_batch = line.contains("Exporting failed");
                is_about_a_batch.then(|| line.to_owned())
            });
            let value = |name: &str| {
                let (_, value) = line.split_once(&format!("\"{name}\": \"")).expect("a field");
                value.split('"').next().unwrap_or_default().to_owned()
            };
            let (exporter, signal) = (value("otelcol.component.id"), value("otelcol.signal"));
            let signal = SIGNALS.into_iter().find(|known| *known == signal).expect("a signal");
            if line.contains("Dropping data") {
                assert!(exporter.contains("deleted"), "{line}");
                self.dropped += 1;
            } else {
                assert!(line.contains("Will retry"), "{line}");
                self.kept.insert((exporter, signal));
            }
        }
    }
}
