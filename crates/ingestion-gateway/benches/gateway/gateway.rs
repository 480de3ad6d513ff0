//! Starts the gateway.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Middle, Process, Sink};

/// The listeners of the gateway, besides the two for OTLP.
const LISTENERS: [&str; 6] = [
    "receivers.otlp.protocols.grpc",
    "receivers.otlp.protocols.http",
    "receivers.agent",
    "management",
    "authorize",
    "telemetry",
];

/// Starts a gateway with an empty database, and creates one key.
pub(crate) fn start(name: &str, program: &Path, sink: Sink, settings: &[String]) -> Middle {
    let directory = tempfile::tempdir().unwrap();
    let (process, ready) = launch(program, directory, Some(sink), settings).0;
    let token = fs::read_to_string(process.directory.path().join("admin-token")).unwrap();
    let key = create_key(address(&ready, "management"), token.trim());
    middle(name, process, &ready, vec![key])
}

/// Starts a gateway with a database that has these keys.
pub(crate) fn start_with_keys(
    name: &str,
    program: &Path,
    sink: Sink,
    settings: &[String],
    (database, keys): (PathBuf, Vec<String>),
) -> Middle {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(database, directory.path().join("keys.db")).unwrap();
    let (process, ready) = launch(program, directory, Some(sink), settings).0;
    middle(name, process, &ready, keys)
}

/// Starts a gateway as it starts without any setting of an upstream. Returns how long it took until
/// every listener accepted connections.
pub(crate) fn start_idle(program: &Path) -> (Process, Duration) {
    let ((process, _), elapsed) = launch(program, tempfile::tempdir().unwrap(), None, &[]);
    (process, elapsed)
}

fn middle(name: &str, process: Process, ready: &Value, keys: Vec<String>) -> Middle {
    Middle {
        name: name.to_owned(),
        version: None,
        keys,
        addresses: ["otlp_grpc", "otlp_http"].map(|listener| address(ready, listener)),
        gzip_addresses: None,
        process,
    }
}

fn address(ready: &Value, listener: &str) -> SocketAddr {
    ready[listener].as_str().unwrap().parse().unwrap()
}

/// Returns the process, what its ready file says, and how long it took to write that file.
fn launch(
    program: &Path,
    directory: TempDir,
    sink: Option<Sink>,
    settings: &[String],
) -> ((Process, Value), Duration) {
    let path = |file: &str| directory.path().join(file).display().to_string();
    let ready_file = directory.path().join("ready.json");
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.arg("--ready-file").arg(&ready_file);
    let mut all = vec![
        format!("storage.url=sqlite://{}", path("keys.db")),
        format!("management.admin_token_file={}", path("admin-token")),
        "telemetry.logs.level=error".to_owned(),
    ];
    all.extend(LISTENERS.map(|listener| format!("{listener}.endpoint=127.0.0.1:0")));
    if let Some(Sink { grpc, http }) = sink {
        all.push(format!("upstream.otlp_grpc.endpoint=http://{grpc}"));
        all.push(format!("upstream.otlp_http.endpoint=http://{http}"));
        all.push("upstream.agent=debug".to_owned());
    }
    for setting in all.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    let started = Instant::now();
    let mut process = Process::start(&mut command, directory);
    // The file is complete as soon as it exists.
    let ready = process.wait_until(|| fs::read_to_string(&ready_file).ok());
    let elapsed = started.elapsed();
    ((process, serde_json::from_str(&ready).unwrap()), elapsed)
}

fn create_key(management: SocketAddr, token: &str) -> String {
    let mut tcp = TcpStream::connect(management).unwrap();
    let body = r#"{"name":"benchmark"}"#;
    let request = format!(
        "POST /api/security/ingestion/api_keys HTTP/1.1\r\nHost: {management}\r\n\
         X-API-Token: {token}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let created = answer.split("\r\n\r\n").nth(1).unwrap();
    let created: Value = serde_json::from_str(created).unwrap();
    created["apiKey"].as_str().unwrap().to_owned()
}
