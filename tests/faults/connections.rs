//! Many connections of senders with a key: idle ones, short ones, and ones that reset their
//! requests.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use otlp_auth_tests::PATIENCE;

use crate::gateway::{Gateway, TestEnv, telemetry};
use crate::http::Client;
use crate::keys::Key;
use crate::silent::raise_limit;

/// The listeners for senders, and the path of logs on each.
const LISTENERS: [(&str, &str); 3] =
    [("otlp_http", "/v1/logs"), ("otlp_grpc", "/v1/logs"), ("agent", "/stsAgent/otel/v1/logs")];

/// How many connections are idle at the same time. A process that may open 20,000 files allows half
/// as many on each listener.
const IDLE: usize = 10_000;

/// The memory that the gateway may use for an idle connection, in bytes.
const IDLE_MEMORY: usize = 32 << 10;

/// How many connections are opened and closed.
const CHURN: usize = 20_000;

/// How many requests are reset.
const RESETS: usize = 100_000;

/// How many requests are reset on one connection, if the gateway does not end it before.
const RESETS_AT_A_TIME: usize = 1000;

/// The memory that the gateway may use besides, in bytes.
const MEMORY: usize = 64 << 20;

/// The preface and the settings of a client of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Returns a frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the headers of an export without any item, for HTTP/2.
fn headers(path: &str, key: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("content-type", "application/x-protobuf"),
        ("authorization", &*format!("StackState {key}")),
    ] {
        // A header whose name and value follow, uncompressed.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Opens a connection of HTTP/2, sends an export on it, and waits for the headers of the answer.
fn open_http2(address: SocketAddr, path: &str, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers(path, key));
    stream.write_all(&[PREFACE, &request].concat()).expect("a request");
    let mut head = [0; 9];
    loop {
        stream.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).expect("its payload");
        if head[3] == HEADERS {
            // HPACK's code for the status 200.
            assert_eq!(payload[0], 0x88);
            return stream;
        }
    }
}

/// Asserts that a sender from another address gets through on both listeners, and that a key is
/// created.
fn assert_served(gateway: &Gateway, key: &Key) {
    Key::create(&mut gateway.caller(), "later");
    for listener in ["otlp_http", "otlp_grpc"] {
        let source = Ipv4Addr::new(127, 0, 0, 2);
        let mut sender = Client::new(gateway.address(listener)).from(source.into());
        let answer = sender.call(&telemetry(&key.secret)).expect("an answer");
        assert_eq!(answer.status, 200, "{listener}: {}", answer.body);
    }
}

// Scenario: 10,000 connections send one export each and then nothing more, half of them over
// HTTP/1.1 and half over HTTP/2, a third on each listener.
// Guarantee: all of them stay open at the same time, each costs less than 32 KiB, and a further
// sender is served. Once they are closed, their memory is free for others.
#[test]
fn ten_thousand_idle_connections() {
    raise_limit(IDLE);
    let env = TestEnv::new(&["limits.idle_timeout=1h", "usage.sources=0"]);
    let gateway = env.start();
    let key = Key::create(&mut gateway.caller(), "idle");
    let before = gateway.memory("VmRSS");
    let (mut http1, mut http2) = (Vec::new(), Vec::new());
    for number in 0..IDLE / 2 {
        let (listener, path) = LISTENERS[number % LISTENERS.len()];
        let address = gateway.address(listener);
        let request = telemetry(&key.secret);
        let request = String::from_utf8(request).expect("text").replacen("/v1/logs", path, 1);
        let mut client = Client::new(address);
        let answer = client.call(request.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        http1.push((client, request));
        http2.push(open_http2(address, path, &key.secret));
    }
    let used = gateway.memory("VmRSS") - before;
    println!("{} bytes for each idle connection", used / IDLE);
    assert!(used < IDLE * IDLE_MEMORY, "{} bytes for each connection", used / IDLE);
    assert_served(&gateway, &key);
    // A sample of the oldest connections still carries requests.
    for (client, request) in http1.iter_mut().step_by(100) {
        assert_eq!(client.call(request.as_bytes()).expect("an answer").status, 200);
    }
    drop((http1, http2));
    assert_served(&gateway, &key);
    gateway.stop();
}

// Scenario: 20,000 connections are opened and closed, four at a time: without a byte, in the middle
// of a head, after an export, and over HTTP/2. The memory is measured after the first eighth and at
// the end.
// Guarantee: each export is accepted, the memory does not grow, and no descriptor is left open.
#[test]
fn connections_that_come_and_go_leave_nothing() {
    let env = TestEnv::new(&["usage.sources=0"]);
    let gateway = env.start();
    let key = Key::create(&mut gateway.caller(), "churn");
    let churn = |count: usize| {
        thread::scope(|scope| {
            for listener in ["otlp_http", "otlp_grpc"].repeat(2) {
                let (address, key) = (gateway.address(listener), &key);
                scope.spawn(move || {
                    for number in 0..count / 4 {
                        match number % 4 {
                            0 => drop(TcpStream::connect(address).expect("a connection")),
                            1 => {
                                let mut stream = TcpStream::connect(address).expect("a connection");
                                stream.write_all(b"POST /v1/logs HT").expect("half a head");
                            }
                            2 => {
                                let answer = Client::new(address).call(&telemetry(&key.secret));
                                assert_eq!(answer.expect("an answer").status, 200);
                            }
                            _ => drop(open_http2(address, "/v1/logs", &key.secret)),
                        }
                    }
                });
            }
        });
    };
    churn(CHURN / 8);
    let before = gateway.memory("VmRSS");
    churn(CHURN);
    let after = gateway.memory("VmRSS");
    println!("{} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after < before + MEMORY / 4, "{before} bytes before, {after} after");
    assert_served(&gateway, &key);
    gateway.wait_for_descriptors(100);
    gateway.stop();
}

// Scenario: a sender with a good key opens 100,000 requests over HTTP/2 and resets each at once,
// 1,000 on each connection. Another sender sends meanwhile.
// Guarantee: the other sender is always served, and the memory stays small.
#[test]
fn rapid_resets_stop_nobody_else() {
    let env = TestEnv::new(&[]);
    let gateway = env.start();
    let mut caller = gateway.caller();
    let [attacker, good] = ["attacker", "good"].map(|name| Key::create(&mut caller, name));
    let block = headers("/v1/logs", &attacker.secret);
    let mut attack = PREFACE.to_vec();
    for number in 0..u32::try_from(RESETS_AT_A_TIME).expect("a small number") {
        let stream = 2 * number + 1;
        attack.extend(frame(HEADERS, END_HEADERS, stream, &block));
        attack.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let address = gateway.address("otlp_grpc");
    thread::scope(|scope| {
        let attacks = scope.spawn(|| {
            for _ in 0..RESETS / RESETS_AT_A_TIME {
                let mut stream = TcpStream::connect(address).expect("a connection");
                // The gateway may have ended the connection before everything is written.
                let _ = stream.write_all(&attack);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let mut sent = 0;
        while !attacks.is_finished() || sent < 100 {
            assert_eq!(caller.export(&good.secret).status, 200);
            sent += 1;
        }
        println!("{sent} requests of the other sender");
    });
    let memory = gateway.memory("VmHWM");
    println!("{} MiB at most", memory >> 20);
    assert!(memory < 2 * MEMORY, "{memory} bytes");
    gateway.stop();
}
