//! A running gateway.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a gateway may take to bind its listeners.
const PATIENCE: Duration = Duration::from_secs(60);

const LISTENERS: [&str; 6] = [
    "receivers.otlp.protocols.grpc",
    "receivers.otlp.protocols.http",
    "receivers.agent",
    "management",
    "authorize",
    "telemetry",
];

/// A running gateway. Dropping this value kills the process.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    addresses: Value,
    pub(crate) admin_token: String,
}

impl Gateway {
    /// Starts a gateway with the database at this URL, and waits until its listeners are bound. The
    /// gateways that start in the same directory have the same admin token.
    pub(crate) fn start(url: &str, directory: &Path, settings: &[String]) -> Self {
        let (ready_file, token) = (directory.join("ready.json"), directory.join("admin-token"));
        let _there_is_none = fs::remove_file(&ready_file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingestion-gateway"));
        command.arg("--ready-file").arg(&ready_file);
        command.args(["--set", &format!("storage.url={url}")]);
        command.args(["--set", &format!("management.admin_token_file={}", token.display())]);
        for listener in LISTENERS {
            command.args(["--set", &format!("{listener}.endpoint=127.0.0.1:0")]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ready = wait_for(&ready_file);
        Self {
            child,
            addresses: serde_json::from_str(&ready).unwrap(),
            admin_token: fs::read_to_string(token).unwrap().trim().to_owned(),
        }
    }

    pub(crate) fn address(&self, listener: &str) -> &str {
        self.addresses[listener].as_str().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a file exists, and returns its content. The file is complete as soon as it exists.
fn wait_for(path: &Path) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        assert!(Instant::now() < end, "the gateway did not start");
        thread::sleep(Duration::from_millis(1));
    }
}
