//! The protocol of a connection: HTTP/1.1 or HTTP/2, found out from its first bytes.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;

use super::activity::Activity;
use super::http1::{Ended, PlainHttp1};
use super::http2::{self, Http2};
use super::metrics::End;
use super::request_body::Source;
use super::stream::Connection;
use crate::config::LimitsConfig;
use crate::http1::input::Input;
use crate::io::{Cork, Corked, ReadAhead};

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest buffer of a connection of HTTP/1.1. A smaller one would divide bodies of common
/// sizes into more parts, each of which is written by itself.
const MAX_BUFFER: usize = 64 << 10;

/// A protocol that the gateway speaks with senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pin_project! {
    /// A connection that serves requests when it is polled.
    #[project = ServedProjection]
    #[must_use = "futures do nothing unless polled"]
    pub(super) enum Served<H, F, B>
    where
        Handler<H>: HttpService<Incoming>,
    {
        Plain {
            #[pin]
            connection: PlainHttp1<H, F, B>,
            limits: LimitsConfig,
        },
        Http1 {
            #[pin]
            connection: http1::Connection<TokioIo<ReadAhead<Connection>>, Handler<H>>,
        },
        Http2 {
            #[pin]
            connection: Corked<Http2<Cork<ReadAhead<Connection>>, H, F, B>, ReadAhead<Connection>>,
        },
        // What serves the connection is being replaced.
        None,
    }
}

/// What answers the requests of a connection, as `hyper` calls it.
pub(super) struct Handler<H>(H);

/// Why a connection has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Plain(#[from] io::Error),
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] http2::Failed),
}

impl Protocol {
    /// Waits for the first bytes of a connection, and tells the protocol from them.
    pub(super) async fn of<T>(stream: &mut T, input: &mut Input) -> io::Result<Self>
    where
        T: AsyncRead + Unpin,
    {
        poll_fn(|cx| {
            loop {
                let read = input.bytes();
                if read.starts_with(PREFACE) {
                    return Poll::Ready(Ok(Self::Http2));
                }
                if !PREFACE.starts_with(read) || ready!(input.poll_fill(stream, cx))? == 0 {
                    return Poll::Ready(Ok(Self::Http1));
                }
            }
        })
        .await
    }

    /// Tells why a connection ended, which ended by itself.
    pub(super) fn end(ended: Result<(), Failed>, peer: SocketAddr) -> End {
        let Err(failed) = ended else { return End::Closed };
        let source = failed.source();
        tracing::debug!(error = source.unwrap_or(&failed), %peer, "connection failed");
        match failed {
            Failed::Http1(error) if error.is_parse_too_large() => End::MaxHeaderSize,
            // A further head has not come in time.
            Failed::Http1(error) if error.is_timeout() => End::IdleTimeout,
            Failed::Http2(http2::Failed::Silent) => End::IdleTimeout,
            Failed::Http2(http2::Failed::Broken(error))
                if error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) =>
            {
                End::TooManyResets
            }
            Failed::Plain(_) | Failed::Http1(_) | Failed::Http2(_) => End::Failed,
        }
    }

    /// Serves a connection with `handler`. Of its stream, `input` is already read.
    pub(super) fn serve<H, F, B>(
        self,
        stream: Connection,
        input: Input,
        handler: H,
        limits: &LimitsConfig,
        activity: &Arc<Activity>,
    ) -> Served<H, F, B>
    where
        H: FnMut(Request<Source>) -> F + Clone,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        match self {
            Self::Http1 => {
                let max_head = limits.max_header_size.bytes();
                let connection = PlainHttp1::new(stream, input, max_head, handler);
                Served::Plain { connection, limits: *limits }
            }
            Self::Http2 => {
                let cork = Cork::new(ReadAhead::after(input.bytes(), stream));
                let connection = Http2::new(cork.clone(), handler, limits, Arc::clone(activity));
                Served::Http2 { connection: Corked::new(connection, cork) }
            }
        }
    }
}

impl<H, F, B> Service<Request<Incoming>> for Handler<H>
where
    H: FnMut(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = F;

    fn call(&self, request: Request<Incoming>) -> F {
        self.0.clone()(request.map(Source::Http1))
    }
}

impl<H, F, B> Served<H, F, B>
where
    H: FnMut(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    /// Serves a connection of HTTP/1.1 on which a request is not plain.
    fn http1(stream: Connection, input: &Input, handler: H, limits: &LimitsConfig) -> Self {
        let &LimitsConfig { max_header_size, header_read_timeout, idle_timeout, .. } = limits;
        let stream = TokioIo::new(ReadAhead::after(input.bytes(), stream));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper counts the time between two requests as a part of this time.
            .header_read_timeout(header_read_timeout.max(idle_timeout))
            .max_header_size(max_header_size.bytes())
            .max_buf_size(MAX_BUFFER.max(max_header_size.bytes()))
            .serve_connection(stream, Handler(handler));
        Self::Http1 { connection }
    }

    /// Begins no further request, and ends once the requests in flight have ended.
    pub(super) fn graceful_shutdown(self: Pin<&mut Self>) {
        match self.project() {
            ServedProjection::Plain { connection, .. } => connection.graceful_shutdown(),
            ServedProjection::Http1 { connection } => connection.graceful_shutdown(),
            ServedProjection::Http2 { connection } => {
                connection.user().get_mut().graceful_shutdown();
            }
            ServedProjection::None => {}
        }
    }
}

impl<H, F, B> Future for Served<H, F, B>
where
    H: FnMut(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Output = Result<(), Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            let (parts, limits) = match self.as_mut().project() {
                ServedProjection::Plain { mut connection, limits } => {
                    match ready!(connection.as_mut().poll(cx))? {
                        Ended::Closed => return Poll::Ready(Ok(())),
                        Ended::NotPlain => (connection.parts(), *limits),
                    }
                }
                ServedProjection::Http1 { connection } => {
                    return connection.poll(cx).map_err(Into::into);
                }
                ServedProjection::Http2 { connection } => {
                    return connection.poll(cx).map_err(Into::into);
                }
                ServedProjection::None => return Poll::Ready(Ok(())),
            };
            let (shared, handler) = parts;
            self.set(Self::None);
            let Some((stream, input)) = shared.take() else { continue };
            self.set(Self::http1(stream, &input, handler, &limits));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    // Scenario: connections begin with the preface of HTTP/2 in one piece and in single bytes, with
    // a part of it, with requests of HTTP/1.1 of which one begins like the preface, and with
    // nothing.
    // Guarantee: only the whole preface means HTTP/2. Nothing of what was read is lost.
    #[tokio::test]
    async fn only_the_preface_means_http2() {
        for (sent, piece, expected) in [
            (PREFACE, 100, Protocol::Http2),
            (PREFACE, 1, Protocol::Http2),
            (&PREFACE[..10], 1, Protocol::Http1),
            (b"POST / HTTP/1.1\r\n", 100, Protocol::Http1),
            (b"PRINT / HTTP/1.1\r\n", 1, Protocol::Http1),
            (b"", 1, Protocol::Http1),
        ] {
            let (ours, mut theirs) = duplex(piece);
            let (mut stream, mut input) = (ours, Input::default());
            let write = async move {
                // The other side stops reading once it knows the protocol.
                let _ = theirs.write_all(sent).await;
            };
            let protocol = async {
                let protocol = Protocol::of(&mut stream, &mut input).await.unwrap();
                drop(stream);
                (protocol, input.bytes().clone())
            };
            let ((protocol, read), ()) = tokio::join!(protocol, write);
            assert_eq!(protocol, expected);
            assert!(sent.starts_with(&read) && (read.len() == sent.len() || piece == 1));
        }
    }
}
