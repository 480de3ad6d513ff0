//! Gathers what one poll of a connection writes, and writes it at once.

use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::spare;

/// The largest number of bytes that are gathered. Beyond it, they are written earlier.
const MAX_BYTES: usize = 256 << 10;

/// A connection whose writes are gathered until [`Corked`] has polled its user, or until there are
/// 256 KiB of them. Flushing it does nothing.
///
/// An HTTP/2 codec writes and flushes each frame by itself, which would be a system call for each
/// of them.
///
/// Clones are the same connection: one for the user, and one for [`Corked`]. Nothing is written
/// without a [`Corked`] around the future that uses the connection, so the peer would wait for
/// ever.
#[derive(Debug)]
pub(crate) struct Cork<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    connection: T,
    /// What was written and is not yet passed on, except for the first `passed` bytes. Without
    /// content, the buffer is lent to other connections.
    gathered: Vec<u8>,
    passed: usize,
    /// Whether the connection has to be flushed.
    is_unflushed: bool,
    /// How passing on failed.
    failed: Option<ErrorKind>,
}

pin_project! {
    /// A future that uses a [`Cork`]. After each poll, what it has written is passed on.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Corked<F, T> {
        #[pin]
        user: F,
        cork: Cork<T>,
    }
}

impl<T> Cork<T> {
    /// Gathers what is written to `connection`.
    pub(crate) fn new(connection: T) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            connection,
            gathered: Vec::new(),
            passed: 0,
            is_unflushed: false,
            failed: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Cork<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Inner<T> {
    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn len(&self) -> usize {
        self.gathered.len() - self.passed
    }

    fn release(&mut self) {
        self.passed = 0;
        spare::give_back_written(mem::take(&mut self.gathered));
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    /// Passes on everything that is gathered. After an error, nothing is ever passed on again.
    fn poll_pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let passed = self.poll_write_and_flush(cx);
        if let Poll::Ready(Err(error)) = &passed {
            self.failed = Some(error.kind());
            self.release();
        }
        passed
    }

    fn poll_write_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.gathered.get(self.passed..) {
            self.is_unflushed = true;
            match ready!(Pin::new(&mut self.connection).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                bytes => self.passed += bytes,
            }
        }
        if self.is_unflushed {
            self.release();
            ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gathers as many bytes as there is room for. Without room, waits until something is passed
    /// on.
    fn poll_gather(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.len() >= MAX_BYTES && self.poll_pass_on(cx)?.is_pending() && self.len() >= MAX_BYTES
        {
            return Poll::Pending;
        }
        let taken = bytes.len().min(MAX_BYTES - self.len());
        if self.gathered.capacity() == 0 {
            self.gathered = spare::take_for_writing();
        }
        if self.passed != 0 {
            self.gathered.drain(..self.passed);
            self.passed = 0;
        }
        self.gathered.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let read = Pin::new(&mut inner.connection).poll_read(cx, buffer);
        if read.is_pending() {
            // The user may have nothing to write, but it always reads.
            inner.check()?;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_gather(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.lock().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        ready!(inner.poll_pass_on(cx))?;
        Pin::new(&mut inner.connection).poll_shutdown(cx)
    }
}

impl<F, T> Corked<F, T> {
    /// Passes on what `user` writes to `cork`.
    pub(crate) fn new(user: F, cork: Cork<T>) -> Self {
        Self { user, cork }
    }

    /// Returns the future that uses the connection.
    pub(crate) fn user(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().user
    }
}

impl<F: Future, T: AsyncWrite + Unpin> Future for Corked<F, T> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.user.poll(cx);
        let mut inner = this.cork.lock();
        if inner.failed.is_none() && matches!(inner.poll_pass_on(cx), Poll::Ready(Err(_))) {
            // The user finds out when it reads or writes next.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A connection that takes `room` bytes, and then fails or takes nothing more.
    #[derive(Debug, Default)]
    struct Peer {
        writes: Vec<usize>,
        room: usize,
        fails: bool,
        is_shut_down: bool,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                let failed = Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
                return if self.fails { failed } else { Poll::Pending };
            }
            self.room -= taken;
            self.writes.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut_down = true;
            Poll::Ready(Ok(()))
        }
    }

    /// Polls a future that uses a cork once.
    fn poll<F: Future>(user: Pin<&mut Corked<F, Peer>>) -> Poll<F::Output> {
        user.poll(&mut Context::from_waker(Waker::noop()))
    }

    // Scenario: within one poll, a user writes and flushes three times. Then it waits, and shuts
    // the connection down after another write.
    // Guarantee: the connection gets the first three in one write at the end of the poll, and the
    // last one before it is shut down.
    #[test]
    fn one_poll_is_one_write() {
        let cork = Cork::new(Peer { room: 1000, ..Peer::default() });
        let mut connection = cork.clone();
        let user = async move {
            for _ in 0..3 {
                connection.write_all(&[0; 100]).await.unwrap();
                connection.flush().await.unwrap();
                assert!(connection.lock().connection.writes.is_empty());
            }
            tokio::task::yield_now().await;
            connection.write_all(&[0; 100]).await.unwrap();
            connection.shutdown().await.unwrap();
        };
        let mut user = Box::pin(Corked::new(user, cork.clone()));
        assert!(poll(user.as_mut()).is_pending());
        assert_eq!(cork.lock().connection.writes, [300]);
        assert!(poll(user.as_mut()).is_ready());
        let inner = cork.lock();
        assert_eq!(
            (&inner.connection.writes[..], inner.connection.is_shut_down),
            (&[300, 100][..], true)
        );
        assert_eq!(inner.gathered.capacity(), 0, "an empty cork keeps a buffer");
    }

    // Scenario: a user writes 4 MiB at once, and the peer reads slowly.
    // Guarantee: at most 256 KiB are gathered at any time. The peer gets every byte in order.
    #[tokio::test]
    async fn what_is_gathered_is_bounded() {
        let sent: Vec<u8> = (0..4_u32 << 20).map(|byte| (byte >> 4) as u8).collect();
        let (ours, mut theirs) = duplex(10_000);
        let cork = Cork::new(ours);
        let mut connection = cork.clone();
        let user = async {
            connection.write_all(&sent).await.unwrap();
            connection.shutdown().await.unwrap();
        };
        let peer = async {
            let (mut received, mut piece) = (Vec::new(), vec![0; 7000]);
            loop {
                assert!(cork.lock().gathered.len() <= MAX_BYTES);
                match theirs.read(&mut piece).await.unwrap() {
                    0 => return received,
                    read => received.extend_from_slice(&piece[..read]),
                }
            }
        };
        let ((), received) = tokio::join!(Corked::new(user, cork.clone()), peer);
        assert!(received == sent);
    }

    // Scenario: a peer takes 10 bytes, and then resets the connection. The user has written more,
    // and reads.
    // Guarantee: reading fails, and so does everything after it.
    #[tokio::test]
    async fn a_failure_reaches_the_user() {
        let cork = Cork::new(Peer { room: 10, fails: true, ..Peer::default() });
        let mut connection = cork.clone();
        let user = async move {
            connection.write_all(&[0; 100]).await.unwrap();
            let read = connection.read_u8().await.unwrap_err();
            let written = connection.write_all(&[0; 100]).await.unwrap_err();
            let shut_down = connection.shutdown().await.unwrap_err();
            [read.kind(), written.kind(), shut_down.kind()]
        };
        assert_eq!(Corked::new(user, cork).await, [ErrorKind::ConnectionReset; 3]);
    }
}
