//! A connection to an upstream, and the head of an answer that is read from it.

use std::mem::{self, MaybeUninit};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use httparse::Status;

use crate::http1::chunks::Chunks;
use crate::http1::headers::{self, BodyLength, MAX_LINES};
use crate::http1::input::Input;
use crate::upstream::connect;

/// The largest size of the head of an answer.
const MAX_HEAD_SIZE: usize = 64 << 10;

/// A connection to an upstream. Whoever holds it reads and writes.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: connect::Connection,
    pub(super) input: Input,
    /// Whether the task was just promised to be woken when anything arrives.
    is_awaited: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Remaining,
    /// Whether the connection can carry another request after the body.
    pub(super) is_reusable: bool,
}

/// What is still to be read of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remaining {
    Bytes(u64),
    Chunks(Chunks),
    /// Everything until the upstream closes the connection.
    UntilClosed,
}

/// The upstream has closed the connection, or does not speak HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Connection {
    pub(super) fn new(stream: connect::Connection) -> Self {
        Self { stream, input: Input::default(), is_awaited: false }
    }

    /// Returns whether a connection that waits for a request is still open. An upstream that says
    /// anything unasked is not asked anything. The task that asks sends its request at once.
    pub(super) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_awaited =
            self.input.is_empty() && self.input.poll_fill(&mut self.stream, cx).is_pending();
        self.is_awaited
    }

    /// Reads the head of the answer to a request. `is_head` says whether the request was a `HEAD`,
    /// whose answer has no body. Interim answers are skipped.
    pub(super) fn poll_head(
        &mut self,
        is_head: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, NoAnswer>> {
        // The first part of the answer wakes the task, so there is no need to look for it yet.
        if mem::take(&mut self.is_awaited) {
            return Poll::Pending;
        }
        loop {
            if !self.input.is_empty()
                && let Some(head) = self.head(is_head)?
            {
                match head.status.is_informational() {
                    true if head.status != StatusCode::SWITCHING_PROTOCOLS => continue,
                    // Nobody has asked for another protocol.
                    true => return Poll::Ready(Err(NoAnswer)),
                    false => return Poll::Ready(Ok(head)),
                }
            }
            if self.input.bytes().len() >= MAX_HEAD_SIZE {
                return Poll::Ready(Err(NoAnswer));
            }
            match ready!(self.input.poll_fill(&mut self.stream, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(NoAnswer)),
            }
        }
    }

    /// Takes a head, if it is there completely.
    fn head(&mut self, is_head: bool) -> Result<Option<Head>, NoAnswer> {
        let bytes = self.input.bytes().clone();
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut parsed = httparse::Response::new(&mut []);
        let length = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut parsed,
            &bytes,
            &mut lines,
        ) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(NoAnswer),
        };
        let status =
            parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(NoAnswer)?;
        let headers = headers::of_lines(&bytes, parsed.headers).ok_or(NoAnswer)?;
        let is_old = parsed.version != Some(1);
        self.input.take(length);
        Head::new(status, headers, is_head, is_old).map(Some)
    }

    /// Takes the next part of a body. Returns `None` at its end.
    pub(super) fn poll_part(
        &mut self,
        remaining: &mut Remaining,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, NoAnswer>> {
        loop {
            let part = match remaining {
                Remaining::Bytes(0) => return Poll::Ready(Ok(None)),
                Remaining::Bytes(left) => {
                    let part = self.input.take(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= part.len() as u64;
                    part
                }
                Remaining::Chunks(chunks) => match chunks.take(&mut self.input) {
                    Ok(None) if chunks.is_end() => return Poll::Ready(Ok(None)),
                    Ok(part) => part.unwrap_or_default(),
                    Err(_) => return Poll::Ready(Err(NoAnswer)),
                },
                Remaining::UntilClosed => self.input.take(usize::MAX),
            };
            if !part.is_empty() {
                return Poll::Ready(Ok(Some(part)));
            }
            match ready!(self.input.poll_fill(&mut self.stream, cx)) {
                Ok(1..) => {}
                Ok(0) if *remaining == Remaining::UntilClosed => return Poll::Ready(Ok(None)),
                Ok(0) | Err(_) => return Poll::Ready(Err(NoAnswer)),
            }
        }
    }
}

impl Head {
    fn new(
        status: StatusCode,
        mut headers: HeaderMap,
        is_head: bool,
        is_old: bool,
    ) -> Result<Self, NoAnswer> {
        let keeps = match is_old {
            true => headers::has_connection_option(&headers, "keep-alive"),
            false => !headers::has_connection_option(&headers, "close"),
        };
        let mut is_reusable = keeps;
        let body = if is_head || headers::has_no_body(status) {
            Remaining::Bytes(0)
        } else {
            // A length beside chunks does not count (RFC 9112, section 6.3), but the upstream may
            // mean something else.
            if headers.contains_key(TRANSFER_ENCODING) && headers.remove(CONTENT_LENGTH).is_some() {
                is_reusable = false;
            }
            let length = headers::body_length(&headers).or_else(|_| {
                unite_lengths(&mut headers);
                headers::body_length(&headers)
            });
            match length.map_err(|_| NoAnswer)? {
                BodyLength::Bytes(length) => Remaining::Bytes(length),
                BodyLength::Chunks => Remaining::Chunks(Chunks::new()),
                BodyLength::Unknown => {
                    is_reusable = false;
                    Remaining::UntilClosed
                }
            }
        };
        Ok(Self { status, headers, body, is_reusable })
    }
}

/// Makes one length of lengths that are all the same (RFC 9112, section 6.3).
fn unite_lengths(headers: &mut HeaderMap) {
    if let Some(length) = headers.get(CONTENT_LENGTH).cloned()
        && headers.get_all(CONTENT_LENGTH).iter().all(|other| other == length)
    {
        headers.insert(CONTENT_LENGTH, length);
    }
}
