//! A receiver that follows our gateway, and decides on keys itself.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use otlp_auth_tests::{Certificate, Gateway, Home, Key, PATIENCE, Program, example};
use serde_json::Value;

use crate::TestFile;
use crate::tls::add_tls;

/// The time between two looks at whether something was reached.
const PAUSE: Duration = Duration::from_millis(10);

/// A running receiver.
struct Receiver {
    _program: Program,
    port: u16,
}

impl Receiver {
    fn start(gateway: &str, token: &Path) -> Self {
        Self::ready(&mut receiver(gateway, token), "")
    }

    /// Starts a receiver, and waits until it listens and has printed a line that contains `text`.
    fn ready(command: &mut Command, text: &str) -> Self {
        let mut program = Program::start(command);
        let (mut port, mut has_printed) = (None, false);
        let port = program.wait_until("its port", |line| {
            has_printed |= line.contains(text);
            if line.starts_with("listening on ") {
                port = line.rsplit(':').next().and_then(|port| port.parse().ok());
            }
            port.filter(|_| has_printed)
        });
        Self { _program: program, port }
    }

    /// Sends a request with a key, and returns the status of the response.
    fn send(&self, key: &Key) -> u16 {
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port)).expect("the receiver listens");
        let request = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\
             Authorization: StackState {}\r\n\r\n{{}}",
            key.secret
        );
        stream.write_all(request.as_bytes()).expect("the receiver reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no response: {response}"))
    }

    /// Sends requests with a key until the status is `status`. Until then, it is one of `before`.
    fn wait_for(&self, key: &Key, status: u16, before: &[u16]) {
        wait_until(|| {
            let found = self.send(key);
            assert!(found == status || before.contains(&found), "{found}");
            found == status
        });
    }
}

/// Returns a command that runs a receiver.
fn receiver(gateway: &str, token: &Path) -> Command {
    let mut command = example("receiver-follower");
    command.args(["--listen", "127.0.0.1:0", "--report-interval", "100ms"]);
    command.args(["--gateway", gateway, "--token-file"]);
    command.arg(token);
    command
}

fn wait_until(mut is_reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < deadline, "this was never reached");
        std::thread::sleep(PAUSE);
    }
}

/// Creates a token with `sts`, and returns the file with the token.
fn create_token(home: &Home) -> TestFile {
    let created = follower(home, &["create", "--name", "pipeline"]);
    let token = created["follower-token"]["apiKey"].as_str().expect("a token");
    TestFile::new("follower-token", token)
}

/// Runs `sts follower` with these arguments, and returns its JSON output.
fn follower(home: &Home, arguments: &[&str]) -> Value {
    let outcome = home.sts(&[&["follower", "-o", "json"], arguments].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// Starts a gateway whose management listener has this address.
fn start_again(home: &Home, address: &str) -> Gateway {
    let mut command = home.gateway();
    command.args(["--set", &format!("management.endpoint={address}")]);
    Gateway::ready(Program::start(&mut command), home)
}

// Scenario: a receiver follows a gateway. A key is created there, used at the receiver, and deleted
// at the gateway. Then the gateway is killed, and started again.
// Guarantee: the receiver accepts the key, refuses it once it is deleted, and never refuses a valid
// key, whether the gateway runs or not. The list of the gateway has each use of the key, and the
// connected receiver. After the restart the receiver learns of changes again.
#[test]
fn a_receiver_follows_the_gateway() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    home.save_context(&gateway);
    let address = gateway.address("management").to_owned();
    let token = create_token(&home);
    let receiver = Receiver::start(&gateway.url("management"), &token.path());

    let (key, other) = (home.create_key("edge"), home.create_key("other"));
    // Before the receiver has the key, it is undecided, or the key is unknown.
    receiver.wait_for(&key, 200, &[401, 503]);
    receiver.wait_for(&other, 200, &[401]);
    let used = || home.sts_key(&["describe", "--id", &key.id.to_string()]);
    wait_until(|| used().to_string().contains("\"accepted\":1,"));
    let listed = follower(&home, &["list"]);
    let connections = &listed["follower-tokens"][0]["connections"];
    assert_eq!((&connections[0]["address"], &connections[1]), (&"127.0.0.1".into(), &Value::Null));

    home.delete_key(&key);
    receiver.wait_for(&key, 401, &[200]);

    drop(gateway);
    assert_eq!((receiver.send(&other), receiver.send(&key)), (200, 401));
    let gateway = start_again(&home, &address);
    let new = home.create_key("new");
    wait_until(|| {
        assert_eq!((receiver.send(&other), receiver.send(&key)), (200, 401));
        receiver.send(&new) == 200
    });
    drop(gateway);
}

// Scenario: the management listener of the gateway has TLS. A receiver knows the certificate of the
// gateway, and another one does not.
// Guarantee: the receiver that knows the certificate follows the gateway. The other one sends its
// token nowhere, says why, and is undecided.
#[test]
fn a_receiver_follows_over_tls() {
    let (home, certificate) = (Home::new(), Certificate::authority());
    let mut command = home.gateway();
    add_tls(&mut command, "management", &certificate, "");
    let gateway = Gateway::ready(Program::start(&mut command), &home);
    let url = format!("https://{}", gateway.address("management"));
    let ca_cert = certificate.cert();
    let save = ["context", "save", "--url", &url, "--api-token", &home.admin_token()];
    let trusting = ["--ca-cert", ca_cert.to_str().expect("text")];
    assert_eq!(home.sts(&[&save[..], &trusting].concat()).code, Some(0));
    let token = create_token(&home);
    let key = home.create_key("edge");
    let mut trusting = receiver(&url, &token.path());
    let trusting = Receiver::ready(trusting.arg("--ca-file").arg(&ca_cert), "");
    trusting.wait_for(&key, 200, &[503]);
    let mut other = receiver(&url, &token.path());
    let other = Receiver::ready(&mut other, "invalid peer certificate");
    assert_eq!(other.send(&key), 503);
}
