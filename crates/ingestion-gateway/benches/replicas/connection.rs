//! HTTP/1.1, with as little work as possible between an answer and whoever waits for it.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A connection with one request at a time.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// A request whose head and body are written one after the other, because many heads share a body.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    head: String,
    body: &'a [u8],
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl<'a> Request<'a> {
    /// Makes a request with these fields, each of which has a line end.
    pub(crate) fn new(what: &str, fields: &str, body: &'a [u8]) -> Self {
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        Self { head, body }
    }
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request, and waits until its answer has arrived whole. Panics if the answer has no
    /// length.
    pub(crate) async fn send(&mut self, request: &Request<'_>) -> Answer {
        self.stream.write_all(request.head.as_bytes()).await.unwrap();
        self.stream.write_all(request.body).await.unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        let status = line.get(9..12).and_then(|status| status.parse().ok()).unwrap();
        let mut length = (status == 204).then_some(0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).await.unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.parse().unwrap());
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length.unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        Answer { status, body }
    }
}
