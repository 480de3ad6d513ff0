//! A gateway under test.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{fs, io, thread};

use ingestion_api::route;
use otlp_auth_tests::{PATIENCE, Program, example};
use rustix::process::{Pid, geteuid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Client, request};

/// The user id of `nobody`.
const NOBODY: u32 = 65534;

/// The files and settings of a gateway. They stay when the gateway exits, so that another gateway
/// can start with them.
#[derive(Debug)]
pub(crate) struct TestEnv {
    directory: TempDir,
    settings: Vec<&'static str>,
    /// A copy of the program that every user may run. It is needed if the gateway runs as `nobody`.
    program: Option<PathBuf>,
}

/// A running gateway. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) server: otlp_auth_tests::Gateway,
    admin_token: String,
}

/// A client for all listeners, with an admin token.
#[derive(Debug)]
pub(crate) struct Caller {
    admin_token: String,
    management: Client,
    authorize: Client,
    otlp: Client,
}

impl TestEnv {
    pub(crate) fn new(settings: &[&'static str]) -> Self {
        let env = Self {
            directory: tempfile::tempdir().expect("a directory"),
            settings: settings.to_owned(),
            program: None,
        };
        // Some tests make the directory of the database read-only, so the ready file is in another
        // directory.
        fs::create_dir(env.path("run")).expect("a directory");
        env
    }

    /// Makes an environment whose gateway runs as `nobody` if the test runs as root. Root could
    /// write read-only files.
    pub(crate) fn of_nobody(settings: &[&'static str]) -> Self {
        let mut env = Self::new(settings);
        if geteuid().is_root() {
            let program = env.path("ingestion-gateway");
            fs::copy(example("ingestion-gateway").get_program(), &program)
                .expect("a copy of the program");
            for directory in [env.directory.path(), &env.path("run")] {
                chown(directory, Some(NOBODY), Some(NOBODY)).expect("a directory of nobody's");
            }
            env.program = Some(program);
        }
        env
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a gateway and waits until it serves.
    pub(crate) fn start(&self) -> Gateway {
        self.ready(Program::start(&mut self.command()))
    }

    /// Starts a gateway for which writing fails when a file would grow. The signal SIGXFSZ, which
    /// would kill the gateway, is ignored.
    pub(crate) fn start_with_small_files(&self) -> Gateway {
        self.start_after(r#"trap "" XFSZ"#)
    }

    /// Starts a gateway after this command of the shell has changed what the process inherits.
    fn start_after(&self, prepare: &str) -> Gateway {
        let command = self.command();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!(r#"{prepare} && exec "$0" "$@""#)])
            .arg(command.get_program())
            .args(command.get_args());
        self.ready(Program::start(&mut shell))
    }

    /// Starts a gateway that may have at most this many open files.
    pub(crate) fn start_with_files(&self, limit: usize) -> Gateway {
        self.start_after(&format!("ulimit -n {limit}"))
    }

    /// Starts a gateway whose database is on a small disk of its own, and returns the directory of
    /// this disk.
    pub(crate) fn start_on_small_disk(&self) -> (Gateway, PathBuf) {
        const UNSHARE: [&str; 5] = ["--user", "--map-root-user", "--mount", "sh", "-c"];
        const MOUNT: &str = r#"mount -t tmpfs -o size=4m,mode=700 none "$0" && exec "$@""#;
        let disk = self.path("disk");
        fs::create_dir(&disk).expect("a directory");
        let mut command = self.command();
        let url = format!("storage.url=sqlite://{}", disk.join("keys.db").display());
        let tokens = self.path("admin-tokens");
        let tokens = format!("management.admin_token_file={}", tokens.display());
        command.args(["--set", &url, "--set", &tokens]);
        let mut unshare = Command::new("unshare");
        unshare.args(UNSHARE).arg(MOUNT).arg(&disk);
        unshare.arg(command.get_program()).args(command.get_args());
        let gateway = self.ready(Program::start(&mut unshare));
        let root = PathBuf::from(format!("/proc/{}/root", gateway.pid().as_raw_nonzero()));
        let disk = root.join(disk.strip_prefix("/").expect("an absolute path"));
        (gateway, disk)
    }

    /// Starts a gateway that is expected to exit with an error.
    pub(crate) fn start_in_vain(&self) -> Program {
        Program::start(&mut self.command())
    }

    /// Waits until the gateway serves.
    pub(crate) fn ready(&self, program: Program) -> Gateway {
        let server = otlp_auth_tests::Gateway::ready_with(program, &self.path("run/ready"));
        let tokens = fs::read_to_string(self.path("admin-tokens")).expect("the admin token file");
        Gateway { server, admin_token: tokens.lines().next().expect("a token").to_owned() }
    }

    fn command(&self) -> Command {
        let mut command = match &self.program {
            Some(program) => Command::new(program),
            None => example("ingestion-gateway"),
        };
        if self.program.is_some() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.arg("--ready-file").arg(self.path("run/ready"));
        let url = format!("storage.url=sqlite://{}", self.path("keys.db").display());
        let listeners = [
            "receivers.otlp.protocols.grpc",
            "receivers.otlp.protocols.http",
            "receivers.agent",
            "management",
            "authorize",
            "telemetry",
        ];
        let listeners = listeners.map(|listener| format!("{listener}.endpoint=127.0.0.1:0"));
        for setting in listeners
            .into_iter()
            .chain([url])
            .chain(self.settings.iter().map(|&setting| setting.to_owned()))
        {
            command.arg("--set").arg(setting);
        }
        command
    }
}

impl Gateway {
    pub(crate) fn pid(&self) -> Pid {
        self.server.program.pid()
    }

    /// Returns the memory of the process in bytes, from a field of its status in `/proc`.
    pub(crate) fn memory(&self, field: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()))
            .expect("the status of the process");
        let memory = status.lines().find_map(|line| {
            line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")
        });
        memory.and_then(|kilobytes| kilobytes.parse::<usize>().ok()).expect("its memory") * 1024
    }

    /// Waits until the process has fewer than this many open descriptors.
    pub(crate) fn wait_for_descriptors(&self, few: usize) {
        let deadline = Instant::now() + PATIENCE;
        let directory = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        loop {
            let open = fs::read_dir(&directory).expect("the descriptors of the process").count();
            if open < few {
                return;
            }
            assert!(Instant::now() < deadline, "{open} descriptors are open");
            thread::yield_now();
        }
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::of(&self.server, self.admin_token.clone())
    }

    pub(crate) fn stop(self) {
        self.server.program.stop();
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        address(&self.server, listener)
    }
}

impl Caller {
    pub(crate) fn of(server: &otlp_auth_tests::Gateway, admin_token: String) -> Self {
        let client = |listener| Client::new(address(server, listener));
        Self {
            admin_token,
            management: client("management"),
            authorize: client("authorize"),
            otlp: client("otlp_http"),
        }
    }

    /// Returns a request to the management API and the client that has to send it.
    pub(crate) fn management(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> (&mut Client, Vec<u8>) {
        let headers =
            [("x-api-key", self.admin_token.as_str()), ("content-type", "application/json")];
        (
            &mut self.management,
            request(method, &format!("{}{path}", route::API_PATH), &headers, body),
        )
    }

    /// Calls the management API.
    pub(crate) fn manage(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let (client, request) = self.management(method, path, body);
        client.call(&request).expect("an answer")
    }

    /// Reads JSON from the management API.
    pub(crate) fn get(&mut self, path: &str) -> Value {
        let answer = self.manage("GET", path, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Returns all keys as the management API lists them.
    pub(crate) fn list(&mut self) -> Vec<Value> {
        let Value::Array(keys) = self.get(route::API_KEYS) else {
            panic!("the list is not an array")
        };
        keys
    }

    pub(crate) fn create(&mut self, name: &str) -> Answer {
        self.manage("POST", route::API_KEYS, &json!({ "name": name }).to_string())
    }

    pub(crate) fn delete(&mut self, id: i64) -> Answer {
        self.manage("DELETE", &route::api_key(id), "")
    }

    /// Uses another admin token for all later calls.
    pub(crate) fn identify(&mut self, admin_token: &str) {
        admin_token.clone_into(&mut self.admin_token);
    }

    /// Sends telemetry with this key.
    pub(crate) fn export(&mut self, key: &str) -> Answer {
        self.otlp.call(&telemetry(key)).expect("an answer")
    }

    /// Sends telemetry with this key. Fails if the gateway does not listen any more.
    pub(crate) fn try_export(&mut self, key: &str) -> io::Result<Answer> {
        self.otlp.call(&telemetry(key))
    }

    /// Sends telemetry with each of these keys, and returns the statuses of the responses.
    pub(crate) fn export_all(&mut self, keys: &[&str]) -> Vec<u16> {
        self.otlp.statuses(keys, telemetry)
    }

    /// Asks the authorize endpoint about each of these keys, and returns the statuses.
    pub(crate) fn authorize(&mut self, keys: &[&str]) -> Vec<u16> {
        self.authorize.statuses(keys, question)
    }
}

/// Returns the address of a listener.
pub(crate) fn address(server: &otlp_auth_tests::Gateway, listener: &str) -> SocketAddr {
    server.address(listener).parse().expect("the address of a listener")
}

/// Returns the request that asks the authorize endpoint about a key.
fn question(key: &str) -> Vec<u8> {
    let body = json!({ "apiKey": key }).to_string();
    request("POST", route::INTERNAL_AUTHORIZE, &[("content-type", "application/json")], &body)
}

/// Returns an export request with this key and without any item.
pub(crate) fn telemetry(key: &str) -> Vec<u8> {
    let headers = [
        ("authorization", &*format!("StackState {key}")),
        ("content-type", "application/x-protobuf"),
    ];
    request("POST", "/v1/logs", &headers, "")
}
