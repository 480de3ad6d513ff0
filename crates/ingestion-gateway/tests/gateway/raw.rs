//! A client of HTTP/1.1 that writes exactly the bytes that a test gives it, and reads everything
//! that comes back. No client library sends what these tests have to send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::program::{Gateway, PATIENCE};

/// A response of HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers, with names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Gateway {
    /// Writes these bytes on a new connection, and reads until the gateway ends the connection.
    /// Returns every response.
    pub(crate) async fn exchange(&self, listener: &str, bytes: &[u8]) -> Vec<Answer> {
        let mut stream = self.connect(listener).await;
        // The gateway may have answered and closed the connection before everything is written.
        let _ = stream.write_all(bytes).await;
        let mut read = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
        let sent = String::from_utf8_lossy(bytes);
        // A reset ends the connection, too.
        let _ = end.unwrap_or_else(|_| panic!("the connection does not end after {sent:?}"));
        answers(&read)
    }

    /// Does the same as [`exchange`](Self::exchange), and returns only the statuses.
    pub(crate) async fn statuses(&self, listener: &str, bytes: &[u8]) -> Vec<u16> {
        self.exchange(listener, bytes).await.iter().map(|answer| answer.status).collect()
    }
}

impl Answer {
    /// Returns the value of a header, which is given by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Splits what a connection has carried into responses. The last one may be incomplete.
fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
        let (head, rest) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no response: {head}"));
        let lower = head.lines().map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        });
        let mut answer = Answer { status, head: lower.collect(), body: Vec::new() };
        let is_chunked = answer.header("transfer-encoding") == Some("chunked");
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        bytes = match length {
            _ if is_chunked => dechunk(rest, &mut answer.body),
            None if status < 200 => rest,
            length => {
                let (body, rest) = rest.split_at(length.unwrap_or(rest.len()).min(rest.len()));
                answer.body = body.to_vec();
                rest
            }
        };
        answers.push(answer);
    }
    answers
}

/// Reads a chunked body into `body`, and returns what follows it. The body may be incomplete.
fn dechunk<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
    while let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") {
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(line, 16).unwrap();
        bytes = &bytes[end + 2..];
        let chunk = &bytes[..size.min(bytes.len())];
        body.extend_from_slice(chunk);
        bytes = &bytes[(size + 2).min(bytes.len())..];
        if size == 0 {
            return bytes;
        }
    }
    &[]
}
