//! Measures the gateway with many keys: how long it takes until it can decide about a key, how much
//! memory it uses, and how long creating and listing keys take. `cargo xtask bench keys` runs this
//! benchmark.
//!
//! Each run creates its own databases. The gateway and `sts` are built as they are shipped.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ingestion_api::IngestionKey;
use ingestion_keys::audit::{AuditAction, AuditNote};
use ingestion_keys::clock::Timestamp;
use ingestion_keys::store::{Commit, KeyStore, SqliteOptions, SqliteStore, Write};
use ingestion_keys::{KeyDigest, KeyId, KeyRecord, KeyRole};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

const MILLION: u64 = 1_000_000;

/// The number of keys that are created to measure how long creating one key takes.
const CREATED: usize = 300;

/// The number of keys that one commit inserts while a database is filled.
const BATCH: u64 = 10_000;

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let million = Database::with_keys(MILLION).await;
    let started = Instant::now();
    let gateway = Gateway::start(&million);
    gateway.wait_until_it_lets_in(&key(MILLION / 2)).await;
    report("ready_1m", started.elapsed().as_secs_f64());
    report("rss_1m", gateway.resident_megabytes());
    report("create_p99_1m", gateway.create_p99().await);
    drop(gateway);

    let thousand = Database::with_keys(1000).await;
    let gateway = Gateway::start(&thousand);
    gateway.wait_until_it_lets_in(&key(1)).await;
    report("create_p99_1k", gateway.create_p99().await);
    drop(gateway);

    let ten_thousand = Database::with_keys(10_000).await;
    let gateway = Gateway::start(&ten_thousand);
    gateway.wait_until_it_lets_in(&key(1)).await;
    report("list_10k", gateway.seconds_to_list(10_000));
}

fn report(case: &str, value: f64) {
    println!(r#"{{"case":"{case}","value":{value:.3},"allocations":null}}"#);
}

/// A database in a temporary directory.
struct Database {
    directory: TempDir,
}

impl Database {
    async fn with_keys(count: u64) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        let store = SqliteStore::open(&SqliteOptions::new(database.path())).unwrap();
        for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
            let records: Vec<_> = (first..count.min(first + BATCH)).map(record).collect();
            let audit = AuditNote {
                action: AuditAction::Create,
                key_id: records[0].id,
                key_name: records[0].name.clone(),
                other_key_id: None,
                changes: Vec::new(),
            };
            let writes = records.into_iter().map(Write::Insert).collect();
            let change_id = u128::from(first + 1).to_le_bytes();
            let commit = Commit {
                change_id,
                at: Timestamp::from_millis(1),
                who: "benchmark".to_owned(),
                audit,
                writes,
            };
            store.commit(commit).await.unwrap();
        }
        database
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.db")
    }
}

fn record(number: u64) -> KeyRecord {
    let parsed = IngestionKey::parse(&key(number)).unwrap();
    let then = Timestamp::from_millis(1);
    KeyRecord {
        id: KeyId::new(i64::try_from(number).unwrap() + 1).unwrap(),
        role: KeyRole::Ingestion,
        digest: KeyDigest::of(&parsed),
        key_start: parsed.start().to_owned(),
        name: format!("sender-{number}"),
        description: None,
        created_at: then,
        updated_at: then,
        expires_at: None,
        enabled: true,
        successor: None,
        revision: 0,
    }
}

/// Returns the key for this number. The same number gives the same key in every run.
fn key(number: u64) -> String {
    let mut state = number.wrapping_mul(0xd134_2543_de82_ef95);
    let random = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill_with(|| {
            // This is the random number generator SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u8
        });
        Ok(())
    };
    let Ok(key) = IngestionKey::generate(random);
    key.expose_secret().to_owned()
}

/// A running gateway. Dropping this value kills the process.
struct Gateway {
    child: Child,
    ready: Value,
    admin_token: String,
    client: Client,
}

impl Gateway {
    fn start(database: &Database) -> Self {
        let directory = database.directory.path();
        let ready_file = directory.join("ready.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingestion-gateway"));
        command.arg("--ready-file").arg(&ready_file);
        command.args(["--set", &format!("storage.url=sqlite://{}", database.path().display())]);
        command.args([
            "--set",
            &format!("management.admin_token_file={}", directory.join("admin-token").display()),
        ]);
        for listener in [
            "receivers.otlp.protocols.grpc",
            "receivers.otlp.protocols.http",
            "receivers.agent",
            "management",
            "authorize",
            "telemetry",
        ] {
            command.args(["--set", &format!("{listener}.endpoint=127.0.0.1:0")]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ready = wait_for(&ready_file);
        let admin_token =
            fs::read_to_string(directory.join("admin-token")).unwrap().trim().to_owned();
        Self {
            child,
            ready: serde_json::from_str(&ready).unwrap(),
            admin_token,
            client: Client::new(),
        }
    }

    fn url(&self, listener: &str, path: &str) -> String {
        format!("http://{}{path}", self.ready[listener].as_str().unwrap())
    }

    async fn wait_until_it_lets_in(&self, key: &str) {
        let url = self.url("authorize", "/internal/api/security/ingestion/authorize");
        let body = json!({ "apiKey": key });
        while self.client.post(&url).json(&body).send().await.unwrap().status()
            != StatusCode::NO_CONTENT
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns the resident memory of the process in megabytes (10^6 bytes).
    fn resident_megabytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        // The kernel writes `kB` and means units of 1024 bytes.
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
    }

    /// Creates [`CREATED`] keys, one request for each key. Returns the 99th percentile of the
    /// duration of a request, in milliseconds.
    async fn create_p99(&self) -> f64 {
        let url = self.url("management", "/api/security/ingestion/api_keys");
        let mut times = Vec::new();
        for number in 0..CREATED {
            let request = self
                .client
                .post(&url)
                .header("X-API-Token", &self.admin_token)
                .json(&json!({ "name": format!("created-{number}") }));
            let started = Instant::now();
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            response.bytes().await.unwrap();
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        times[CREATED * 99 / 100]
    }

    fn seconds_to_list(&self, count: usize) -> f64 {
        let sts = Path::new(env!("CARGO_BIN_EXE_ingestion-gateway")).with_file_name("sts");
        let mut command = Command::new(sts);
        command.args([
            "ingestion-api-key",
            "list",
            "-o",
            "json",
            "--url",
            &self.url("management", ""),
            "--api-token",
            &self.admin_token,
        ]);
        let started = Instant::now();
        let output = command.output().unwrap();
        let elapsed = started.elapsed().as_secs_f64();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(listed["ingestion-api-keys"].as_array().unwrap().len(), count);
        elapsed
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a file exists, and returns its content. The file is complete as soon as it exists.
fn wait_for(path: &Path) -> String {
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
