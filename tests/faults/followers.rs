//! A thousand followers of one gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ingestion_api::route;
use otlp_auth_tests::PATIENCE;
use serde_json::{Value, json};

use crate::gateway::{Caller, TestEnv};
use crate::silent::raise_limit;

/// How many followers are connected at the same time.
const FOLLOWERS: usize = 1000;

/// The memory that the gateway may use for all of them, in bytes.
const MEMORY: usize = 50 << 20;

/// How many keys are created while all of them are connected.
const CHANGES: usize = 20;

/// A follower that is connected.
struct Follower(BufReader<TcpStream>);

impl Follower {
    fn connect(address: std::net::SocketAddr, token: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let request = format!(
            "GET {}{} HTTP/1.1\r\nHost: gateway\r\nAuthorization: StackState {token}\r\n\r\n",
            route::API_PATH,
            route::FOLLOW
        );
        stream.write_all(request.as_bytes()).expect("the gateway reads");
        Self(BufReader::new(stream))
    }

    /// Waits for a line that contains `text`. The lines between the parts of a response are passed
    /// over.
    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.0.read_line(&mut line).expect("a line in time");
            assert!(read > 0, "the gateway has ended the stream");
        }
    }
}

/// Creates the token of a follower, or a key. Returns the response.
fn create(caller: &mut Caller, role: &str) -> Value {
    let body = json!({"name": role, "role": role}).to_string();
    let answer = caller.manage("POST", route::API_KEYS, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

// Scenario: a thousand followers are connected. Keys are created one after the other.
// Guarantee: all followers together take little memory, and each of them gets each key.
#[test]
fn a_thousand_followers_get_every_change() {
    raise_limit(FOLLOWERS);
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let token = create(&mut caller, "follower");
    let token = token["apiKey"].as_str().expect("a token");
    let before = gateway.memory("VmRSS");
    let connect = |_| {
        let mut follower = Follower::connect(gateway.address("management"), token);
        follower.wait_for("\"position\"");
        follower
    };
    let mut followers: Vec<_> = (0..FOLLOWERS).map(connect).collect();
    let memory = gateway.memory("VmRSS").saturating_sub(before);
    let mut slowest = Duration::ZERO;
    for _ in 0..CHANGES {
        let key = create(&mut caller, "ingestion");
        let answered = Instant::now();
        let id = format!("\"id\":{},", key["id"]);
        followers.iter_mut().for_each(|follower| follower.wait_for(&id));
        slowest = slowest.max(answered.elapsed());
    }
    println!(
        "{FOLLOWERS} followers: {} MB; slowest of {CHANGES} changes until all have it: {slowest:?}",
        memory >> 20
    );
    assert!(memory <= MEMORY, "{memory} bytes");
}
