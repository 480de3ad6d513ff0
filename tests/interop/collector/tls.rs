//! The Collector as a client of a gateway with TLS.

use otlp_auth_tests::{Certificate, Gateway, Home, Program, send};

use super::{Collector, DOCUMENTED, OPEN_RECEIVER, service};
use crate::tls::{add_tls, assert_counted, wait_for_items};

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
