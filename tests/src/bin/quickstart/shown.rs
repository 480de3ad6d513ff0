//! How steps, commands and files are shown. No secret is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use otlp_auth_tests::{Program, Totals, example};
use tempfile::TempDir;

pub(crate) fn step(what: &str) {
    println!("\n# {what}");
}

/// Shows a command and starts it; what it prints stands behind `label`.
pub(crate) fn start(command: &mut Command, label: &'static str) -> Program {
    println!("$ {}", line(command));
    Program::start_shown(command, label)
}

/// A command as it would be typed: its variables, its name, its arguments.
fn line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = if name == "API_KEY" { "…".into() } else { value?.to_string_lossy() };
        Some(format!("{}={value}", name.to_string_lossy()))
    });
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut is_secret = false;
    let arguments = command.get_args().map(|argument| {
        let shown = if is_secret { "…".into() } else { argument.to_string_lossy() };
        is_secret = argument == "--api-token";
        if shown.contains(' ') { format!("\"{shown}\"") } else { shown.into_owned() }
    });
    variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A part of an account: what was sent.
pub(crate) struct Sent {
    pub(crate) what: &'static str,
    pub(crate) totals: Totals,
}

/// Shows an account and what was received by another; returns what was sent in all.
pub(crate) fn account(sent: &[Sent], received: usize, from: &[String]) -> usize {
    for Sent { what, totals } in sent {
        println!("{what:>16}: {} sent, {} refused", totals.sent, totals.failed);
    }
    let total = sent.iter().map(|sent| sent.totals.sent).sum();
    println!("{:>16}: {total} sent, {received} received, from {}", "all", from.join(", "));
    total
}

/// The exporter with one of the exporters of a configuration.
pub(crate) fn exporter(config: &Path, name: &str) -> Command {
    let mut command = example("otlp-exporter");
    command.arg("--config").arg(config).args(["--exporter", name]);
    command
}

/// Runs the exporter once with a key; returns its exit code and what it prints.
pub(crate) fn export(config: &Path, name: &str, key: &str) -> (Option<i32>, Vec<String>) {
    start(exporter(config, name).env("API_KEY", key), "exporter").end()
}

/// The documented configuration, with this source of the token and these endpoints.
pub(crate) fn configuration(source: &str, grpc: &str, http: &str) -> String {
    format!(
        r#"
  extensions:
    bearertokenauth:
      scheme: StackState
      {source}

  exporters:
    otlp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: {grpc}
      tls:
        insecure: true
    otlphttp/stackstate:
      auth:
        authenticator: bearertokenauth
      endpoint: http://{http}

  service:
    extensions: [bearertokenauth]
"#
    )
}

/// The files of a part.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory for this run") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file as a careful writer does, by renaming, and shows it.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.path("new");
        fs::write(&new, content).expect("a new file");
        fs::rename(new, self.path(name)).expect("the file is replaced");
        show(&self.path(name));
    }
}

/// Shows a file without its empty lines.
pub(crate) fn show(path: &Path) {
    println!("$ cat {}", path.file_name().unwrap_or_default().to_string_lossy());
    let content = fs::read_to_string(path).expect("a text file");
    content.lines().filter(|line| !line.is_empty()).for_each(|line| println!("{line}"));
}
