//! Running other programs, and where things are.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The target directory: this program lies in a profile's directory of it.
pub(crate) fn target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("the path of this program")?;
    this.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .context("this program does not lie in a target directory")
}

/// `cargo`, in the root of the workspace.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    // Cargo names itself to what it runs; a plain name would do too.
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root()).args(arguments);
    command
}

/// Whether this is CI, where nothing may be skipped or left uncommitted.
pub(crate) fn ci() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a process starts here")]
    let ci = std::env::var_os("CI");
    ci.is_some_and(|ci| ci == "true")
}

/// Shows the command, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("could not run {}", shown(command)))?;
    ensure!(status.success(), "{} failed: {status}", shown(command));
    Ok(())
}

/// As [`run`], and the error has the last line that the program wrote: its reason.
pub(crate) fn run_told(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    command.stdout(writer.try_clone().context("a pipe")?).stderr(writer);
    let spawned = command.spawn();
    // The reader ends when nobody can write any more, this process included.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.with_context(|| format!("could not run {}", shown(command)))?;
    let mut last = None;
    for line in BufReader::new(reader).split(b'\n') {
        let line =
            String::from_utf8_lossy(&line.with_context(|| shown(command))?).trim_end().to_owned();
        eprintln!("{line}");
        last = Some(line).filter(|line| !line.is_empty()).or(last);
    }
    let status = child.wait().with_context(|| shown(command))?;
    ensure!(
        status.success(),
        "{} failed: {}",
        shown(command),
        last.unwrap_or_else(|| status.to_string())
    );
    Ok(())
}

/// Shows the command, runs it, and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not run {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is no text", shown(command)))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().replace(&format!("{}/", root().display()), ""))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that fail on either stream, without a word, and that do not exist; guarantees an
    /// error with the reason, and none for one that succeeds.
    #[test]
    fn a_failure_has_its_reason() {
        let told = |program: &str, script: &str| {
            run_told(Command::new(program).args(["-c", script]))
                .map_err(|error| format!("{error:#}"))
        };
        for (script, reason) in [
            ("echo first; echo reason >&2; exit 3", "failed: reason"),
            ("echo first >&2; echo reason; echo; exit 3", "failed: reason"),
            ("exit 3", "failed: exit status: 3"),
        ] {
            assert!(told("sh", script).unwrap_err().ends_with(reason), "{script}");
        }
        assert!(told("no-such-program", "").unwrap_err().contains("No such file"));
        assert_eq!(told("sh", "echo reason; exit 0"), Ok(()));
    }
}
