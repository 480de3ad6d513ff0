//! The Collector as a client of a gateway with TLS, and as its upstream.

use otlp_auth_tests::{Certificate, Gateway, Home, Items, Program, send};

use super::{Collector, DOCUMENTED, OPEN_RECEIVER, service};
use crate::tls::{add_tls, assert_counted, wait_for_items};
use crate::{KEY, TestFile, start_receiver};

const BATCHES: usize = 3;
const ITEMS: usize = 7;

// Scenario: a Collector has the documented configuration, with nothing added but the endpoint of
// the gateway and the certificate that it trusts. It sends over OTLP/gRPC with a key of `sts`. Then
// `sts` deletes the key.
// Guarantee: the gateway counts each item once for the key. Without the key, the Collector is told
// that it is not authenticated.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sends_over_grpc_as_documented() {
    let (home, certificate) = (Home::new(), Certificate::new());
    let mut command = home.gateway();
    add_tls(&mut command, "receivers.otlp.protocols.grpc", &certificate, "");
    let mut gateway = Gateway::ready(Program::start(&mut command), &home);
    home.save_context(&gateway);
    let key = home.create_key("collector");

    let exporter = format!(
        "  exporters:
    otlp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: {}
      tls: {{ca_file: {}}}
",
        gateway.address("otlp_grpc"),
        certificate.cert().display()
    );
    let service = service("bearertokenauth", "otlp/stackstate");
    let config = [DOCUMENTED, &exporter, OPEN_RECEIVER, &service].concat();
    let mut collector = Collector::start(&config, &key.secret);
    for _ in 0..BATCHES {
        send(&collector.channel(), ITEMS).await;
    }
    let sent = BATCHES * ITEMS * 3;
    wait_for_items(&mut gateway, sent);
    home.delete_key(&key);
    send(&collector.channel(), ITEMS).await;
    let dropped = collector.program.wait_for("ropping data");
    assert!(dropped.contains("Unauthenticated"), "{dropped}");
    collector.program.stop();
    assert_counted(gateway, &key, "collector", sent);
}

// Scenario: the OTLP listeners ask for client certificates. A Collector has one, and sends over
// OTLP/gRPC and over OTLP/HTTP.
// Guarantee: the gateway counts each item once for each transport.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_identifies_itself() {
    let (home, certificate) = (Home::new(), Certificate::new());
    let client = Certificate::new();
    let mut command = home.gateway();
    let further = format!(", client_ca_file: {}", client.cert().display());
    for transport in ["grpc", "http"] {
        let listener = format!("receivers.otlp.protocols.{transport}");
        add_tls(&mut command, &listener, &certificate, &further);
    }
    let mut gateway = Gateway::ready(Program::start(&mut command), &home);
    home.save_context(&gateway);
    let key = home.create_key("collector");

    let settings = format!(
        "auth: {{authenticator: bearertokenauth}}, \
         tls: {{ca_file: {}, cert_file: {}, key_file: {}}}",
        certificate.cert().display(),
        client.cert().display(),
        client.key().display()
    );
    let exporters = format!(
        "  exporters:
    otlp: {{endpoint: \"{}\", {settings}}}
    otlphttp: {{endpoint: \"https://{}\", {settings}}}
",
        gateway.address("otlp_grpc"),
        gateway.address("otlp_http"),
    );
    let service = service("bearertokenauth", "otlp, otlphttp");
    let config = [DOCUMENTED, &exporters, OPEN_RECEIVER, &service].concat();
    let collector = Collector::start(&config, &key.secret);
    for _ in 0..BATCHES {
        send(&collector.channel(), ITEMS).await;
    }
    let sent = BATCHES * ITEMS * 3 * 2;
    wait_for_items(&mut gateway, sent);
    collector.program.stop();
    assert_counted(gateway, &key, "collector", sent);
}

/// Returns the configuration of a Collector that asks for a key and for a client certificate, and
/// passes on what it receives.
fn upstream(certificate: &Certificate, client: &Certificate, port: u16) -> String {
    let receiver = format!(
        "{{endpoint: \"127.0.0.1:0\", auth: {{authenticator: bearertokenauth}}, \
         tls: {{cert_file: {}, key_file: {}, client_ca_file: {}}}}}",
        certificate.cert().display(),
        certificate.key().display(),
        client.cert().display()
    );
    let receivers =
        format!("  receivers: {{otlp: {{protocols: {{grpc: {receiver}, http: {receiver}}}}}}}\n");
    let exporters = format!(
        "  exporters: {{otlphttp: {{endpoint: \"http://127.0.0.1:{port}\", \
         auth: {{authenticator: bearertokenauth}}}}}}\n"
    );
    [DOCUMENTED, &receivers, &exporters, &service("bearertokenauth", "otlphttp")].concat()
}

// Scenario: a Collector sends over both transports and TLS to a gateway, which forwards over TLS to
// another Collector. The second Collector asks the gateway for a key and for a certificate, and
// passes on to a receiver.
// Guarantee: every item arrives at the receiver once for each transport.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_between_two_collectors_identifies_itself() {
    let tokens = TestFile::new("tokens", &format!("gateway={KEY}\n"));
    let (mut behind, port) = start_receiver("receiver-hyper", &tokens.path(), None);
    let (home, certificate, client) = (Home::new(), Certificate::new(), Certificate::new());
    let second = Collector::start(&upstream(&certificate, &client, port), KEY);

    let mut command = home.gateway();
    command.arg("--set=upstream.agent=debug");
    for (transport, port) in [("grpc", Some(second.grpc)), ("http", second.http)] {
        let port = port.expect("a receiver for each transport");
        add_tls(&mut command, &format!("receivers.otlp.protocols.{transport}"), &certificate, "");
        command.arg(format!(
            "--set=upstream.otlp_{transport}={{endpoint: 'https://127.0.0.1:{port}', \
             auth: {{scheme: StackState, token: {KEY}}}, \
             tls: {{ca_file: {}, cert_file: {}, key_file: {}}}}}",
            certificate.cert().display(),
            client.cert().display(),
            client.key().display()
        ));
    }
    let gateway = Gateway::ready(Program::start(&mut command), &home);
    home.save_context(&gateway);
    let key = home.create_key("collector");
    let settings = format!(
        "auth: {{authenticator: bearertokenauth}}, tls: {{ca_file: {}}}",
        certificate.cert().display()
    );
    let exporters = format!(
        "  exporters:
    otlp: {{endpoint: \"{}\", {settings}}}
    otlphttp: {{endpoint: \"https://{}\", {settings}}}
",
        gateway.address("otlp_grpc"),
        gateway.address("otlp_http"),
    );
    let service = service("bearertokenauth", "otlp, otlphttp");
    let config = [DOCUMENTED, &exporters, OPEN_RECEIVER, &service].concat();
    let first = Collector::start(&config, &key.secret);
    for _ in 0..BATCHES {
        send(&first.channel(), ITEMS).await;
    }
    let (sent, mut items) = (BATCHES * ITEMS * 3 * 2, Items::default());
    behind.wait_until("all items", |line| {
        items.add_line(line);
        (items.total() >= sent).then_some(())
    });
    first.program.stop();
    gateway.program.stop();
    second.program.stop();
    assert_eq!(Items::of(&behind.stop()).total(), sent);
}
