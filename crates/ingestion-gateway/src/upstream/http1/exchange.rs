//! One request on its way to the upstream, and the answer on its way back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, Version};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop::unconstrained;

use super::connection::{Connection, Head, NoAnswer, Remaining};
use super::pool::Pool;
use super::upload::{Upload, UploadError};
use crate::http1::output::Output;
use crate::upstream::answer::Failure;
use crate::upstream::body::{Payload, ResponseBody};
use crate::upstream::headers::strip_hop_by_hop;
use crate::upstream::target::Target;
use crate::upstream::watch::Watch;

/// A request that is being forwarded.
pub(super) struct Exchange<B>
where
    B: Payload,
{
    upload: Upload<B>,
    watch: Watch,
    /// Whether the request is a `HEAD`, whose answer has no body.
    is_head: bool,
    /// The number of bytes that were sent when the watch was last told.
    sent_before: u64,
    /// Whether the connection takes nothing more. The upstream may have answered.
    is_broken: bool,
}

impl<B> Exchange<B>
where
    B: Payload,
{
    /// Prepares a request.
    ///
    /// # Errors
    ///
    /// When the body is known to be too large.
    pub(super) fn new(target: &Arc<Target>, parts: Parts, body: B) -> Result<Self, Failure> {
        target.check_length(&body)?;
        let watch = target.watch(&parts);
        let (is_http1, is_head) = (parts.version < Version::HTTP_2, parts.method == Method::HEAD);
        let (length, mut output) = (body.size_hint().exact(), Output::default());
        output.add_text(|text| target.write_head(parts, length, text));
        let upload = Upload::new(output, body, length, target.max_body, is_http1);
        Ok(Self { upload, watch, is_head, sent_before: 0, is_broken: false })
    }

    /// Forwards the request and returns its answer.
    pub(super) async fn run(
        &mut self,
        pool: &Arc<Pool>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let (metrics, began) = (&pool.target.metrics, Instant::now());
        match self.until_head(pool).await {
            Ok((head, connection, place)) => {
                metrics.answered(head.status, began.elapsed());
                Ok(self.answer(pool, connection, head, place))
            }
            Err(failure) => {
                metrics.failed(failure.label(), began.elapsed());
                Err(failure)
            }
        }
    }

    async fn until_head(
        &mut self,
        pool: &Arc<Pool>,
    ) -> Result<(Head, Connection, OwnedSemaphorePermit), Failure> {
        // A request whose body does not come takes no connection from others.
        poll_fn(|cx| match self.upload.poll_begin(cx) {
            Poll::Ready(begun) => Poll::Ready(begun),
            Poll::Pending => self.watch.poll(cx).map(Err),
        })
        .await?;
        let place = pool.place().await.ok_or(Failure::UNAVAILABLE)?;
        loop {
            // Without its budget, a task would take any connection for an open one.
            let idle = unconstrained(poll_fn(|cx| Poll::Ready(pool.take(cx)))).await;
            let is_new = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                // Boxed, because requests seldom need it.
                None => Box::pin(pool.connect()).await.ok_or(Failure::UNAVAILABLE)?,
            };
            match poll_fn(|cx| self.poll_head(&mut connection, cx)).await {
                Ok(head) => return Ok((head, connection, place)),
                // Nothing was sent, because the connection was already closed.
                Err(Unanswered::Unsent) if !is_new => {}
                Err(Unanswered::Unsent) => return Err(Failure::UNAVAILABLE),
                Err(Unanswered::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Sends the request, and waits for the head of its answer.
    fn poll_head(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Unanswered>> {
        let Self { upload, watch, is_head, sent_before, is_broken } = self;
        if !*is_broken && !upload.is_sent() {
            match upload.poll_send(&mut connection.stream, cx) {
                Poll::Ready(Err(UploadError::Body(failure))) => {
                    return Poll::Ready(Err(Unanswered::Failed(failure)));
                }
                Poll::Ready(Err(UploadError::Connection)) if upload.sent() == 0 => {
                    return Poll::Ready(Err(Unanswered::Unsent));
                }
                Poll::Ready(Err(UploadError::Connection)) => *is_broken = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if let Poll::Ready(head) = connection.poll_head(*is_head, cx) {
            let unavailable = |NoAnswer| Unanswered::Failed(Failure::UNAVAILABLE);
            return Poll::Ready(head.map_err(unavailable));
        }
        if upload.waits_for_client() {
            watch.await_client();
        } else {
            watch.await_upstream(upload.sent() != *sent_before);
        }
        *sent_before = upload.sent();
        watch.poll(cx).map(|failure| Err(Unanswered::Failed(failure)))
    }

    /// Makes the response. Only after a whole request, the connection can carry another one.
    fn answer(
        &self,
        pool: &Arc<Pool>,
        mut connection: Connection,
        mut head: Head,
        place: OwnedSemaphorePermit,
    ) -> Response<ResponseBody> {
        strip_hop_by_hop(&mut head.headers);
        let is_reusable = head.is_reusable && self.upload.is_sent();
        let body = match head.body {
            // Most answers have come completely.
            Remaining::Bytes(length) if length <= connection.input.bytes().len() as u64 => {
                let content = connection.input.take(usize::try_from(length).unwrap_or(usize::MAX));
                if is_reusable {
                    pool.put(connection);
                }
                ResponseBody::full(content)
            }
            remaining => {
                let watch = self.watch.another();
                let open = Open { connection, remaining, is_reusable, watch, _place: place };
                let open = Some(Box::new(open));
                ResponseBody::Http(HttpBody { pool: Arc::clone(pool), open })
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

/// Why a request has no answer.
enum Unanswered {
    /// Nothing of the request was sent.
    Unsent,
    Failed(Failure),
}

/// The answer of an upstream.
pub(crate) struct HttpBody {
    pool: Arc<Pool>,
    /// What is needed until the end of the body. Boxed, because responses are moved several times.
    open: Option<Box<Open>>,
}

struct Open {
    connection: Connection,
    remaining: Remaining,
    is_reusable: bool,
    watch: Watch,
    _place: OwnedSemaphorePermit,
}

/// The answer of an upstream has broken off.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the upstream has broken off")]
pub(crate) struct BrokenOff;

impl HttpBody {
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let part = ready!(open.poll_part(cx));
        if matches!(part, Ok(Some(_))) && open.remaining != Remaining::Bytes(0) {
            return Poll::Ready(part.transpose().map(|part| part.map(Frame::data)));
        }
        // The end of the body. Only a whole body leaves the connection for others.
        if let Some(open) = self.open.take()
            && part.is_ok()
            && open.is_reusable
        {
            self.pool.put(open.connection);
        }
        Poll::Ready(part.transpose().map(|part| part.map(Frame::data)))
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self.open.as_ref().map(|open| open.remaining) {
            None => SizeHint::with_exact(0),
            Some(Remaining::Bytes(left)) => SizeHint::with_exact(left),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Open {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BrokenOff>> {
        match self.connection.poll_part(&mut self.remaining, cx) {
            Poll::Ready(part) => {
                self.watch.await_upstream(true);
                Poll::Ready(part.map_err(|NoAnswer| BrokenOff))
            }
            Poll::Pending => {
                self.watch.await_upstream(false);
                self.watch.poll(cx).map(|_| Err(BrokenOff))
            }
        }
    }
}
