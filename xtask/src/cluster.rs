//! `cargo xtask cluster`: three gateways on one PostgreSQL database, behind nginx.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde_json::Value;

use crate::peers;
use crate::process::{cargo, run, target};
use crate::quickstart::build_programs;

/// How long the cluster may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks at something that does not say when it changes.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Start it, and print its addresses
    Up,
    /// End it, and remove its database
    Down,
}

/// The files of the cluster, in the target directory.
struct Files {
    /// Has the addresses while the cluster runs.
    addresses: PathBuf,
    /// Has what its programs print.
    log: PathBuf,
}

impl Files {
    fn new() -> Result<Self> {
        let directory = target()?.join("cluster");
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let [addresses, log] = ["cluster.json", "cluster.log"].map(|name| directory.join(name));
        Ok(Self { addresses, log })
    }

    /// Returns what the running cluster has written, or `None` if there is none.
    fn read(&self) -> Result<Option<Value>> {
        match fs::read(&self.addresses) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).context("cluster.json")?)),
            Err(_) => Ok(None),
        }
    }
}

pub(crate) fn run_cluster(command: Command) -> Result<()> {
    let files = Files::new()?;
    match command {
        Command::Up => up(&files),
        Command::Down => down(&files),
    }
}

fn up(files: &Files) -> Result<()> {
    if let Some(running) = files.read()? {
        bail!("it runs already, as process {}: `cargo xtask cluster down` ends it", running["pid"]);
    }
    let peers = peers::nginx()?;
    build_programs()?;
    let build = ["build", "--locked", "--package", "otlp-auth-tests", "--bin", "cluster"];
    run(&mut cargo(build))?;
    let log = File::create(&files.log).context("cluster.log")?;
    let program = target()?.join("debug/cluster");
    let mut child = Process::new(program)
        .arg(&files.addresses)
        .env("OTLP_AUTH_PEERS", peers)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cluster.log")?)
        .stderr(log)
        // Ctrl-C in this terminal does not end it.
        .process_group(0)
        .spawn()
        .context("the cluster cannot be started")?;
    let deadline = Instant::now() + PATIENCE;
    let running = loop {
        if let Some(running) = files.read()? {
            break running;
        }
        let ended = child.try_wait().context("the cluster")?;
        ensure!(ended.is_none(), "the cluster ended: {} says why", files.log.display());
        ensure!(
            Instant::now() < deadline,
            "the cluster does not start: see {}",
            files.log.display()
        );
        thread::sleep(PAUSE);
    };
    let text = |name: &str| running[name].as_str().unwrap_or_default().to_owned();
    println!(
        "\nnginx in front of three gateways:\n  \
           OTLP/gRPC   https://{}   (ca_file: {})\n  \
           OTLP/HTTP   http://{}\n  \
           management  http://{}\n\
         PostgreSQL: {}\n\
         all addresses: {}\n\n\
         sts context save --url http://{} --api-token {}\n\
         cargo xtask cluster down",
        text("otlp_grpc"),
        text("ca_file"),
        text("otlp_http"),
        text("management"),
        text("database"),
        files.addresses.display(),
        text("management"),
        text("admin_token"),
    );
    Ok(())
}

fn down(files: &Files) -> Result<()> {
    let Some(running) = files.read()? else { bail!("no cluster runs") };
    let pid = running["pid"].as_u64().context("cluster.json has no process id")?;
    let is_cluster = fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|program| program.file_name().is_some_and(|name| name == "cluster"));
    if !is_cluster {
        println!("the cluster was killed before, and its programs with it");
        return fs::remove_file(&files.addresses).context("cluster.json");
    }
    run(Process::new("kill").arg(pid.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    while files.addresses.exists() {
        ensure!(Instant::now() < deadline, "the cluster does not end: see {}", files.log.display());
        thread::sleep(PAUSE);
    }
    println!("the cluster has ended");
    Ok(())
}
