//! What waits to be written to a connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::io::spare;

/// The largest part of a body that is copied, so that fewer buffers are written, and a small part
/// does not keep the large buffer that it was read into.
const COPIED: usize = 2 << 10;

/// The largest number of buffers that are written at once.
const SLICES: usize = 16;

/// How much is gathered before it is written.
const GATHERED: usize = 64 << 10;

/// The bytes that wait to be written: a text, for example a head, and then parts of a body.
///
/// Whoever fills it stops when it [is full](Self::is_full), and goes on when it is empty. So it
/// never grows while a peer reads slowly.
#[derive(Debug, Default)]
pub(crate) struct Output {
    text: Vec<u8>,
    parts: VecDeque<Part>,
    /// How much is written of the text, or of the first part behind it.
    written: usize,
    /// The number of bytes that wait.
    waiting: usize,
    /// Whether the connection has to be flushed.
    is_unflushed: bool,
}

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    /// A part of a buffer that was read.
    Read(Bytes),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Read(part) => part,
        }
    }
}

impl Output {
    /// Returns the number of bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns whether the connection has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0 && !self.is_unflushed
    }

    /// Returns whether enough is gathered.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting >= GATHERED || self.parts.len() + 3 >= SLICES
    }

    /// Adds a text, which `write` writes.
    pub(crate) fn add_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.parts.is_empty() && self.text.capacity() == 0 {
            self.text = spare::take_for_writing();
        }
        if let Some(Part::Read(_)) = self.parts.back() {
            self.parts.push_back(Part::Text(Vec::new()));
        }
        let text = match self.parts.back_mut() {
            Some(Part::Text(text)) => text,
            _ => &mut self.text,
        };
        let before = text.len();
        write(text);
        self.waiting += text.len() - before;
    }

    /// Adds a part of a body.
    pub(crate) fn add(&mut self, part: Bytes) {
        if part.len() <= COPIED {
            return self.add_text(|text| text.extend_from_slice(&part));
        }
        self.waiting += part.len();
        self.parts.push_back(Part::Read(part));
    }

    /// Adds a part of a body that is written in chunks.
    pub(crate) fn add_chunk(&mut self, part: Bytes) {
        // An empty chunk would be the end.
        if !part.is_empty() {
            let size = format!("{:x}\r\n", part.len());
            self.add_text(|text| text.extend_from_slice(size.as_bytes()));
            self.add(part);
            self.add_text(|text| text.extend_from_slice(b"\r\n"));
        }
    }

    /// Ends a body that is written in chunks.
    pub(crate) fn end_chunks(&mut self) {
        self.add_text(|text| text.extend_from_slice(b"0\r\n\r\n"));
    }

    /// Writes everything, and flushes the connection.
    pub(crate) fn poll_write<T>(
        &mut self,
        connection: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        while self.waiting != 0 {
            let connection = Pin::new(&mut *connection);
            let text = (!self.text.is_empty()).then_some(&self.text[..]);
            let mut buffers = text.into_iter().chain(self.parts.iter().map(Part::bytes));
            let first = buffers.next().and_then(|first| first.get(self.written..));
            let mut slices = [IoSlice::new(first.unwrap_or_default()); SLICES];
            let mut count = 1;
            for (slice, buffer) in slices[1..].iter_mut().zip(buffers) {
                *slice = IoSlice::new(buffer);
                count += 1;
            }
            let written = match &slices[..count] {
                [only] => connection.poll_write(cx, only),
                slices => connection.poll_write_vectored(cx, slices),
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                bytes => self.advance(bytes),
            }
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            ready!(Pin::new(connection).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, bytes: usize) {
        self.waiting -= bytes;
        self.written += bytes;
        if !self.text.is_empty() {
            if self.written < self.text.len() {
                return;
            }
            self.written -= self.text.len();
            spare::give_back_written(mem::take(&mut self.text));
        }
        while let Some(part) = self.parts.front()
            && self.written >= part.bytes().len()
        {
            self.written -= part.bytes().len();
            self.parts.pop_front();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        spare::give_back_written(mem::take(&mut self.text));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    // Scenario: an output gets a text, parts of many sizes, texts between them, and chunks. The
    // peer reads slowly.
    // Guarantee: the peer gets every byte once and in order, and the output knows how many wait.
    #[tokio::test]
    async fn everything_is_written_in_order() {
        let (mut output, mut sent) = (Output::default(), Vec::new());
        let mut expect = |output: &Output, bytes: &[u8]| {
            sent.extend_from_slice(bytes);
            assert_eq!(output.waiting(), sent.len());
        };
        output.add_text(|text| text.extend_from_slice(b"head\r\n\r\n"));
        expect(&output, b"head\r\n\r\n");
        for size in [0, 1, COPIED, COPIED + 1, 1, 100_000].into_iter().chain([5000; 2 * SLICES]) {
            let part = vec![u8::try_from(size % 251).unwrap(); size];
            output.add(part.clone().into());
            expect(&output, &part);
        }
        output.add_chunk(Bytes::new());
        output.add_chunk(Bytes::from_static(b"a chunk of 20 bytes."));
        expect(&output, b"14\r\na chunk of 20 bytes.\r\n");
        output.end_chunks();
        expect(&output, b"0\r\n\r\n");
        let (mut ours, mut theirs) = duplex(777);
        let write = async {
            std::future::poll_fn(|cx| output.poll_write(&mut ours, cx)).await.unwrap();
            assert!(output.is_empty());
            drop(ours);
        };
        let mut received = Vec::new();
        let (read, ()) = tokio::join!(theirs.read_to_end(&mut received), write);
        read.unwrap();
        assert!(received == sent);
    }

    // Scenario: a peer is gone.
    // Guarantee: writing fails.
    #[test]
    fn a_peer_that_is_gone_is_an_error() {
        let (mut ours, theirs) = duplex(10);
        drop(theirs);
        let mut output = Output::default();
        output.add(Bytes::from_static(b"part"));
        let written = output.poll_write(&mut ours, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(written, Poll::Ready(Err(_))));
    }
}
