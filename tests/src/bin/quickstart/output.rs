//! Prints steps, commands and files, without secrets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use otlp_auth_tests::{Program, Totals, example};
use tempfile::TempDir;

/// Prints the heading of a step.
pub(crate) fn step(what: &str) {
    println!("\n# {what}");
}

/// Prints a command and starts it. Each line of its output is printed after `label`.
pub(crate) fn start(command: &mut Command, label: &'static str) -> Program {
    println!("$ {}", command_line(command));
    Program::start_shown(command, label)
}

/// Formats a command as a user would type it, with its environment variables and arguments.
fn command_line(command: &Command) -> String {
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
        let text = if is_secret { "…".into() } else { argument.to_string_lossy() };
        is_secret = argument == "--api-token";
        if text.contains(' ') { format!("\"{text}\"") } else { text.into_owned() }
    });
    variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The result of one export.
pub(crate) struct Sent {
    pub(crate) what: &'static str,
    pub(crate) totals: Totals,
}

/// Prints what each export has sent and how much was received. Returns the total number of sent
/// items.
pub(crate) fn print_totals(sent: &[Sent], received: usize, from: &[String]) -> usize {
    for Sent { what, totals } in sent {
        println!("{what:>16}: {} sent, {} refused", totals.sent, totals.failed);
    }
    let total = sent.iter().map(|sent| sent.totals.sent).sum();
    println!("{:>16}: {total} sent, {received} received, from {}", "all", from.join(", "));
    total
}

/// Returns the command that runs one of the exporters of a configuration.
pub(crate) fn exporter(config: &Path, name: &str) -> Command {
    let mut command = example("otlp-exporter");
    command.arg("--config").arg(config).args(["--exporter", name]);
    command
}

/// Runs an exporter once with a key, and returns its exit code and its output.
pub(crate) fn export(config: &Path, name: &str, key: &str) -> (Option<i32>, Vec<String>) {
    start(exporter(config, name).env("API_KEY", key), "exporter").end()
}

/// Returns the documented configuration with this source of the token and these endpoints.
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

/// A directory for the files of one part of the quick start.
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

    /// Replaces a file by renaming a new one, so that no reader sees an incomplete file. Prints the
    /// file.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.path("new");
        fs::write(&new, content).expect("a new file");
        fs::rename(new, self.path(name)).expect("the file is replaced");
        print_file(&self.path(name));
    }
}

/// Prints a file without its empty lines.
pub(crate) fn print_file(path: &Path) {
    println!("$ cat {}", path.file_name().unwrap_or_default().to_string_lossy());
    let content = fs::read_to_string(path).expect("a text file");
    content.lines().filter(|line| !line.is_empty()).for_each(|line| println!("{line}"));
}
