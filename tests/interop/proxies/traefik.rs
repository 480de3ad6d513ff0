//! Traefik, from its Python wheel, with `forwardAuth`.

use otlp_auth_tests::{Program, peer};

use super::scenario::{self, Proxy};
use super::{Files, Ports, at, wait_for_answer};

fn start(files: &Files, ports: &Ports) -> Program {
    let mut command = peer("traefik");
    command.current_dir(files.directory()).arg("--configFile=traefik.yaml");
    let program = Program::start(&mut command);
    // Before it has read its routes, it answers 404 to everything.
    wait_for_answer(&at(ports.internal), "no-key-of-ours", 401);
    program
}

// Scenario: a Collector sends through Traefik over gRPC and HTTP. The gateway is undecided for a
// while, then hangs, and is then killed and started again.
// Guarantee: everything that was sent with the good key arrives once, and nothing of the deleted
// key, which is dropped only while the gateway decides.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing() {
    scenario::run(&Proxy { files: &["traefik.yaml", "dynamic.yaml"], start, has_agents: false })
        .await;
}
