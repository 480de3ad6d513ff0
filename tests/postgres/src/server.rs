//! A running server.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::process::{Pid, Signal, kill_process};

use crate::disk::Disk;
use crate::installation::{Installation, give_to_server_user, run};
use crate::port::Port;
use crate::supervisor::Supervisor;
use crate::{Options, processes, template, wait_until};

/// A PostgreSQL server on its own port of 127.0.0.1.
///
/// It is killed and its data is removed when this value is dropped, or when the test process ends.
#[derive(Debug)]
pub struct Postgres {
    // The last owner of the directory. It is also told of each start and end of the server.
    state: Mutex<State>,
    pub(crate) options: Options,
    port: Port,
    directory: PathBuf,
    disk: Option<Disk>,
}

#[derive(Debug)]
struct State {
    /// `None` while the server is stopped.
    postmaster: Option<Child>,
    supervisor: Supervisor,
}

impl Postgres {
    /// Starts a server with the default options.
    #[must_use]
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Returns the default options: every client is the superuser, and nothing is encrypted.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Returns the server that the tests of this process share, and starts it if nobody has it.
    /// Each test makes its own [database](Self::create_database), and leaves the server as it is.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn start_with(options: Options) -> Self {
        let server = Self::without_data(options);
        template::unpack(&server.data());
        server.options.write_access_rules(&server.data());
        if let Some(password) = server.options.get_password() {
            server.set_password(password);
        }
        server.start_again();
        server
    }

    /// Reserves a port and a directory for a server.
    pub(crate) fn without_data(options: Options) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("test-postgres-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory")
            .keep();
        let supervisor = Supervisor::start(&directory);
        give_to_server_user(&directory);
        let state = Mutex::new(State { postmaster: None, supervisor });
        let disk = options.get_disk().map(|megabytes| Disk::mount(&directory, megabytes));
        let server = Self { state, options, port: Port::reserve(), directory, disk };
        if let Some((certificate, key)) = server.options.get_tls() {
            server.copy_private(certificate, &server.certificate());
            server.copy_private(key, &server.key());
        }
        server
    }

    /// Returns the URL of a database for the user `postgres`. It does not contain the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    /// The address that the server listens on. It stays the same when the server is started again.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port of [`address`](Self::address).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Returns the process id of the postmaster. Panics if the server is stopped.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.state().postmaster.as_ref().expect("the server runs"))
    }

    /// Creates an empty database with a new name, and returns its URL.
    #[must_use]
    pub fn create_database(&self) -> String {
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
        // `template1` could not be copied while someone is connected to it.
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url(&name)
    }

    /// Runs statements as the superuser, and returns the rows: one a line, without the last line
    /// end, with `|` between columns. Several statements are one transaction. Before PostgreSQL 15,
    /// only the rows of the last statement are returned. Panics if a statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = Installation::get().client("psql");
        psql.args(["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]);
        psql.args(["--set=ON_ERROR_STOP=1", "--username=postgres", "--host=127.0.0.1"]);
        psql.arg(format!("--port={}", self.port())).arg(format!("--dbname={database}"));
        psql.arg(format!("--command={sql}"));
        self.options.authenticate(&mut psql);
        let mut rows = run(&mut psql, Stdio::null());
        if rows.ends_with('\n') {
            rows.pop();
        }
        rows
    }

    /// Kills the postmaster and all of its children with SIGKILL, and waits until they have ended.
    ///
    /// The children are killed too, because a busy one would finish its statement, and answer the
    /// client, after its postmaster was killed.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Shuts the server down with SIGINT, which ends all sessions, and waits until it has ended.
    pub fn stop_fast(&self) {
        let mut state = self.state();
        let mut postmaster = state.postmaster.take().expect("the server runs");
        kill_process(Pid::from_child(&postmaster), Signal::INT).expect("the server runs");
        wait_until("the server shuts down", || processes::has_ended(Pid::from_child(&postmaster)));
        state.supervisor.watch_none();
        let status = postmaster.wait().expect("the server was started");
        assert!(status.success(), "the server ended with an error: {status}\n{}", self.log());
    }

    /// Starts a stopped server on the same port with the same data, and waits until it accepts
    /// connections.
    pub fn start_again(&self) {
        let mut state = self.state();
        assert!(state.postmaster.is_none(), "the server already runs");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut server = Installation::get().server("postgres");
        server.arg("-D").arg(self.data()).arg("-c").arg(format!("port={}", self.port()));
        self.options.add_to(&mut server);
        if self.options.get_tls().is_some() {
            server.args(["-c", "ssl=on", "-c"]);
            server.arg(format!("ssl_cert_file={}", self.certificate().display()));
            server.arg("-c").arg(format!("ssl_key_file={}", self.key().display()));
        }
        server.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        // The interrupt key of a terminal reaches the server through its supervisor.
        let mut postmaster = server.process_group(0).spawn().expect("the server starts");
        let pid = Pid::from_child(&postmaster);
        state.supervisor.watch(pid);
        wait_until("the server accepts connections", || {
            if let Some(status) = postmaster.try_wait().expect("the server was started") {
                state.supervisor.watch_none();
                panic!("the server ended with {status}:\n{}", self.log());
            }
            self.accepts_connections(pid)
        });
        state.postmaster = Some(postmaster);
    }

    /// Stops the postmaster and all of its children with SIGSTOP, and waits until they have
    /// stopped.
    pub fn pause(&self) {
        processes::stop(self.pid());
    }

    /// Lets the processes of [`pause`](Self::pause) go on.
    pub fn resume(&self) {
        processes::resume(self.pid());
    }

    /// Returns whether the server has ended by itself. Then [`kill`](Self::kill) comes before
    /// [`start_again`](Self::start_again).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        processes::has_ended(self.pid())
    }

    /// Fills the small disk of the server ([`Options::disk`]).
    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("a small disk").fill();
    }

    /// Frees the space that [`fill_disk`](Self::fill_disk) took.
    pub fn free_disk(&self) {
        self.disk.as_ref().expect("a small disk").free();
    }

    /// The directory that contains the data directory `data` and the file `log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join("server.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("server.key")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a file so that only the user of the server can read it.
    fn copy_private(&self, from: &Path, to: &Path) {
        use std::os::unix::fs::MetadataExt;
        let text = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        File::create_new(to)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::write(to, text))
            .and_then(|()| fs::metadata(&self.directory))
            .and_then(|owner| chown(to, Some(owner.uid()), Some(owner.gid())))
            .expect("a copy for the server");
    }

    /// Sets the password of the superuser before the server is started.
    fn set_password(&self, password: &str) {
        let statement = self.directory.join("password.sql");
        let quoted = password.replace('\'', "''");
        fs::write(&statement, format!("ALTER USER postgres PASSWORD '{quoted}'\n"))
            .expect("the statement");
        let mut single = Installation::get().server("postgres");
        single.arg("--single").arg("-D").arg(self.data()).arg("postgres");
        run(&mut single, File::open(&statement).expect("the statement"));
        fs::remove_file(&statement).expect("the statement");
    }

    /// Reads whether the server is ready from the file that the postmaster keeps for `pg_ctl`. It
    /// can still be the file of a postmaster that was killed.
    fn accepts_connections(&self, postmaster: Pid) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        let pid = lines.next().and_then(|line| line.parse().ok());
        pid == Some(Pid::as_raw(Some(postmaster))) && lines.any(|line| line.trim_end() == "ready")
    }
}

impl State {
    fn kill(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server runs");
        processes::kill(Pid::from_child(&postmaster));
        self.supervisor.watch_none();
        postmaster.wait().expect("the server was started");
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.postmaster.is_some() {
            self.kill();
        }
    }
}
