//! Tests of the process: configuration, exit codes, restart, stopping.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::{Gateway, Lines, PATIENCE, command, free_ports, run_to_end, terminate};

// Scenario: a file and `--set` options have several mistakes. Other command lines have usage errors
// or commands that do not exist.
// Guarantee: the process ends with exit code 64, and creates no file. It reports every problem of
// the configuration with its path.
#[tokio::test]
async fn every_problem_is_reported() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("gateway.yaml");
    fs::write(
        &file,
        "upstream: {agent: {endpoint: 'http://receiver:7077'}}\nlimits: {max_streams: many}\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    for arguments in [
        &[
            "--config",
            file,
            "--set",
            "storage.url=postgres://db?sslmode=perhaps",
            "config",
            "check",
        ][..],
        &["--config", file, "--set", "storage.url=postgres://db?sslmode=perhaps"],
        &["--config", file, "run", "--set", "storage.url=postgres://db?sslmode=perhaps"],
    ] {
        let (code, _, errors) = run_to_end(directory.path(), arguments).await;
        assert_eq!(code, 64, "{errors}");
        for path in [
            "upstream.otlp_grpc: is required: another upstream is set",
            "limits.max_streams: expected",
            "storage.url: `sslmode` must be",
        ] {
            assert!(errors.contains(path), "{path}: {errors}");
        }
    }
    for arguments in [
        &["storage", "copy"][..],
        &["--unknown"],
        &["--config", "/nowhere.yaml"],
        &["config"],
        &["--set", "x"],
    ] {
        let (code, output, errors) = run_to_end(directory.path(), arguments).await;
        assert_eq!((code, output.as_str()), (64, ""), "{arguments:?} {errors}");
        assert!(!errors.is_empty(), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

// Scenario: `gateway.yaml`, which documents every setting, is checked and printed.
// Guarantee: the file is valid, and contains exactly the defaults.
#[tokio::test]
async fn the_documented_configuration_is_the_default() {
    let directory = TempDir::new().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.yaml");
    let (code, _, errors) =
        run_to_end(directory.path(), &["--config", file, "config", "check"]).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    let documented = run_to_end(directory.path(), &["--config", file, "config", "print"]).await;
    assert_eq!(documented, run_to_end(directory.path(), &["config", "print"]).await);
}

// Scenario: the version is printed. A valid configuration with a secret is checked and printed.
// Guarantee: the exit code is 0. The printed configuration has every setting, but not the secret.
#[tokio::test]
async fn a_valid_configuration_is_printed() {
    let directory = TempDir::new().unwrap();
    let set = "auth.receiver_api_key=canary-of-some-length";
    let (code, output, _) = run_to_end(directory.path(), &["--version"]).await;
    assert_eq!((code, output), (0, format!("ingestion-gateway {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, output, _) = run_to_end(directory.path(), &["--set", set, "config", "check"]).await;
    assert_eq!((code, output.as_str()), (0, "the configuration is valid\n"));
    let (code, output, errors) =
        run_to_end(directory.path(), &["config", "print", "--set", set]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(
        output.contains("shutdown_grace: 30s")
            && output.contains("***")
            && !(output + &errors).contains("canary")
    );
}

// Scenario: the gateway is started three times. First a port is already in use, then the database
// file is not a database, and then the admin token file is empty.
// Guarantee: the exit code is 69, and the log names what cannot be used.
#[tokio::test]
async fn unavailable_resources_are_named() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (database, tokens) = (directory.path().join("not-a.db"), directory.path().join("tokens"));
    fs::write(&database, "this is no database, and longer than its header would be: ".repeat(100))
        .unwrap();
    fs::write(&tokens, "\n").unwrap();
    let cases = [
        (
            format!("telemetry.endpoint={}", taken.local_addr().unwrap()),
            "telemetry: cannot listen on",
        ),
        (format!("storage.url=sqlite://{}", database.display()), "the key database"),
        (format!("management.admin_token_file={}", tokens.display()), "the admin token file"),
    ];
    for (set, expected) in cases {
        let free_ports = free_ports();
        let mut arguments: Vec<&str> = free_ports.iter().map(String::as_str).collect();
        arguments.extend(["--set", &set]);
        let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
        assert_eq!(code, 69, "{errors}");
        assert!(errors.contains(expected) && !errors.contains(" ready "), "{errors}");
    }
}

// Scenario: the admin token file does not exist, at its default path and at a path that the
// configuration names.
// Guarantee: the gateway creates the file. Only in the second case it warns and names the file,
// because the path may be mistyped.
#[tokio::test]
async fn a_new_admin_token_file_is_announced() {
    let gateway = Gateway::start().await;
    let line = gateway.log.wait_for("random token was created").await;
    assert!(line.contains("INFO") && line.contains("/ingestion-gateway/admin-tokens"), "{line}");
    let file = gateway.directory.path().join("mistyped/admin-tokens");
    let set = format!("--set=management.admin_token_file={}", file.display());
    let gateway = Gateway::start_with(&[&set]).await;
    let line = gateway.log.wait_for("it was created with a random token").await;
    assert!(line.contains("WARN") && line.contains(file.to_str().unwrap()), "{line}");
    assert!(!gateway.log.all().contains(fs::read_to_string(file).unwrap().trim_end()));
}

// Scenario: a gateway with a used key is stopped and started again.
// Guarantee: the key, its usage and the admin token are as before.
#[tokio::test]
async fn a_restart_keeps_everything() {
    let gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
    let (before, token) = (gateway.get(key.id).await, gateway.token.clone());
    let gateway = gateway.restart().await;
    let after = gateway.get(key.id).await;
    assert_eq!((&after["accepted"], &after["bytes"]), (&before["accepted"], &before["bytes"]));
    assert_eq!(after["accepted"], 1);
    assert_eq!(gateway.token, token);
    assert_eq!(gateway.send_http(&key.secret).await.status(), StatusCode::OK);
}

// Scenario: a second gateway is started on the same database, once while the first gateway runs and
// once while it stops.
// Guarantee: the second gateway waits. If the first gateway keeps running, the second ends with
// exit code 69 and a clear error. If the first gateway stops, the second starts to serve.
#[tokio::test]
async fn one_file_has_one_gateway() {
    let mut first = Gateway::start().await;
    let key = first.create("edge").await;
    let free_ports = free_ports();
    let arguments: Vec<&str> = free_ports.iter().map(String::as_str).collect();
    let (code, _, errors) = run_to_end(first.directory.path(), &arguments).await;
    assert_eq!(code, 69, "{errors}");
    assert!(errors.contains("another process is writing to this database"), "{errors}");

    let second = tokio::spawn(Gateway::start_in(Arc::clone(&first.directory), &[]));
    first.signal();
    assert_eq!(first.ended().await.code(), Some(0));
    assert_eq!(second.await.unwrap().send_http(&key.secret).await.status(), StatusCode::OK);
}

// Scenario: a gateway waits for a database that another gateway uses. Then the waiting gateway is
// stopped.
// Guarantee: the waiting gateway ends with exit code 0, and does not wait any longer.
#[tokio::test]
async fn waiting_can_be_stopped() {
    let first = Gateway::start().await;
    let free_ports = free_ports();
    let arguments: Vec<&str> = free_ports.iter().map(String::as_str).collect();
    let mut second = command(first.directory.path(), &arguments).spawn().unwrap();
    Lines::of(second.stderr.take().unwrap()).wait_for("opening the key database").await;
    terminate(&second);
    assert_eq!(timeout(PATIENCE, second.wait()).await.unwrap().unwrap().code(), Some(0));
}

// Scenario: a gateway is stopped while many senders send without a pause.
// Guarantee: the exit code is 0. Every request in flight gets a response, no response is an error,
// and the database counts every allowed request.
#[tokio::test]
async fn stopping_under_load_loses_nothing() {
    let mut gateway = Gateway::start().await;
    let key = gateway.create("edge").await;
    let url = gateway.url("agent", "/stsAgent/intake");
    let (mut senders, client) = (JoinSet::new(), gateway.client.clone());
    let (warm, mut warmed) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..8 {
        let (url, client, secret, warm) =
            (url.clone(), client.clone(), key.secret.clone(), warm.clone());
        senders.spawn(async move {
            let mut answered = 0_u64;
            while let Ok(response) =
                client.post(&url).header("sts-api-key", &secret).body("data").send().await
            {
                assert_eq!(response.status(), StatusCode::OK);
                answered += 1;
                let _ = warm.send(());
            }
            answered
        });
    }
    for _ in 0..200 {
        warmed.recv().await.unwrap();
    }
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    let answered: u64 = senders.join_all().await.into_iter().sum();
    gateway.log.wait_for("stopped").await;
    let gateway = Gateway::start_in(Arc::clone(&gateway.directory), &[]).await;
    let accepted = gateway.get(key.id).await["accepted"].as_u64().unwrap();
    assert!(accepted == answered && answered >= 200, "{accepted} accepted, {answered} answered");
}

// Scenario: a request is in flight for longer than `shutdown_grace`.
// Guarantee: the gateway ends with exit code 0, and logs that it dropped a request.
#[tokio::test]
async fn the_grace_ends() {
    use tokio::io::AsyncWriteExt;
    let mut gateway = Gateway::start_with(&["--set", "shutdown_grace=100ms"]).await;
    let key = gateway.create("edge").await;
    let address = gateway.url("agent", "").split_off("http://".len());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /stsAgent/intake HTTP/1.1\r\nhost: g\r\nsts-api-key: {}\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n",
        key.secret
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // After `100 Continue` the request is in flight.
    Lines::of(stream).wait_for("100 Continue").await;
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
    gateway.log.wait_for("still in flight after the grace").await;
}

// Scenario: the health endpoints of the telemetry listener are requested.
// Guarantee: the gateway is alive and ready. `/readyz` says that telemetry is discarded. The
// response to any other path is 404.
#[tokio::test]
async fn health_is_reported() {
    let gateway = Gateway::start().await;
    let get =
        async |path: &str| gateway.client.get(gateway.url("telemetry", path)).send().await.unwrap();
    assert_eq!(get("/livez").await.status(), StatusCode::OK);
    let ready = get("/readyz").await;
    assert_eq!(ready.status(), StatusCode::OK);
    assert!(ready.text().await.unwrap().contains("discarded"));
    gateway.create("edge").await;
    assert!(get("/metrics").await.text().await.unwrap().contains("ingestion_keys{"));
    assert_eq!(get("/api/server/info").await.status(), StatusCode::NOT_FOUND);
    let post = gateway
        .client
        .request(Method::POST, gateway.url("telemetry", "/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}
