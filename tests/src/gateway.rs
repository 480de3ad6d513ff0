//! The gateway and `sts` under test, with a temporary home directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Program, example};

/// The configuration of a gateway under test: free ports, and usage is flushed ten times a second.
/// All other settings have their defaults.
const CONFIGURATION: &str = r#"
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:0"}
      http: {endpoint: "127.0.0.1:0"}
  agent: {endpoint: "127.0.0.1:0"}
management: {endpoint: "127.0.0.1:0"}
authorize: {endpoint: "127.0.0.1:0"}
telemetry: {endpoint: "127.0.0.1:0"}
usage: {flush_interval: 100ms}
"#;

/// The home directory of a user who has never run the gateway or `sts`.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
}

/// The exit code and the output of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A key with its secret, which `sts` prints once.
#[derive(Debug)]
pub struct Key {
    pub id: i64,
    pub secret: String,
}

impl Home {
    pub fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::write(home.configuration(), CONFIGURATION).expect("the gateway's configuration");
        home
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of the gateway's configuration.
    pub fn configuration(&self) -> PathBuf {
        self.path().join("gateway.yaml")
    }

    /// Returns the admin token that the gateway created at its first start.
    pub fn admin_token(&self) -> String {
        let text = fs::read_to_string(self.admin_token_file()).expect("the admin token file");
        text.trim_end().to_owned()
    }

    /// The default path of the file with the admin token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.path().join(".local/state/ingestion-gateway/admin-tokens")
    }

    /// Returns a command that runs a program whose environment contains only this home directory.
    pub fn command(&self, program: &str) -> Command {
        let mut command = example(program);
        command.env_clear().env("HOME", self.path());
        command
    }

    /// Returns a command that runs the gateway.
    pub fn gateway(&self) -> Command {
        let mut command = self.command("ingestion-gateway");
        command
            .arg("--config")
            .arg(self.configuration())
            .arg("--ready-file")
            .arg(self.ready_file());
        command
    }

    /// Returns a command that runs `sts` with its configuration in this home directory.
    pub fn sts_command(&self) -> Command {
        let mut command = self.command("sts");
        command.env("XDG_CONFIG_HOME", self.path().join(".config"));
        command
    }

    /// Runs `sts` without a terminal, as a script does.
    pub fn sts(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.sts_command().args(arguments))
    }

    /// Runs `sts ingestion-api-key` with these arguments and returns its JSON output. The command
    /// must succeed.
    pub fn sts_key(&self, arguments: &[&str]) -> Value {
        let outcome = self.sts(&[&["ingestion-api-key", "-o", "json"], arguments].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }

    /// Saves the address of this gateway and its admin token as the current context of `sts`.
    pub fn save_context(&self, gateway: &Gateway) {
        self.save_context_of(&gateway.url("management"));
    }

    /// Does the same for the gateway at this URL.
    pub fn save_context_of(&self, url: &str) {
        let outcome =
            self.sts(&["context", "save", "--url", url, "--api-token", &self.admin_token()]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }

    pub fn create_key(&self, name: &str) -> Key {
        Key::of(&self.sts_key(&["create", "--name", name]))
    }

    pub fn delete_key(&self, key: &Key) {
        self.sts_key(&["delete", "--id", &key.id.to_string()]);
    }

    fn ready_file(&self) -> PathBuf {
        self.path().join("ready.json")
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Key {
    /// Reads the key from the JSON that `create` and `rotate` print.
    pub fn of(created: &Value) -> Self {
        let key = &created["ingestion-api-key"];
        let secret = key["apiKey"].as_str().expect("a key").to_owned();
        Self { id: key["id"].as_i64().expect("an id"), secret }
    }
}

/// A running gateway whose listeners are bound. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Gateway {
    pub program: Program,
    addresses: Value,
}

impl Gateway {
    pub fn start(home: &Home) -> Self {
        Self::ready(Program::start(&mut home.gateway()), home)
    }

    /// Waits until every listener of the gateway is bound.
    pub fn ready(program: Program, home: &Home) -> Self {
        Self::ready_with(program, &home.ready_file())
    }

    /// Does the same as [`ready`](Self::ready) for a gateway that writes its ready file to this
    /// path.
    pub fn ready_with(mut program: Program, ready_file: &Path) -> Self {
        program.wait_for("listener::ready");
        let text = fs::read(ready_file).expect("the ready file");
        Self { program, addresses: serde_json::from_slice(&text).expect("JSON") }
    }

    /// The addresses of all listeners.
    pub fn addresses(&self) -> &Value {
        &self.addresses
    }

    /// The address of a listener, such as `management`.
    pub fn address(&self, listener: &str) -> &str {
        self.addresses[listener]
            .as_str()
            .unwrap_or_else(|| panic!("no listener {listener}: {}", self.addresses))
    }

    pub fn url(&self, listener: &str) -> String {
        format!("http://{}", self.address(listener))
    }
}
