//! Three gateways on one PostgreSQL database, with nginx in front of them: the recipe of `deploy/`
//! with free ports.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use test_postgres::Postgres;

use crate::{Certificate, Gateway, Home, Program, free_port, peer};

/// The number of gateways.
pub const REPLICAS: usize = 3;

/// The last digits of the documented ports, and the listeners that nginx passes requests to.
const PROXIED: [(&str, &str); 3] =
    [("4317", "otlp_grpc"), ("4318", "otlp_http"), ("7070", "management")];

/// The directories that Debian's nginx has below `/var/lib/nginx`, where a test may not write.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

const GATEWAY: &str = include_str!("../../deploy/gateway.yaml");
const NGINX: &str = include_str!("../../deploy/nginx.conf");

/// Everything that runs. Dropping this value ends it: first nginx, then the gateways, and then the
/// database.
#[derive(Debug)]
pub struct Cluster {
    /// The certificate of nginx for gRPC.
    pub certificate: Certificate,
    /// The address of nginx for gRPC over TLS.
    pub grpc: String,
    /// The address of nginx for HTTP.
    pub http: String,
    /// The address of nginx for management calls.
    pub management: String,
    _balancer: Program,
    pub replicas: Vec<Gateway>,
    settings: Vec<String>,
    /// The home directory of all gateways, which therefore have the same admin tokens. The context
    /// of `sts` in it is the address of nginx.
    pub home: Home,
    /// The URL of the database.
    pub database: String,
    pub server: Postgres,
    directory: TempDir,
}

impl Cluster {
    /// Starts everything, with these settings for each gateway (`--set=..`).
    pub fn start(settings: &[String]) -> Self {
        Self::start_on(Postgres::start(), settings)
    }

    /// Does the same with a database on this server.
    pub fn start_on(server: Postgres, settings: &[String]) -> Self {
        let database = server.create_database();
        Self::start_with(server, database, settings, |_, _| ())
    }

    /// Does the same with the database at this URL, and lets `change` change the command of each
    /// gateway before it is started. The index of the first gateway is 0. A gateway that is started
    /// [again](Self::restart) gets the unchanged command.
    pub fn start_with(
        server: Postgres,
        database: String,
        settings: &[String],
        change: impl Fn(usize, &mut Command),
    ) -> Self {
        let home = Home::new();
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("gateway.yaml"), GATEWAY).expect("the configuration");
        let start = |replica| {
            let gateway = Replica { directory: directory.path(), database: &database, replica };
            let arguments = [&free_ports(), settings].concat();
            gateway.start(&home, &arguments, |command| change(replica - 1, command))
        };
        let replicas: Vec<Gateway> = (1..=REPLICAS).map(start).collect();
        let [grpc, http, management] =
            std::array::from_fn(|_| format!("127.0.0.1:{}", free_port()));
        let mut text = NGINX.to_owned();
        for (documented, listener) in PROXIED {
            for replica in 1..=REPLICAS {
                let documented = format!("127.0.0.1:{replica}{documented}");
                text = text.replace(&documented, &format!("{listener} {replica}"));
            }
        }
        for (documented, actual) in [("4317", &grpc), ("4318", &http), ("7070", &management)] {
            text = text
                .replace(&format!("listen 127.0.0.1:{documented}"), &format!("listen {actual}"));
        }
        // An actual port may be the documented port of another gateway, so it is not looked at
        // again.
        for (_, listener) in PROXIED {
            for (gateway, replica) in replicas.iter().zip(1..) {
                text = text.replace(&format!("{listener} {replica}"), gateway.address(listener));
            }
        }
        let certificate = Certificate::new();
        for (from, to) in [(certificate.cert(), "server.pem"), (certificate.key(), "server.key")] {
            fs::copy(from, directory.path().join(to)).expect("a certificate and its key");
        }
        let balancer = start_nginx(directory.path(), &text);
        let cluster = Self {
            certificate,
            grpc,
            http,
            management,
            _balancer: balancer,
            replicas,
            settings: settings.to_vec(),
            home,
            database,
            server,
            directory,
        };
        cluster.home.save_context_of(&format!("http://{}", cluster.management));
        cluster
    }

    /// Starts the gateway with this index again, on the addresses that it had.
    pub fn restart(&mut self, index: usize) {
        let old = self.replicas.remove(index);
        let addresses: Vec<String> = LISTENERS
            .iter()
            .map(|(listener, setting)| {
                format!("--set={setting}.endpoint={}", old.address(listener))
            })
            .collect();
        drop(old);
        let (directory, database) = (self.directory.path(), self.database.as_str());
        let replica = Replica { directory, database, replica: index + 1 };
        let arguments = [&addresses, self.settings.as_slice()].concat();
        let gateway = replica.start(&self.home, &arguments, |_| ());
        self.replicas.insert(index, gateway);
    }
}

/// What a gateway needs to start.
struct Replica<'a> {
    directory: &'a Path,
    database: &'a str,
    replica: usize,
}

impl Replica<'_> {
    fn start(
        &self,
        home: &Home,
        arguments: &[String],
        change: impl FnOnce(&mut Command),
    ) -> Gateway {
        let ready_file = self.directory.join(format!("ready-{}.json", self.replica));
        let mut command = home.command("ingestion-gateway");
        command.arg("--config").arg(self.directory.join("gateway.yaml"));
        command.arg("--ready-file").arg(&ready_file).args(arguments);
        command.env("REPLICA", self.replica.to_string()).env("DATABASE_URL", self.database);
        command.env("ADMIN_TOKEN_FILE", home.admin_token_file());
        change(&mut command);
        Gateway::ready_with(Program::start(&mut command), &ready_file)
    }
}

/// The listeners of a gateway in its ready file and in its configuration.
const LISTENERS: [(&str, &str); 6] = [
    ("otlp_grpc", "receivers.otlp.protocols.grpc"),
    ("otlp_http", "receivers.otlp.protocols.http"),
    ("agent", "receivers.agent"),
    ("management", "management"),
    ("authorize", "authorize"),
    ("telemetry", "telemetry"),
];

fn free_ports() -> Vec<String> {
    LISTENERS.iter().map(|(_, setting)| format!("--set={setting}.endpoint=127.0.0.1:0")).collect()
}

/// Starts nginx in this directory, and waits until it listens.
fn start_nginx(directory: &Path, configuration: &str) -> Program {
    let directories = TEMPORARY.map(|name| format!("{name}_temp_path {name};\n")).concat();
    let text = configuration.replace("\nhttp {\n", &format!("\nhttp {{\n{directories}"));
    fs::write(directory.join("nginx.conf"), text).expect("the configuration of nginx");
    let mut command = peer("nginx");
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(directory);
    command.args(["-g", "daemon off; master_process off; pid nginx.pid; error_log stderr notice;"]);
    let mut program = Program::start(&mut command);
    program.wait_for("epoll");
    program
}
