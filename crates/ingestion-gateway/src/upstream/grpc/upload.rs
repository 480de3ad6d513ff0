//! The body of a call on its way to the upstream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use hyper::body::Body;
use otlp_receiver::Refusal;

use super::super::answer::Failure;
use super::super::target::Target;
use super::Call;

/// The number of bytes of a body that are sent even if the upstream has no room for them yet.
const EARLY_BYTES: u64 = 64 << 10;

/// The body of a call. Beyond its first bytes, at most one frame of it is held: the next one is read
/// when the upstream has taken this one.
pub(super) struct Upload<B> {
    body: B,
    /// The number of bytes that may still come, unless there is no limit.
    left: Option<u64>,
    /// A part of the body that is not sent yet.
    part: Option<Bytes>,
    trailers: Option<HeaderMap>,
    is_ended: bool,
    has_read: bool,
    /// The number of bytes that were sent.
    sent: u64,
}

/// Who ended the upload.
pub(super) enum UploadError {
    /// The upstream does not take the rest of the body. It may have answered.
    Upstream,
    /// The body cannot be read to its end.
    Failed(Failure),
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    pub(super) fn new(body: B, call: Call, target: &Target) -> Self {
        let left = (call == Call::Unary).then_some(target.max_body);
        let is_ended = body.is_end_stream();
        Self { body, left, part: None, trailers: None, is_ended, has_read: false, sent: 0 }
    }

    /// Returns whether the whole body is read.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Returns whether anything of the body is read.
    pub(super) fn has_read(&self) -> bool {
        self.has_read
    }

    /// Returns whether the client has to send more of the body.
    pub(super) fn waits_for_client(&self) -> bool {
        self.part.is_none() && !self.is_ended
    }

    /// Returns the number of bytes that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Reads the next part of the body, unless there is a part that is not sent yet.
    pub(super) fn poll_read(
        &mut self,
        target: &Target,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        while self.waits_for_client() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                self.is_ended = true;
                break;
            };
            self.has_read = true;
            let frame = frame.map_err(|_| Failure::Refused(Refusal::EndedEarly))?;
            match frame.into_data() {
                Ok(part) => {
                    if let Some(left) = &mut self.left {
                        *left = left
                            .checked_sub(part.len() as u64)
                            .ok_or(Failure::Refused(Refusal::TooLarge))?;
                    }
                    self.is_ended = self.body.is_end_stream();
                    if !part.is_empty() || self.is_ended {
                        self.part = Some(part);
                    }
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    if let Some(trailers) = &mut self.trailers {
                        target.clean_trailers(trailers);
                    }
                    self.is_ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the body to its end.
    pub(super) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        target: &Target,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            if let Err(failure) = ready!(self.poll_read(target, cx)) {
                stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Err(UploadError::Failed(failure)));
            }
            let sent = match self.part.take() {
                Some(part) => {
                    let is_last = self.is_ended && self.trailers.is_none();
                    match self.poll_send(part, is_last, stream, cx)? {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(()) if !is_last => continue,
                        Poll::Ready(()) => Ok(()),
                    }
                }
                None => match self.trailers.take() {
                    Some(trailers) => stream.send_trailers(trailers),
                    None => stream.send_data(Bytes::new(), true),
                },
            };
            return Poll::Ready(sent.map_err(|_| UploadError::Upstream));
        }
    }

    /// Sends a part of the body, which has no room yet while the call has not begun on the wire: `h2`
    /// grants room only after it has written the head. Without this, the head would be written alone.
    fn send_early(
        &mut self,
        part: Bytes,
        is_last: bool,
        stream: &mut SendStream<Bytes>,
    ) -> Result<(), UploadError> {
        self.sent += part.len() as u64;
        stream.send_data(part, is_last).map_err(|_| UploadError::Upstream)
    }

    /// Sends a part of the body as far as the upstream takes it. What is left is kept.
    fn poll_send(
        &mut self,
        mut part: Bytes,
        is_last: bool,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, UploadError> {
        if self.sent + part.len() as u64 <= EARLY_BYTES {
            return self.send_early(part, is_last, stream).map(Poll::Ready);
        }
        stream.reserve_capacity(part.len());
        loop {
            if stream.capacity() == 0 && !part.is_empty() {
                match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(_) => return Err(UploadError::Upstream),
                    Poll::Pending => {
                        self.part = Some(part);
                        return Ok(Poll::Pending);
                    }
                }
            }
            let next = part.split_to(part.len().min(stream.capacity()));
            self.sent += next.len() as u64;
            let is_end = part.is_empty();
            let sent = stream.send_data(next, is_end && is_last);
            sent.map_err(|_| UploadError::Upstream)?;
            if is_end {
                return Ok(Poll::Ready(()));
            }
        }
    }
}
