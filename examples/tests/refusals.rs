//! Tests that a sender can read why a receiver refuses its request, although it is still writing.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TOKEN: &str = "a-token-of-some-length";

/// How long a test waits for a step before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that runs until this value is dropped.
struct Receiver {
    process: Child,
    address: String,
}

impl Receiver {
    fn start(program: &str, tokens: &std::path::Path) -> Self {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--tokens"]).arg(tokens).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    /// Writes a whole request, and only then reads the response. Returns the status line.
    fn write_then_read(&self, head: &str, body: usize) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{head}content-length: {body}\r\n\r\n")?;
        stream.write_all(&vec![b'x'; body])?;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            response.push(byte[0]);
        }
        Ok(String::from_utf8(response).unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

// Scenario: senders write bodies of up to 32 MiB to each receiver, and read only when they have
// written everything. The receivers refuse them for different reasons before or while they read.
// Guarantee: each sender reads its refusal each time.
#[test]
fn every_refusal_reaches_its_sender() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
    for program in [
        env!("CARGO_BIN_EXE_receiver-tonic"),
        env!("CARGO_BIN_EXE_receiver-axum"),
        env!("CARGO_BIN_EXE_receiver-hyper"),
    ] {
        let receiver = Receiver::start(program, &tokens);
        let key = format!("authorization: StackState {TOKEN}\r\n");
        for (line, headers, status) in [
            ("POST /v1/traces", "", " 401 "),
            ("POST /v1/traces", &*format!("{key}content-type: text/plain\r\n"), " 415 "),
            ("POST /v1/traces", &format!("{key}content-type: application/json\r\n"), " 413 "),
            ("POST /v1/elsewhere", &key, " 404 "),
            ("PUT /v1/traces", &key, " 405 "),
        ] {
            let head = format!("{line} HTTP/1.1\r\nhost: r\r\n{headers}");
            for body in [300 << 10, 8 << 20, 32 << 20] {
                // 8 MiB are not too large.
                if status == " 413 " && body < 32 << 20 {
                    continue;
                }
                for number in 0..4 {
                    let response = receiver.write_then_read(&head, body);
                    let response = response.unwrap_or_else(|error| {
                        panic!("{program} {line} {body} {number}: {error}")
                    });
                    assert!(response.contains(status), "{program} {line} {body}: {response}");
                }
            }
        }
    }
}
