//! What waits to be written to a connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use crate::io::spare;

/// The largest part of a body that is copied, so that one buffer is written instead of two.
const COPIED: usize = 2 << 10;

/// The largest number of buffers that are written at once.
const SLICES: usize = 16;

/// The bytes that wait to be written: a text, for example a head, and then parts of a body.
#[derive(Debug, Default)]
pub(crate) struct Output {
    text: Vec<u8>,
    /// How much of the text is written.
    written: usize,
    parts: VecDeque<Bytes>,
    /// The number of bytes of `parts`.
    len: usize,
    /// Whether the connection has to be flushed.
    is_unflushed: bool,
}

impl Output {
    /// Returns the number of bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.text.len() - self.written + self.len
    }

    /// Returns whether the connection has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.is_unflushed
    }

    /// Adds a text, which `write` writes.
    pub(crate) fn add_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.parts.is_empty() {
            let mut text = Vec::new();
            write(&mut text);
            return self.push(text.into());
        }
        if self.text.capacity() == 0 {
            self.text = spare::take_for_writing();
        }
        write(&mut self.text);
    }

    /// Adds a part of a body.
    pub(crate) fn add(&mut self, part: Bytes) {
        if part.len() <= COPIED && self.parts.is_empty() {
            self.add_text(|text| text.extend_from_slice(&part));
        } else if !part.is_empty() {
            self.push(part);
        }
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

    fn push(&mut self, part: Bytes) {
        self.len += part.len();
        self.parts.push_back(part);
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
        while self.waiting() != 0 {
            let connection = Pin::new(&mut *connection);
            let text = self.text.get(self.written..).unwrap_or_default();
            let written = match self.parts.front() {
                None => connection.poll_write(cx, text),
                Some(part) if text.is_empty() && self.parts.len() == 1 => {
                    connection.poll_write(cx, part)
                }
                Some(_) => {
                    let mut slices = [IoSlice::new(text); SLICES];
                    let parts = &mut slices[usize::from(!text.is_empty())..];
                    let count = parts.len().min(self.parts.len());
                    for (slice, part) in parts.iter_mut().zip(&self.parts) {
                        *slice = IoSlice::new(part);
                    }
                    let unused = parts.len() - count;
                    connection.poll_write_vectored(cx, &slices[..SLICES - unused])
                }
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

    fn advance(&mut self, mut bytes: usize) {
        let text = bytes.min(self.text.len() - self.written);
        self.written += text;
        bytes -= text;
        if self.written == self.text.len() {
            self.release();
        }
        self.len -= bytes;
        while let Some(part) = self.parts.front_mut() {
            if part.len() > bytes {
                part.advance(bytes);
                return;
            }
            bytes -= part.len();
            self.parts.pop_front();
        }
    }

    fn release(&mut self) {
        self.written = 0;
        spare::give_back_written(mem::take(&mut self.text));
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.release();
    }
}
