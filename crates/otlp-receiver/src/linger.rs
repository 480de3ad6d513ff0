//! Closes a connection in such a way that its peer can still read the last response.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The largest number of bytes that are read and thrown away while a connection closes.
const MAX_BYTES: usize = 128 << 20;

/// The longest time for which bytes are read and thrown away while a connection closes.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The longest time for which a closing connection waits for further bytes.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// The number of bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// The number of reads after which other tasks of the thread get their turn.
const READS_AT_A_TIME: usize = 16;

/// A connection that lingers when it is shut down: it closes its write side first, and then reads
/// and throws away what the peer still sends.
///
/// An HTTP/1.1 server may respond before it has read the whole body of a request, for example with
/// 401 or 413. If it then closed the connection, the operating system would reset the connection of
/// a peer that is still writing. The peer would see a broken pipe instead of the response, and
/// would send the request again and again.
///
/// Reading ends when the peer closes its side, after 10 s, after 128 MiB, or when nothing arrives
/// for 2 s. [RFC 9112, section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6) describes
/// this way of closing.
///
/// Wrap the TCP stream, below TLS. The wrapper needs a Tokio runtime with a timer.
///
/// # Examples
///
/// ```
/// use otlp_receiver::Linger;
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// # let client = tokio::net::TcpStream::connect(listener.local_addr()?);
/// # let _client = tokio::spawn(client);
/// let (stream, _) = listener.accept().await?;
/// let connection = hyper_util::rt::TokioIo::new(Linger::new(stream));
/// # drop(connection);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Linger<T> {
    inner: T,
    closing: Option<Closing>,
}

/// A connection whose write side is closed.
#[derive(Debug)]
struct Closing {
    bytes_left: usize,
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl<T> Linger<T> {
    /// Lets `inner` linger when it is shut down.
    pub fn new(inner: T) -> Self {
        Self { inner, closing: None }
    }

    /// Returns the inner connection.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl Closing {
    fn begin() -> Self {
        let silence = Box::pin(tokio::time::sleep(MAX_SILENCE));
        Self { bytes_left: MAX_BYTES, end: Instant::now() + MAX_TIME, silence }
    }

    /// Reads until the peer closes its side or a limit is reached.
    fn poll<T: AsyncRead + Unpin>(&mut self, inner: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        for _ in 0..READS_AT_A_TIME {
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *inner).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let (read, now) = (buffer.filled().len(), Instant::now());
            if read == 0 || read > self.bytes_left || now >= self.end {
                return Poll::Ready(());
            }
            self.bytes_left -= read;
            self.silence.as_mut().reset(self.end.min(now + MAX_SILENCE));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Linger<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closing = match &mut this.closing {
            Some(closing) => closing,
            None => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                this.closing.insert(Closing::begin())
            }
        };
        closing.poll(&mut this.inner, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Shuts a connection down while its peer does `peer`. Returns how long that takes.
    async fn shut_down<F: Future>(peer: impl FnOnce(tokio::io::DuplexStream) -> F) -> Duration {
        let (ours, theirs) = duplex(READ_BYTES);
        let started = Instant::now();
        let mut connection = Linger::new(ours);
        let closing = async {
            connection.write_all(b"refused").await.unwrap();
            connection.shutdown().await.unwrap();
            let duration = started.elapsed();
            drop(connection);
            duration
        };
        tokio::join!(closing, peer(theirs)).0
    }

    // Scenario: a peer writes 8 MiB before it reads, and then closes.
    // Guarantee: the peer can write everything, and then reads the response and the end of the
    // connection.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_writes_first_reads_the_response() {
        let took = shut_down(async |mut peer| {
            peer.write_all(&vec![0; 8 << 20]).await.unwrap();
            let mut response = String::new();
            peer.read_to_string(&mut response).await.unwrap();
            assert_eq!(response, "refused");
        });
        assert_eq!(took.await, Duration::ZERO);
    }

    // Scenario: one peer keeps its side open and writes nothing. Another one writes a byte every
    // second for ever.
    // Guarantee: closing ends after 2 s of silence, and after 10 s in any case.
    #[tokio::test(start_paused = true)]
    async fn closing_takes_a_limited_time() {
        let silent = shut_down(async |peer| peer);
        assert_eq!(silent.await.as_secs(), MAX_SILENCE.as_secs());
        let slow = shut_down(async |mut peer| {
            while peer.write_all(b".").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(slow.await.as_secs(), MAX_TIME.as_secs());
    }

    // Scenario: a peer writes without a pause and without an end.
    // Guarantee: closing ends once 128 MiB are thrown away.
    #[tokio::test(start_paused = true)]
    async fn closing_reads_a_limited_number_of_bytes() {
        let mut written = 0;
        let endless = shut_down(async |mut peer| {
            while let Ok(bytes) = peer.write(&[0; READ_BYTES]).await {
                written += bytes;
            }
        });
        assert_eq!(endless.await, Duration::ZERO);
        assert!((MAX_BYTES..=MAX_BYTES + 2 * READ_BYTES).contains(&written), "{written}");
    }
}
