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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    impl Input {
        /// Makes an input that has read `bytes`.
        pub(crate) fn of(bytes: &[u8]) -> Self {
            Self(Bytes::copy_from_slice(bytes))
        }
    }

    // Scenario: a connection has three pieces. The first one is used in part before the second is
    // read, and completely before the third is. A part of each is kept.
    // Guarantee: every byte is there once and in order, and what is kept stays as it is, although
    // the connections of a thread lend their buffers to each other.
    #[test]
    fn what_is_kept_stays_as_it_is() {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut connection: &[u8] = b"";
        let mut input = Input::default();
        let mut fill = |input: &mut Input, mut piece: &'static [u8]| {
            let filled = input.poll_fill(&mut piece, cx).map(Result::unwrap);
            // Another connection of the same thread reads.
            let other = Input::default().poll_fill(&mut &[b'#'; 1000][..], cx).map(Result::unwrap);
            assert_eq!(other, Poll::Ready(1000));
            filled
        };
        assert_eq!(fill(&mut input, b"one two"), Poll::Ready(7));
        let one = input.take(4);
        assert_eq!(fill(&mut input, b" three"), Poll::Ready(6));
        let two = input.take(usize::MAX);
        assert!(input.is_empty());
        assert_eq!(fill(&mut input, b"four"), Poll::Ready(4));
        let four = input.take(10);
        assert_eq!([one, two, four], ["one ", "two three", "four"]);
        assert_eq!(input.poll_fill(&mut connection, cx).map(Result::unwrap), Poll::Ready(0));
    }
}
