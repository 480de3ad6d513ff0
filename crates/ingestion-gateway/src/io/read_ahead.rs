//! Reads more at once than the reader has asked for.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::spare::{self, READ_BYTES};

/// A connection that reads up to 64 KiB at once. A codec asks for at most 16 KiB at a time, which
/// would be a system call each time.
#[derive(Debug)]
pub(crate) struct ReadAhead<T> {
    inner: T,
    /// What was read. Without content, the buffer is lent to other connections.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<T> ReadAhead<T> {
    /// Reads ahead from `inner`.
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Reads ahead from `inner`, from which `read` was already read.
    pub(crate) fn after(read: &[u8], inner: T) -> Self {
        let mut connection = Self::new(inner);
        if !read.is_empty() {
            connection.buffer = spare::take_for_reading();
            connection.buffer.resize(READ_BYTES.max(read.len()), 0);
            if let Some(start) = connection.buffer.get_mut(..read.len()) {
                start.copy_from_slice(read);
            }
            connection.end = read.len();
        }
        connection
    }

    /// Returns what was read and not yet taken.
    fn peek(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        spare::give_back_read(mem::take(&mut self.buffer));
    }
}

impl<T: AsyncRead + Unpin> ReadAhead<T> {
    /// Reads more behind what was not yet taken. Returns the number of bytes, which is 0 at the
    /// end of the connection, or if the buffer is full.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = spare::take_for_reading();
        }
        let mut space = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut space);
        let bytes = space.filled().len();
        self.end += bytes;
        if self.start == self.end {
            self.release();
        }
        read.map_ok(|()| bytes)
    }
}

impl<T> Drop for ReadAhead<T> {
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            self.release();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            if buffer.remaining() >= READ_BYTES {
                return Pin::new(&mut this.inner).poll_read(cx, buffer);
            }
            ready!(this.poll_fill(cx))?;
        }
        let content = this.peek();
        let taken = content.len().min(buffer.remaining());
        buffer.put_slice(content.get(..taken).unwrap_or_default());
        this.start += taken;
        if this.start == this.end && !this.buffer.is_empty() {
            this.release();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    // Scenario: 100,000 bytes arrive. A reader looks at the first ones, and then takes everything
    // in pieces of 1,000 bytes.
    // Guarantee: the reader gets every byte once, in order, and then the end of the connection.
    #[tokio::test]
    async fn every_byte_is_read_once() {
        let (ours, mut theirs) = duplex(200_000);
        let sent: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
        theirs.write_all(&sent).await.unwrap();
        drop(theirs);
        let mut connection = ReadAhead::new(ours);
        assert_eq!(connection.peek(), b"");
        let filled = std::future::poll_fn(|cx| connection.poll_fill(cx)).await.unwrap();
        assert_eq!((filled, connection.peek()), (READ_BYTES, &sent[..READ_BYTES]));
        let mut received = Vec::new();
        loop {
            let mut piece = vec![0; 1000];
            let read = connection.read(&mut piece).await.unwrap();
            received.extend_from_slice(&piece[..read]);
            if read == 0 {
                break;
            }
        }
        assert!(received == sent);
        assert!(connection.buffer.is_empty(), "an empty connection keeps a buffer");
    }
}
