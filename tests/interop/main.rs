//! Our receivers, our gateway and our exporter with programs of others as peers.
//!
//! | module | peer |
//! |---|---|
//! | `collector` | an OpenTelemetry Collector, which sends and receives |
//! | `prometheus` | Prometheus, which writes to our gateway |
//! | `proxies` | nginx, HAProxy, Caddy, Traefik and Envoy, which ask our gateway about each request |
//! | `python` | the OpenTelemetry SDK for Python, which sends |
//! | `forward` | Collectors on both sides of our gateway, telemetrygen, the SDK for Python; restarts |
//! | `exporter` | none; our exporter sends to our receivers |
//! | `follower` | none; a receiver follows our gateway |
//! | `keys` | none; our exporter, our gateway and `sts` are used as in the README |
//! | `replicas` | nginx in front of three of our gateways, and a Collector that sends |
//! | `refusals` | HTTP clients of Go, Node and Python, which send large bodies |
//! | `tls` | none; our exporter and `sts` use our gateway over TLS |
//! | `canary` | none; everything that our programs print and store is searched for keys |
//!
//! Every test that sends compares the number of items sent with the number received.

#![expect(clippy::expect_used, reason = "a failure here is a failed test")]

mod canary;
mod collector;
mod exporter;
mod follower;
mod forward;
mod keys;
mod prometheus;
mod proxies;
mod python;
mod refusals;
mod replicas;
mod tls;

use std::path::Path;

use otlp_auth_tests::{Certificate, Program, example};

const RECEIVERS: [&str; 3] = ["receiver-tonic", "receiver-axum", "receiver-hyper"];

/// A key that the receivers accept.
const KEY: &str = "iapikeyok-Right0Ke-yForTeam-AToSend0-1a2b3c";
/// A key that the receivers do not accept.
const WRONG_KEY: &str = "iapikeyok-Wrong0Ke-yForTeam-AToSend0-1a2b3c";

/// Starts a receiver with this token file, and returns it and its port.
fn start_receiver(name: &str, tokens: &Path, certificate: Option<&Certificate>) -> (Program, u16) {
    let mut command = example(name);
    command.args(["--listen", "127.0.0.1:0", "--tokens"]).arg(tokens);
    if let Some(certificate) = certificate {
        command.arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
    }
    let mut receiver = Program::start(&mut command);
    let line = receiver.wait_for("listening on ");
    let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    (receiver, port)
}

/// A file that is the only file in its temporary directory.
struct TestFile {
    directory: tempfile::TempDir,
    name: &'static str,
}

impl TestFile {
    fn new(name: &'static str, content: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().expect("a directory"), name };
        file.replace(content);
        file
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join(self.name)
    }

    /// Replaces the content atomically, so that no reader sees incomplete content.
    fn replace(&self, content: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, content).expect("a new file");
        std::fs::rename(new, self.path()).expect("the file is replaced");
    }
}
