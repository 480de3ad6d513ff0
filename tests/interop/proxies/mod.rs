//! Proxies that ask our gateway about each request: nginx, HAProxy, Caddy, Traefik and Envoy, each
//! with its configuration from `docs/proxies.md`.

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod scenario;
mod traefik;
mod upstream;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use otlp_auth_tests::{Certificate, PATIENCE, free_port};
use tempfile::TempDir;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxies.md");

/// The time between two looks at something that does not say when it changes.
const PAUSE: Duration = Duration::from_millis(20);

/// The ports of everything in one test.
#[derive(Clone, Copy)]
struct Ports {
    /// The ports of the proxy for senders.
    grpc: u16,
    http: u16,
    /// The port on which Traefik asks itself.
    internal: u16,
    authorize: u16,
    upstream: u16,
}

/// The directory of a proxy: its documented configuration, and its certificate.
struct Files {
    directory: TempDir,
    certificate: Certificate,
}

impl Ports {
    fn choose(upstream: u16) -> Self {
        let [grpc, http, internal, authorize] = std::array::from_fn(|_| free_port());
        Self { grpc, http, internal, authorize, upstream }
    }
}

impl Files {
    /// Writes these files of the documentation, with the ports of the test.
    fn of(names: &[&str], ports: &Ports) -> Self {
        let files = Self {
            directory: TempDir::new().expect("a directory"),
            certificate: Certificate::new(),
        };
        let [certificate, key] = [files.certificate.cert(), files.certificate.key()]
            .map(|path| fs::read_to_string(path).expect("a certificate and its key"));
        let write = |name: &str, text: &str| fs::write(files.path(name), text).expect("a file");
        write("server.pem", &certificate);
        write("server.key", &key);
        write("server-and-key.pem", &[certificate, key].concat());
        names.iter().for_each(|name| write(name, &configuration(name, ports)));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Returns a file of the documentation, which is a block whose first line is a comment with its
/// name. Replaces its ports, and where nginx may write.
fn configuration(name: &str, ports: &Ports) -> String {
    let document = fs::read_to_string(DOCUMENT).expect("the documentation");
    let mut blocks = document.split("\n```").filter_map(|block| Some(block.split_once('\n')?.1));
    let names = |block: &&str| {
        let first = block.lines().next().unwrap_or_default();
        first.strip_prefix("# ").or_else(|| first.strip_prefix("-- ")) == Some(name)
    };
    let mut text = blocks.find(names).unwrap_or_default().to_owned() + "\n";
    let Ports { grpc, http, internal, authorize, upstream } = ports;
    for (documented, replacement) in [
        ("127.0.0.1:14317", format!("127.0.0.1:{upstream}")),
        ("127.0.0.1:14318", format!("127.0.0.1:{upstream}")),
        ("127.0.0.1:17077", format!("127.0.0.1:{upstream}")),
        ("port_value: 14317", format!("port_value: {upstream}")),
        ("port_value: 14318", format!("port_value: {upstream}")),
        ("127.0.0.1:7071", format!("127.0.0.1:{authorize}")),
        ("port_value: 7071", format!("port_value: {authorize}")),
        ("127.0.0.1:7171", format!("127.0.0.1:{internal}")),
        ("listen 4317", format!("listen 127.0.0.1:{grpc}")),
        ("listen 4318", format!("listen 127.0.0.1:{http}")),
        ("bind :4317", format!("bind 127.0.0.1:{grpc}")),
        ("bind :4318", format!("bind 127.0.0.1:{http}")),
        ("\":4317\"", format!("\"127.0.0.1:{grpc}\"")),
        ("\":4318\"", format!("\"127.0.0.1:{http}\"")),
        ("localhost:4317", format!("localhost:{grpc}")),
        ("localhost:4318", format!("localhost:{http}")),
        ("0.0.0.0, port_value: 4317", format!("127.0.0.1, port_value: {grpc}")),
        ("0.0.0.0, port_value: 4318", format!("127.0.0.1, port_value: {http}")),
        ("/var/log/nginx/error.log", "stderr".to_owned()),
    ] {
        text = text.replace(documented, &replacement);
    }
    assert!(text.len() > 100, "docs/proxies.md has no {name}");
    text
}

/// Returns the address of a port of this host.
fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Asks at this address about a request with a key, as a proxy does, and returns the status. It is
/// `None` while nobody listens there.
fn ask(address: &str, key: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!(
        "GET /authorize HTTP/1.1\r\nhost: gateway\r\nauthorization: StackState {key}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Waits until the answer at this address has this status.
pub(crate) fn wait_for_answer(address: &str, key: &str, status: u16) {
    let what = format!("an answer {status} at {address}");
    wait_until(&what, || ask(address, key) == Some(status));
}

/// Waits until a program listens on this port.
fn wait_until_served(port: u16) {
    let what = format!("a listener on port {port}");
    wait_until(&what, || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Asks again and again, because the other program does not tell when it is ready.
fn wait_until(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "there is not {what}");
        std::thread::sleep(PAUSE);
    }
}
