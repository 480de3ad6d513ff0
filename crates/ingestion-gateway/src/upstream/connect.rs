//! Connects to an upstream.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::target::Target;

/// How long a connection is silent before the operating system asks whether the upstream is still
/// there, and the time between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The number of questions without an answer after which a connection is broken.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay without an acknowledgement until a connection is broken.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A connection to an upstream.
#[derive(Debug)]
pub(super) enum Connection {
    Plain(TcpStream),
}

impl Target {
    /// Connects to the upstream. The name of its host is resolved anew, and its addresses are tried
    /// one after the other.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let (host, port) = (self.config.endpoint.host(), self.config.endpoint.port());
        let end = Instant::now() + self.config.connect_timeout;
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let found = timeout(self.config.connect_timeout, lookup_host((host, port))).await;
                found
                    .map_err(|_| timed_out("the name of the host is not resolved in time"))??
                    .collect()
            }
        };
        let mut error = io::Error::new(ErrorKind::NotFound, "the name of the host has no address");
        for (tried, address) in addresses.iter().enumerate() {
            // An address that does not answer leaves time for the others.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            error = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    set_options(&stream);
                    return Ok(Connection::Plain(stream));
                }
                Ok(Err(error)) => error,
                Err(_) => timed_out("the upstream does not accept the connection in time"),
            };
        }
        Err(error)
    }
}

fn timed_out(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, message)
}

fn set_options(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED)));
    if let Err(error) = set {
        tracing::debug!(%error, "an option of a connection to an upstream cannot be set");
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
