//! Software of others that tests and benchmarks talk to: built from `tests/peers`, in the target
//! directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{root, run_told, target};

/// Where the peers are, and those that could not be brought up.
pub(crate) struct Peers {
    pub(crate) directory: PathBuf,
    pub(crate) missing: Vec<&'static str>,
}

/// Builds every peer. What cannot be is told with the reason and the way to get it, and the others
/// go on.
pub(crate) fn build() -> Result<Peers> {
    let directory = directory()?;
    let go = (
        "collector",
        "the OpenTelemetry Collector",
        "install Go 1.26 or later, and let it reach its module proxy",
        go(&directory),
    );
    let python = (
        "python",
        "OpenTelemetry's Python SDK",
        "install CPython 3.10 to 3.14 with venv (on Debian the package python3-venv), and let pip reach its index",
        python(&directory),
    );
    let mut missing = Vec::new();
    for (peer, what, how, built) in [go, python] {
        if let Err(reason) = built {
            eprintln!("MISSING: {what}: {reason:#}\nIts tests are skipped. To run them, {how}.");
            missing.push(peer);
        }
    }
    Ok(Peers { directory, missing })
}

/// The Go peers: a Collector, and the timing of its authenticator.
pub(crate) fn go_peers() -> Result<PathBuf> {
    let directory = directory()?;
    go(&directory).context("the benchmark's peer needs Go 1.26 or later")?;
    Ok(directory)
}

fn directory() -> Result<PathBuf> {
    let directory = target()?.join("peers");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

fn go(directory: &Path) -> Result<()> {
    let mut out = directory.to_owned().into_os_string();
    out.push("/");
    let mut command = Command::new("go");
    command.current_dir(root().join("tests/peers/go")).args([
        "build",
        "-trimpath",
        "-ldflags",
        "-s -w",
        "-o",
    ]);
    // What the modules say is built, whatever stands in the settings of this machine.
    run_told(
        command
            .arg(out)
            .arg("./cmd/...")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", "local"),
    )
}

fn python(directory: &Path) -> Result<()> {
    let wanted = root().join("tests/peers/python/requirements.txt");
    let environment = directory.join("python");
    let installed = environment.join("requirements.txt");
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    if read(&installed).is_ok_and(|installed| read(&wanted).is_ok_and(|wanted| installed == wanted))
    {
        return Ok(());
    }
    // Debian's Python has venv without what it needs, and tells so in many lines.
    run_told(Command::new("python3").args(["-c", "import ensurepip, venv"]))?;
    run_told(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--no-deps",
        "--requirement",
    ]);
    run_told(pip.arg(&wanted))?;
    std::fs::copy(&wanted, &installed).with_context(|| installed.display().to_string())?;
    Ok(())
}
