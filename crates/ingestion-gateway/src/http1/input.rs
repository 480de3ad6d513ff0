//! What was read from a connection and is not yet used.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use crate::io::spare;

/// The unused bytes of a connection. They are a part of a buffer that the connections of a thread
/// lend to each other, so that a connection without unused bytes takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Input(Bytes);

impl Input {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Uses the first bytes, at most as many as there are.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        self.0.split_to(count.min(self.0.len()))
    }

    /// Reads more behind the unused bytes. Returns the number of new bytes, which is 0 at the end
    /// of the connection.
    ///
    /// Few unused bytes are copied. The caller does not read on behind many of them.
    pub(crate) fn poll_fill<T>(
        &mut self,
        connection: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        let mut buffer = spare::take_shared(self.0.len());
        buffer.extend_from_slice(&self.0);
        let read = poll_read_buf(std::pin::Pin::new(connection), cx, &mut buffer);
        if let Poll::Ready(Ok(1..)) = read {
            self.0 = buffer.split().freeze();
        }
        spare::give_back_shared(buffer);
        read
    }
}
