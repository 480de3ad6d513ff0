//! Connects to an upstream.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::target::Target;

/// How long a connection is silent before the operating system asks whether the upstream is still
/// there, and the time between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The number of questions without an answer after which a connection is broken.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay without an acknowledgement until a connection is broken.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A connection to an upstream, with or without TLS.
pub(super) type Connection = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Target {
    /// Connects to the upstream. The name of its host is resolved anew, and its addresses are tried
    /// one after the other. The caller limits how long this takes.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let stream = self.connect_tcp().await?;
        Ok(match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                let stream = tls.connect(self.config.endpoint.host(), stream).await?;
                Either::Right(Box::new(stream))
            }
        })
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
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
                    return Ok(stream);
                }
                Ok(Err(error)) => error,
                Err(_) => timed_out("the upstream does not accept the connection in time"),
            };
        }
        Err(error)
    }
}

/// Makes the error of a connection that is not there when `connect_timeout` is over.
pub(super) fn not_in_time() -> io::Error {
    timed_out("the upstream does not answer within `connect_timeout`")
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
