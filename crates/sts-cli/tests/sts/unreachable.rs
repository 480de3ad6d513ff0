//! Tests of the messages about servers that cannot be reached.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::mock::{CREATED, Mock, json};
use crate::sts::Sts;

// Scenario: the port is closed, or the host name does not exist, or the URL has https although the
// server does not use TLS.
// Guarantee: the exit code is 4. The message has the cause, and says what to do.
#[test]
fn a_server_that_cannot_be_reached() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sts = || Sts::new().with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list", "--url", &format!("http://{free}")]);
    let expected = format!(
        "[ERROR] Could not connect to http://{free}/api (tcp connect error: Connection refused (os \
         error 111))\nCheck the URL, that the server is running, and the proxy settings of the \
         environment\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (4, expected));
    let mock = Mock::contract();
    let outcome = sts().try_key(&["list", "--url", &format!("https://{}", mock.address)]);
    assert!(
        outcome.stderr.ends_with(
            "\nCheck that the server uses TLS: if it does not, the URL must begin with http://\n"
        ),
        "{}",
        outcome.stderr
    );
    let outcome = sts().try_key(&["list", "--url", "https://no.such.host.invalid"]);
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.ends_with(
            "\nCheck the URL, that the server is running, and the proxy settings of the \
             environment\n"
        ),
        "{}",
        outcome.stderr
    );
}

// Scenario: the server does not respond with HTTP. It sends the greeting of another protocol, or it
// closes the connection.
// Guarantee: the exit code is 4. The hint says to check the port, and whether the server uses TLS.
#[test]
fn a_server_without_http() {
    for greeting in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"\x15\x03\x03\x00\x02\x02\x32", b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(greeting).unwrap();
        });
        let outcome = Sts::new().try_key(&["list", "--url", &url, "--api-token", "t"]);
        server.join().unwrap();
        assert_eq!(outcome.code, 4);
        assert!(
            outcome.stderr.ends_with(
                "\nThe server does not respond with HTTP: check the port, and whether the URL must \
                 begin with https://\n"
            ),
            "{outcome:?}"
        );
    }
}

// Scenario: the server begins a response and never completes it.
// Guarantee: the exit code is 4, and the message suggests a longer timeout.
#[test]
fn a_response_without_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").unwrap();
        // Reads until the client closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let outcome =
        Sts::new().try_key(&["list", "--url", &url, "--api-token", "t", "--timeout", "500ms"]);
    server.join().unwrap();
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.ends_with(
            "\nCheck that the server is running, or allow it more time with --timeout\n"
        ),
        "{outcome:?}"
    );
}

// Scenario: the server accepts connections, but does not respond to one request. That request is
// either the first one, or the request that creates a key.
// Guarantee: the command ends after its timeout with exit code 4. If the request that creates a key
// has no response, the message says that a key may exist.
#[test]
fn a_server_that_does_not_respond() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let outcome =
        Sts::new().try_key(&["list", "--url", &url, "--api-token", "t", "--timeout", "50ms"]);
    let expected = format!(
        "[ERROR] Could not connect to {url}/api (no response in time)\nCheck that the server is \
         running, or allow it more time with --timeout\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (4, expected));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    let mock = Mock::with_override("POST", move |_| {
        // Blocks until the test ends.
        let _ = receiver.lock().unwrap().recv();
        json(200, CREATED)
    });
    let outcome = Sts::connected_to(&mock).try_key(&["create", "-n", "edge", "--timeout", "500ms"]);
    drop(sender);
    assert_eq!(outcome.code, 4);
    assert!(
        outcome.stderr.ends_with(
            "A key may have been created nevertheless: check with `sts ingestion-api-key list`\n"
        ),
        "{}",
        outcome.stderr
    );
}
