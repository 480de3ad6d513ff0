//! Three gateways on one database behind nginx, which `cargo xtask cluster up` starts. The program
//! writes its process id and its addresses to a file as JSON when everything is ready, and ends
//! when it gets SIGTERM.

#![expect(clippy::expect_used, reason = "a failure ends the cluster")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use otlp_auth_tests::Cluster;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

fn main() {
    let file = PathBuf::from(std::env::args_os().nth(1).expect("the path of the file"));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    // The handler comes first, so that a signal at any moment leads to a clean end.
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of signals");
    let cluster = Cluster::start(&[]);
    let replicas: Vec<Value> = cluster
        .replicas
        .iter()
        .map(|gateway| json!({"pid": gateway.program.pid().as_raw_nonzero().get(), "addresses": gateway.addresses()}))
        .collect();
    let text = json!({
        "pid": std::process::id(),
        "otlp_grpc": cluster.grpc,
        "otlp_http": cluster.http,
        "management": cluster.management,
        "ca_file": cluster.certificate.cert(),
        "admin_token": cluster.home.admin_token(),
        "database": cluster.database,
        "replicas": replicas,
    });
    // Renaming makes the file appear with its whole content.
    let new = file.with_extension("new");
    // The file has the admin token.
    let mut options = OpenOptions::new();
    let mut private =
        options.write(true).create(true).truncate(true).mode(0o600).open(&new).expect("the file");
    private.write_all(format!("{text:#}\n").as_bytes()).expect("the file");
    fs::rename(&new, &file).expect("the file");
    runtime.block_on(terminate.recv());
    drop(cluster);
    let _gone_already = fs::remove_file(&file);
}
