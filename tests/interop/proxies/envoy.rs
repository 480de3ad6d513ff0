//! Envoy, from its Python wheel, with `ext_authz` over gRPC.

use otlp_auth_tests::{Program, peer};

use super::scenario::{self, Proxy};
use super::{Files, Ports};

fn start(files: &Files, _ports: &Ports) -> Program {
    let mut command = peer("envoy");
    command.current_dir(files.directory()).args(["-c", "envoy.yaml", "--concurrency", "1"]);
    command.args(["--disable-hot-restart"]);
    let mut program = Program::start(&mut command);
    program.wait_for("starting main dispatch loop");
    program
}

// Scenario: a Collector sends through Envoy over gRPC and HTTP. The gateway is undecided for a
// while, then hangs, and is then killed and started again.
// Guarantee: everything that was sent with the good key arrives once, and nothing of the deleted
// key, which is dropped only while the gateway decides.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing() {
    scenario::run(&Proxy { files: &["envoy.yaml"], start, has_agents: false }).await;
}
