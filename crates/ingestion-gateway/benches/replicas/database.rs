//! The database of the replicas, and what it says about its work.

use std::time::Duration;

use ingestion_keys::store::{PostgresOptions, PostgresStore};
use test_postgres::Postgres;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::common::keys::fill;

/// A database on its own server, which counts and times statements.
pub(crate) struct Database {
    server: Postgres,
    pub(crate) url: String,
}

/// How much usage was flushed so far.
pub(crate) struct Flushed {
    rows: f64,
    milliseconds: f64,
}

impl Database {
    /// Starts a server with a database that has this number of keys.
    pub(crate) async fn create(keys: u64) -> Self {
        let server = Postgres::options()
            .durable()
            .setting("shared_preload_libraries", "pg_stat_statements")
            .setting("pg_stat_statements.track_planning", "on")
            .start();
        let url = server.create_database();
        let database = Self { server, url };
        database.query("CREATE EXTENSION pg_stat_statements");
        let store = PostgresStore::new(&PostgresOptions::parse(&database.url).unwrap()).unwrap();
        fill(&store, keys).await;
        database.query("VACUUM ANALYZE");
        database
    }

    /// Returns the number of statements so far, those that begin and end transactions included.
    /// `pg_stat_database` counts transactions, and also those of the server itself.
    pub(crate) fn statements(&self) -> u64 {
        self.query("SELECT sum(calls) FROM pg_stat_statements").parse().unwrap()
    }

    /// Waits until this many rows of keys were flushed, all of them for the first time or again.
    /// Then does what the server does by itself after a while: it learns how large the tables are.
    pub(crate) async fn settle(&self, rows: u64) {
        while self.flushed().rows < rows as f64 {
            sleep(Duration::from_secs(1)).await;
        }
        self.query("VACUUM ANALYZE");
    }

    /// Returns how many rows of keys were flushed, and how long the server has worked for that:
    /// planned and run the statements on usage, and begun and ended transactions. The waits of
    /// replicas for each other are not work.
    pub(crate) fn flushed(&self) -> Flushed {
        let sql = "SELECT \
                 coalesce(sum(rows) \
                     FILTER (WHERE query ~ '^(UPDATE|INSERT INTO) ingestion_keys.usage '), 0), \
                 coalesce(sum(total_plan_time + total_exec_time) \
                     FILTER (WHERE query ~ 'ingestion_keys.(usage|clients)|^(START|COMMIT)'), 0) \
             FROM pg_stat_statements";
        let row = self.query(sql);
        let (rows, milliseconds) = row.split_once('|').unwrap();
        Flushed { rows: rows.parse().unwrap(), milliseconds: milliseconds.parse().unwrap() }
    }

    /// Ends all notifications. The statement that notifies succeeds, and nobody hears of it, as
    /// behind a pooler that gives each transaction another session. So the replicas only poll.
    pub(crate) fn silence(&self) {
        let name = self.name();
        self.query(&format!(
            "CREATE SCHEMA silent; \
             CREATE FUNCTION silent.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''; \
             ALTER DATABASE {name} SET search_path = silent, pg_catalog, public"
        ));
    }

    fn query(&self, sql: &str) -> String {
        block_in_place(|| self.server.psql(self.name(), sql))
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }
}

impl Flushed {
    /// Returns how long the server has worked for a flush of 10,000 keys, in milliseconds.
    pub(crate) fn milliseconds_for_10k_since(&self, before: &Self) -> f64 {
        (self.milliseconds - before.milliseconds) / (self.rows - before.rows) * 10_000.0
    }
}
