//! Tests of the ready file.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::program::{Gateway, free_ports, run_to_end};

// Scenario: the gateway is started three times while one of its ports is already in use. At the
// first start, the ready file cannot be written. At the second, neither the ready file nor the
// database can be used. At the third, the ready file of an earlier run exists.
// Guarantee: each exit code is 69. If the ready file cannot be written, no listener is bound. The
// error of the database is reported before the error of the ready file. The ready file of the
// earlier run is removed.
#[tokio::test]
async fn a_stale_ready_file_is_removed() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ready_file = directory.path().join("ready.json");
    fs::write(&ready_file, "{}").unwrap();
    let set = format!("telemetry.endpoint={}", taken.local_addr().unwrap());
    let mut arguments = free_ports();
    arguments.extend(["--set".to_owned(), set, "--ready-file".to_owned()]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("/nowhere/ready.json");
    let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
    assert_eq!(code, 69, "{errors}");
    assert!(errors.contains("the ready file /nowhere/ready.json cannot be written"), "{errors}");
    assert!(!errors.contains("cannot listen on") && !errors.contains("/nowhere/."), "{errors}");
    let unusable = ["--set", "storage.url=sqlite:///proc/nowhere/keys.db"];
    let (code, _, errors) =
        run_to_end(directory.path(), &[&arguments[..], &unusable].concat()).await;
    assert_eq!(code, 69, "{errors}");
    assert!(errors.contains("the key database") && !errors.contains("the ready file"), "{errors}");
    *arguments.last_mut().unwrap() = ready_file.to_str().unwrap();
    let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
    assert_eq!(code, 69, "{errors}");
    assert!(errors.contains("cannot listen on") && !ready_file.exists(), "{errors}");
}

// Scenario: a second gateway is started with the database and the ready file of a running gateway.
// Guarantee: the second gateway ends with exit code 69, and the ready file is as the first gateway
// wrote it.
#[tokio::test]
async fn the_ready_file_of_a_running_gateway_stays() {
    let first = Gateway::start().await;
    let written = fs::read(&first.ready_file).unwrap();
    let mut arguments = free_ports();
    arguments.push(format!("--ready-file={}", first.ready_file.display()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, _, errors) = run_to_end(first.directory.path(), &arguments).await;
    assert_eq!(code, 69, "{errors}");
    assert_eq!(fs::read(&first.ready_file).unwrap(), written);
}
