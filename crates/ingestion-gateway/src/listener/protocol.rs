//! The protocol of a connection: HTTP/1.1 or HTTP/2, found out from its first bytes.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;
use tower::BoxError;

use super::http1::{Ended, Http1};
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
    /// A connection that serves requests when it is polled. `C` makes the future `F` of a response.
    #[project = ServedProjection]
    #[must_use = "futures do nothing unless polled"]
    pub(super) enum Served<C, F, B>
    where
        C: Fn(Request<Source>) -> F,
        F: Future<Output = Result<Response<B>, Infallible>>,
        B: Body,
    {
        Plain {
            #[pin]
            connection: Http1<C, F, B>,
            limits: LimitsConfig,
        },
        Http1 {
            #[pin]
            connection: http1::Connection<TokioIo<ReadAhead<Connection>>, HyperService<C>>,
        },
        Http2 {
            #[pin]
            connection: Corked<Http2<C>, ReadAhead<Connection>>,
        },
        Broken,
    }
}

type Http2<C> =
    http2::Connection<TokioIo<Cork<ReadAhead<Connection>>>, HyperService<C>, TokioExecutor>;

/// Lets `hyper` call what makes the futures of responses.
#[derive(Clone)]
pub(super) struct HyperService<C>(C);

impl<C, F, B> Service<Request<Incoming>> for HyperService<C>
where
    C: Fn(Request<Source>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = F;

    fn call(&self, request: Request<Incoming>) -> F {
        (self.0)(request.map(Source::Hyper))
    }
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
    pub(super) fn end(ended: Result<(), BoxError>, peer: SocketAddr) -> End {
        let Err(error) = ended else { return End::Closed };
        let source: Option<&(dyn Error + 'static)> = error.source();
        tracing::debug!(error = source.unwrap_or(&*error), %peer, "connection failed");
        let reason = source.and_then(|source| source.downcast_ref::<h2::Error>()?.reason());
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return End::Failed };
        if error.is_parse_too_large() {
            End::MaxHeaderSize
        } else if error.is_timeout() {
            // A further head has not come in time, or no answer to a ping.
            End::IdleTimeout
        } else if reason == Some(h2::Reason::ENHANCE_YOUR_CALM) {
            End::TooManyResets
        } else {
            End::Failed
        }
    }

    /// Serves a connection, of which `input` is already read.
    pub(super) fn serve<C, F, B>(
        self,
        stream: Connection,
        input: Input,
        call: C,
        limits: &LimitsConfig,
    ) -> Served<C, F, B>
    where
        C: Fn(Request<Source>) -> F + Clone,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        match self {
            Self::Http1 => {
                let max_head = limits.max_header_size.bytes();
                let connection = Http1::new(stream, input, max_head, call);
                Served::Plain { connection, limits: *limits }
            }
            Self::Http2 => {
                let max_header_size =
                    u32::try_from(limits.max_header_size.bytes()).unwrap_or(u32::MAX);
                let cork = Cork::new(ReadAhead::after(input.bytes(), stream));
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(limits.max_streams)
                    .max_header_list_size(max_header_size)
                    // Pings detect that a peer is gone.
                    .keep_alive_interval(limits.idle_timeout)
                    .keep_alive_timeout(limits.header_read_timeout)
                    .serve_connection(TokioIo::new(cork.clone()), HyperService(call));
                Served::Http2 { connection: Corked::new(connection, cork) }
            }
        }
    }
}

impl<C, F, B> Served<C, F, B>
where
    C: Fn(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    /// Serves a connection of HTTP/1.1 whose requests are not all plain.
    fn http1(stream: Connection, input: &Input, call: C, limits: &LimitsConfig) -> Self {
        let &LimitsConfig { max_header_size, header_read_timeout, idle_timeout, .. } = limits;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper counts the time between two requests as a part of this time.
            .header_read_timeout(header_read_timeout.max(idle_timeout))
            .max_header_size(max_header_size.bytes())
            .max_buf_size(MAX_BUFFER.max(max_header_size.bytes()))
            .serve_connection(
                TokioIo::new(ReadAhead::after(input.bytes(), stream)),
                HyperService(call),
            );
        Self::Http1 { connection }
    }

    /// Begins no further request, and ends once the requests in flight have ended.
    pub(super) fn graceful_shutdown(self: Pin<&mut Self>) {
        match self.project() {
            ServedProjection::Plain { connection, .. } => connection.graceful_shutdown(),
            ServedProjection::Http1 { connection } => connection.graceful_shutdown(),
            ServedProjection::Http2 { connection } => connection.user().graceful_shutdown(),
            ServedProjection::Broken => {}
        }
    }
}

impl<C, F, B> Future for Served<C, F, B>
where
    C: Fn(Request<Source>) -> F + Clone,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (shared, call, limits) = match self.as_mut().project() {
                ServedProjection::Plain { mut connection, limits } => {
                    match ready!(connection.as_mut().poll(cx))? {
                        Ended::Closed => return Poll::Ready(Ok(())),
                        Ended::NotPlain => {
                            let (shared, call) = connection.parts();
                            (shared, call, *limits)
                        }
                    }
                }
                ServedProjection::Http1 { connection } => {
                    return connection.poll(cx).map_err(Into::into);
                }
                ServedProjection::Http2 { connection } => {
                    return connection.poll(cx).map_err(Into::into);
                }
                ServedProjection::Broken => return Poll::Ready(Ok(())),
            };
            self.set(Self::Broken);
            let Some((stream, input)) = shared.into_parts() else { return Poll::Ready(Ok(())) };
            self.set(Self::http1(stream, &input, call, &limits));
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
