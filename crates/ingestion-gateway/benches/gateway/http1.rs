//! HTTP/1.1: the sender's side and the sink's.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::job::{Job, Protocol};
use crate::load::{Expected, Tally};
use crate::pipe::Pipe;

/// A connection of a sender: one request at a time.
pub(crate) struct Client {
    pub(crate) pipe: Pipe,
    job: Rc<Job>,
    request: Rc<[u8]>,
    /// When the request in flight was due.
    due: Option<Instant>,
    backlog: VecDeque<Instant>,
    head: Option<Head>,
}

/// The head of a message, and how much of its body has not arrived yet.
#[derive(Clone, Copy)]
struct Head {
    status: u16,
    body: Body,
    close: bool,
}

#[derive(Clone, Copy)]
enum Body {
    Left(usize),
    /// Bytes left of the current chunk with its line end, and whether it is the last one.
    Chunk(Option<(usize, bool)>),
}

impl Client {
    pub(crate) fn new(address: SocketAddr, job: &Rc<Job>) -> io::Result<Self> {
        Ok(Self {
            pipe: Pipe::connect(address)?,
            request: job.http1(address),
            job: Rc::clone(job),
            due: None,
            backlog: VecDeque::new(),
            head: None,
        })
    }

    pub(crate) fn demand(&mut self, due: Instant) {
        if self.due.is_none() {
            self.due = Some(due);
            self.pipe.out.extend_from_slice(&self.request);
        } else {
            self.backlog.push_back(due);
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        usize::from(self.due.is_some()) + self.backlog.len()
    }

    /// Reads answers. Returns whether the connection can be used for another request.
    pub(crate) fn read(&mut self, tally: &mut Tally) -> bool {
        loop {
            let more = self.pipe.fill();
            let input = self.pipe.take_input();
            let mut consumed = 0;
            while self.answer(&input, &mut consumed, tally) {}
            self.pipe.put_input(input, consumed);
            if !more {
                break;
            }
        }
        if self.pipe.closed {
            if self.due.take().is_some() {
                tally.fail("the connection was closed before an answer");
            }
            // Requests that have not been sent go to the next connection.
            return false;
        }
        true
    }

    /// The requests that wait, when this connection is given up.
    pub(crate) fn take_backlog(&mut self) -> VecDeque<Instant> {
        std::mem::take(&mut self.backlog)
    }

    fn answer(&mut self, input: &[u8], consumed: &mut usize, tally: &mut Tally) -> bool {
        let mut head = match self.head {
            Some(head) => head,
            None => match head_of(&input[*consumed..]) {
                Some((length, head)) => {
                    *consumed += length;
                    head
                }
                None => return false,
            },
        };
        let (length, ended) = body_of(&mut head.body, &input[*consumed..], |_| {});
        *consumed += length;
        if !ended {
            self.head = Some(head);
            return false;
        }
        self.head = None;
        let Some(due) = self.due.take() else {
            tally.fail("an answer without a request");
            return true;
        };
        tally.answer(self.job.is_expected_http(head.status), due, || {
            format!("status {}", head.status)
        });
        // An answer can come before the request has been read. Then the rest of the request is
        // still to be sent, or the connection is closed.
        if head.close {
            self.pipe.closed = true;
        }
        if let Some(due) = self.backlog.pop_front() {
            self.demand(due);
        }
        true
    }
}

/// A connection of the sink.
pub(crate) struct Server {
    pub(crate) pipe: Pipe,
    head: Option<Head>,
    received: usize,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 2\r\n\r\n\x0a\0";

impl Server {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Self { pipe, head: None, received: 0 }
    }

    /// Reads requests and answers them. Returns whether the connection is still open.
    pub(crate) fn read(&mut self, expected: &mut Expected) -> bool {
        loop {
            let more = self.pipe.fill();
            let input = self.pipe.take_input();
            let mut consumed = 0;
            while self.request(&input, &mut consumed, expected) {}
            self.pipe.put_input(input, consumed);
            if !more {
                break;
            }
        }
        if self.pipe.closed && self.head.is_some() {
            expected.fail("a request ended early at the sink");
        }
        !self.pipe.closed
    }

    fn request(&mut self, input: &[u8], consumed: &mut usize, expected: &mut Expected) -> bool {
        let mut head = match self.head {
            Some(head) => head,
            None => match head_of(&input[*consumed..]) {
                Some((length, head)) => {
                    *consumed += length;
                    head
                }
                None => return false,
            },
        };
        let received = &mut self.received;
        let (length, ended) = body_of(&mut head.body, &input[*consumed..], |part| {
            expected.part(Protocol::Http, *received, part);
            *received += part.len();
        });
        *consumed += length;
        if !ended {
            self.head = Some(head);
            return false;
        }
        self.head = None;
        expected.request(Protocol::Http, std::mem::take(&mut self.received));
        self.pipe.out.extend_from_slice(ANSWER);
        true
    }
}

/// Returns the length of a head that has arrived whole, and what it says.
fn head_of(input: &[u8]) -> Option<(usize, Head)> {
    let length = find(input, b"\r\n\r\n")? + 4;
    let mut lines = input[..length].split(|&byte| byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| std::str::from_utf8(line.get(9..12)?).ok()?.parse().ok())
        .unwrap_or(0);
    let mut head = Head { status, body: Body::Left(0), close: false };
    for line in lines {
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value(line, b"content-length") {
                    let value = std::str::from_utf8(value).ok()?.trim();
                    head.body = Body::Left(value.parse().ok()?);
                } else if let Some(value) = value(line, b"connection") {
                    head.close = value.trim_ascii().eq_ignore_ascii_case(b"close");
                }
            }
            Some(b't' | b'T') if value(line, b"transfer-encoding").is_some() => {
                head.body = Body::Chunk(None);
            }
            _ => {}
        }
    }
    Some((length, head))
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then_some(value)?.strip_prefix(b":")
}

fn find(input: &[u8], wanted: &[u8]) -> Option<usize> {
    input.windows(wanted.len()).position(|window| window == wanted)
}

/// Consumes what has arrived of a body. Returns how much that was, and whether the body has ended.
fn body_of(body: &mut Body, input: &[u8], mut part: impl FnMut(&[u8])) -> (usize, bool) {
    match body {
        Body::Left(left) => {
            let now = input.len().min(*left);
            if now > 0 {
                part(&input[..now]);
            }
            *left -= now;
            (now, *left == 0)
        }
        Body::Chunk(chunk) => {
            let mut consumed = 0;
            loop {
                let rest = &input[consumed..];
                match chunk {
                    None => {
                        let Some(line) = find(rest, b"\r\n") else { return (consumed, false) };
                        let digits = std::str::from_utf8(&rest[..line]).unwrap_or_default();
                        let size = usize::from_str_radix(digits.trim(), 16).unwrap_or_default();
                        *chunk = Some((size + 2, size == 0));
                        consumed += line + 2;
                    }
                    Some((left, last)) => {
                        let now = rest.len().min(*left);
                        let data = now.min(left.saturating_sub(2));
                        if data > 0 {
                            part(&rest[..data]);
                        }
                        *left -= now;
                        consumed += now;
                        if *left > 0 {
                            return (consumed, false);
                        }
                        if *last {
                            return (consumed, true);
                        }
                        *chunk = None;
                    }
                }
            }
        }
    }
}
