//! Runs `sts` as a process with its own environment variables and home directory.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::mock::Mock;

/// A user who runs `sts`. The home directory is empty at first.
pub(crate) struct Sts {
    home: TempDir,
    variables: Vec<(String, String)>,
}

/// The result of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sts {
    pub(crate) fn new() -> Self {
        Self { home: TempDir::new().unwrap(), variables: Vec::new() }
    }

    /// Makes a user whose environment has the URL of the server and an API token.
    pub(crate) fn connected_to(mock: &Mock) -> Self {
        Self::new().with("STS_CLI_URL", &mock.url()).with("STS_CLI_API_TOKEN", "admin-token-canary")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the path of the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("stackstate-cli").join("config.yaml")
    }

    pub(crate) fn write_config(&self, text: &str) {
        std::fs::create_dir_all(self.config().parent().unwrap()).unwrap();
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn read_config(&self) -> String {
        std::fs::read_to_string(self.config()).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sts"));
        command
            .args(args)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.home.path())
            .envs(self.variables.iter().cloned());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.run_with_input(args, "")
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // An error is ignored, because the command may end without reading its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command on keys and returns its output. The command must succeed and print nothing to
    /// stderr.
    pub(crate) fn key(&self, args: &[&str]) -> String {
        let outcome = self.run(&[&["ingestion-api-key"], args].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{args:?}");
        outcome.stdout
    }

    /// Runs a command on keys.
    pub(crate) fn try_key(&self, args: &[&str]) -> Outcome {
        self.run(&[&["ingestion-api-key"], args].concat())
    }
}
