//! The gateway between senders and a Collector: everything that is sent is received.
//!
//! Senders send to the gateway, which checks their key and forwards to a Collector. The Collector
//! answers only after the receiver behind it has accepted the data, and the receiver counts items.

mod python;
mod restart;
mod senders;

use otlp_auth_tests::{Gateway, Home, Items, Key, Program};
use rustix::process::{Signal, kill_process};

use crate::collector::{Collector, TELEMETRY};
use crate::{KEY, TestFile, start_receiver};

/// A gateway, the Collector behind it, and the receiver behind that.
struct Chain {
    home: Home,
    gateway: Option<Gateway>,
    /// The addresses that the gateway keeps when it is restarted.
    grpc: String,
    http: String,
    key: Key,
    upstream: Option<Collector>,
    /// The port of the receiver.
    port: u16,
    receiver: Program,
    items: Items,
    _tokens: TestFile,
}

impl Chain {
    fn start() -> Self {
        let tokens = TestFile::new("tokens", &format!("collector={KEY}\n"));
        let (receiver, port) = start_receiver("receiver-hyper", &tokens.path(), None);
        let upstream = Collector::start(&upstream_config(port, 0, 0), KEY);
        let home = Home::new();
        let gateway = start_gateway(&home, &upstream, None);
        home.save_context(&gateway);
        let key = home.create_key("sender");
        let [grpc, http] = ["otlp_grpc", "otlp_http"].map(|name| gateway.address(name).to_owned());
        Self {
            home,
            gateway: Some(gateway),
            grpc,
            http,
            key,
            upstream: Some(upstream),
            port,
            receiver,
            items: Items::default(),
            _tokens: tokens,
        }
    }

    /// Stops the gateway, as an operator does, and starts it again on the same addresses.
    fn restart_gateway(&mut self) {
        self.gateway.take().expect("a gateway").program.stop();
        let upstream = self.upstream.as_ref().expect("a Collector");
        self.gateway = Some(start_gateway(&self.home, upstream, Some((&self.grpc, &self.http))));
    }

    /// Kills the gateway, and starts it again on the same addresses.
    fn kill_gateway(&mut self) {
        drop(self.gateway.take());
        let upstream = self.upstream.as_ref().expect("a Collector");
        self.gateway = Some(start_gateway(&self.home, upstream, Some((&self.grpc, &self.http))));
    }

    /// Stops the Collector behind the gateway.
    fn stop_upstream(&mut self) -> (u16, u16) {
        let upstream = self.upstream.take().expect("a Collector");
        let ports = (upstream.grpc, upstream.http.expect("an HTTP receiver"));
        kill_process(upstream.program.pid(), Signal::TERM).expect("the Collector runs");
        // It may report that it was interrupted.
        let _ = upstream.program.end();
        ports
    }

    fn start_upstream(&mut self, (grpc, http): (u16, u16)) {
        self.upstream = Some(Collector::start(&upstream_config(self.port, grpc, http), KEY));
    }

    /// Waits until this many more batches have been received.
    fn wait_for_batches(&mut self, batches: usize) {
        let (items, mut left) = (&mut self.items, batches);
        self.receiver.wait_until("some batches", |line| {
            left -= usize::from(items.add_line(line));
            (left == 0).then_some(())
        });
    }

    /// Waits until at least this many items have been received.
    fn wait_for_items(&mut self, count: usize) {
        let items = &mut self.items;
        if items.total() < count {
            self.receiver.wait_until("all items", |line| {
                items.add_line(line);
                (items.total() >= count).then_some(())
            });
        }
    }

    /// Stops everything in the order of the data, and returns all items that were received.
    fn stop(mut self) -> Items {
        if let Some(gateway) = self.gateway.take() {
            gateway.program.stop();
        }
        if let Some(upstream) = self.upstream.take() {
            upstream.program.stop();
        }
        Items::of(&self.receiver.stop())
    }
}

/// Starts a gateway in front of this Collector, on these addresses for gRPC and HTTP.
fn start_gateway(home: &Home, upstream: &Collector, addresses: Option<(&str, &str)>) -> Gateway {
    let (grpc, http) = (upstream.grpc, upstream.http.expect("an HTTP receiver"));
    let mut command = home.gateway();
    command.args([
        format!("--set=upstream.otlp_grpc.endpoint=http://127.0.0.1:{grpc}"),
        format!("--set=upstream.otlp_http.endpoint=http://127.0.0.1:{http}"),
        "--set=upstream.agent=debug".to_owned(),
    ]);
    if let Some((grpc, http)) = addresses {
        command.args([
            format!("--set=receivers.otlp.protocols.grpc.endpoint={grpc}"),
            format!("--set=receivers.otlp.protocols.http.endpoint={http}"),
        ]);
    }
    Gateway::ready(Program::start(&mut command), home)
}

/// Returns the configuration of the Collector behind the gateway. It has no queue, so that it
/// answers only after the receiver on `port` has accepted the data.
fn upstream_config(port: u16, grpc: u16, http: u16) -> String {
    let pipeline = "{receivers: [otlp], exporters: [otlphttp/behind]}";
    format!(
        r#"
  extensions:
    bearertokenauth: {{scheme: StackState, token: "${{env:API_KEY}}"}}
  receivers:
    otlp:
      protocols:
        grpc: {{endpoint: "127.0.0.1:{grpc}"}}
        http: {{endpoint: "127.0.0.1:{http}"}}
  exporters:
    otlphttp/behind:
      endpoint: http://127.0.0.1:{port}
      auth: {{authenticator: bearertokenauth}}
      sending_queue: {{enabled: false}}
      retry_on_failure: {{enabled: false}}
  service:
    extensions: [bearertokenauth]
    pipelines: {{traces: {pipeline}, metrics: {pipeline}, logs: {pipeline}}}
{TELEMETRY}"#
    )
}

/// The exporters of [`sender_config`], one for each transport.
const EXPORTERS: [&str; 2] = ["otlp/gateway", "otlphttp/gateway"];

/// Returns the configuration of a Collector that sends to the gateway with these exporters, and
/// tries again soon. The key is in a header, because a Collector sends `bearertokenauth` over gRPC
/// only with TLS. The Collector has no queue: it answers a batch once every exporter has sent it.
fn sender_config(chain: &Chain, exporters: &[&str]) -> String {
    let (grpc, http, key) = (&chain.grpc, &chain.http, &chain.key.secret);
    let rest = format!(
        "headers: {{authorization: \"StackState {key}\"}}, sending_queue: {{enabled: false}}, \
         retry_on_failure: {{initial_interval: 100ms, max_interval: 1s}}"
    );
    let service = crate::collector::service("", &exporters.join(", "));
    let exporters = format!(
        "
  exporters:
    otlp/gateway: {{endpoint: \"{grpc}\", tls: {{insecure: true}}, {rest}}}
    otlphttp/gateway: {{endpoint: \"http://{http}\", {rest}}}
"
    );
    [crate::collector::OPEN_RECEIVER, &exporters, &service].concat()
}
