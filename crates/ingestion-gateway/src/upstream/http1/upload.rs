//! A request on its way to an upstream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use otlp_receiver::{Refusal, body};
use tokio::io::AsyncWrite;

use crate::http1::output::Output;
use crate::upstream::answer::Failure;
use crate::upstream::body::Payload;

const ENDED_EARLY: Failure = Failure::Refused(Refusal::EndedEarly);

/// A request on its way to an upstream. Its body is read when what was read before is written.
///
/// If somebody has begun to read a body that came over HTTP/1.1, and the upstream does not take all
/// of it, the rest is thrown away, so that the client reads the answer before it finds its
/// connection closed. Over HTTP/2, a stream ends without its connection.
pub(super) struct Upload<B>
where
    B: Payload,
{
    output: Output,
    /// The body, until its end.
    body: Option<B>,
    /// The number of bytes that must still come. Without a number, the body is sent in chunks.
    length: Option<u64>,
    /// The number of bytes that may still come.
    limit: u64,
    is_http1: bool,
    has_read: bool,
    waits_for_client: bool,
    /// The number of bytes that the connection has taken.
    sent: u64,
}

/// Why a request is not sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadError {
    /// The connection takes nothing more. The upstream may have answered.
    Connection,
    /// The body cannot be read to its end.
    Body(Failure),
}

impl<B> Upload<B>
where
    B: Payload,
{
    /// Begins with `output`, which has the head with this length. The body may have `limit` bytes.
    pub(super) fn new(
        output: Output,
        body: B,
        length: Option<u64>,
        limit: u64,
        is_http1: bool,
    ) -> Self {
        Self {
            output,
            body: Some(body),
            length,
            limit,
            is_http1,
            has_read: false,
            waits_for_client: false,
            sent: 0,
        }
    }

    /// Returns whether the client has to send more of the body.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// Returns the number of bytes that the connection has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns whether everything is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.body.is_none() && self.output.is_empty()
    }

    /// Waits until the body has begun, and gathers what has come of it.
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let before = self.output.waiting();
        let gathered = self.poll_gather(cx);
        if gathered.is_pending() && self.output.waiting() > before {
            return Poll::Ready(Ok(()));
        }
        gathered
    }

    /// Sends the request to its end. More of the body is read only once the connection has taken
    /// everything before.
    pub(super) fn poll_send<T>(
        &mut self,
        connection: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>>
    where
        T: AsyncWrite + Unpin,
    {
        self.waits_for_client = false;
        loop {
            let before = self.output.waiting();
            let written = self.output.poll_write(connection, cx);
            self.sent += (before - self.output.waiting()) as u64;
            ready!(written).map_err(|_: io::Error| UploadError::Connection)?;
            if self.is_sent() {
                return Poll::Ready(Ok(()));
            }
            let gathered = self.poll_gather(cx).map_err(UploadError::Body)?;
            if gathered.is_pending() && self.output.is_empty() {
                self.waits_for_client = true;
                return Poll::Pending;
            }
        }
    }

    /// Reads the body until enough of it waits to be written. Is ready then, and at its end.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while let Some(body) = self.body.as_mut().filter(|_| !self.output.is_full()) {
            if body.is_end_stream() {
                self.end()?;
                break;
            }
            self.has_read = true;
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers are not passed on over HTTP/1.1.
                    let Ok(part) = frame.into_data() else { continue };
                    self.limit = match self.limit.checked_sub(part.len() as u64) {
                        Some(left) => left,
                        None => return Poll::Ready(Err(Failure::Refused(Refusal::TooLarge))),
                    };
                    self.add(part)?;
                }
                Some(Err(_)) => {
                    self.body = None;
                    return Poll::Ready(Err(ENDED_EARLY));
                }
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, part: Bytes) -> Result<(), Failure> {
        match &mut self.length {
            Some(left) => {
                *left = left.checked_sub(part.len() as u64).ok_or(ENDED_EARLY)?;
                self.output.add(part);
            }
            None => self.output.add_chunk(part),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.body = None;
        match self.length {
            None => self.output.end_chunks(),
            Some(0) => {}
            Some(_) => return Err(ENDED_EARLY),
        }
        Ok(())
    }
}

impl<B> Drop for Upload<B>
where
    B: Payload,
{
    fn drop(&mut self) {
        if let Some(rest) = self.body.take().filter(|_| self.is_http1 && self.has_read) {
            body::throw_away(rest);
        }
    }
}
