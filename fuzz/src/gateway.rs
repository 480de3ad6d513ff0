//! A gateway in a process of its own, as it runs in production.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use ingestion_api::route;
use otlp_auth_tests::Home;
use serde_json::Value;

use crate::connection::{Answer, Connection};
use crate::target::{Finding, check};
use crate::watchdog::memory;

/// The memory that the gateway may use, in KiB.
const MAX_MEMORY: u64 = 256 << 10;

/// The names of the listeners in the ready file.
pub(crate) const LISTENERS: [&str; 6] =
    ["otlp_grpc", "otlp_http", "agent", "management", "authorize", "telemetry"];

/// A running gateway. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    addresses: Value,
    admin_token: String,
    key: String,
    health: [Connection; 3],
    /// The lines that report a panic, each with the line after it.
    panics: Arc<Mutex<Vec<String>>>,
    _home: Home,
}

impl Gateway {
    /// Starts a gateway and creates a key.
    pub(crate) fn start() -> Result<Self> {
        let home = Home::new();
        let ready_file = home.path().join("ready.json");
        let mut child = home
            .command("ingestion-gateway")
            .args(["--config".as_ref(), home.configuration().as_os_str()])
            .args(["--ready-file".as_ref(), ready_file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the gateway")?;
        let panics = Arc::default();
        let ready = follow(child.stderr.take().context("stderr")?, &panics);
        follow(child.stdout.take().context("stdout")?, &panics);
        ready.recv().context("the gateway ended before it was ready")?;
        let text = fs::read_to_string(&ready_file).context("the ready file")?;
        let addresses: Value = serde_json::from_str(&text)?;
        let health = [
            Connection::new(address(&addresses, "telemetry")?),
            Connection::new(address(&addresses, "otlp_http")?),
            Connection::new(address(&addresses, "management")?),
        ];
        let admin_token = home.admin_token();
        let mut gateway =
            Self { child, addresses, admin_token, key: String::new(), health, panics, _home: home };
        let path = [route::API_PATH, route::API_KEYS].concat();
        let request = gateway.admin_request("POST", &path, "", br#"{"name": "fuzz"}"#);
        let answer = gateway.health[2].call(&request)?;
        let key: Value = serde_json::from_slice(&answer.body)?;
        ensure!(answer.status == 200, "no key: {key}");
        gateway.key = key["apiKey"].as_str().context("the key")?.to_owned();
        Ok(gateway)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self, listener: &str) -> Result<SocketAddr> {
        address(&self.addresses, listener)
    }

    /// Returns the secret of a key that is let in.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Makes a request with the admin token. `headers` are more lines of the head.
    pub(crate) fn admin_request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Vec<u8> {
        let credential = format!("x-api-key: {}\r\n{headers}", self.admin_token);
        request(method, path, &credential, body)
    }

    /// Checks that the gateway runs, has not panicked, uses little memory, and still answers.
    pub(crate) fn check(&mut self) -> Result<(), Finding> {
        let panics =
            std::mem::take(&mut *self.panics.lock().unwrap_or_else(PoisonError::into_inner));
        check(panics.is_empty(), || panics.join("\n"))?;
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("the gateway ended: {status}"));
        }
        let used = memory(&self.child.id().to_string(), "VmHWM:").unwrap_or_default();
        check(used <= MAX_MEMORY, || format!("the gateway uses {used} KiB of memory"))?;
        let key = format!("authorization: StackState {}\r\n", self.key);
        let export =
            request("POST", "/v1/logs", &format!("{key}content-type: application/json\r\n"), b"{}");
        let list =
            self.admin_request("GET", &[route::API_PATH, route::SERVER_INFO].concat(), "", b"");
        let requests = [request("GET", "/livez", "", b""), export, list];
        for (connection, request) in self.health.iter_mut().zip(&requests) {
            let Answer { status, .. } = connection
                .call(request)
                .map_err(|error| format!("a good request is not answered: {error}"))?;
            check(status == 200, || {
                format!("a good request is answered {status}: {}", request.escape_ascii())
            })?;
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a complete request of HTTP/1.1.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn address(addresses: &Value, listener: &str) -> Result<SocketAddr> {
    let text = addresses[listener].as_str().with_context(|| format!("no listener {listener}"))?;
    Ok(text.parse()?)
}

/// Reads the output of the gateway in the background. Sends a message at the line that says that
/// the gateway is ready.
fn follow(
    output: impl Read + Send + 'static,
    panics: &Arc<Mutex<Vec<String>>>,
) -> std::sync::mpsc::Receiver<()> {
    let panics = Arc::clone(panics);
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut lines_of_panic = 0;
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("otlp_grpc") {
                let _ = ready.send(());
            }
            if line.contains("panicked at") {
                lines_of_panic = 2;
            }
            if lines_of_panic > 0 {
                lines_of_panic -= 1;
                panics.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    });
    is_ready
}
