//! Caddy, from its Python wheel, with `forward_auth`.

use otlp_auth_tests::{Program, peer};

use super::scenario::{self, Proxy};
use super::{Files, Ports};

fn start(files: &Files, _ports: &Ports) -> Program {
    let mut command = peer("caddy");
    command.current_dir(files.directory()).args(["run", "--config", "Caddyfile"]);
    command
        .env("HOME", files.directory())
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME");
    let mut program = Program::start(&mut command);
    program.wait_for("serving initial configuration");
    program
}

// Scenario: a Collector sends through Caddy over gRPC and HTTP. The gateway is undecided for a
// while, then hangs, and is then killed and started again.
// Guarantee: everything that was sent with the good key arrives once, and nothing of the deleted
// key, which is dropped only while the gateway decides.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing() {
    scenario::run(&Proxy { files: &["Caddyfile"], start, has_agents: false }).await;
}
