//! nginx, from Debian's package, with `auth_request`.

use otlp_auth_tests::{Program, peer};

use super::scenario::{self, Proxy};
use super::{Files, Ports};

/// The directories that Debian's nginx has below `/var/lib/nginx`, where a test may not write.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

fn start(files: &Files, _ports: &Ports) -> Program {
    let path = files.path("nginx.conf");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    let directories = TEMPORARY.map(|name| format!("{name}_temp_path {name};\n")).concat();
    std::fs::write(&path, text.replace("http {\n", &format!("http {{\n{directories}")))
        .expect("the configuration");
    let mut command = peer("nginx");
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(files.directory());
    command.args(["-g", "daemon off; master_process off; pid nginx.pid; error_log stderr notice;"]);
    let mut program = Program::start(&mut command);
    // Before it prints this, it listens.
    program.wait_for("epoll");
    program
}

// Scenario: a Collector sends through nginx, as three kinds of sender: over gRPC, over HTTP, and as
// an agent. The gateway is undecided for a while, then hangs, and is then killed and
// started again.
// Guarantee: everything that was sent with the good key arrives once, and nothing of the deleted
// key, which is dropped only while the gateway decides.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing() {
    scenario::run(&Proxy { files: &["nginx.conf"], start, has_agents: true }).await;
}
