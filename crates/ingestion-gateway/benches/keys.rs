//! Measures the gateway with many keys: how long it takes until it can decide about a key, how much
//! memory it uses, and how long creating and listing keys take. `cargo xtask bench keys` runs this
//! benchmark.
//!
//! Each run creates its own databases, and uses each of them several times. The gateway and `sts`
//! are built as they are shipped.

#![expect(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a benchmark")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ingestion_keys::store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_postgres::Postgres;

use common::gateway::Gateway;
use common::keys::{fill, key};
use common::report;
use memory::resident_megabytes;

const MILLION: u64 = 1_000_000;

/// The number of turns, each of which measures every case.
const TURNS: usize = 3;

/// The number of keys that are created to measure how long creating one key takes.
const CREATED: usize = 300;

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    eprintln!("writing a million keys to SQLite and to PostgreSQL");
    let million = Database::with_keys(MILLION).await;
    let postgres = Postgres::options().durable().start();
    let million_in_postgres = million.copied_to(&postgres).await;
    let thousand = Database::with_keys(1000).await;
    let ten_thousand = Database::with_keys(10_000).await;
    for turn in 1..=TURNS {
        eprintln!("turn {turn} of {TURNS}");
        let started = Instant::now();
        let gateway = Subject::start(&million.url(), &million.directory);
        gateway.wait_until_it_lets_in(&key(MILLION / 2)).await;
        report("ready_1m", started.elapsed().as_secs_f64());
        report("rss_1m", resident_megabytes(gateway.gateway.child.id()));
        report("create_p99_1m", gateway.create_p99().await);
        drop(gateway);

        let started = Instant::now();
        let gateway = Subject::start(&million_in_postgres, &million.directory);
        gateway.wait_until_ready().await;
        report("ready_1m_postgres", started.elapsed().as_secs_f64());
        assert!(gateway.lets_in(&key(MILLION / 2)).await);
        drop(gateway);

        let gateway = Subject::start(&thousand.url(), &thousand.directory);
        gateway.wait_until_it_lets_in(&key(1)).await;
        report("create_p99_1k", gateway.create_p99().await);
        drop(gateway);

        let gateway = Subject::start(&ten_thousand.url(), &ten_thousand.directory);
        gateway.wait_until_it_lets_in(&key(1)).await;
        report("list_10k", gateway.seconds_to_list(10_000));
    }
}

/// An SQLite database in a temporary directory.
struct Database {
    directory: TempDir,
}

impl Database {
    async fn with_keys(count: u64) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        fill(&database.open(), count).await;
        database
    }

    /// Copies the keys to a new database of this server, and returns its URL.
    async fn copied_to(&self, server: &Postgres) -> String {
        let url = server.create_database();
        let store = PostgresStore::new(&PostgresOptions::parse(&url).unwrap()).unwrap();
        store.copy_from(&self.open(), |_| ()).await.unwrap();
        // Otherwise the server would do so by itself, while something is measured.
        server.psql(url.rsplit('/').next().unwrap(), "VACUUM ANALYZE");
        url
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&SqliteOptions::new(self.path())).unwrap()
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.db")
    }
}

/// The gateway that is measured.
struct Subject {
    gateway: Gateway,
    client: Client,
}

impl Subject {
    fn start(url: &str, directory: &TempDir) -> Self {
        Self { gateway: Gateway::start(url, directory.path(), &[]), client: Client::new() }
    }

    fn url(&self, listener: &str, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address(listener))
    }

    async fn lets_in(&self, key: &str) -> bool {
        let url = self.url("authorize", "/internal/api/security/ingestion/authorize");
        let answer = self.client.post(&url).json(&json!({ "apiKey": key })).send().await.unwrap();
        answer.status() == StatusCode::NO_CONTENT
    }

    async fn wait_until_it_lets_in(&self, key: &str) {
        while !self.lets_in(key).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn wait_until_ready(&self) {
        let url = self.url("telemetry", "/readyz");
        while self.client.get(&url).send().await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
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
                .header("X-API-Token", &self.gateway.admin_token)
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
            &self.gateway.admin_token,
        ]);
        let started = Instant::now();
        let output = command.output().unwrap();
        let elapsed = started.elapsed().as_secs_f64();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(listed["ingestion-api-keys"].as_array().unwrap().len(), count);
        elapsed
    }
}
