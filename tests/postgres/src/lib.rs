//! PostgreSQL servers for tests and benchmarks, and a network that can be cut.
//!
//! [`Postgres`] is a real server with its own data directory, on a port of 127.0.0.1 that no other
//! process gets. It starts in about a tenth of a second. [`Link`] is a TCP proxy that delays,
//! swallows or cuts what goes through it.
//!
//! ```
//! use test_postgres::{Link, Postgres};
//!
//! let server = Postgres::start();
//! let url = server.create_database();
//! let database = url.rsplit('/').next().unwrap();
//! server.psql(database, "CREATE TABLE a (b int); INSERT INTO a VALUES (1), (2)");
//! server.kill();
//! server.start_again();
//! assert_eq!(server.psql(database, "SELECT b FROM a ORDER BY b"), "1\n2");
//!
//! let link = Link::to(server.address());
//! let _url_through_the_link = format!("postgres://postgres@{}/{database}", link.address());
//! link.cut();
//! ```
//!
//! # What it needs
//!
//! PostgreSQL 14 or later has to be installed (`apt-get install postgresql`); the tests fail
//! without it. The programs are taken from the `PATH`, or else from the newest version in
//! `/usr/lib/postgresql`. PostgreSQL refuses to run as root, so root's servers run as the user
//! `postgres`. The rest is Linux with `sh`, `tar` and util-linux.
//!
//! # What it leaves behind
//!
//! Each server has a supervisor, a shell that waits until the test process drops the server or
//! ends in any way, `kill -9` included. Then it kills the server and removes its data. Only an
//! archive of an empty data directory stays in the system's directory for temporary files, because
//! unpacking it is ten times faster than `initdb`.
//!
//! Every method panics when it fails, because a failure here is a failed test. The methods block
//! the calling thread for at most about a second, also when an async test calls them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed test, which fails by a panic"
)]

mod disk;
mod installation;
mod link;
mod options;
mod port;
mod processes;
mod server;
mod standby;
mod supervisor;
mod template;

pub use link::Link;
pub use options::Options;
pub use server::Postgres;

/// The time after which waiting fails. Nothing succeeds because this time is over.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until `holds` returns true, and panics if it does not within [`PATIENCE`].
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
