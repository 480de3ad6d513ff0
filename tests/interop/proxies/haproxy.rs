//! HAProxy, from Debian's package, with a script in Lua.

use otlp_auth_tests::{Program, peer};

use super::scenario::{self, Proxy};
use super::{Files, Ports, wait_until_served};

fn start(files: &Files, ports: &Ports) -> Program {
    let mut command = peer("haproxy");
    command.current_dir(files.directory()).args(["-db", "-f", "haproxy.cfg"]);
    let program = Program::start(&mut command);
    wait_until_served(ports.grpc);
    program
}

// Scenario: a Collector sends through HAProxy over gRPC and HTTP. The gateway is undecided for a
// while, then hangs, and is then killed and started again.
// Guarantee: everything that was sent with the good key arrives once, and nothing of the deleted
// key, which is dropped only while the gateway decides.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing() {
    scenario::run(&Proxy { files: &["haproxy.cfg", "authorize.lua"], start, has_agents: false })
        .await;
}
