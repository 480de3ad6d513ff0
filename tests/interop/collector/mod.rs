//! An OpenTelemetry Collector of version 0.162.0, built from `tests/peers/go`.

mod documents;
mod keys;
mod receives;
mod rotation;
mod sends;
mod tls;
mod transports;
mod undecided;

use std::process::Command;

use otlp_auth_tests::{Program, peer};
use tonic::transport::{Channel, Endpoint};

use crate::TestFile;

/// The documented configuration of a client. The endpoint is missing, because each test appends its
/// own endpoint.
const DOCUMENTED: &str = r#"
  extensions:
    bearertokenauth:
      scheme: StackState
      token: "${env:API_KEY}"
"#;

/// Settings with which the Collector logs every event in one line and opens no port for its
/// metrics.
pub(crate) const TELEMETRY: &str = r"
    telemetry:
      metrics: {level: none}
      logs: {disable_stacktrace: true, disable_zap_resource: true, sampling: {enabled: false}}
";

/// A receiver without authentication, to which the test sends its telemetry.
pub(crate) const OPEN_RECEIVER: &str = r#"
  receivers:
    otlp:
      protocols:
        grpc: {endpoint: "127.0.0.1:0"}
"#;

/// Returns a `service` block that uses these extensions and sends all signals to these exporters.
pub(crate) fn service(extensions: &str, exporters: &str) -> String {
    let pipeline = format!("{{receivers: [otlp], exporters: [{exporters}]}}");
    format!(
        "
  service:
    extensions: [{extensions}]
    pipelines:
      traces: {pipeline}
      metrics: {pipeline}
      logs: {pipeline}
{TELEMETRY}"
    )
}

/// A running Collector and the ports of its receivers.
pub(crate) struct Collector {
    pub(crate) program: Program,
    pub(crate) grpc: u16,
    pub(crate) http: Option<u16>,
    _config: TestFile,
}

impl Collector {
    /// Starts a Collector with `API_KEY` in its environment, and waits until it is ready.
    pub(crate) fn start(config: &str, api_key: &str) -> Self {
        Self::start_with(peer("otelcol").env("API_KEY", api_key), config)
    }

    /// Does the same with a command that has further arguments and its own environment.
    fn start_with(command: &mut Command, config: &str) -> Self {
        let config = TestFile::new("collector.yaml", config);
        command
            .arg("--config")
            .arg(config.path())
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY");
        let mut program = Program::start(command);
        let (mut grpc, mut http) = (0, None);
        program.wait_until("Everything is ready", |line| {
            if line.contains("Starting GRPC server") {
                grpc = port(line);
            } else if line.contains("Starting HTTP server") {
                http = Some(port(line));
            }
            line.contains("Everything is ready").then_some(())
        });
        Self { program, grpc, http, _config: config }
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::try_from(format!("http://127.0.0.1:{}", self.grpc)).expect("a URL").connect_lazy()
    }
}

/// Returns the port in the `endpoint` field of a log line.
fn port(line: &str) -> u16 {
    let (_, endpoint) = line.split_once("\"endpoint\": \"").expect("an endpoint");
    let address = endpoint.split('"').next().unwrap_or_default();
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}
