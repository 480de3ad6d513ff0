//! One request, and its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Connection, Pool};
use crate::upstream::answer::Failure;
use crate::upstream::body::Payload;
use crate::upstream::body::ResponseBody;
use crate::upstream::headers::strip_hop_by_hop;
use crate::upstream::upload::UploadBody;
use crate::upstream::watch::Watch;

/// Forwards a request and returns its answer.
pub(super) async fn forward<B>(
    pool: &Arc<Pool<B>>,
    request: Request<B>,
) -> Response<ResponseBody<B>>
where
    B: Payload,
{
    let (parts, body) = request.into_parts();
    let format = pool.target.format_of(&parts);
    let watch = pool.target.watch(&parts);
    let is_http1 = parts.version < Version::HTTP_2;
    let failure = match pool.target.check_length(&body) {
        Ok(()) => {
            let body = UploadBody::new(body, pool.target.max_body, is_http1);
            let request = pool.target.http_request(parts, body);
            let (metrics, began) = (&pool.target.metrics, std::time::Instant::now());
            match exchange(pool, request, watch).await {
                Ok(response) => {
                    metrics.answered(response.status(), began.elapsed());
                    return response;
                }
                Err(failure) => {
                    metrics.failed(failure.label(), began.elapsed());
                    failure
                }
            }
        }
        Err(failure) => failure,
    };
    format.answer(failure, &pool.target.extractor)
}

async fn exchange<B>(
    pool: &Arc<Pool<B>>,
    mut request: Request<UploadBody<B>>,
    mut watch: Watch,
) -> Result<Response<ResponseBody<B>>, Failure>
where
    B: Payload,
{
    let place = pool.place().await.ok_or(Failure::UNAVAILABLE)?;
    let (response, connection) = loop {
        let idle = poll_fn(|cx| Poll::Ready(pool.take(cx))).await;
        let is_new = idle.is_none();
        let mut connection = match idle {
            Some(connection) => connection,
            None => pool.connect().await.ok_or(Failure::UNAVAILABLE)?,
        };
        connection.progress.begin();
        request.body_mut().move_to(Arc::clone(&connection.progress));
        match until_head(&mut connection, request, &mut watch).await {
            Ok(response) => break (response, connection),
            // Nothing was sent, because the connection was already closed.
            Err(Unanswered::Unsent(unsent)) if !is_new => request = *unsent,
            Err(Unanswered::Unsent(_)) => return Err(Failure::UNAVAILABLE),
            Err(Unanswered::Failed(failure)) => return Err(failure),
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody has asked for another protocol. A sender would take this for a refusal.
        return Err(Failure::UNAVAILABLE);
    }
    let (mut parts, incoming) = response.into_parts();
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    let open = Open { incoming, connection, watch, _place: place };
    let mut body = HttpBody { pool: Arc::clone(pool), open: Some(open) };
    let is_empty = poll_fn(|cx| Poll::Ready(body.is_empty(cx))).await;
    let body = if is_empty { ResponseBody::Empty } else { ResponseBody::Http(body) };
    Ok(Response::from_parts(parts, body))
}

/// Why a request has no answer.
enum Unanswered<B>
where
    B: Payload,
{
    /// Nothing of the request was sent.
    Unsent(Box<Request<UploadBody<B>>>),
    Failed(Failure),
}

/// Sends a request, and waits for the head of its answer.
async fn until_head<B>(
    connection: &mut Connection<B>,
    request: Request<UploadBody<B>>,
    watch: &mut Watch,
) -> Result<Response<Incoming>, Unanswered<B>>
where
    B: Payload,
{
    let mut frames_before = connection.progress.frames();
    let mut response = pin!(connection.send.try_send_request(request));
    poll_fn(|cx| {
        connection.drive(cx);
        let progress = &connection.progress;
        if let Poll::Ready(answered) = response.as_mut().poll(cx) {
            return Poll::Ready(answered.map_err(|mut error| match error.take_message() {
                Some(request) => Unanswered::Unsent(Box::new(request)),
                None => Unanswered::Failed(progress.failure().unwrap_or(Failure::UNAVAILABLE)),
            }));
        }
        let frames = progress.frames();
        if progress.waits_for_client() {
            watch.await_client();
        } else {
            watch.await_upstream(frames != frames_before);
        }
        frames_before = frames;
        watch.poll(cx).map(|failure| Err(Unanswered::Failed(failure)))
    })
    .await
}

/// The answer of an upstream.
pub(crate) struct HttpBody<B>
where
    B: Payload,
{
    pool: Arc<Pool<B>>,
    /// What is needed until the end of the body.
    open: Option<Open<B>>,
}

struct Open<B>
where
    B: Payload,
{
    incoming: Incoming,
    connection: Connection<B>,
    watch: Watch,
    _place: OwnedSemaphorePermit,
}

/// The answer of an upstream has broken off.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the upstream has broken off")]
pub(crate) struct BrokenOff;

impl<B> HttpBody<B>
where
    B: Payload,
{
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let frame = match ready!(open.poll_frame(cx)) {
            Some(Ok(frame)) if !open.incoming.is_end_stream() => {
                return Poll::Ready(Some(Ok(frame)));
            }
            frame => frame,
        };
        // The end of the body. Only a whole body leaves the connection for others.
        if let Some(open) = self.open.take()
            && !matches!(frame, Some(Err(_)))
        {
            self.pool.put(open.connection, cx);
        }
        Poll::Ready(frame)
    }

    /// Returns whether nothing is left of the body.
    fn is_empty(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(open) = self.open.take_if(|open| open.incoming.is_end_stream()) {
            self.pool.put(open.connection, cx);
        }
        self.open.is_none()
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or_else(|| SizeHint::with_exact(0), |open| open.incoming.size_hint())
    }
}

impl<B> Open<B>
where
    B: Payload,
{
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() {
            // The connection reads only what somebody waits for.
            self.connection.drive(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        match frame {
            Poll::Ready(frame) => {
                self.watch.await_upstream(true);
                Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokenOff)))
            }
            Poll::Pending => {
                self.watch.await_upstream(false);
                self.watch.poll(cx).map(|_| Some(Err(BrokenOff)))
            }
        }
    }
}
