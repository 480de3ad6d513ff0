//! Tests of the number of open connections: who gives way, and what is reserved.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::http2::Peer;
use crate::program::{Gateway, Key, PATIENCE, command};

/// Opens connections to a listener that never say anything.
async fn silent(address: &str, number: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..number {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

/// Checks that every listener answers, and that a sender at another address is let in.
async fn everybody_gets_through(gateway: &Gateway, key: &Key) {
    let other: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let client = || reqwest::Client::builder().local_address(other.ip()).build().unwrap();
    for (listener, path) in [("otlp_http", "/v1/traces"), ("agent", "/stsAgent/intake")] {
        let request = client()
            .post(gateway.url(listener, path))
            .header("authorization", format!("StackState {}", key.secret))
            .header("content-type", "application/json")
            .body("{}");
        let response = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{listener}");
    }
    assert_eq!(gateway.send_grpc(&key.secret, 1, None).await, tonic::Code::Ok);
    for (listener, path, status) in [
        ("telemetry", "/livez", StatusCode::OK),
        ("management", "/api/server/info", StatusCode::UNAUTHORIZED),
        ("authorize", "/", StatusCode::NOT_FOUND),
    ] {
        let request = client().get(gateway.url(listener, path));
        let response = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), status, "{listener}");
    }
}

// Scenario: each listener allows four connections. 40 connections to each listener, all from one
// address, say nothing and stay open. Another sender keeps its connection after a request.
// Guarantee: every listener answers a client at another address, because silent connections give
// way to new ones. The connection that was used before them is still open.
#[tokio::test]
async fn silent_connections_give_way() {
    let gateway = Gateway::start_with(&["--set", "limits.max_connections=4"]).await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    let mut all = Vec::new();
    for listener in ["otlp_grpc", "otlp_http", "agent", "management", "authorize", "telemetry"] {
        all.push(silent(&gateway.address(listener), 40).await);
    }
    everybody_gets_through(&gateway, &key).await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
}

// Scenario: a process may open 256 files, and 10,000 connections are configured. 500 connections to
// OTLP/HTTP from one address say nothing and stay open.
// Guarantee: the log has both numbers. Every listener answers, and a sender at another address is
// let in.
#[tokio::test]
async fn descriptors_are_reserved() {
    let directory = Arc::new(TempDir::new().unwrap());
    let limited = |directory: &Path, arguments: &[&str]| limited(256, 256, directory, arguments);
    let gateway = Gateway::start_by(limited, directory, &[]).await;
    let warning = gateway.log.wait_for("limits.max_connections is 10000").await;
    assert!(warning.contains("only 256 files") && warning.contains("gets 48"), "{warning}");
    let key = gateway.create("edge").await;
    let _silent = silent(&gateway.address("otlp_http"), 500).await;
    everybody_gets_through(&gateway, &key).await;
}

// Scenario: a process has a soft limit of 256 open files, and a higher hard limit.
// Guarantee: the gateway raises the soft limit to the hard limit.
#[tokio::test]
async fn the_soft_limit_is_raised() {
    let directory = Arc::new(TempDir::new().unwrap());
    let limited = |directory: &Path, arguments: &[&str]| limited(256, 512, directory, arguments);
    let gateway = Gateway::start_by(limited, directory, &[]).await;
    let limits = gateway.proc("limits");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["512", "512"]);
}

// Scenario: 800 connections send the preface and the settings of HTTP/2, and then close.
// Guarantee: the gateway gives most of the memory that they used back to the operating system.
#[tokio::test]
async fn closed_connections_leave_no_memory_behind() {
    let gateway = Gateway::start().await;
    let before = gateway.resident_memory();
    let mut peers = Vec::new();
    for _ in 0..800 {
        peers.push(Peer::connect(&gateway.address("otlp_grpc")).await);
    }
    let used = gateway.resident_memory() - before;
    drop(peers);
    let given_back = async {
        while gateway.resident_memory() > before + used / 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, given_back).await.unwrap();
}

/// Creates a command that runs the program with a limit of open files.
fn limited(soft: u32, hard: u32, directory: &Path, arguments: &[&str]) -> Command {
    let program = command(directory, arguments);
    let script = format!(r#"ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@""#);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).arg(program.as_std().get_program()).args(arguments);
    shell.env_clear().env("XDG_STATE_HOME", directory).kill_on_drop(true);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}
