//! Links that are cut, frozen and slow.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use test_postgres::Link;

/// A server that hands out its connections, and a link to it.
fn link() -> (Receiver<TcpStream>, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = Link::to(listener.local_addr().unwrap());
    let (sender, accepted) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            if sender.send(connection.unwrap()).is_err() {
                return;
            }
        }
    });
    (accepted, link)
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).unwrap();
    let mut received = vec![0; text.len()];
    to.read_exact(&mut received).unwrap();
    assert_eq!(received, text);
}

fn assert_reset(socket: &mut TcpStream) {
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

// Scenario: a megabyte goes each way, and each side closes its direction.
// Guarantee: everything arrives, and then the end.
#[test]
fn a_link_forwards() {
    let (accepted, link) = link();
    let mut client = TcpStream::connect(link.address()).unwrap();
    let mut server = accepted.recv().unwrap();
    let text: Vec<_> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    send_all(&mut client, &mut server, &text);
    send_all(&mut server, &mut client, &text);
}

/// Sends the text and the end from one side to the other.
fn send_all(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    thread::scope(|scope| {
        let mut received = Vec::new();
        scope.spawn(|| {
            from.write_all(text).unwrap();
            from.shutdown(Shutdown::Write).unwrap();
        });
        to.read_to_end(&mut received).unwrap();
        assert_eq!(received, text);
    });
}

// Scenario: a link with a connection is cut and mended, three times.
// Guarantee: both ends are reset, new connections are refused, and after mending one works at the
// same address.
#[test]
fn a_cut_link_refuses() {
    let (accepted, link) = link();
    for _ in 0..3 {
        let mut client = TcpStream::connect(link.address()).unwrap();
        let mut server = accepted.recv().unwrap();
        exchange(&mut client, &mut server, b"before");
        link.cut();
        assert_reset(&mut client);
        assert_reset(&mut server);
        let error = TcpStream::connect(link.address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        link.mend();
    }
}

// Scenario: the connections of a link are dropped.
// Guarantee: both ends are reset, and the next connection works.
#[test]
fn connections_are_dropped() {
    let (accepted, link) = link();
    for _ in 0..3 {
        let mut client = TcpStream::connect(link.address()).unwrap();
        let mut server = accepted.recv().unwrap();
        exchange(&mut server, &mut client, b"before");
        link.drop_connections();
        assert_reset(&mut client);
        assert_reset(&mut server);
    }
}

// Scenario: a link is frozen. A client writes until the buffers are full, another one connects.
// Guarantee: nothing arrives while the link is frozen, and everything does after it is mended.
#[test]
fn a_frozen_link_is_a_black_hole() {
    let (accepted, link) = link();
    let mut client = TcpStream::connect(link.address()).unwrap();
    let mut server = accepted.recv().unwrap();
    exchange(&mut client, &mut server, b"before");
    link.freeze();
    let mut other = TcpStream::connect(link.address()).unwrap();
    other.write_all(b"other").unwrap();
    client.set_nonblocking(true).unwrap();
    let mut written = 0;
    let full = loop {
        match client.write(&[7; 64 * 1024]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(accepted.try_recv().is_err());

    link.mend();
    server.set_nonblocking(false).unwrap();
    let mut received = vec![0; written];
    server.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|byte| *byte == 7));
    let mut server = accepted.recv().unwrap();
    let mut received = [0; 5];
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"other");
}

// Scenario: a link delays by 50 ms each way. A byte goes to the server and back.
// Guarantee: it is back after 100 ms at the earliest, on a fast and on a slow machine.
#[test]
fn a_link_delays_each_way() {
    let (accepted, link) = link();
    let mut client = TcpStream::connect(link.address()).unwrap();
    let mut server = accepted.recv().unwrap();
    link.delay(Duration::from_millis(50));
    let start = Instant::now();
    exchange(&mut client, &mut server, b"1");
    exchange(&mut server, &mut client, b"2");
    assert!(start.elapsed() >= Duration::from_millis(100));
    link.delay(Duration::ZERO);
    exchange(&mut client, &mut server, b"3");
}

// Scenario: the server of a link resets a connection, and another link is dropped.
// Guarantee: each time the client is reset.
#[test]
fn an_end_of_the_other_side_arrives() {
    let (accepted, link) = link();
    let mut client = TcpStream::connect(link.address()).unwrap();
    let mut server = accepted.recv().unwrap();
    exchange(&mut client, &mut server, b"before");
    client.write_all(b"unread").unwrap();
    server.read_exact(&mut [0]).unwrap();
    // Closing a socket with unread bytes resets the connection.
    drop(server);
    assert_reset(&mut client);

    let mut client = TcpStream::connect(link.address()).unwrap();
    let mut server = accepted.recv().unwrap();
    exchange(&mut client, &mut server, b"before");
    drop(link);
    assert_reset(&mut client);
    assert_reset(&mut server);
}
