//! Builds the programs of other projects that tests and benchmarks run. The sources are in
//! `tests/peers`, and the results are in the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{root, run_with_reason, target};

/// The arguments of `unshare` that mount a small file system, as a test of a full disk does.
const MOUNT: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=4m none /tmp"];

/// The peers that were built and those that could not be built.
pub(crate) struct Peers {
    /// The directory of the built peers.
    pub(crate) directory: PathBuf,
    /// The test modules whose peer, or what else they need of the system, is missing.
    pub(crate) missing: Vec<&'static str>,
}

/// Builds every peer. If a peer cannot be built, prints the reason and what to install, and
/// continues with the others.
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
    let node = (
        "node",
        "Node",
        "install Node 18 or later",
        run_with_reason(Command::new("node").arg("--version")),
    );
    let prometheus = (
        "prometheus",
        "Prometheus",
        "use Debian, and let apt reach its package index",
        prometheus(&directory),
    );
    let small_disk = (
        "small_disk",
        "mounting a file system in a user namespace",
        "install util-linux, and let users without privileges make user namespaces",
        run_with_reason(Command::new("unshare").args(MOUNT)),
    );
    let mut missing = Vec::new();
    for (peer, what, how, built) in [go, python, node, prometheus, small_disk] {
        if let Err(reason) = built {
            eprintln!("MISSING: {what}: {reason:#}\nIts tests are skipped. To run them, {how}.");
            missing.push(peer);
        }
    }
    Ok(Peers { directory, missing })
}

/// Builds the two Go peers: a Collector, and the benchmark of that Collector's authenticator.
/// Returns the directory that contains both programs.
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
    // Settings of this machine must not change which versions are built.
    run_with_reason(
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
    // If ensurepip is missing, the venv module of Debian's Python fails with a message of many
    // lines. This import fails first, with a message of one line.
    run_with_reason(Command::new("python3").args(["-c", "import ensurepip, venv"]))?;
    run_with_reason(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
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
    run_with_reason(pip.arg(&wanted))?;
    std::fs::copy(&wanted, &installed).with_context(|| installed.display().to_string())?;
    Ok(())
}

/// Downloads Debian's package of Prometheus and unpacks it, without installing it. apt reads a
/// package index of its own, because that of the system may be empty and belongs to root.
fn prometheus(directory: &Path) -> Result<()> {
    let program = directory.join("prometheus");
    if program.is_file() {
        return Ok(());
    }
    let packages = directory.join("packages");
    for empty in ["lists/partial", "archives/partial", "unpacked"] {
        let empty = packages.join(empty);
        std::fs::create_dir_all(&empty).with_context(|| empty.display().to_string())?;
    }
    let lists = format!("Dir::State::lists={}", packages.join("lists").display());
    let cache = format!("Dir::Cache={}", packages.display());
    for arguments in [&["update"][..], &["download", "prometheus"]] {
        let mut apt = Command::new("apt-get");
        apt.current_dir(&packages).args(["-q", "-o", &lists, "-o", &cache]);
        run_with_reason(apt.args(arguments))?;
    }
    let mut unpack = Command::new("sh");
    unpack.args(["-c", "dpkg-deb --extract prometheus_*.deb unpacked"]);
    run_with_reason(unpack.current_dir(&packages))?;
    let unpacked = packages.join("unpacked/usr/bin/prometheus");
    std::fs::rename(&unpacked, &program).with_context(|| unpacked.display().to_string())?;
    std::fs::remove_dir_all(&packages).with_context(|| packages.display().to_string())
}
