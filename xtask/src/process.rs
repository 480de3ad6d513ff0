//! Runs other programs, and finds the directories of the workspace.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Returns the root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Derives the target directory from the path of this program, `<target>/<profile>/xtask`.
pub(crate) fn target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("the path of this program")?;
    this.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .context("this program does not lie in a target directory")
}

/// Returns a `cargo` command that runs in the root of the workspace.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    // During a build, cargo sets this variable to the path of the running cargo. Without the
    // variable, the `cargo` in PATH is used.
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root()).args(arguments);
    command
}

/// Returns whether this program runs in CI. In CI, no test may be skipped and no file may be
/// uncommitted.
pub(crate) fn ci() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a program may read its environment")]
    let ci = std::env::var_os("CI");
    ci.is_some_and(|ci| ci == "true")
}

/// Prints and runs the command. Returns an error if the command fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", render(command));
    let status = command.status().with_context(|| format!("could not run {}", render(command)))?;
    ensure!(status.success(), "{} failed: {status}", render(command));
    Ok(())
}

/// Does the same as [`run`]. An error contains the last line that the program printed, because this
/// line is usually the reason.
pub(crate) fn run_with_reason(command: &mut Command) -> Result<()> {
    println!("$ {}", render(command));
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    command.stdout(writer.try_clone().context("a pipe")?).stderr(writer);
    let spawned = command.spawn();
    // `reader` ends when every copy of `writer` is closed. `command` contains two copies, and drops
    // them here.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.with_context(|| format!("could not run {}", render(command)))?;
    let mut last = None;
    for line in BufReader::new(reader).split(b'\n') {
        let line =
            String::from_utf8_lossy(&line.with_context(|| render(command))?).trim_end().to_owned();
        eprintln!("{line}");
        last = Some(line).filter(|line| !line.is_empty()).or(last);
    }
    let status = child.wait().with_context(|| render(command))?;
    ensure!(
        status.success(),
        "{} failed: {}",
        render(command),
        last.unwrap_or_else(|| status.to_string())
    );
    Ok(())
}

/// Runs the command and returns what it prints on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not run {}", render(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", render(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not UTF-8", render(command)))
}

/// Returns the command as text, with paths relative to the root of the workspace.
fn render(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().replace(&format!("{}/", root().display()), ""))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: one program prints the reason of its failure on stdout, another on stderr, and a
    // third prints nothing. A fourth program does not exist, and the last one succeeds.
    // Guarantee: each error contains the reason. A program that succeeds causes no error.
    #[test]
    fn a_failure_has_its_reason() {
        let result = |program: &str, script: &str| {
            run_with_reason(Command::new(program).args(["-c", script]))
                .map_err(|error| format!("{error:#}"))
        };
        for (script, reason) in [
            ("echo first; echo reason >&2; exit 3", "failed: reason"),
            ("echo first >&2; echo reason; echo; exit 3", "failed: reason"),
            ("exit 3", "failed: exit status: 3"),
        ] {
            assert!(result("sh", script).unwrap_err().ends_with(reason), "{script}");
        }
        assert!(result("no-such-program", "").unwrap_err().contains("No such file"));
        assert_eq!(result("sh", "echo reason; exit 0"), Ok(()));
    }
}
