//! The TCP stream of a connection, which tells the connection's activity what it does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use otlp_receiver::Linger;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::Activity;

/// How long sent bytes may stay without an acknowledgement, and how long a peer may read nothing,
/// until a connection with a response that does not end is broken. Without this limit, a peer that
/// has vanished would keep its place for about 15 minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The stream of a connection, with or without TLS. TLS is boxed, so that connections without it
/// take no memory for it.
pub(super) type Connection = Either<Stream, Box<TlsStream<Stream>>>;

/// A TCP stream that counts what is written, and lingers when it is closed.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: Linger<TcpStream>,
    activity: Arc<Activity>,
    /// Whether the connection breaks when its peer has vanished.
    is_watched: bool,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { inner: Linger::new(stream), activity, is_watched: false }
    }

    /// Lets the connection break when its peer has vanished, if a response is written that does not
    /// end by itself.
    fn watch(&mut self) {
        if self.is_watched || !self.activity.answers_for_long() {
            return;
        }
        self.is_watched = true;
        let socket = SockRef::from(self.inner.get_ref());
        if let Err(error) = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED)) {
            tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
        }
    }

    /// Tells the activity about the result of a write.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.set_blocked(written.is_pending());
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity.wrote(bytes);
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch();
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch();
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.set_closing();
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    // Scenario: a connection writes an ordinary response, and then one that does not end by itself.
    // Guarantee: from then on, the operating system breaks the connection when its peer has
    // vanished or reads nothing. Before, it does not.
    #[tokio::test]
    async fn a_connection_with_a_long_response_is_watched() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let activity = Arc::<Activity>::default();
        let mut stream = Stream::new(accepted.unwrap().0, Arc::clone(&activity));
        let limit =
            |stream: &Stream| SockRef::from(stream.inner.get_ref()).tcp_user_timeout().unwrap();
        stream.write_all(b"short").await.unwrap();
        assert_eq!(limit(&stream), None);
        let _answering = activity.begin().answer_for_long();
        stream.write_all(b"long").await.unwrap();
        assert_eq!(limit(&stream), Some(UNACKNOWLEDGED));
    }
}
