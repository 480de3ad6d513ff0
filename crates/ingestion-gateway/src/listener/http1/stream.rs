//! The stream of a connection, which its requests share with the bodies that are read from it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::request::Parts;
use httparse::Status;
use tokio::io::AsyncWrite;

use super::head;
use crate::http1::headers::MAX_LINES;
use crate::http1::input::Input;
use crate::http1::output::Output;
use crate::listener::stream::Connection;

/// The stream of a connection.
#[derive(Clone)]
pub(in crate::listener) struct Shared(Arc<Mutex<Inner>>);

struct Inner {
    /// The stream, until something else serves it.
    stream: Option<Connection>,
    input: Input,
    body: BodyState,
    /// The task of the connection, which waits for the end of the body.
    waiting: Option<Waker>,
}

/// What has become of the body of the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Read,
    /// At least one byte is still to be read.
    Unread,
    /// Nobody reads the rest.
    Lost,
}

/// What a connection has next.
#[expect(clippy::large_enum_variant, reason = "a box would cost every request an allocation")]
pub(super) enum Next {
    /// A request that this connection serves.
    Request(Parts, PlainBody),
    /// The peer has closed its side.
    Closed,
    /// Something else, of which nothing is taken.
    Other,
}

/// The body of a request, which is read from the connection. Only what is left of a body has the
/// stream, so that the next request can follow once a body is read, whether or not it is dropped.
#[derive(Debug)]
pub(crate) struct PlainBody {
    shared: Option<Shared>,
    /// The number of bytes that are still to be read.
    left: u64,
}

impl Shared {
    pub(super) fn new(stream: Connection, input: Input) -> Self {
        let body = BodyState::Read;
        Self(Arc::new(Mutex::new(Inner { stream: Some(stream), input, body, waiting: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next request.
    pub(super) fn poll_next(
        &self,
        max_head: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Next>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if inner.input.is_empty() && ready!(inner.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(Next::Closed));
        }
        let bytes = inner.input.bytes().clone();
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(&bytes, &mut lines) {
            Ok(Status::Complete(length)) if length <= max_head => length,
            _ => return Poll::Ready(Ok(Next::Other)),
        };
        let Some((parts, left)) = head::plain(&bytes, &parsed) else {
            return Poll::Ready(Ok(Next::Other));
        };
        inner.input.take(length);
        let shared = (left != 0).then(|| self.clone());
        if shared.is_some() {
            inner.body = BodyState::Unread;
        }
        Poll::Ready(Ok(Next::Request(parts, PlainBody { shared, left })))
    }

    /// Waits until the peer goes away, once everything of its request has arrived.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if inner.body == BodyState::Unread {
            inner.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !inner.input.is_empty() {
            return Poll::Pending;
        }
        match ready!(inner.poll_fill(cx)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Waits until the body of the request is read. Returns whether it is read to its end, so that
    /// another request can follow.
    pub(super) fn poll_body_read(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.lock();
        match inner.body {
            BodyState::Read => Poll::Ready(true),
            BodyState::Lost => Poll::Ready(false),
            BodyState::Unread => {
                inner.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns whether the rest of the body is lost, so that no request can follow.
    pub(super) fn is_body_lost(&self) -> bool {
        self.lock().body == BodyState::Lost
    }

    /// Writes everything.
    pub(super) fn poll_write(
        &self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.lock().stream {
            Some(stream) => output.poll_write(stream, cx),
            None => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.lock().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes the stream, and what was read from it, so that something else can serve it.
    pub(in crate::listener) fn take(&self) -> Option<(Connection, Input)> {
        let mut inner = self.lock();
        let stream = inner.stream.take()?;
        Some((stream, std::mem::take(&mut inner.input)))
    }
}

impl Inner {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Some(stream) => self.input.poll_fill(stream, cx),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn wake(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Takes what has arrived of a body of which `left` bytes are still to be read.
    fn take_part(&mut self, left: &mut u64) -> Bytes {
        let part = self.input.take(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= part.len() as u64;
        if *left == 0 {
            self.body = BodyState::Read;
            self.wake();
        }
        part
    }
}

impl PlainBody {
    /// Reads the next part. Returns `None` at the end of the body.
    pub(in crate::listener) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let Self { shared: Some(shared), left } = self else { return Poll::Ready(None) };
        let part = {
            let mut inner = shared.lock();
            let inner = &mut *inner;
            if inner.input.is_empty() {
                match ready!(inner.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) => return Poll::Ready(Some(Err(ErrorKind::UnexpectedEof.into()))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            inner.take_part(left)
        };
        self.end_if_read();
        Poll::Ready(Some(Ok(part)))
    }

    /// Throws away what has already arrived.
    pub(in crate::listener) fn skip_arrived(&mut self) {
        if let Self { shared: Some(shared), left } = self {
            shared.lock().take_part(left);
        }
        self.end_if_read();
    }

    /// Returns how many bytes are still to be read.
    pub(in crate::listener) fn left(&self) -> u64 {
        self.left
    }

    fn end_if_read(&mut self) {
        if self.left == 0 {
            self.shared = None;
        }
    }
}

impl Drop for PlainBody {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut inner = shared.lock();
            inner.body = BodyState::Lost;
            inner.wake();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
