//! Servers that are killed, paused, followed and left behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use test_postgres::Postgres;

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// Returns the processes of the server. The query asks all of them that are clients or helpers.
fn processes(server: &Postgres) -> Vec<Pid> {
    let pids = server.psql("postgres", "SELECT pid FROM pg_stat_activity");
    let pids = pids.lines().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap());
    pids.chain([server.pid()]).collect()
}

fn is_there(process: Pid) -> bool {
    // A killed process stays in the table until its parent, or else init, has waited for it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", Pid::as_raw(Some(process))));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

// Scenario: a server is started and asked for its version, its encoding and its databases.
// Guarantee: it is 14 or later, has UTF-8, and each new database is empty and has a new name. A
// setting of the options applies.
#[test]
fn a_server_starts() {
    let server = Postgres::options().setting("statement_timeout", "1234ms").start();
    let version: u32 = server.psql("postgres", "SHOW server_version_num").parse().unwrap();
    assert!(version >= 14_00_00, "{version}");
    assert_eq!(server.psql("postgres", "SHOW server_encoding"), "UTF8");
    assert_eq!(server.psql("postgres", "SHOW statement_timeout"), "1234ms");
    assert_eq!(server.psql("postgres", "SHOW fsync"), "off");
    let urls = [server.create_database(), server.create_database()];
    assert_ne!(urls[0], urls[1]);
    for url in &urls {
        assert_eq!(*url, server.url(database(url)));
        server.psql(database(url), "CREATE TABLE a (b int, c text)");
        server.psql(database(url), "INSERT INTO a VALUES (1, 'x'), (2, '')");
        assert_eq!(server.psql(database(url), "SELECT * FROM a ORDER BY b"), "1|x\n2|");
    }
}

// Scenario: a statement fails.
// Guarantee: the test fails, and its message has the statement and the server's message.
#[test]
#[should_panic(expected = "relation \"nothing\" does not exist")]
fn a_statement_that_fails_is_a_failure() {
    let _rows = Postgres::shared().psql("postgres", "SELECT * FROM nothing");
}

// Scenario: several tests ask for the shared server at the same time.
// Guarantee: all of them get the same one.
#[test]
fn a_server_is_shared() {
    let first = Postgres::shared();
    let others = thread::scope(|scope| {
        [0; 4].map(|_| scope.spawn(Postgres::shared)).map(|thread| thread.join().unwrap())
    });
    assert!(others.iter().all(|other| other.pid() == first.pid()));
}

// Scenario: a server is killed five times, and shut down once.
// Guarantee: none of its processes is left, and its port refuses. It starts again on the same port,
// and has every row.
#[test]
fn a_killed_server_starts_again_with_its_data() {
    let server = Postgres::start();
    let url = server.create_database();
    server.psql(database(&url), "CREATE TABLE a (b int)");
    for row in 0..6 {
        server.psql(database(&url), &format!("INSERT INTO a VALUES ({row})"));
        let processes = processes(&server);
        if row < 5 {
            server.kill();
        } else {
            server.stop_fast();
        }
        assert!(!processes.iter().any(|process| is_there(*process)), "a process has survived");
        assert!(TcpStream::connect(server.address()).is_err());
        server.start_again();
    }
    assert_eq!(server.psql(database(&url), "SELECT count(*) FROM a"), "6");
}

// Scenario: a server is paused while a client asks it something.
// Guarantee: the client gets its answer after the server is resumed, and not before.
#[test]
fn a_paused_server_does_not_answer() {
    let server = Postgres::start();
    server.pause();
    let states = |server: &Postgres| {
        let pid = Pid::as_raw(Some(server.pid()));
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ")
    };
    assert!(states(&server));
    thread::scope(|scope| {
        let answer = scope.spawn(|| server.psql("postgres", "SELECT 1"));
        // The system accepts the connection, and the server never reads it.
        drop(TcpStream::connect(server.address()).unwrap());
        assert!(!answer.is_finished());
        server.resume();
        assert_eq!(answer.join().unwrap(), "1");
    });
    assert!(!states(&server));
}

// Scenario: a server with a synchronous standby is killed after a commit, and the standby is
// promoted. An asynchronous standby of the new primary follows.
// Guarantee: both have the row, and the new primary does not wait for a standby.
#[test]
fn a_standby_takes_over() {
    let primary = Postgres::start();
    let standby = primary.standby(true);
    primary.psql("postgres", "CREATE TABLE a (b int)");
    primary.psql("postgres", "INSERT INTO a VALUES (7)");
    assert_eq!(standby.psql("postgres", "SELECT pg_is_in_recovery()"), "t");
    primary.kill();
    standby.promote();
    assert_eq!(standby.psql("postgres", "SELECT b FROM a"), "7");
    standby.psql("postgres", "INSERT INTO a VALUES (8)");
    let next = standby.standby(false);
    wait_until("the next standby has both rows", || {
        next.psql("postgres", "SELECT b FROM a ORDER BY b") == "7\n8"
    });
    let state = "SELECT sync_state FROM pg_stat_replication";
    assert_eq!(standby.psql("postgres", state), "async");
}

// Scenario: a primary waits for a synchronous standby that is paused.
// Guarantee: a commit is not acknowledged before the standby has it.
#[test]
fn a_synchronous_standby_is_waited_for() {
    let primary = Postgres::start();
    let standby = primary.standby(true);
    primary.psql("postgres", "CREATE TABLE a (b int)");
    standby.pause();
    thread::scope(|scope| {
        let commit = scope.spawn(|| primary.psql("postgres", "INSERT INTO a VALUES (1)"));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        wait_until("the commit waits", || primary.psql("postgres", waits) == "1");
        assert!(!commit.is_finished());
        standby.resume();
        commit.join().unwrap();
    });
}

// Scenario: a server has a password, and accepts only TLS. It has a standby.
// Guarantee: a client without the password is refused, and the connections are encrypted, also the
// one of the standby.
#[test]
fn a_server_has_a_password_and_tls() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = Postgres::options().password("it's a secret").tls(&certificate, &key);
    assert!(!format!("{options:?}").contains("secret"));
    let server = options.start();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(server.psql("postgres", encrypted), "t");
    let refused = |settings: &str| {
        let mut psql = Command::new("psql");
        psql.arg("-w")
            .env_remove("PGPASSWORD")
            .env("LC_ALL", "C")
            .env("HOME", "/")
            .stdin(Stdio::null());
        psql.arg(format!("{}?{settings}", server.url("postgres")));
        String::from_utf8(psql.output().unwrap().stderr).unwrap()
    };
    let message = refused("sslmode=require");
    assert!(message.contains("no password supplied"), "{message}");
    let message = refused("sslmode=disable");
    assert!(message.contains("no encryption"), "{message}");
    let standby = server.standby(false);
    assert_eq!(standby.psql("postgres", encrypted), "t");
    assert_eq!(server.psql("postgres", "SELECT bool_and(ssl) FROM pg_stat_ssl"), "t");
}

// Scenario: a server is dropped, once while it runs, once while it is paused, and once after it
// was killed.
// Guarantee: its processes have ended, and its directory and shared memory are gone.
#[test]
fn a_dropped_server_leaves_nothing() {
    for last in [|_: &Postgres| (), Postgres::pause, Postgres::kill] {
        let server = Postgres::start();
        let (directory, processes) = (server.directory().to_owned(), processes(&server));
        let memory = shared_memory(&directory);
        last(&server);
        drop(server);
        assert!(!processes.iter().any(|process| is_there(*process)));
        assert!(!directory.exists());
        assert!(!shared_memory_exists(&memory));
    }
}

// Scenario: a process that has a server is killed with SIGKILL. The server is paused before, so
// that it cannot end by itself.
// Guarantee: all processes of the server end, and its directory and shared memory go.
#[test]
fn a_server_dies_with_its_process() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_test-postgres"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut field = |name: &str| {
        let line = lines.next().unwrap();
        line.strip_prefix(name).unwrap_or_else(|| panic!("{name}: {line}")).to_owned()
    };
    let url = field("url: ");
    let directory = PathBuf::from(field("directory: "));
    let mut psql = Command::new("psql");
    psql.args(["-Atc", "SELECT pid FROM pg_stat_activity"]).arg(url);
    let pids = String::from_utf8(psql.output().unwrap().stdout).unwrap();
    let processes: Vec<_> =
        pids.lines().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect();
    assert!(processes.len() > 3, "{pids}");
    let memory = shared_memory(&directory);
    for process in &processes {
        let _client_has_ended = kill_process(*process, Signal::STOP);
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the directory is removed", || !directory.exists());
    wait_until("the processes end", || !processes.iter().any(|process| is_there(*process)));
    assert!(!shared_memory_exists(&memory));
}

/// Returns the id of the server's segment of System V shared memory.
fn shared_memory(directory: &Path) -> String {
    let file = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    file.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

fn shared_memory_exists(id: &str) -> bool {
    let segments = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    segments.lines().any(|segment| segment.split_whitespace().nth(1) == Some(id))
}
