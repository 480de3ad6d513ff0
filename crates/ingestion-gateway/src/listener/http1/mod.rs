//! Serves connections of HTTP/1.1 whose requests are plain, as those of exporters and agents are.
//!
//! `hyper` serves every other connection, from the first request on that is not plain. So nothing
//! unusual is read in two ways.

mod head;
mod stream;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;

use self::stream::Next;
pub(super) use self::stream::{PlainBody, Shared};
use super::request_body::Source;
use super::stream::Connection;
use crate::http1::headers;
use crate::http1::input::Input;
use crate::http1::output::Output;

pin_project! {
    /// A connection that serves plain requests, each with a future that `handler` returns.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct PlainHttp1<H, F, B> {
        handler: H,
        shared: Shared,
        max_head: usize,
        output: Output,
        // Whether the connection ends after the current request.
        is_last: bool,
        is_shutting_down: bool,
        state: State,
        #[pin]
        response: Option<F>,
        #[pin]
        body: Option<B>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a request.
    Idle,
    /// The response is not there yet.
    Deciding,
    /// So many bytes of the response are not yet gathered. Without a number, it comes in chunks.
    Writing(Option<u64>),
    /// The response is written. The body of the request may not be read yet.
    Finishing,
    Closing,
}

/// How a connection ends that serves plain requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Closed,
    /// The next request is not plain. Nothing of it is taken.
    NotPlain,
}

impl<H, F, B> PlainHttp1<H, F, B>
where
    H: FnMut(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    /// Serves `stream`, of which `input` is already read. A head that is larger than `max_head`
    /// bytes is not plain.
    pub(super) fn new(stream: Connection, input: Input, max_head: usize, handler: H) -> Self {
        Self {
            handler,
            shared: Shared::new(stream, input),
            max_head,
            output: Output::default(),
            is_last: false,
            is_shutting_down: false,
            state: State::Idle,
            response: None,
            body: None,
        }
    }

    /// Begins no further request, and ends once the request in flight has ended.
    pub(super) fn graceful_shutdown(self: Pin<&mut Self>) {
        *self.project().is_shutting_down = true;
    }

    /// Returns what is needed to serve the connection in another way.
    pub(super) fn parts(self: Pin<&mut Self>) -> (Shared, H) {
        let this = self.project();
        (this.shared.clone(), this.handler.clone())
    }

    /// Serves requests until the connection ends.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Ended>> {
        let mut this = self.project();
        loop {
            match *this.state {
                State::Idle if *this.is_shutting_down => *this.state = State::Closing,
                State::Idle => match ready!(this.shared.poll_next(*this.max_head, cx))? {
                    Next::Request(parts, body) => {
                        *this.is_last = headers::has_connection_option(&parts.headers, "close");
                        let future =
                            (this.handler)(Request::from_parts(parts, Source::Plain(body)));
                        this.response.set(Some(future));
                        *this.state = State::Deciding;
                    }
                    Next::Closed => *this.state = State::Closing,
                    Next::Other => return Poll::Ready(Ok(Ended::NotPlain)),
                },
                State::Deciding => {
                    let Some(response) = this.response.as_mut().as_pin_mut() else {
                        unreachable!("a response is awaited")
                    };
                    let Poll::Ready(response) = response.poll(cx) else {
                        ready!(this.shared.poll_gone(cx));
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    };
                    this.response.set(None);
                    let Ok(response) = response;
                    let (parts, body) = response.into_parts();
                    *this.is_last |= *this.is_shutting_down
                        || headers::has_connection_option(&parts.headers, "close")
                        || this.shared.is_body_lost();
                    let has_no_body = headers::has_no_body(parts.status);
                    let length = if has_no_body { Some(0) } else { body.size_hint().exact() };
                    let (is_last, headers) = (*this.is_last, &parts.headers);
                    this.output
                        .add_text(|text| head::write(parts.status, headers, length, is_last, text));
                    this.body.set((!has_no_body).then_some(body));
                    let mut left = length;
                    // What there is of the body is written together with the head.
                    let _ = gather(this.body.as_mut(), &mut left, this.output, cx)?;
                    *this.state = State::Writing(left);
                }
                State::Writing(mut left) => {
                    ready!(this.shared.poll_write(this.output, cx))?;
                    if this.body.is_none() {
                        *this.state = State::Finishing;
                        continue;
                    }
                    let gathered = gather(this.body.as_mut(), &mut left, this.output, cx);
                    *this.state = State::Writing(left);
                    if gathered?.is_pending() && this.output.is_empty() {
                        return Poll::Pending;
                    }
                }
                State::Finishing => {
                    let is_read = ready!(this.shared.poll_body_read(cx));
                    let goes_on = is_read && !*this.is_last;
                    *this.state = if goes_on { State::Idle } else { State::Closing };
                }
                State::Closing => {
                    ready!(this.shared.poll_shutdown(cx))?;
                    return Poll::Ready(Ok(Ended::Closed));
                }
            }
        }
    }
}

/// Reads the body of a response until enough of it waits to be written. Is ready then, and at its
/// end, at which `body` is `None`.
fn gather<B>(
    mut body: Pin<&mut Option<B>>,
    left: &mut Option<u64>,
    output: &mut Output,
    cx: &mut Context<'_>,
) -> io::Result<Poll<()>>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    while !output.is_full() {
        let Some(reader) = body.as_mut().as_pin_mut() else { break };
        let frame = match reader.is_end_stream() {
            true => None,
            false => match reader.poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose().map_err(io::Error::other)?,
                Poll::Pending => return Ok(Poll::Pending),
            },
        };
        let Some(frame) = frame else {
            body.set(None);
            match left {
                None => output.end_chunks(),
                Some(0) => {}
                Some(_) => return Err(wrong_length()),
            }
            break;
        };
        // Trailers are not passed on over HTTP/1.1.
        let Ok(part) = frame.into_data() else { continue };
        match left {
            None => output.add_chunk(part),
            Some(left) => {
                *left = left.checked_sub(part.len() as u64).ok_or_else(wrong_length)?;
                output.add(part);
            }
        }
    }
    Ok(Poll::Ready(()))
}

fn wrong_length() -> io::Error {
    io::Error::other("the body of a response has another length than its head says")
}
